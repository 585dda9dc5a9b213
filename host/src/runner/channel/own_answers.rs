//! The gateway's answers to requests of a server that no client can answer: those in a session of
//! the gateway's own, and those before `initialize` is answered.

use bytes::Bytes;

use crate::protocol::jsonrpc::{self, Envelope, code};
use crate::protocol::methods;

/// Why no client answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// The session is the gateway's.
    NoClient,
    /// The client's `initialize` has not been answered: it may be asked for nothing but a sign of
    /// life (2025-11-25, basic/lifecycle, "Initialization").
    NotYet,
    /// The session's state is being brought back: no call of the client is under way.
    Restoring,
}

/// The answer, at once: a server may do nothing else until it has it. The gateway's own sessions
/// have no roots, and no user.
#[must_use]
pub fn answer_to(question: &Envelope<'_>, why: Absent) -> Bytes {
    let id = question.id_text().unwrap_or("null");
    match (question.method(), why) {
        (methods::PING, _) => jsonrpc::result(id, b"{}"),
        (_, Absent::NotYet) => {
            let text = "initialize has not been answered yet";
            jsonrpc::error(Some(id), code::INVALID_REQUEST, text)
        }
        (method, Absent::Restoring) => {
            let text = format!(
                "{method}: the session's state is being restored, and its client is not asked"
            );
            jsonrpc::error(Some(id), code::INVALID_REQUEST, &text)
        }
        ("roots/list", Absent::NoClient) => jsonrpc::result(id, br#"{"roots":[]}"#),
        ("elicitation/create", Absent::NoClient) => jsonrpc::result(id, br#"{"action":"cancel"}"#),
        (method, Absent::NoClient) => {
            let text = format!(
                "{method}: no client is in this session, only a gateway that reads what is offered"
            );
            jsonrpc::error(Some(id), code::METHOD_NOT_FOUND, &text)
        }
    }
}
