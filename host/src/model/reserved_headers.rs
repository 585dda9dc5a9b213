//! The headers that only the gateway itself sets.

/// The prefix of the headers between edge and runner.
pub const SEAM_PREFIX: &str = "mooring-";

/// Under this name the token that let a client in goes to the runner of a server that exchanges it.
pub const SUBJECT_TOKEN: &str = "mooring-subject-token";

/// Under this name the token of a user who has logged in for a server goes to its runner.
pub const USER_TOKEN: &str = "mooring-user-token";

/// Headers that frame a message, manage a connection or carry a session. A setting that changed
/// one could split a message or mix up two sessions; the holder of a client's `mcp-session-id` is
/// that client.
const RESERVED: [&str; 11] = [
    "connection",
    "content-length",
    "keep-alive",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether no settings file may name this header, and no server gets it from a client. The name is
/// in lower case.
#[must_use]
pub fn is_reserved_header(name: &str) -> bool {
    RESERVED.contains(&name) || name.starts_with(SEAM_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_sessions_and_the_seam_are_reserved() {
        for name in ["te", "mcp-session-id", "last-event-id", "upgrade", "mooring-session"] {
            assert!(is_reserved_header(name), "{name}");
        }
        for name in ["accept", "authorization", "mcp-name", "moorings", "x-te"] {
            assert!(!is_reserved_header(name), "{name}");
        }
    }
}
