//! Whether a body is the answer to a request, found without a tree.
//!
//! Every answer of a remote server is looked at, so it has to be cheap: the two shapes in which
//! nearly all servers write an answer are compared byte by byte, and of what stands within only the
//! brackets and strings are followed. A body of another shape is parsed.

use super::jsonrpc::{Envelope, Kind};
use super::request_id::RequestId;

/// The longest id of an answer that is watched, in bytes.
const MAX_ID: usize = 256;
/// The deepest nesting that is followed here; deeper bodies are parsed.
const DEEPEST: u32 = 64;

/// Whether the whole body is a JSON-RPC answer with exactly this id (as JSON).
#[must_use]
pub fn is_answer_to(body: &[u8], id: &str) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let text = text.trim_ascii();
    match has_usual_shape(text, id) {
        Some(has) => has,
        None => is_parsed_answer_to(text, id),
    }
}

fn is_parsed_answer_to(text: &str, id: &str) -> bool {
    Envelope::parse(text.as_bytes())
        .is_ok_and(|answer| answer.kind() == Kind::Response && answer.id_text() == Some(id))
}

/// `None` if that takes a parser.
fn has_usual_shape(text: &str, id: &str) -> Option<bool> {
    let behind = |rest: &str| {
        let value = rest.strip_prefix("\"result\":").or_else(|| rest.strip_prefix("\"error\":"))?;
        is_rest_of_object(value.as_bytes()).then_some(true)
    };
    // Most SDKs begin with the id, that for TypeScript ends with it.
    if let Some(rest) = text.strip_prefix("{\"jsonrpc\":\"2.0\",\"id\":") {
        return behind(rest.strip_prefix(id)?.strip_prefix(',')?);
    }
    let rest = text.strip_prefix('{')?;
    let ends = rest.strip_suffix('}')?.strip_suffix(id)?;
    ends.strip_suffix(",\"jsonrpc\":\"2.0\",\"id\":")?;
    behind(rest)
}

/// What a byte outside of strings is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Of numbers, literals, white space, or between values.
    Plain,
    Quote,
    Open(bool),
    Close(bool),
    Foreign,
}

static CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut classes = [Class::Foreign; 256];
    let plain = b"0123456789+-.eE,: \t\r\ntrufalsn";
    let mut at = 0;
    while at < plain.len() {
        classes[plain[at] as usize] = Class::Plain;
        at += 1;
    }
    classes[b'"' as usize] = Class::Quote;
    classes[b'{' as usize] = Class::Open(true);
    classes[b'[' as usize] = Class::Open(false);
    classes[b'}' as usize] = Class::Close(true);
    classes[b']' as usize] = Class::Close(false);
    classes
}

/// Whether the text ends an object that it is within, at its last byte and not before.
fn is_rest_of_object(text: &[u8]) -> bool {
    // One bit for each open bracket: whether it is a brace.
    let (mut open, mut depth) = (1_u64, 1_u32);
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        match CLASSES[usize::from(*byte)] {
            Class::Plain => {}
            Class::Quote => match behind_string(rest.as_slice()) {
                Some(behind) => rest = behind.iter(),
                None => return false,
            },
            Class::Open(is_brace) if depth < DEEPEST => {
                open = open << 1 | u64::from(is_brace);
                depth += 1;
            }
            Class::Close(is_brace) if open & 1 == u64::from(is_brace) => {
                open >>= 1;
                depth -= 1;
                if depth == 0 {
                    return rest.as_slice().is_empty();
                }
            }
            Class::Open(_) | Class::Close(_) | Class::Foreign => return false,
        }
    }
    false
}

/// What stands behind the string that the text begins within.
fn behind_string(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        let end = memchr::memchr2(b'"', b'\\', text)?;
        if text.get(end) == Some(&b'"') {
            return text.get(end + 1..);
        }
        text = text.get(end + 2..)?;
    }
}

/// What the beginning of a body shows, before the rest has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerStart {
    /// It may become the answer: nothing speaks against it.
    Open,
    /// It will not become an answer.
    Other,
}

/// Looks at the beginning of a body that is still to come.
#[must_use]
pub fn begins(head: &[u8]) -> AnswerStart {
    let head = head.trim_ascii_start();
    let is_named = |name: &[u8]| {
        let after = head.strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
        // The head may be cut anywhere.
        after.is_some_and(|after| after.starts_with(name) || name.starts_with(after))
    };
    match [&b"\"jsonrpc\""[..], b"\"id\"", b"\"result\"", b"\"error\""].iter().any(|n| is_named(n))
    {
        true => AnswerStart::Open,
        false => AnswerStart::Other,
    }
}

/// Watches an answer that passes in pieces.
#[derive(Debug)]
pub struct AnswerWatch {
    id: String,
    read: RequestId,
}

