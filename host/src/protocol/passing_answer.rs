//! A large answer on its way to its client, of which only a piece is here at a time. It is judged
//! while it passes, and what is small about it is put right: its id, a null beside its result.
//!
//! ```text
//! {  "jsonrpc":"2.0"  ,"result":{…}  ,"error":null  ,"id":"7"  }
//!                                    └─ left out ─┘      └─ 7
//! ```
//!
//! Only a member that may have to be changed is held back, from the comma in front of it to its
//! end. All other bytes go on as the pieces that they came in.

use std::collections::VecDeque;

use bytes::Bytes;

use super::answer::begins_value;
use super::jsonrpc::MAX_ANSWERED_ID;

/// Bytes that are kept of a member's name: those that count are shorter.
const MAX_NAME: usize = 64;
/// Bytes of earlier pieces that are held back. Only white space makes a member that counts so long.
const MAX_HELD: usize = 4 * MAX_ANSWERED_ID;

/// What an answer turned out to be that has passed already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// The body ended within the message.
    #[error("the server's answer ends early")]
    Cut,
    /// It is not UTF-8, as JSON has to be (RFC 8259, section 8.1).
    #[error("the server's answer is not UTF-8")]
    NotText,
    /// It has no result or error, or the id of another request.
    #[error("the server's message does not answer the request")]
    Other,
    /// Something stands behind it.
    #[error("the server's answer is followed by something that is no JSON")]
    Trailing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the message, or in one that is no object.
    Outside,
    /// Before a member's name.
    Before,
    Name,
    /// After a name, before its value.
    Between,
    Value,
    /// After the message.
    Behind,
}

/// The members that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Id,
    Result,
    Error,
    Method,
    Other,
}

/// What becomes of a member that was held back.
enum Fate {
    /// It passes as it is.
    Same,
    /// Another value stands in the place of its own.
    Value(String),
    /// It is left out.
    Out,
}

/// What a byte within the message means for what is held back.
#[derive(PartialEq, Eq)]
enum Step {
    Plain,
    /// It is the first of the message.
    Opens,
    /// It is the first of a member's value.
    BeginsValue,
    /// Its name or value is longer than any that counts.
    TooLong,
}

/// Which of two ids, as they are written, are the same to a server.
pub type SameId = fn(&str, &str) -> bool;

/// The answer to one request, as it passes.
#[derive(Debug)]
pub struct PassingAnswer {
    id: String,
    same: SameId,
    at: At,
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    name: Vec<u8>,
    member: Member,
    /// The value, while it is held back.
    value: Vec<u8>,
    holds_value: bool,
    /// Whether bytes are held back, those of earlier pieces, and where in them the value begins.
    holds: bool,
    held: Vec<u8>,
    value_at: usize,
    /// Whether no member has passed yet.
    is_first: bool,
    has_id: bool,
    is_others: bool,
    has_result: bool,
    has_error: bool,
    /// Whether a result of null was left out, since an error may follow.
    owes_null: bool,
    has_trailer: bool,
    /// Whether another message stands behind the answer: that has passed, and nothing more does.
    is_followed: bool,
    /// The beginning of a character whose rest is still to come. `None` once there was something
    /// that is not UTF-8.
    cut: Option<Vec<u8>>,
}

impl PassingAnswer {
    /// For the answer to the request with this id, as JSON.
    #[must_use]
    pub fn new(id: &str, same: SameId) -> Self {
        Self {
            id: id.to_owned(),
            same,
            at: At::Outside,
            depth: 0,
            in_string: false,
            is_escaped: false,
            name: Vec::new(),
            member: Member::Other,
            value: Vec::new(),
            holds_value: false,
            holds: false,
            held: Vec::new(),
            value_at: 0,
            is_first: true,
            has_id: false,
            is_others: false,
            has_result: false,
            has_error: false,
            owes_null: false,
            has_trailer: false,
            is_followed: false,
            cut: Some(Vec::new()),
        }
    }

