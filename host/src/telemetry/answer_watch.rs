//! How a call ends, seen in the bytes of its answer as they pass.

use crate::protocol::glance::says_tool_error;

use super::outcome::{CallEnd, CallOutcome};

/// Bytes from the beginning of a message in which it shows what it is.
const HEAD: usize = 512;
/// Bytes of `"isError" : true` that two pieces may share.
const SEAM: usize = 20;

/// Watches the body of an answer: one message, or an event stream.
#[derive(Debug)]
pub struct AnswerWatch {
    is_tool_call: bool,
    is_events: bool,
    /// The beginning of the message, or of the line, that passes now.
    head: Vec<u8>,
    /// The end of the last piece.
    last: Vec<u8>,
    end: Option<CallEnd>,
}

impl AnswerWatch {
    #[must_use]
    pub fn new(is_tool_call: bool, is_events: bool) -> Self {
        Self { is_tool_call, is_events, head: Vec::new(), last: Vec::new(), end: None }
    }

    /// Reads the next piece, which may be cut anywhere.
    pub fn read(&mut self, piece: &[u8]) {
        if self.is_events {
            self.read_events(piece);
        } else {
            self.add(piece);
        }
        if self.is_tool_call {
            self.look_for_tool_error(piece);
        }
    }

    /// How the call has ended, once the body has.
    #[must_use]
    pub fn end(&self) -> CallEnd {
        let without = match self.is_events {
            // A stream that has ended before its answer: the client may come back for it.
            true => CallEnd { outcome: CallOutcome::Lost, error: None },
            // Not before: the code of an error may be cut.
            false => CallEnd::said(&self.head, false).unwrap_or(CallEnd::OK),
        };
        self.end.unwrap_or(without)
    }

    fn read_events(&mut self, mut piece: &[u8]) {
        while let Some(at) = memchr::memchr(b'\n', piece) {
            let (line, rest) = piece.split_at(at);
            self.add(line);
            self.judge_line();
            self.head.clear();
            piece = rest.get(1..).unwrap_or_default();
        }
        self.add(piece);
    }

    fn judge_line(&mut self) {
        let Some(data) = self.head.strip_prefix(b"data:") else { return };
        // Of several answers, an error counts.
        if let Some(end) = CallEnd::said(data.trim_ascii_start(), false)
            && self.end.is_none_or(|before| before == CallEnd::OK)
        {
            self.end = Some(end);
        }
    }

    fn add(&mut self, piece: &[u8]) {
        let room = HEAD.saturating_sub(self.head.len());
        self.head.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }

    fn look_for_tool_error(&mut self, piece: &[u8]) {
        let begins = piece.get(..SEAM).unwrap_or(piece);
        self.last.extend_from_slice(begins);
        let is_error = says_tool_error(&self.last) || says_tool_error(piece);
        if is_error && self.end.is_none_or(|end| end == CallEnd::OK) {
            self.end = Some(CallEnd::TOOL_ERROR);
        }
        if piece.len() >= SEAM {
            self.last.clear();
            self.last.extend_from_slice(&piece[piece.len() - SEAM..]);
        } else {
            let too_many = self.last.len().saturating_sub(SEAM);
            self.last.drain(..too_many);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
    const ERROR: &str = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"x"}}"#;
    const TOOL: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError" : true}}"#;
    const NOTICE: &str = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;

    #[test]
    fn the_end_is_seen_however_the_answer_is_cut() {
        let events = |messages: &[&str]| {
            messages.iter().map(|message| format!("id: 1\ndata: {message}\n\n")).collect::<String>()
        };
        let lost = CallEnd { outcome: CallOutcome::Lost, error: None };
        for (is_events, body, expect) in [
            (false, RESULT.to_owned(), CallEnd::OK),
            (false, ERROR.to_owned(), CallEnd::error(-32603)),
            (false, TOOL.to_owned(), CallEnd::TOOL_ERROR),
            (true, events(&[NOTICE, RESULT]), CallEnd::OK),
            (true, events(&[NOTICE, ERROR]), CallEnd::error(-32603)),
            (true, events(&[NOTICE, TOOL]), CallEnd::TOOL_ERROR),
            (true, events(&[RESULT, ERROR, RESULT]), CallEnd::error(-32603)),
            (true, events(&[NOTICE]), lost),
            (true, String::new(), lost),
        ] {
            for size in [1, 7, 16, 25, 10_000] {
                let mut watch = AnswerWatch::new(true, is_events);
                body.as_bytes().chunks(size).for_each(|piece| watch.read(piece));
                assert_eq!(watch.end(), expect, "{body} by {size}");
            }
        }
    }

    #[test]
    fn little_is_kept_of_a_long_answer() {
        let mut watch = AnswerWatch::new(true, false);
        let long = format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{}"}}"#, "x".repeat(1 << 20));
        long.as_bytes().chunks(1000).for_each(|piece| watch.read(piece));
        assert_eq!(watch.end(), CallEnd::OK);
        assert!(watch.head.len() + watch.last.len() <= HEAD + 2 * SEAM);
    }
}
