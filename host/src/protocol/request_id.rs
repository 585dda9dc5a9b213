//! Finds the id of a request that passes in pieces, without keeping the request. Some clients
//! write the id after the parameters, so that only the whole message contains it.
//!
//! It judges nothing else: a request that is refused since it is no valid message, or before all of
//! it has arrived, is still answered under its id, without which some clients wait for ever.

use super::jsonrpc::MAX_ID;

#[derive(Debug, Default)]
enum At {
    /// Before or after the message, or in one that is not an object.
    #[default]
    Outside,
    /// Before a member's name.
    Before,
    Name,
    /// After a name, before its value.
    Between,
    Value,
}

/// Reads a message's outermost members as its bytes pass. Keeps at most one name and the id,
/// both limited in length.
#[derive(Debug, Default)]
pub struct RequestId {
    at: At,
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    name: Vec<u8>,
    value: Vec<u8>,
    id: Option<String>,
    has_id: bool,
    /// Whether a second id has passed: readers may differ over which one counts.
    is_double: bool,
    has_method: bool,
}

impl RequestId {
    /// The id as written in the message. `None` unless both id and method have passed: without
    /// a method it is a response.
    #[must_use]
    pub fn get(&self) -> Option<&str> {
        self.id.as_deref().filter(|_| self.has_method && !self.is_double)
    }

    /// The id in a message that is here as a whole, as [`Self::get`] gives it.
    #[must_use]
    pub fn of(message: &[u8]) -> Option<String> {
        let mut read = Self::default();
        read.read(message);
        read.get().map(str::to_owned)
    }

    /// Reads the next piece of the message; pieces may be cut anywhere.
    pub fn read(&mut self, mut piece: &[u8]) {
        while let Some((byte, rest)) = piece.split_first() {
            if self.in_string && !self.is_escaped && !self.is_wanted() {
                // A large message is mostly one long string: skip it as a whole.
                let end = memchr::memchr2(b'"', b'\\', piece).unwrap_or(piece.len());
                if end > 0 {
                    piece = piece.get(end..).unwrap_or_default();
                    continue;
                }
            }
            self.step(*byte);
            piece = rest;
        }
    }

    /// Whether the next byte belongs to a member's name or to the id.
    fn is_wanted(&self) -> bool {
        self.depth == 1
            && (matches!(self.at, At::Name) || (matches!(self.at, At::Value) && self.name == b"id"))
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            let ends = byte == b'"' && !self.is_escaped;
            self.is_escaped = byte == b'\\' && !self.is_escaped;
            self.in_string = !ends;
            if matches!(self.at, At::Name) && ends && self.depth == 1 {
                self.at = At::Between;
            } else {
                self.keep(byte);
            }
            return;
        }
        match byte {
            b'{' | b'[' => {
                self.begin_value();
                self.depth += 1;
                if self.depth == 1 && byte == b'{' {
                    self.at = At::Before;
                }
            }
            b'}' | b']' => {
                if self.depth == 1 {
                    self.end_value();
                    self.at = At::Outside;
                }
                self.depth = self.depth.saturating_sub(1);
            }
            b'"' => {
                self.in_string = true;
                if self.depth == 1 && matches!(self.at, At::Before) {
                    self.at = At::Name;
                    self.name.clear();
                } else {
                    self.begin_value();
                    self.keep(byte);
                }
            }
            b',' if self.depth == 1 => {
                self.end_value();
                if !matches!(self.at, At::Outside) {
                    self.at = At::Before;
                }
            }
            b':' | b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => {
                self.begin_value();
                self.keep(byte);
            }
        }
    }

    fn begin_value(&mut self) {
        if self.depth == 1 && matches!(self.at, At::Between) {
            self.has_method |= self.name == b"method";
            self.at = At::Value;
            self.value.clear();
        }
    }

    fn keep(&mut self, byte: u8) {
        if !self.is_wanted() {
            return;
        }
        let kept = if matches!(self.at, At::Name) { &mut self.name } else { &mut self.value };
        if kept.len() <= MAX_ID {
            kept.push(byte);
        }
    }

    fn end_value(&mut self) {
        if !matches!(self.at, At::Value) {
            return;
        }
        self.has_method |= self.name == b"method";
        if self.name != b"id" {
            return;
        }
        self.is_double |= self.has_id;
        self.has_id = true;
        if self.value.len() > MAX_ID {
            return;
        }
        // It is copied into an answer as it is.
        let id = serde_json::from_slice::<serde_json::Value>(&self.value);
        if id.is_ok_and(|id| id.is_string() || id.is_number()) {
            self.id = String::from_utf8(std::mem::take(&mut self.value)).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_found_wherever_it_stands_and_however_the_message_comes() {
        for (message, expect) in [
            (r#"{"jsonrpc":"2.0","id":7,"method":"m"}"#, Some("7")),
            (
                r#"{ "method" : "m", "params": {"id":1,"a":["id",{"id":2}]}, "id" : "a\"}," }"#,
                Some(r#""a\"},""#),
            ),
            (r#"{"method":"m","params":{"x":"\",\"id\":5"},"id":-1.5e3}"#, Some("-1.5e3")),
            (r#"{"id":7,"result":{"method":"m"}}"#, None),
            (r#"{"method":"m","id":null}"#, None),
            (r#"{"id":1,"method":"m","id":1}"#, None),
            (r#"{"id":[],"method":"m","id":1}"#, None),
            (r#"{"id":1,"method":"m","params":{"x":"\ud800"}"#, Some("1")),
            (r#"{"id":1,"method":"m","params":"#, Some("1")),
            (r#"{"method":"m","id":[1]}"#, None),
            (r#"{"method":"m","params":{"id":1}}"#, None),
            (r#"[{"method":"m","id":1}]"#, None),
            (r#""method","id":1"#, None),
            ("}}]],,::", None),
        ] {
            for size in [1, 2, 3, 1000] {
                let mut read = RequestId::default();
                for piece in message.as_bytes().chunks(size) {
                    read.read(piece);
                }
                assert_eq!(read.get(), expect, "{message} by {size}");
            }
        }
    }

    #[test]
    fn an_id_without_end_is_not_kept() {
        let mut read = RequestId::default();
        read.read(format!(r#"{{"method":"m","id":"{}"}}"#, "x".repeat(100_000)).as_bytes());
        assert!(read.get().is_none() && read.value.len() <= MAX_ID + 1);
    }
}
