//! The smallest useful MCP server: one `echo` tool, in the revisions with sessions or in the one
//! without.
//!
//! A message is parsed once and in place; the text is returned as the raw JSON that arrived.

use serde::Deserialize;
use serde_json::value::RawValue;

/// The revision offered to a client that requests an unknown one.
const NEWEST: &str = "\"2025-11-25\"";
const KNOWN: [&str; 4] = ["\"2024-11-05\"", "\"2025-03-26\"", "\"2025-06-18\"", NEWEST];

const TOOLS: &str = r#"{"tools":[{"name":"echo","description":"Returns its text.","inputSchema":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}}]}"#;

/// What every result without a session says of itself, and those that may be kept say.
const COMPLETE: &str = r#""resultType":"complete""#;
const KEPT: &str = r#""resultType":"complete","ttlMs":0,"cacheScope":"public""#;
const DISCOVERED: &str = r#","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"bench","version":"1"}}}"#;

/// One JSON-RPC message of a client, borrowed from the bytes received.
#[derive(Deserialize)]
pub struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
    #[serde(borrow, rename = "protocolVersion")]
    protocol_version: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    /// Reads one message; `None` if it is not a JSON-RPC object that this server understands.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Whether this opens a session.
    pub fn is_initialize(&self) -> bool {
        self.method() == "\"initialize\""
    }

    /// Whether it must be answered: notifications and responses are not.
    pub fn is_request(&self) -> bool {
        self.id.is_some() && self.method.is_some()
    }

    /// Appends the response to a request of the revision without sessions. Returns whether the method
    /// is known there.
    pub fn answer_alone(&self, out: &mut Vec<u8>) -> bool {
        let (kind, value): (&str, &[&str]) = match self.method() {
            "\"tools/call\"" => match self.echoed() {
                Some(text) => {
                    let content = r#","content":[{"type":"text","text":"#;
                    ("result", &["{", COMPLETE, content, text, "}]}"])
                }
                None => ("error", &[r#"{"code":-32602,"message":"no such tool, or no text"}"#]),
            },
            "\"tools/list\"" => {
                ("result", &["{", KEPT, ",", TOOLS.strip_prefix('{').unwrap_or_default()])
            }
            "\"server/discover\"" => ("result", &["{", KEPT, DISCOVERED]),
            _ => ("error", &[r#"{"code":-32601,"message":"method not found"}"#]),
        };
        self.write(kind, value, out);
        matches!(self.method(), "\"tools/call\"" | "\"tools/list\"" | "\"server/discover\"")
    }

    /// Appends the response to a request, without a line break.
    pub fn answer(&self, out: &mut Vec<u8>) {
        let (kind, value): (&str, &[&str]) = match self.method() {
            "\"tools/call\"" => match self.echoed() {
                Some(text) => ("result", &[r#"{"content":[{"type":"text","text":"#, text, "}]}"]),
                None => ("error", &[r#"{"code":-32602,"message":"no such tool, or no text"}"#]),
            },
            "\"tools/list\"" => ("result", &[TOOLS]),
            "\"initialize\"" => (
                "result",
                &[
                    r#"{"protocolVersion":"#,
                    self.version(),
                    r#","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}}"#,
                ],
            ),
            "\"ping\"" => ("result", &["{}"]),
            _ => ("error", &[r#"{"code":-32601,"message":"method not found"}"#]),
        };
        self.write(kind, value, out);
    }

    fn write(&self, kind: &str, value: &[&str], out: &mut Vec<u8>) {
        let id = self.id.map_or("null", RawValue::get);
        for part in [r#"{"jsonrpc":"2.0","id":"#, id, ",\"", kind, "\":"] {
            out.extend_from_slice(part.as_bytes());
        }
        for part in value {
            out.extend_from_slice(part.as_bytes());
        }
        out.push(b'}');
    }

    fn method(&self) -> &'a str {
        self.method.map_or("", RawValue::get)
    }

    fn echoed(&self) -> Option<&'a str> {
        let params = self.params.as_ref()?;
        params.name.filter(|name| name.get() == "\"echo\"")?;
        Some(params.arguments.as_ref()?.text?.get())
    }

    fn version(&self) -> &'a str {
        let asked = self.params.as_ref().and_then(|params| params.protocol_version);
        asked.map(RawValue::get).filter(|version| KNOWN.contains(version)).unwrap_or(NEWEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expect: &str) {
        let mut out = Vec::new();
        if let Some(message) = Message::parse(message.as_bytes()).filter(Message::is_request) {
            message.answer(&mut out);
        }
        assert_eq!(String::from_utf8_lossy(&out), expect, "for {message}");
    }

    #[test]
    fn a_call_gets_its_own_text_back_byte_for_byte() {
        check(
            r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"echo","arguments":{"text":"x\u00e9 \"y\""}}}"#,
            r#"{"jsonrpc":"2.0","id":"a","result":{"content":[{"type":"text","text":"x\u00e9 \"y\""}]}}"#,
        );
    }

    #[test]
    fn without_a_session_every_result_says_that_it_is_complete() {
        for (message, is_known, expect) in [
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"}}}"#,
                true,
                r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[{"type":"text","text":"x"}]}}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":2,"method":"initialize","params":{}}"#,
                false,
                r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32601,"message":"method not found"}}"#,
            ),
        ] {
            let mut out = Vec::new();
            let known = Message::parse(message.as_bytes()).map(|read| read.answer_alone(&mut out));
            let text = String::from_utf8_lossy(&out).into_owned();
            assert_eq!((known, text.as_str()), (Some(is_known), expect));
        }
        for method in ["tools/list", "server/discover"] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":3,"method":"{method}"}}"#);
            let mut out = Vec::new();
            assert!(
                Message::parse(text.as_bytes()).is_some_and(|read| read.answer_alone(&mut out))
            );
            let read: serde_json::Value = serde_json::from_slice(&out).unwrap_or_default();
            assert_eq!(read["result"]["resultType"], "complete", "{method}");
        }
    }

    #[test]
    fn an_unknown_tool_and_an_unknown_method_are_errors() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"bench-echo","arguments":{"text":"x"}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no such tool, or no text"}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":2,"method":"server/discover"}"#,
            r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32601,"message":"method not found"}}"#,
        );
    }

    #[test]
    fn a_revision_that_is_not_known_is_answered_with_the_newest_that_is() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2026-07-28"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}}}"#,
        );
    }

    #[test]
    fn notifications_and_responses_are_not_answered() {
        check(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, "");
        check(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "");
    }
}
