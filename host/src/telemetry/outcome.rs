//! How a call ended, in words of metrics and logs. Each is one of a few.

use std::time::Duration;

use crate::protocol::glance::{Said, said, says_tool_error};
use crate::protocol::jsonrpc::code;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The server has answered with a result, or the message expects no answer.
    Ok,
    /// The tool's result says that it is an error.
    ToolError,
    /// The answer is a JSON-RPC error.
    Error,
    /// The gateway has not passed it on: it has not run.
    Refused,
    /// It may have run, and there is no answer.
    Lost,
    /// The client left before the answer.
    Left,
}

impl CallOutcome {
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::ToolError, Self::Error, Self::Refused, Self::Lost, Self::Left];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::Error => "error",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::Left => "left",
        }
    }
}

/// Who has said that something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emitter {
    /// The MCP server.
    Server,
    /// The runner, in the server's place: on a node, or in this process.
    Runner,
    /// The edge of this process.
    Gateway,
}

impl Emitter {
    pub const ALL: [Self; 3] = [Self::Server, Self::Runner, Self::Gateway];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Runner => "runner",
            Self::Gateway => "gateway",
        }
    }
}

/// What is wrong, by the code of the JSON-RPC error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    Parse,
    InvalidRequest,
    MethodNotFound,
    InvalidParams,
    Internal,
    ResourceNotFound,
    Session,
    Transport,
    Tool,
    Lost,
    Unavailable,
    TimedOut,
    Cancelled,
    Other,
}

impl ErrorKind {
    pub const ALL: [Self; 14] = [
        Self::Parse,
        Self::InvalidRequest,
        Self::MethodNotFound,
        Self::InvalidParams,
        Self::Internal,
        Self::ResourceNotFound,
        Self::Session,
        Self::Transport,
        Self::Tool,
        Self::Lost,
        Self::Unavailable,
        Self::TimedOut,
        Self::Cancelled,
        Self::Other,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::InvalidRequest => "invalid_request",
            Self::MethodNotFound => "method_not_found",
            Self::InvalidParams => "invalid_params",
            Self::Internal => "internal",
            Self::ResourceNotFound => "resource_not_found",
            Self::Session => "session",
            Self::Transport => "transport",
            Self::Tool => "tool",
            Self::Lost => "lost",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Other => "other",
        }
    }

    /// Of the codes that several use for different things, those of the transport count only where
    /// the gateway has written the error.
    fn of(number: i64, emitter: Emitter) -> Self {
        match number {
            code::PARSE => Self::Parse,
            code::INVALID_REQUEST => Self::InvalidRequest,
            code::METHOD_NOT_FOUND => Self::MethodNotFound,
            code::INVALID_PARAMS => Self::InvalidParams,
            code::INTERNAL => Self::Internal,
            code::RESOURCE => Self::ResourceNotFound,
            code::SERVER_LOST => Self::Lost,
            code::UNAVAILABLE => Self::Unavailable,
            code::TIMED_OUT => Self::TimedOut,
            code::CANCELLED => Self::Cancelled,
            code::SESSION if emitter == Emitter::Gateway => Self::Session,
            code::TRANSPORT if emitter == Emitter::Gateway => Self::Transport,
            _ => Self::Other,
        }
    }
}

/// How a call ended, and if with an error, who has said so and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallEnd {
    pub outcome: CallOutcome,
    pub error: Option<(Emitter, ErrorKind)>,
}

impl CallEnd {
    pub const OK: Self = Self { outcome: CallOutcome::Ok, error: None };
    pub const LEFT: Self = Self { outcome: CallOutcome::Left, error: None };
    pub const TOOL_ERROR: Self =
        Self { outcome: CallOutcome::ToolError, error: Some((Emitter::Server, ErrorKind::Tool)) };

    /// Of a call that the gateway refuses with this code.
    #[must_use]
    pub fn refused(code: i64) -> Self {
        let kind = ErrorKind::of(code, Emitter::Gateway);
        let outcome =
            if kind == ErrorKind::Lost { CallOutcome::Lost } else { CallOutcome::Refused };
        Self { outcome, error: Some((Emitter::Gateway, kind)) }
    }

    /// What a JSON-RPC error with this code says in the answer of a runner. Codes of Mooring's own
    /// are no server's.
    #[must_use]
    pub fn error(code: i64) -> Self {
        let is_own = (code::TIMED_OUT..=code::SERVER_LOST).contains(&code);
        let emitter = if is_own { Emitter::Runner } else { Emitter::Server };
        let kind = ErrorKind::of(code, emitter);
        let outcome = match kind {
            ErrorKind::Lost => CallOutcome::Lost,
            ErrorKind::Unavailable => CallOutcome::Refused,
            _ => CallOutcome::Error,
        };
        Self { outcome, error: Some((emitter, kind)) }
    }

    /// What a whole message of a server says; `None` if it is no answer. Only tools' results can
    /// be errors.
    #[must_use]
    pub fn said(message: &[u8], is_tool_call: bool) -> Option<Self> {
        match said(message) {
            Said::Error(code) => Some(Self::error(code)),
            Said::Result if is_tool_call && says_tool_error(message) => Some(Self::TOOL_ERROR),
            Said::Result => Some(Self::OK),
            Said::Other => None,
        }
    }
}

/// What a call has taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallSize {
    pub duration: Duration,
    /// Bytes of the client's message.
    pub received: u64,
    /// Bytes of the answer.
    pub sent: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_who_has_emitted_it() {
        let said = |text: &str| CallEnd::said(text.as_bytes(), true);
        let error = |code: i64| format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code}}}}}"#);
        for (message, outcome, who) in [
            (error(-32602), CallOutcome::Error, (Emitter::Server, ErrorKind::InvalidParams)),
            (error(-32001), CallOutcome::Error, (Emitter::Server, ErrorKind::Other)),
            (error(7), CallOutcome::Error, (Emitter::Server, ErrorKind::Other)),
            (error(-31001), CallOutcome::Lost, (Emitter::Runner, ErrorKind::Lost)),
            (error(-31002), CallOutcome::Refused, (Emitter::Runner, ErrorKind::Unavailable)),
            (error(-31004), CallOutcome::Error, (Emitter::Runner, ErrorKind::TimedOut)),
        ] {
            assert_eq!(said(&message), Some(CallEnd { outcome, error: Some(who) }), "{message}");
        }
        assert_eq!(said(r#"{"id":1,"result":{"isError":true}}"#), Some(CallEnd::TOOL_ERROR));
        assert_eq!(said(r#"{"id":1,"result":{}}"#), Some(CallEnd::OK));
        assert_eq!(said(r#"{"method":"notifications/message"}"#), None);
        let result = br#"{"id":1,"result":{"isError":true}}"#;
        assert_eq!(CallEnd::said(result, false), Some(CallEnd::OK));
    }

    #[test]
    fn names_stand_in_the_order_of_their_numbers() {
        assert!(CallOutcome::ALL.iter().enumerate().all(|(at, one)| *one as usize == at));
        assert!(Emitter::ALL.iter().enumerate().all(|(at, one)| *one as usize == at));
        assert!(ErrorKind::ALL.iter().enumerate().all(|(at, one)| *one as usize == at));
    }
}
