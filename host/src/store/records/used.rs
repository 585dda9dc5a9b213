//! Parameters of sessions that are in use, in memory: a copy of the latest files, and all that
//! could not be written yet.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::model::SessionId;

/// Parameters, bounded in bytes. What is on disk gives way first, then the oldest.
#[derive(Debug)]
pub struct UsedParams {
    room: usize,
    bytes: usize,
    params: HashMap<SessionId, Kept>,
    /// By age: what is on disk, and what is not.
    written: BTreeMap<u64, SessionId>,
    unwritten: BTreeMap<u64, SessionId>,
    next: u64,
}

#[derive(Debug)]
struct Kept {
    age: u64,
    params: Bytes,
}

impl UsedParams {
    #[must_use]
    pub fn with_room(room: usize) -> Self {
        Self {
            room,
            bytes: 0,
            params: HashMap::new(),
            written: BTreeMap::new(),
            unwritten: BTreeMap::new(),
            next: 0,
        }
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Those that are kept.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionId> {
        self.params.keys().copied().collect()
    }

    #[must_use]
    pub fn get(&self, session: SessionId) -> Option<Bytes> {
        self.params.get(&session).map(|kept| kept.params.clone())
    }

    /// Keeps a session's parameters. Returns how many sessions' parameters are lost by that: they
    /// were not on disk.
    pub fn insert(&mut self, session: SessionId, params: Bytes, is_written: bool) -> u64 {
        self.remove(session);
        self.next += 1;
        self.bytes += params.len();
        self.params.insert(session, Kept { age: self.next, params });
        let queue = if is_written { &mut self.written } else { &mut self.unwritten };
        queue.insert(self.next, session);
        let mut lost = 0;
        while self.bytes > self.room {
            let oldest = self.written.pop_first().map(|(_, session)| (session, 0));
            let oldest =
                oldest.or_else(|| self.unwritten.pop_first().map(|(_, session)| (session, 1)));
            let Some((oldest, loses)) = oldest else { break };
            self.remove(oldest);
            lost += loses;
        }
        lost
    }

    /// Notes that a session's parameters are on disk.
    pub fn mark_written(&mut self, session: SessionId) {
        if let Some(kept) = self.params.get(&session)
            && self.unwritten.remove(&kept.age).is_some()
        {
            self.written.insert(kept.age, session);
        }
    }

    /// Notes that nothing of it is on disk any more.
    pub fn mark_all_unwritten(&mut self) {
        self.unwritten.append(&mut self.written);
    }

    /// What is not on disk yet, oldest first.
    #[must_use]
    pub fn unwritten(&self) -> Vec<(SessionId, Bytes)> {
        let sessions = self.unwritten.values();
        sessions.filter_map(|session| Some((*session, self.get(*session)?))).collect()
    }

    pub fn remove(&mut self, session: SessionId) {
        if let Some(gone) = self.params.remove(&session) {
            self.bytes -= gone.params.len();
            self.written.remove(&gone.age);
            self.unwritten.remove(&gone.age);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_disk_gives_way_before_what_is_not() {
        let mut used = UsedParams::with_room(100);
        let sessions: Vec<SessionId> = (0..4).map(|_| SessionId::mint()).collect();
        let params = || Bytes::from_static(&[0; 40]);
        assert_eq!(used.insert(sessions[0], params(), false), 0);
        assert_eq!(used.insert(sessions[1], params(), true), 0);
        assert_eq!(used.insert(sessions[2], params(), false), 0);
        assert!(used.get(sessions[1]).is_none());
        assert_eq!(used.unwritten().len(), 2);
        assert_eq!(used.insert(sessions[3], params(), false), 1, "the oldest is lost");
        assert!(used.get(sessions[0]).is_none());
        used.mark_written(sessions[2]);
        assert_eq!(used.unwritten().len(), 1);
        used.mark_all_unwritten();
        assert_eq!(used.unwritten().len(), 2, "on another disk nothing is");
        sessions.iter().for_each(|session| used.remove(*session));
        assert_eq!((used.bytes(), used.params.len()), (0, 0));
        assert!(used.written.is_empty() && used.unwritten.is_empty());
    }
}
