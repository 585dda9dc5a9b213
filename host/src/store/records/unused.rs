//! Parameters of sessions that were begun and not used yet: in memory only, and bounded. The
//! client that takes most of the room gives way first, so that a flood costs others nothing.

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::Bytes;

use crate::model::{QuotaKey, SessionId};

/// Bytes of parameters, bounded as a whole.
#[derive(Debug)]
pub struct UnusedParams {
    room: usize,
    bytes: usize,
    params: HashMap<SessionId, (u64, Bytes)>,
    /// Each client that has some, by a number of its own.
    owners: HashMap<u64, Owner>,
    numbers: HashMap<QuotaKey, u64>,
    /// Bytes and number of each owner.
    ranking: BTreeSet<(usize, u64)>,
    next: u64,
}

#[derive(Debug)]
struct Owner {
    key: QuotaKey,
    bytes: usize,
    /// Oldest first; may hold sessions that were taken away since.
    sessions: VecDeque<SessionId>,
}

impl UnusedParams {
    #[must_use]
    pub fn with_room(room: usize) -> Self {
        Self {
            room,
            bytes: 0,
            params: HashMap::new(),
            owners: HashMap::new(),
            numbers: HashMap::new(),
            ranking: BTreeSet::new(),
            next: 0,
        }
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a session's parameters. Returns the number of sessions that had to give way.
    pub fn insert(&mut self, session: SessionId, params: Bytes, key: &QuotaKey) -> u64 {
        self.take(session);
        let number = *self.numbers.entry(key.clone()).or_insert_with(|| {
            self.next += 1;
            self.next
        });
        let owner = self.owners.entry(number).or_insert_with(|| Owner {
            key: key.clone(),
            bytes: 0,
            sessions: VecDeque::new(),
        });
        owner.sessions.push_back(session);
        let size = params.len();
        self.params.insert(session, (number, params));
        self.change(number, |bytes| bytes + size);
        let mut gone = 0;
        while self.bytes > self.room && self.drop_one() {
            gone += 1;
        }
        gone
    }

    /// Those that are kept.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionId> {
        self.params.keys().copied().collect()
    }

    #[must_use]
    pub fn get(&self, session: SessionId) -> Option<Bytes> {
        self.params.get(&session).map(|(_, params)| params.clone())
    }

    /// Takes a session's parameters away: it is used from now on, or has ended.
    pub fn take(&mut self, session: SessionId) -> Option<Bytes> {
        let (number, params) = self.params.remove(&session)?;
        self.change(number, |bytes| bytes - params.len());
        if let Some(owner) = self.owners.get_mut(&number)
            && owner.sessions.len() > 64
        {
            let known = &self.params;
            if owner.bytes / 1024 * 2 < owner.sessions.len() {
                owner.sessions.retain(|session| known.contains_key(session));
            }
        }
        Some(params)
    }

    /// Drops the oldest session of the owner with the most bytes.
    fn drop_one(&mut self) -> bool {
        let Some((_, number)) = self.ranking.last().copied() else { return false };
        while let Some(oldest) =
            self.owners.get_mut(&number).and_then(|owner| owner.sessions.pop_front())
        {
            if self.take(oldest).is_some() {
                return true;
            }
        }
        false
    }

    fn change(&mut self, number: u64, to: impl Fn(usize) -> usize) {
        let Some(owner) = self.owners.get_mut(&number) else { return };
        self.ranking.remove(&(owner.bytes, number));
        self.bytes -= owner.bytes;
        owner.bytes = to(owner.bytes);
        self.bytes += owner.bytes;
        if owner.bytes > 0 {
            self.ranking.insert((owner.bytes, number));
        } else {
            self.numbers.remove(&owner.key);
            self.owners.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> QuotaKey {
        QuotaKey::of_address([10, 0, 0, number].into())
    }

    fn params(size: usize) -> Bytes {
        vec![0; size].into()
    }

    #[test]
    fn a_client_with_many_gives_way_to_one_with_few() {
        let mut unused = UnusedParams::with_room(100);
        let honest = SessionId::mint();
        assert_eq!(unused.insert(honest, params(20), &client(1)), 0);
        let flood: Vec<SessionId> = (0..100).map(|_| SessionId::mint()).collect();
        let gone: u64 =
            flood.iter().map(|session| unused.insert(*session, params(20), &client(2))).sum();
        assert_eq!(gone, 96);
        assert!(unused.get(honest).is_some());
        assert!(unused.get(flood[99]).is_some() && unused.get(flood[0]).is_none());
        assert_eq!(unused.bytes(), 100);
    }

    #[test]
    fn nothing_is_left_of_what_was_taken_away() {
        let mut unused = UnusedParams::with_room(1000);
        for _ in 0..500 {
            let session = SessionId::mint();
            unused.insert(session, params(10), &client(1));
            unused.insert(session, params(20), &client(1));
            assert_eq!(unused.take(session).map(|params| params.len()), Some(20));
        }
        assert_eq!(unused.bytes(), 0);
        assert!(unused.owners.is_empty() && unused.numbers.is_empty());
        assert!(unused.ranking.is_empty() && unused.params.is_empty());
    }
}
