//! The sessions that were used most recently.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::model::{SessionId, UnixMillis};

use super::bindings::Bindings;
use super::record::Record;

impl Bindings {
    /// The sessions that were used most recently, the last one first, at most `most`. Looks at all
    /// sessions, one shard after the other. Does not count as use.
    #[must_use]
    pub fn latest(&self, most: usize) -> Vec<(SessionId, Record)> {
        let mut latest: BinaryHeap<Reverse<(UnixMillis, SessionId)>> = BinaryHeap::new();
        for shard in &self.shards {
            for (session, record) in &*shard.lock() {
                latest.push(Reverse((record.last_used, *session)));
                if latest.len() > most {
                    latest.pop();
                }
            }
        }
        let latest = latest.into_sorted_vec();
        latest.iter().filter_map(|Reverse((_, id))| Some((*id, self.record(*id)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{NodeId, ServerName};

    use super::*;

    #[test]
    fn the_latest_come_first() {
        let bindings = Bindings::default();
        let (server, node) = (ServerName::parse("s").unwrap(), NodeId::parse("n").unwrap());
        let sessions: Vec<SessionId> = (0..5).map(|_| SessionId::mint()).collect();
        for (age, session) in sessions.iter().enumerate() {
            bindings.claim(*session, &server, None, &node);
            bindings.with(*session, |records| {
                records.get_mut(session).unwrap().last_used = UnixMillis(1000 - age as u64);
            });
        }
        let latest: Vec<SessionId> = bindings.latest(3).into_iter().map(|(id, _)| id).collect();
        assert_eq!(latest, sessions[..3]);
        assert_eq!(bindings.latest(9).len(), 5);
        assert!(bindings.latest(0).is_empty());
    }
}
