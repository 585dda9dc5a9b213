//! The notice by which a client learns that a server has lost the state of its session.

use bytes::Bytes;

use crate::model::ServerName;
use crate::protocol::methods::List;
use crate::protocol::{jsonrpc, splice, sse};

/// The notice as an event of a stream.
pub fn lost(server: &ServerName) -> Bytes {
    sse::event(&lost_notice(server))
}

/// The notice, and that each list may differ, as events: for a client that was not told when it
/// happened.
pub fn lost_before(server: &ServerName) -> Bytes {
    let lists = List::NOTIFIED.map(|list| sse::event(&jsonrpc::notification(list.changed())));
    let events: Vec<Bytes> = std::iter::once(lost(server)).chain(lists).collect();
    events.concat().into()
}

/// The notice: a log message of level `warning`.
#[must_use]
pub fn lost_notice(server: &ServerName) -> Bytes {
    let text = format!("server {server} was started again: what it held for this session is lost");
    let params =
        format!(r#"{{"level":"warning","logger":"mooring","data":{}}}"#, splice::quoted(&text));
    jsonrpc::notification_with("notifications/message", &params)
}
