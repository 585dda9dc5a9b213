//! The kinds of JSON-RPC errors, for counting: a bounded set, whatever codes servers make up.

use super::jsonrpc::code;

/// What an error is about, by its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorKind {
    /// The message is no JSON.
    Parse,
    /// It is JSON, and no message that is allowed here.
    InvalidRequest,
    /// The receiver does not have the method.
    MethodNotFound,
    /// The parameters do not fit, or name nothing that exists.
    InvalidParams,
    /// A failure that is not the sender's.
    Internal,
    /// There is no such resource.
    Resource,
    /// There is no such session.
    Session,
    /// A refusal by the transport.
    Transport,
    /// The server went away during the call.
    ServerLost,
    /// No replica could take the request.
    Unavailable,
    /// The server did not answer in time.
    TimedOut,
    /// A limit of the operator's is met.
    Limited,
    /// Any other code.
    Other,
}

impl ErrorKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::Parse,
        Self::InvalidRequest,
        Self::MethodNotFound,
        Self::InvalidParams,
        Self::Internal,
        Self::Resource,
        Self::Session,
        Self::Transport,
        Self::ServerLost,
        Self::Unavailable,
        Self::TimedOut,
        Self::Limited,
        Self::Other,
    ];

    /// The kind that a code is of.
    #[must_use]
    pub fn of(code: i64) -> Self {
        match code {
            code::PARSE => Self::Parse,
            code::INVALID_REQUEST => Self::InvalidRequest,
            code::METHOD_NOT_FOUND => Self::MethodNotFound,
            code::INVALID_PARAMS => Self::InvalidParams,
            code::INTERNAL => Self::Internal,
            code::RESOURCE => Self::Resource,
            code::SESSION => Self::Session,
            code::TRANSPORT => Self::Transport,
            code::SERVER_LOST => Self::ServerLost,
            code::UNAVAILABLE => Self::Unavailable,
            code::TIMED_OUT => Self::TimedOut,
            code::LIMITED => Self::Limited,
            _ => Self::Other,
        }
    }

    /// As in the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::InvalidRequest => "invalid-request",
            Self::MethodNotFound => "method-not-found",
            Self::InvalidParams => "invalid-params",
            Self::Internal => "internal",
            Self::Resource => "resource-not-found",
            Self::Session => "session-not-found",
            Self::Transport => "transport",
            Self::ServerLost => "server-lost",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed-out",
            Self::Limited => "limited",
            Self::Other => "other",
        }
    }

    /// The kind's place in [`Self::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Who has made an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Emitter {
    /// The process that clients are connected to.
    Gateway,
    /// The process that runs the server, in its place.
    Node,
    /// The server.
    Server,
}

impl Emitter {
    /// As in the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Node => "node",
            Self::Server => "server",
        }
    }
}

/// The code of an error object; `None` if it has none.
#[must_use]
pub fn code_of(error: &str) -> Option<i64> {
    serde_json::from_str::<serde_json::Value>(error).ok()?.get("code")?.as_i64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_at_their_places_and_have_one_name_each() {
        for (place, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), place, "{kind:?}");
        }
        let names: std::collections::BTreeSet<_> = ErrorKind::ALL.map(ErrorKind::as_str).into();
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }

    #[test]
    fn whatever_code_a_server_makes_up_is_of_a_kind() {
        assert_eq!(ErrorKind::of(code::INVALID_PARAMS).as_str(), "invalid-params");
        for code in [0, 1, -1, i64::MIN, i64::MAX, -32050] {
            assert_eq!(ErrorKind::of(code), ErrorKind::Other);
        }
        assert_eq!(code_of(r#"{"code":-32602,"message":"x"}"#), Some(-32602));
        for wrong in ["", "[]", "{}", r#"{"code":"x"}"#, r#"{"code":1e99}"#] {
            assert_eq!(code_of(wrong), None, "{wrong}");
        }
    }
}
