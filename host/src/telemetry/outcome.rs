//! How a call ended, in words of metrics and logs. Each is one of a few.

use std::time::Duration;

use crate::protocol::error_kind::{Emitter, ErrorKind};
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
    /// The client left before the answer, or no longer wanted it.
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

/// How a call ended, and if with an error, who has said so and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallEnd {
    pub outcome: CallOutcome,
    pub error: Option<(Emitter, ErrorKind)>,
}

impl CallEnd {
    pub const OK: Self = Self { outcome: CallOutcome::Ok, error: None };
    pub const LEFT: Self = Self { outcome: CallOutcome::Left, error: None };
    pub const TOOL_ERROR: Self = Self { outcome: CallOutcome::ToolError, error: None };

    /// Of a call that is refused, by whom and with an error of this kind.
    #[must_use]
    pub fn refused(emitter: Emitter, kind: ErrorKind) -> Self {
        let outcome = match kind {
            ErrorKind::ServerLost => CallOutcome::Lost,
            _ => CallOutcome::Refused,
        };
        Self { outcome, error: Some((emitter, kind)) }
    }

    /// What a JSON-RPC error with this code says in the answer of a runner. Codes of Mooring's own
    /// are no server's.
    #[must_use]
    pub fn error(code: i64) -> Self {
        if code == code::CANCELLED {
            return Self::LEFT;
        }
        let is_own = (code::TIMED_OUT..=code::SERVER_LOST).contains(&code);
        let emitter = if is_own { Emitter::Node } else { Emitter::Server };
        let kind = ErrorKind::of(code);
        match kind {
            ErrorKind::ServerLost | ErrorKind::Unavailable => Self::refused(emitter, kind),
            _ => Self { outcome: CallOutcome::Error, error: Some((emitter, kind)) },
        }
    }

    /// The same, of an answer that a node has made in the server's place.
    #[must_use]
    pub fn by_node(self) -> Self {
        let error = self.error.map(|(emitter, kind)| match emitter {
            Emitter::Server => (Emitter::Node, kind),
            Emitter::Node | Emitter::Gateway => (emitter, kind),
        });
        Self { error, ..self }
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
            (error(-32050), CallOutcome::Error, (Emitter::Server, ErrorKind::Other)),
            (error(7), CallOutcome::Error, (Emitter::Server, ErrorKind::Other)),
            (error(-31001), CallOutcome::Lost, (Emitter::Node, ErrorKind::ServerLost)),
            (error(-31002), CallOutcome::Refused, (Emitter::Node, ErrorKind::Unavailable)),
            (error(-31004), CallOutcome::Error, (Emitter::Node, ErrorKind::TimedOut)),
        ] {
            assert_eq!(said(&message), Some(CallEnd { outcome, error: Some(who) }), "{message}");
        }
        assert_eq!(said(&error(-31003)), Some(CallEnd::LEFT));
        assert_eq!(said(r#"{"id":1,"result":{"isError":true}}"#), Some(CallEnd::TOOL_ERROR));
        assert_eq!(said(r#"{"id":1,"result":{}}"#), Some(CallEnd::OK));
        assert_eq!(said(r#"{"method":"notifications/message"}"#), None);
        let result = br#"{"id":1,"result":{"isError":true}}"#;
        assert_eq!(CallEnd::said(result, false), Some(CallEnd::OK));
    }

    #[test]
    fn names_stand_in_the_order_of_their_numbers() {
        assert!(CallOutcome::ALL.iter().enumerate().all(|(at, one)| *one as usize == at));
    }
}