    /// Takes the next piece; puts what goes on of it behind `out`.
    pub fn pass(&mut self, piece: &Bytes, out: &mut VecDeque<Bytes>) {
        if self.is_followed {
            return;
        }
        self.cut = self.cut.take().and_then(|cut| match cut.is_empty() {
            true => cut_of(piece),
            false => cut_of(&[&cut, &piece[..]].concat()),
        });
        // Where what has not gone on begins, and what of it is held back.
        let (mut from, mut mark, mut at) = (0, 0, 0);
        while let Some(byte) = piece.get(at).copied() {
            if self.in_string && !self.is_escaped && !self.is_wanted() {
                // A large message is mostly one long string: skip it as a whole.
                let rest = piece.get(at..).unwrap_or_default();
                let end = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                if end > 0 {
                    at += end;
                    continue;
                }
            }
            if self.at == At::Behind
                && !self.has_trailer
                && begins_value(&[byte])
                && self.is_answer()
            {
                self.is_followed = true;
                return push(out, piece.slice(from..at));
            }
            if self.ends_member(byte) {
                match self.fate() {
                    Fate::Same => self.let_go(out),
                    Fate::Value(value) => {
                        let mut held = self.take_held(piece, (from, mark, at), out);
                        held.truncate(self.value_at);
                        held.extend_from_slice(value.as_bytes());
                        out.push_back(held.into());
                        from = at;
                    }
                    Fate::Out => {
                        self.take_held(piece, (from, mark, at), out);
                        // Of two commas one goes with it.
                        from = at + usize::from(self.is_first && byte == b',');
                    }
                }
                if byte == b',' {
                    (self.at, self.holds) = (At::Before, true);
                    mark = if self.is_first { at + 1 } else { at };
                } else {
                    (self.at, self.depth) = (At::Behind, 0);
                    if let Some(last) = self.last_members() {
                        push(out, piece.slice(from..at));
                        out.push_back(last.into());
                        from = at;
                    }
                }
            } else {
                match self.step(byte) {
                    Step::Plain => {}
                    Step::Opens => {
                        self.holds = true;
                        mark = at + 1;
                    }
                    Step::BeginsValue if self.holds_value => {
                        self.value_at = self.held.len() + at - mark;
                    }
                    Step::BeginsValue | Step::TooLong => {
                        self.is_first = false;
                        self.let_go(out);
                    }
                }
            }
            at += 1;
        }
        if self.holds {
            push(out, piece.slice(from..mark));
            self.held.extend_from_slice(piece.get(mark..).unwrap_or_default());
            if self.held.len() > MAX_HELD {
                (self.is_others, self.holds_value) = (true, false);
                self.let_go(out);
            }
        } else {
            push(out, piece.slice(from..));
        }
    }

    /// Judges what has passed, once the body has ended.
    ///
    /// # Errors
    /// What it was, if not the answer.
    pub fn end(&self) -> Result<(), AnswerFault> {
        match (self.at, self.is_answer()) {
            _ if self.cut.is_none() => Err(AnswerFault::NotText),
            _ if self.has_trailer => Err(AnswerFault::Trailing),
            (At::Behind, true) => Ok(()),
            (At::Behind, false) => Err(AnswerFault::Other),
            _ => Err(AnswerFault::Cut),
        }
    }

    /// Whether the members that have come are those of the answer.
    fn is_answer(&self) -> bool {
        self.has_id && !self.is_others && self.has_result != self.has_error
    }

    /// What is held back goes on after all.
    fn let_go(&mut self, out: &mut VecDeque<Bytes>) {
        self.holds = false;
        push(out, std::mem::take(&mut self.held).into());
    }

    /// Lets go what stands in front of what is held back. Returns the latter, up to here.
    fn take_held(
        &mut self,
        piece: &Bytes,
        (from, mark, at): (usize, usize, usize),
        out: &mut VecDeque<Bytes>,
    ) -> Vec<u8> {
        self.holds = false;
        push(out, piece.slice(from..mark));
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(piece.get(mark..at).unwrap_or_default());
        held
    }

    /// Whether the next byte belongs to a name, or to a value that is held back.
    fn is_wanted(&self) -> bool {
        match self.at {
            At::Name => true,
            At::Value => self.holds_value,
            _ => false,
        }
    }

    /// Whether the byte stands behind a member of the message.
    fn ends_member(&self, byte: u8) -> bool {
        matches!(byte, b',' | b'}') && self.depth == 1 && !self.in_string
    }

