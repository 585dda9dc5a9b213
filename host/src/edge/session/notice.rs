//! The notice by which a client learns that a server was started again or has moved by plan, and what
//! became of the state of its session.

use bytes::Bytes;

use crate::edge::state::outcome::Restored;
use crate::edge::worker::Edge;
use crate::model::{NodeId, ServerName, SessionId};
use crate::protocol::methods::List;
use crate::protocol::{jsonrpc, splice, sse};

impl Edge {
    /// The notice: a log message of level `warning`, or `info` where all of the state is back.
    #[must_use]
    pub fn loss_notice(&self, session: SessionId, server: &ServerName) -> Bytes {
        let left = self.planned_moves.get(session, server);
        notice(server, left.as_ref(), self.state.outcomes.get(session, server).as_deref())
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

fn notice(server: &ServerName, left: Option<&NodeId>, restored: Option<&Restored>) -> Bytes {
    let (level, what) = match restored {
        None => ("warning", "what it held for this session is lost".to_owned()),
        Some(restored) if restored.is_whole() => ("info", restored.words()),
        Some(restored) => ("warning", restored.words()),
    };
    let happened = happened(left);
    let text = splice::quoted(&format!("server {server} {happened}: {what}"));
    let params = format!(r#"{{"level":"{level}","logger":"mooring","data":{text}}}"#);
    jsonrpc::notification_with("notifications/message", &params)
}

/// Why the session has a new instance of a server; `left` is the node that it has left by plan.
#[must_use]
pub fn happened(left: Option<&NodeId>) -> String {
    left.map_or_else(
        || "was started again".to_owned(),
        |node| format!("has moved from node {node}, which was drained"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planned_move_is_told_as_such() {
        let server = ServerName::parse("s").unwrap();
        let text = |left: Option<&NodeId>, restored: Option<&Restored>| {
            String::from_utf8(notice(&server, left, restored).to_vec()).unwrap()
        };
        let node = NodeId::parse("a").unwrap();
        let restored = Restored { repeated: 2, ..Restored::default() };
        let (moved, back) = ("server s has moved from node a, which was drained: ", "is back");
        assert!(text(Some(&node), None).contains(&format!("{moved}what it held")));
        let told = text(Some(&node), Some(&restored));
        assert!(told.contains(&format!("{moved}2 calls")) && told.contains(back), "{told}");
        assert!(text(None, Some(&restored)).contains("server s was started again: 2 calls"));
    }
}
