//! How many sessions, and how much of them, counts for whom. Pure: what is counted here is in
//! `bindings`, and what has to be in order is a number of the session, not a time.

use std::collections::{BTreeMap, HashMap};

use crate::model::{QuotaKey, SessionId};

/// How the record of a session is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Whom it counts for: whoever began it, or used it first since the start of this process.
    /// It stays with them when the client changes its network.
    pub key: QuotaKey,
    /// Its place among the sessions that had no second message; `None` once one has come.
    pub unused: Option<u64>,
    /// Bytes of its subscriptions.
    pub bytes: usize,
}

/// The sessions of all keys.
#[derive(Debug, Default)]
pub struct Quotas {
    keys: HashMap<QuotaKey, OfKey>,
    /// Sessions without a second message, oldest first.
    unused: BTreeMap<u64, SessionId>,
    next: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
struct OfKey {
    sessions: usize,
    unused: BTreeMap<u64, SessionId>,
    bytes: usize,
}

impl Quotas {
    /// Counts a session.
    pub fn enter(&mut self, key: &QuotaKey) -> Counted {
        self.keys.entry(key.clone()).or_default().sessions += 1;
        Counted { key: key.clone(), unused: None, bytes: 0 }
    }

    /// From now on the session gives way before those with a second message.
    pub fn unused(&mut self, counted: &mut Counted, session: SessionId) {
        self.used(counted);
        let Some(of_key) = self.keys.get_mut(&counted.key) else { return };
        self.next += 1;
        self.unused.insert(self.next, session);
        of_key.unused.insert(self.next, session);
        counted.unused = Some(self.next);
    }

    /// Uncounts a session.
    pub fn leave(&mut self, counted: &mut Counted) {
        self.used(counted);
        self.bytes = self.bytes.saturating_sub(counted.bytes);
        let Some(of_key) = self.keys.get_mut(&counted.key) else { return };
        of_key.sessions = of_key.sessions.saturating_sub(1);
        of_key.bytes = of_key.bytes.saturating_sub(counted.bytes);
        counted.bytes = 0;
        if of_key.sessions == 0 {
            self.keys.remove(&counted.key);
        }
    }

    /// A second message has come, or the session must not give way for another reason.
    pub fn used(&mut self, counted: &mut Counted) {
        let Some(place) = counted.unused.take() else { return };
        self.unused.remove(&place);
        if let Some(of_key) = self.keys.get_mut(&counted.key) {
            of_key.unused.remove(&place);
        }
    }

    /// The session that has waited longest for a second message: of this key, or of all.
    pub fn oldest_unused(&self, of: Option<&QuotaKey>) -> Option<SessionId> {
        let unused = match of {
            Some(key) => &self.keys.get(key)?.unused,
            None => &self.unused,
        };
        unused.first_key_value().map(|(_, session)| *session)
    }

    /// Number of sessions of the key that has most.
    pub fn most(&self) -> usize {
        self.keys.values().map(|of_key| of_key.sessions).max().unwrap_or(0)
    }

    /// Number of a key's sessions.
    pub fn sessions(&self, key: &QuotaKey) -> usize {
        self.keys.get(key).map_or(0, |of_key| of_key.sessions)
    }

    /// Adds bytes of a subscription, if neither the key nor all together have too many then.
    pub fn grow(&mut self, counted: &mut Counted, bytes: usize, of_key: usize, all: usize) -> bool {
        let Some(known) = self.keys.get_mut(&counted.key) else { return false };
        if known.bytes + bytes > of_key || self.bytes + bytes > all {
            return false;
        }
        known.bytes += bytes;
        self.bytes += bytes;
        counted.bytes += bytes;
        true
    }

    /// The reverse of [`Self::grow`].
    pub fn shrink(&mut self, counted: &mut Counted, bytes: usize) {
        let bytes = bytes.min(counted.bytes);
        counted.bytes -= bytes;
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(known) = self.keys.get_mut(&counted.key) {
            known.bytes = known.bytes.saturating_sub(bytes);
        }
    }

    /// Whether nothing is counted.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.unused.is_empty() && self.bytes == 0
    }
}