    fn step(&mut self, byte: u8) -> Step {
        if self.in_string {
            let ends = byte == b'"' && !self.is_escaped;
            self.is_escaped = byte == b'\\' && !self.is_escaped;
            self.in_string = !ends;
            if self.at == At::Name && ends {
                self.at = At::Between;
                return Step::Plain;
            }
            return self.keep(byte);
        }
        match (self.at, byte) {
            (_, b' ' | b'\t' | b'\r' | b'\n') => return Step::Plain,
            (At::Behind, _) => {
                self.has_trailer = true;
                return Step::Plain;
            }
            (At::Outside, b'{') => {
                (self.depth, self.at) = (1, At::Before);
                return Step::Opens;
            }
            (At::Outside, _) => {
                self.is_others = true;
                self.at = At::Behind;
                return Step::Plain;
            }
            (At::Before, b'"') => {
                (self.at, self.in_string) = (At::Name, true);
                self.name.clear();
                return Step::Plain;
            }
            (At::Between, b':') => return Step::Plain,
            (At::Value, _) => {}
            (At::Between, _) => self.begin_value(byte),
            (At::Before | At::Name, _) => {
                self.is_others = true;
                return Step::Plain;
            }
        }
        let begins = self.at == At::Between;
        self.at = At::Value;
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        let kept = self.keep(byte);
        if begins { Step::BeginsValue } else { kept }
    }

    fn begin_value(&mut self, byte: u8) {
        self.member = self.named();
        self.value.clear();
        let is_null = byte == b'n';
        match self.member {
            Member::Result => {
                self.is_others |= self.has_result;
                self.has_result |= !is_null;
            }
            Member::Error => {
                self.is_others |= self.has_error || !(is_null || byte == b'{');
                self.has_error |= !is_null;
            }
            Member::Method => self.is_others |= !is_null,
            Member::Id => self.is_others |= self.has_id,
            Member::Other => {}
        }
        self.holds_value = match self.member {
            Member::Id => true,
            Member::Result | Member::Error | Member::Method => is_null,
            Member::Other => false,
        };
    }

    fn named(&self) -> Member {
        let quoted = [&b"\""[..], &self.name, b"\""].concat();
        let name = serde_json::from_slice::<String>(&quoted).unwrap_or_default();
        match &*name {
            "id" => Member::Id,
            "result" => Member::Result,
            "error" => Member::Error,
            "method" => Member::Method,
            _ => Member::Other,
        }
    }

    /// Keeps a byte of a name, or of a value that is held back.
    fn keep(&mut self, byte: u8) -> Step {
        match self.at {
            At::Name if self.name.len() < MAX_NAME => self.name.push(byte),
            At::Name => return Step::TooLong,
            At::Value if self.holds_value && self.value.len() > MAX_ANSWERED_ID => {
                self.is_others = true;
                self.holds_value = false;
                return Step::TooLong;
            }
            At::Value if self.holds_value => self.value.push(byte),
            _ => {}
        }
        Step::Plain
    }

    fn fate(&mut self) -> Fate {
        if self.at != At::Value || !std::mem::take(&mut self.holds_value) {
            return Fate::Same;
        }
        let value = std::str::from_utf8(&self.value).unwrap_or_default();
        let fate = match (self.member, value) {
            (Member::Id, "null") => Fate::Out,
            (Member::Id, own) if own == self.id => Fate::Same,
            (Member::Id, own) if (self.same)(own, &self.id) => Fate::Value(self.id.clone()),
            (Member::Result, "null") => {
                self.owes_null = true;
                Fate::Out
            }
            (Member::Error | Member::Method, "null") => Fate::Out,
            _ => {
                self.is_others = true;
                Fate::Same
            }
        };
        if !matches!(fate, Fate::Out) {
            self.has_id |= self.member == Member::Id;
            self.is_first = false;
        }
        fate
    }

    /// What is put at the message's end: a result of null that was left out, and the id of an error
    /// that has none.
    fn last_members(&mut self) -> Option<String> {
        let mut last = Vec::new();
        if self.owes_null && !self.has_error {
            self.has_result = true;
            last.push("\"result\":null".to_owned());
        }
        // Under null, or without an id, there are errors alone.
        if !self.has_id && self.has_error && !self.has_result && !self.is_others {
            self.has_id = true;
            last.push(format!("\"id\":{}", self.id));
        }
        if last.is_empty() {
            return None;
        }
        let comma = if self.is_first { "" } else { "," };
        Some(format!("{comma}{}", last.join(",")))
    }
}

