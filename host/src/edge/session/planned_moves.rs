//! Which servers of a session have moved because their node was drained: a notice of loss says so.

use std::collections::HashMap;

use crate::model::{NodeId, ServerName, SessionId};
use crate::sync::Locked;

/// Moves that are kept until a client is told. Of more, any other one is told as a fresh start.
const MAX_KEPT: usize = 10_000;

/// The node that each of them has left; only of servers whose last move was planned.
#[derive(Default)]
pub struct PlannedMoves(Locked<HashMap<(SessionId, ServerName), NodeId>>);

impl PlannedMoves {
    /// Notes the node that the session's server has left by plan, or that its last start was no
    /// such move.
    pub fn keep(&self, session: SessionId, server: &ServerName, left: Option<&NodeId>) {
        let mut kept = self.0.lock();
        let Some(left) = left else {
            if !kept.is_empty() {
                kept.remove(&(session, server.clone()));
            }
            return;
        };
        if kept.len() >= MAX_KEPT
            && let Some(other) = kept.keys().next().cloned()
        {
            kept.remove(&other);
        }
        kept.insert((session, server.clone()), left.clone());
    }

    /// The node that the server has left.
    #[must_use]
    pub fn left(&self, session: SessionId, server: &ServerName) -> Option<NodeId> {
        let kept = self.0.lock();
        if kept.is_empty() { None } else { kept.get(&(session, server.clone())).cloned() }
    }

    /// Forgets those of a session.
    pub fn forget(&self, session: SessionId) {
        let mut kept = self.0.lock();
        if !kept.is_empty() {
            kept.retain(|(of, _), _| *of != session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_move_counts_and_many_are_bounded() {
        let moves = PlannedMoves::default();
        let (server, node) = (ServerName::parse("s").unwrap(), NodeId::parse("a").unwrap());
        let session = SessionId::mint();
        moves.keep(session, &server, Some(&node));
        assert_eq!(moves.left(session, &server), Some(node.clone()));
        moves.keep(session, &server, None);
        assert_eq!(moves.left(session, &server), None);
        moves.keep(session, &server, Some(&node));
        moves.forget(session);
        assert_eq!(moves.left(session, &server), None);
        for _ in 0..MAX_KEPT + 5 {
            moves.keep(SessionId::mint(), &server, Some(&node));
        }
        assert_eq!(moves.0.lock().len(), MAX_KEPT);
    }
}