/// What an answer turned out to be that has passed already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// The body ended within the message.
    #[error("the server's answer ends early")]
    Cut,
    /// It has no result or error, or the id of another request.
    #[error("the server's message does not answer the request")]
    Other,
}

impl AnswerWatch {
    /// For the answer to the request with this id, as JSON. `None` if the id is longer than what is
    /// kept of one.
    #[must_use]
    pub fn new(id: &str) -> Option<Self> {
        (id.len() <= MAX_ID).then(|| Self { id: id.to_owned(), read: RequestId::default() })
    }

    /// Reads the next piece.
    pub fn read(&mut self, piece: &[u8]) {
        self.read.read(piece);
    }

    /// Judges what has passed, once the body has ended.
    ///
    /// # Errors
    /// What it was, if not the answer.
    pub fn end(&self) -> Result<(), AnswerFault> {
        match (self.read.is_whole(), self.read.answered()) {
            (true, Some(id)) if id == self.id => Ok(()),
            (true, _) => Err(AnswerFault::Other),
            (false, _) => Err(AnswerFault::Cut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_in_every_shape() {
        for body in [
            r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"}\"]"}}"#,
            r#"{"result":{"content":[{"type":"text","text":"\\"}]},"jsonrpc":"2.0","id":7}"#,
            r#"{"error":{"code":-1,"message":""},"jsonrpc":"2.0","id":7}"#,
            "\n {\"jsonrpc\": \"2.0\", \"id\": 7, \"result\": null}\r\n",
            r#"{"id":7,"jsonrpc":"2.0","result":[1,-2.5e3,true,false,null,"ä"]}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{},"more":[{}]}"#,
        ] {
            assert!(is_answer_to(body.as_bytes(), "7"), "{body}");
            assert!(!is_answer_to(body.as_bytes(), "8"), "{body}");
            assert!(!is_answer_to(body.as_bytes(), "\"7\""), "{body}");
            // No part of it is an answer.
            let whole = body.trim();
            for end in 0..whole.len() {
                assert!(!is_answer_to(&whole.as_bytes()[..end], "7"), "{}", &whole[..end.min(60)]);
            }
        }
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":7,"result":{}1{}}}"#,
            "[".repeat(100),
            "]".repeat(100)
        );
        assert!(is_answer_to(deep.as_bytes(), "7"));
        assert!(is_answer_to(br#"{"jsonrpc":"2.0","id":"a-\"","result":{}}"#, r#""a-\"""#));
    }

    #[test]
    fn what_is_no_answer_is_not_taken_for_one() {
        for body in [
            "",
            "null",
            "Accepted",
            "<html>{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}",
            r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":7}"#,
            r#"{"jsonrpc":"2.0","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{}}{}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{}} {"jsonrpc":"2.0","method":"x"}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"x":NaN}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"x":[1}]}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":oops}"#,
            r#"{"result":{"a":1,"jsonrpc":"2.0","id":7}"#,
            r#"{"result":"a,"jsonrpc":"2.0","id":7}"#,
            r#"[{"jsonrpc":"2.0","id":7,"result":{}}]"#,
        ] {
            assert!(!is_answer_to(body.as_bytes(), "7"), "{body}");
        }
        assert!(!is_answer_to(b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":\"\xff\"}", "7"));
    }

    #[test]
    fn a_beginning_shows_what_may_follow() {
        for open in
            ["{", " {\n\"js", "{\"result\":{", "{\"id\":1", "{\"error\"", "{\"jsonrpc\":\"2.0\","]
        {
            assert_eq!(begins(open.as_bytes()), AnswerStart::Open, "{open}");
        }
        for other in ["<html>", "Accepted", "[{", "{\"detail\":\"x\"}", "data: {", "\"", "{}"] {
            assert_eq!(begins(other.as_bytes()), AnswerStart::Other, "{other}");
        }
    }

    #[test]
    fn an_answer_in_pieces_is_watched_to_its_end() {
        for (body, expect) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":{"id":8}}"#, Ok(())),
            (r#"{"result":["}"],"id":7}"#, Ok(())),
            (r#"{"jsonrpc":"2.0","id":7,"result":{"id":8}"#, Err(AnswerFault::Cut)),
            (r#"{"result":"abc"#, Err(AnswerFault::Cut)),
            (r#"{"result":{},"id":8}"#, Err(AnswerFault::Other)),
            (r#"{"result":{}}"#, Err(AnswerFault::Other)),
            (r#"{"id":7,"method":"ping"}"#, Err(AnswerFault::Other)),
            ("", Err(AnswerFault::Cut)),
        ] {
            for size in [1, 3, 1000] {
                let mut watch = AnswerWatch::new("7").unwrap();
                body.as_bytes().chunks(size).for_each(|piece| watch.read(piece));
                assert_eq!(watch.end(), expect, "{body} by {size}");
            }
        }
        assert!(AnswerWatch::new(&"1".repeat(1000)).is_none());
    }
}