fn push(out: &mut VecDeque<Bytes>, piece: Bytes) {
    if !piece.is_empty() {
        out.push_back(piece);
    }
}

/// The beginning of a character at the end of a text. `None` if the text is not UTF-8.
fn cut_of(text: &[u8]) -> Option<Vec<u8>> {
    match std::str::from_utf8(text) {
        Ok(_) => Some(Vec::new()),
        Err(error) if error.error_len().is_some() => None,
        Err(error) => Some(text.get(error.valid_up_to()..)?.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(written: &str, id: &str) -> bool {
        written.trim_matches('"').trim_end_matches(".0") == id.trim_matches('"')
    }

    /// What goes on of an answer to the request 7 that comes in pieces of this size.
    fn passed(body: &[u8], size: usize) -> (Vec<u8>, Result<(), AnswerFault>) {
        let mut passing = PassingAnswer::new("7", same);
        let mut out = VecDeque::new();
        for piece in body.chunks(size) {
            passing.pass(&Bytes::copy_from_slice(piece), &mut out);
            assert!(out.iter().all(|piece| !piece.is_empty()));
        }
        (out.iter().flat_map(|piece| piece.to_vec()).collect(), passing.end())
    }

    const SIZES: [usize; 6] = [1, 2, 3, 5, 17, 1000];

    #[test]
    fn an_answer_passes_as_it_is() {
        for body in [
            r#"{"jsonrpc":"2.0","id":7,"result":{"id":8,"error":null}}"#,
            r#"{"result":["}"],"id":7}"#,
            r#"{"result":["ä€😀\"\\"],"id":7}"#,
            " {\n \"id\" : 7 ,\n \"result\" : { } } \r\n",
            r#"{"jsonrpc":"2.0","error":{"code":1,"message":"null"},"id":7,"x":null}"#,
            r#"{"id":7,"x":{"result":null},"result":[[],{}],"y":"id"}"#,
        ] {
            for size in SIZES {
                let (got, end) = passed(body.as_bytes(), size);
                assert_eq!((String::from_utf8(got).unwrap(), end), (body.to_owned(), Ok(())));
            }
        }
        let mut out = VecDeque::new();
        let piece = Bytes::from(r#"{"result":{"text":"abc"},"jsonrpc":"2.0","id":7}"#);
        PassingAnswer::new("7", same).pass(&piece, &mut out);
        assert_eq!(out, [piece], "nothing is copied");
    }

    #[test]
    fn what_is_small_about_it_is_put_right() {
        for (body, expect) in [
            (r#"{"result":{},"id":"7"}"#, r#"{"result":{},"id":7}"#),
            (r#"{"result":{},"id": 7.0 }"#, r#"{"result":{},"id": 7}"#),
            (r#"{"id":"7","result":{}}"#, r#"{"id":7,"result":{}}"#),
            (r#"{"i\u0064":"7","result":{}}"#, r#"{"i\u0064":7,"result":{}}"#),
            (r#"{"error":{"code":1},"id":null}"#, r#"{"error":{"code":1},"id":7}"#),
            (r#"{"id":null,"error":{"code":1}}"#, r#"{"error":{"code":1},"id":7}"#),
            (r#"{"jsonrpc":"2.0","error":{}}"#, r#"{"jsonrpc":"2.0","error":{},"id":7}"#),
            (r#"{"id":7,"result":{},"error":null}"#, r#"{"id":7,"result":{}}"#),
            (r#"{"error":null,"id":"7","result":{}}"#, r#"{"id":7,"result":{}}"#),
            (r#"{"error":null,"method":null,"result":{},"id":7}"#, r#"{"result":{},"id":7}"#),
            (r#"{"id":7,"result":null,"error":{}}"#, r#"{"id":7,"error":{}}"#),
            (r#"{"id":7,"result":null,"x":1}"#, r#"{"id":7,"x":1,"result":null}"#),
            (r#"{"result":null,"id":7}"#, r#"{"id":7,"result":null}"#),
        ] {
            for size in SIZES {
                let (got, end) = passed(body.as_bytes(), size);
                let got = String::from_utf8(got).unwrap();
                assert_eq!((&*got, end), (expect, Ok(())), "{body} by {size}");
            }
        }
    }

    #[test]
    fn what_follows_as_another_message_does_not_pass() {
        let own = r#"{"id":7,"result":["ä"]}"#;
        for behind in [own, "\n{\"id\":8,\"result\":\"ä\"}\n", "\r\n[1]", "{", "\n{\"cut\":\"ä"] {
            for size in SIZES {
                let (got, end) = passed(format!("{own}{behind}").as_bytes(), size);
                let got = String::from_utf8(got).unwrap();
                assert_eq!((got.trim_end(), end), (own, Ok(())), "{behind} by {size}");
            }
        }
        let (got, end) = passed(br#"{"result":{},"id":"7"}{"id":7}"#, 1);
        assert_eq!((&*got, end), (&br#"{"result":{},"id":7}"#[..], Ok(())));
    }

    #[test]
    fn what_is_no_answer_is_found_out_at_its_end() {
        let long = format!(r#"{{"id":"{}","result":{{}}}}"#, "x".repeat(100_000));
        for (body, expect) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":{"id":8}"#, AnswerFault::Cut),
            (r#"{"result":"abc"#, AnswerFault::Cut),
            ("", AnswerFault::Cut),
            (r#"{"result":{},"id":7"#, AnswerFault::Cut),
            (r#"{"result":{},"id":8}"#, AnswerFault::Other),
            (r#"{"result":{}}"#, AnswerFault::Other),
            (r#"{"result":{},"id":null}"#, AnswerFault::Other),
            (r#"{"id":null,"result":{}}"#, AnswerFault::Other),
            (r#"{"id":7,"method":"ping"}"#, AnswerFault::Other),
            (r#"{"id":7}"#, AnswerFault::Other),
            ("{}", AnswerFault::Other),
            (r#"{"id":7,"id":7,"result":{}}"#, AnswerFault::Other),
            (r#"{"id":7,"result":{},"result":{}}"#, AnswerFault::Other),
            (r#"{"id":7,"result":{},"error":{}}"#, AnswerFault::Other),
            (r#"{"id":7,"error":"out of paper"}"#, AnswerFault::Other),
            (r#"{"id":[7],"result":{}}"#, AnswerFault::Other),
            (r#"{"id":nul,"result":{}}"#, AnswerFault::Other),
            (&long, AnswerFault::Other),
            (r#"{"id":7,"result":{}} garbage"#, AnswerFault::Trailing),
            (r#"{"id":8,"result":{}}{"id":7,"result":{}}"#, AnswerFault::Trailing),
            (r#"{"id":7,"result":{}} x {}"#, AnswerFault::Trailing),
            (r#"{"id":7,"result":{}}]"#, AnswerFault::Trailing),
        ] {
            for size in SIZES {
                assert_eq!(passed(body.as_bytes(), size).1, Err(expect), "{body} by {size}");
            }
        }
        for size in SIZES {
            let (_, end) = passed(b"{\"result\":\"\xe9\",\"id\":7}", size);
            assert_eq!(end, Err(AnswerFault::NotText), "by {size}");
        }
    }

    #[test]
    fn little_is_held_back_whatever_comes() {
        let mut out = VecDeque::new();
        for begins in ["{\"", "{\"id\":\"", "{\"id\":[", "{\"error\":n", "{", "[", "x"] {
            for more in ["y", " "] {
                let mut passing = PassingAnswer::new("7", same);
                let mut count = 0;
                for piece in [begins, &more.repeat(50_000), &more.repeat(50_000)] {
                    passing.pass(&Bytes::copy_from_slice(piece.as_bytes()), &mut out);
                    count += piece.len();
                }
                let held = passing.held.len();
                assert_eq!(out.drain(..).map(|piece| piece.len()).sum::<usize>() + held, count);
                assert!(held <= MAX_HELD, "{begins} {held}");
                assert!(passing.name.len() <= MAX_NAME, "{begins}");
                assert!(passing.value.len() <= MAX_ANSWERED_ID + 1, "{begins}");
            }
        }
    }
}
