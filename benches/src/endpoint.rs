//! Where a target listens, what its client speaks, and a request to it.

/// Where a target listens, and the name of its echo tool there.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub port: u16,
    pub path: &'static str,
    pub tool: &'static str,
    pub opening: Opening,
    pub client: ClientKind,
}

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// The revisions with sessions.
    Session,
    /// The same, after it has asked in vain whether requests without a session are served.
    Probing,
    /// The revision without sessions, to a server of it: what it says passes as it is.
    Alone,
    /// The revision without sessions, to a server with sessions: the gateway names its conversation.
    Conversation,
}

/// The meaning of a 404 to a new session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The target has failed.
    Once,
    /// The balancer hashes the session id and chose another server than for `initialize`. The
    /// client tries again until both are the same, and counts the attempts.
    UntilRouted,
}

pub fn post(endpoint: &Endpoint, headers: &str, body: &str) -> Vec<u8> {
    let Endpoint { port, path, .. } = endpoint;
    format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
         Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         {headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
