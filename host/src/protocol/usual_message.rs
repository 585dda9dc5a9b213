//! Messages as nearly all programs write them: a request, or an answer with a result, with a number as
//! its id, no other members, and no white space between them.
//!
//! Every message is read at least once on its way. Such a one is told by comparing its beginning, and
//! of its last member the end is looked for; to read all of it with serde takes five times as long. What
//! is read here is exactly what serde would read, and what is not read here says nothing.

use serde_json::value::RawValue;

use super::checked;

/// The most digits of an id that is read here: as many as those of the largest whole numbers.
const MAX_DIGITS: usize = 20;

/// The members of such a message beside `jsonrpc`.
#[derive(Debug, Clone, Copy)]
pub enum UsualMessage<'a> {
    /// A request with parameters.
    Request {
        /// A number.
        id: &'a RawValue,
        /// Without escapes.
        method: &'a str,
        /// Any value.
        params: &'a RawValue,
    },
    /// An answer without an error.
    Result {
        /// A number.
        id: &'a RawValue,
        /// Any value.
        result: &'a RawValue,
    },
}

impl<'a> UsualMessage<'a> {
    /// `None` if the text may be any other message, or none.
    #[must_use]
    pub fn of(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix(r#"{"jsonrpc":"2.0","id":"#)?;
        let end = rest.bytes().take(MAX_DIGITS + 1).position(|byte| !byte.is_ascii_digit())?;
        let (id, rest) = rest.split_at_checked(end)?;
        if let Some(result) = rest.strip_prefix(r#","result":"#) {
            let (id, result) = (value(id)?, value(result.strip_suffix('}')?)?);
            return Some(Self::Result { id, result });
        }
        let rest = rest.strip_prefix(r#","method":""#)?;
        let (method, rest) = rest.split_at_checked(memchr::memchr(b'"', rest.as_bytes())?)?;
        let is_plain = method.bytes().all(|byte| byte >= b' ' && byte != b'\\');
        let params = rest.strip_prefix(r#"","params":"#)?.strip_suffix('}')?;
        let (id, params) = (value(id)?, value(params)?);
        is_plain.then_some(Self::Request { id, method, params })
    }
}

/// The one value that the text is. With a further member behind it, the text is none.
fn value(text: &str) -> Option<&RawValue> {
    checked::value(text).or_else(|| serde_json::from_str(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message's members as they are written; empty for what is no usual message.
    fn read(text: &str) -> Vec<&str> {
        match UsualMessage::of(text) {
            Some(UsualMessage::Request { id, method, params }) => {
                vec![id.get(), method, params.get()]
            }
            Some(UsualMessage::Result { id, result }) => vec![id.get(), result.get()],
            None => Vec::new(),
        }
    }

    #[test]
    fn usual_messages_are_read() {
        for (text, members) in [
            (
                r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a}"}}"#,
                &["7", "tools/call", r#"{"name":"a}"}"#][..],
            ),
            (r#"{"jsonrpc":"2.0","id":0,"method":"ä","params": null }"#, &["0", "ä", "null"]),
            (
                r#"{"jsonrpc":"2.0","id":18446744073709551616,"result":[]}"#,
                &["18446744073709551616", "[]"],
            ),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"id":2}}"#, &["1", r#"{"id":2}"#]),
        ] {
            assert_eq!(read(text), members, "{text}");
        }
    }

    #[test]
    fn what_may_be_another_message_is_not() {
        for text in [
            "",
            "{}",
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":123456789012345678901,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":01,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":-1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":"1","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}{}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a\u0062","params":{}}"#,
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\u{1}\",\"params\":{}}",
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{},"Method":"b"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":tru}"#,
            r#"{"jsonrpc":"2.0","id":1, "method":"a","params":{}}"#,
            r#" {"jsonrpc":"2.0","id":1,"method":"a","params":{}}"#,
        ] {
            assert_eq!(read(text), Vec::<&str>::new(), "{text}");
        }
    }
}
