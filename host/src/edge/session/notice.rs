//! The notice by which a client learns that a server was started again, and what became of the state
//! of its session.

use bytes::Bytes;

use crate::edge::state::outcome::Restored;
use crate::edge::worker::Edge;
use crate::model::{ServerName, SessionId};
use crate::protocol::methods::List;
use crate::protocol::{jsonrpc, splice, sse};

impl Edge {
    /// The notice: a log message of level `warning`, or `info` where all of the state is back.
    #[must_use]
    pub fn loss_notice(&self, session: SessionId, server: &ServerName) -> Bytes {
        notice(server, self.state.outcomes.get(session, server).as_deref())
    }
}

/// A notice, and that each list may differ, as events: for a client that was not told when it
/// happened.
#[must_use]
pub fn lost_before(notice: &[u8]) -> Bytes {
    let lists = List::NOTIFIED.map(|list| sse::event(&jsonrpc::notification(list.changed())));
    let events: Vec<Bytes> = std::iter::once(sse::event(notice)).chain(lists).collect();
    events.concat().into()
}

fn notice(server: &ServerName, restored: Option<&Restored>) -> Bytes {
    let (level, what) = match restored {
        None => ("warning", "what it held for this session is lost".to_owned()),
        Some(restored) if restored.is_whole() => ("info", restored.words()),
        Some(restored) => ("warning", restored.words()),
    };
    let text = splice::quoted(&format!("server {server} was started again: {what}"));
    let params = format!(r#"{{"level":"{level}","logger":"mooring","data":{text}}}"#);
    jsonrpc::notification_with("notifications/message", &params)
}
