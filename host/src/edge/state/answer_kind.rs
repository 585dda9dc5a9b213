//! What an answer says of its call.

use crate::protocol::jsonrpc::{Envelope, code};
use crate::protocol::objects::object_only;

/// Whether a call set what it was to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    Result,
    /// The call has failed.
    Error,
    /// The call may have run.
    Unknown,
}

/// Whether a call has failed, by its answer. The gateway's own errors say that it may have run.
#[must_use]
pub fn kind_of(answer: &Envelope<'_>) -> AnswerKind {
    #[derive(serde::Deserialize)]
    #[serde(remote = "Self")]
    struct Code {
        code: i64,
    }
    object_only!(Code);
    #[derive(serde::Deserialize)]
    #[serde(remote = "Self", rename_all = "camelCase")]
    struct ToolResult {
        #[serde(default)]
        is_error: bool,
    }
    object_only!(ToolResult);
    if let Some(error) = answer.error {
        let code = serde_json::from_str::<Code>(error.get()).map_or(0, |error| error.code);
        return match code {
            code::SERVER_LOST | code::TIMED_OUT | code::CANCELLED => AnswerKind::Unknown,
            _ => AnswerKind::Error,
        };
    }
    let result = answer.result.and_then(|raw| serde_json::from_str::<ToolResult>(raw.get()).ok());
    match result {
        Some(ToolResult { is_error: true }) => AnswerKind::Error,
        Some(ToolResult { is_error: false }) | None => AnswerKind::Result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_whether_its_call_has_failed() {
        let of = |text: &str| kind_of(&Envelope::parse(text.as_bytes()).unwrap());
        for (rest, expect) in [
            (r#""result":{"content":[]}"#, AnswerKind::Result),
            (r#""result":{"isError":false}"#, AnswerKind::Result),
            (r#""result":{"isError":true}"#, AnswerKind::Error),
            (r#""error":{"code":-32602,"message":"no"}"#, AnswerKind::Error),
            (r#""error":{"code":-31001,"message":"lost"}"#, AnswerKind::Unknown),
            (r#""error":{"message":"no code"}"#, AnswerKind::Error),
        ] {
            assert_eq!(of(&format!(r#"{{"jsonrpc":"2.0","id":1,{rest}}}"#)), expect, "{rest}");
        }
    }
}
