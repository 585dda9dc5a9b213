//! The revision without sessions, 2026-07-28: each request says for itself which revision it speaks
//! and what its client can do. The specification calls such requests modern, and those of sessions
//! legacy (basic/versioning).
//!
//! ```text
//! body ── claim ──┐
//! headers ────────┴─ ladder ── legacy, or modern with its claim ── fields, parameters
//!                              └ fault: status, code, data
//! ```
//!
//! The body decides, and the headers have to say the same.

pub mod answered;
pub mod arguments;
pub mod claim;
pub mod discovered;
pub mod fault;
pub mod field;
pub mod input;
pub mod ladder;
pub mod methods;
pub mod outgoing;
pub mod read_places;
pub mod result;
pub mod tasks;
pub mod usual_request;

/// The newest revision without sessions, and the only one that is served.
pub const REVISION: &str = "2026-07-28";

/// Members of `_meta` that the specification defines.
pub mod meta {
    /// The revision of a request.
    pub const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    /// What its client can do.
    pub const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    /// Who the client is.
    pub const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
    /// The least severe log messages that the client wants with this request's answer.
    pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
    /// Who has made a result.
    pub const SERVER: &str = "io.modelcontextprotocol/serverInfo";
    /// The id of the `subscriptions/listen` to which a notification belongs.
    pub const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
    /// The gateway's own: names a conversation. A client that returns it goes on with what servers
    /// hold for it.
    pub const CONVERSATION: &str = "mooring/conversation";
    /// The gateway's own: what became of the state of servers.
    pub const NOTICES: &str = "mooring/notices";
}

/// Whether a text is the date of a revision without sessions, served here or not.
#[must_use]
pub fn is_modern(text: &str) -> bool {
    let is_date = text.len() == REVISION.len()
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    is_date && text >= REVISION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_from_the_first_one_without_sessions_are_modern() {
        for text in ["2026-07-28", "2026-11-01", "9999-99-99"] {
            assert!(is_modern(text), "{text}");
        }
        for text in
            ["2025-11-25", "2026-07-27", "v999.0.0", "", "2026-07-2", "2026-07-281", "DRAFT"]
        {
            assert!(!is_modern(text), "{text}");
        }
    }
}
