//! A request to a server of the revision without sessions, and what comes back.

use bytes::Bytes;
use http::HeaderMap;

/// A request as it is sent.
pub struct Outgoing {
    /// Its id, which is also the token of its progress.
    pub number: u64,
    pub message: Bytes,
    /// What its headers repeat of it.
    pub headers: HeaderMap,
    /// Whether log messages were asked for.
    pub takes_logs: bool,
}

/// What comes back.
pub enum Heard {
    /// A notification.
    Notice(Bytes),
    /// The answer, under the request's id. Nothing follows.
    Answer(Bytes),
    /// No answer. Nothing follows.
    Failed(Unanswered),
}

/// Why there is no answer.
#[derive(Debug, Clone)]
pub struct Unanswered {
    /// Whether the server may have read the request.
    pub may_have_run: bool,
    /// Whether its process is gone, so that nothing more can be asked there.
    pub is_gone: bool,
    pub why: String,
}
