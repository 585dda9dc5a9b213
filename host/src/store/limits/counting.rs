//! How many sessions there may be: of one credential or address, and in all.
//!
//! The id of a session says what it is, so that forgetting one loses little: its next message makes
//! it known again. In this order sessions give way where a limit is reached:
//!
//! 1. the oldest that had no message after `initialize`;
//! 2. where all sessions together are too many: of those without an open stream, one that holds no
//!    server before one that does, then of the key with the most sessions, then the longest unused;
//! 3. where all of them have an open stream: one of a key that has at least two more than the one
//!    that asks. Its stream stays open.
//!
//! A session that would end with its server (`onLost: "fail"`) gives way only where all do that:
//! one of the key with the most, if that has at least two more than the one that asks. Otherwise a
//! few clients with such sessions could keep everybody else out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::model::{QuotaKey, SessionId, SessionMap, UnixMillis};
use crate::store::bindings::{Bindings, SHARDS};
use crate::store::record::Record;

/// Tries to make room at one limit before the session is refused: other threads make sessions, too.
const ATTEMPTS: usize = 16;

/// How many more sessions than the key that asks another one has before it gives way to it: after
/// the exchange it still has no fewer, so that two never take the place from each other.
const AHEAD: usize = 2;

/// Why a session cannot begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// Its key has this many.
    OfKey(usize),
    /// There are this many in all, and none gives way.
    InAll(usize),
}

/// Which sessions may give way.
enum Whose<'a> {
    Anyone,
    Of(&'a QuotaKey),
    /// Of keys with at least [`AHEAD`] more than this many, with and without an open stream.
    LargerThan(usize),
    /// Of keys with at least this many, also those that end with their server.
    Largest(usize),
}

impl Bindings {
    /// Makes a session known that has no binding yet. Counts as use.
    pub fn begin(&self, session: SessionId) {
        let now = UnixMillis::now();
        self.with_room(session, |records| {
            self.entry(records, session, now).last_used = now;
        });
    }

    /// Notes the use of a session of `key`, which is counted if it was forgotten meanwhile.
    pub fn goes_on(&self, session: SessionId, key: &QuotaKey) {
        let now = UnixMillis::now();
        let is_counted = self.with(session, |records| {
            let record = records.get_mut(&session)?;
            record.last_used = now;
            record.counted.as_ref().map(|_| ())
        });
        if is_counted.is_none() {
            self.belongs_to(session, key);
        }
    }

    /// Makes a new session known and counts it for `key`. A session that is counted already stays
    /// as it is.
    ///
    /// # Errors
    /// The limit at which nothing gives way.
    pub fn admit(&self, session: SessionId, key: &QuotaKey) -> Result<(), NoRoom> {
        if self.with(session, |records| records.get(&session).is_some_and(|r| r.counted.is_some()))
        {
            return Ok(());
        }
        let of_key = self.bounds.per_key;
        for attempt in 0.. {
            if self.of_key(key) < of_key {
                break;
            }
            if attempt >= ATTEMPTS || !self.unused_gives_way(Some(key)) {
                return Err(NoRoom::OfKey(of_key));
            }
            self.met.per_key.note_gave_way(|since| {
                tracing::warn!(
                    since,
                    "{key} has {of_key} sessions (limits.sessionsPerPrincipal): those that were \
                     never used after initialize are forgotten first, and known again when used"
                );
            });
        }
        if !self.make_room() && !self.larger_gives_way(key) {
            return Err(NoRoom::InAll(self.bounds.in_all));
        }
        let now = UnixMillis::now();
        self.with(session, |records| {
            let record = self.entry(records, session, now);
            record.counted = Some(self.quotas.lock().enter(key));
        });
        Ok(())
    }

    /// The session has begun: until its second message it gives way first, unless a stream of it
    /// is open.
    pub fn begun(&self, session: SessionId) {
        let now = UnixMillis::now();
        self.with(session, |records| {
            let Some(record) = records.get_mut(&session) else { return };
            record.last_used = now;
            if !is_held(record)
                && let Some(counted) = &mut record.counted
            {
                self.quotas.lock().unused(counted, session);
            }
        });
    }

    /// Counts a session that goes on, if it is not counted yet. It may have begun before this
    /// process did, or have been forgotten, so it is never refused.
    pub fn belongs_to(&self, session: SessionId, key: &QuotaKey) {
        self.count(session, key, false);
    }

    /// The same for a session whose client has sent a message after `initialize`.
    pub fn recognise(&self, session: SessionId, key: &QuotaKey) {
        self.count(session, key, true);
    }

    fn count(&self, session: SessionId, key: &QuotaKey, is_used: bool) {
        let now = UnixMillis::now();
        let is_counted = self.with(session, |records| {
            let Some(record) = records.get_mut(&session) else { return false };
            let Some(counted) = &mut record.counted else { return false };
            if is_used && counted.unused.is_some() {
                self.quotas.lock().used(counted);
                record.last_used = now;
            }
            true
        });
        if is_counted {
            return;
        }
        if self.of_key(key) >= self.bounds.per_key && !self.unused_gives_way(Some(key)) {
            self.one_gives_way(&Whose::Of(key));
        }
        self.with_room(session, |records| {
            let record = self.entry(records, session, now);
            if record.counted.is_none() {
                record.last_used = now;
                record.counted = Some(self.quotas.lock().enter(key));
            }
        });
    }

    /// Whom the session counts for.
    #[must_use]
    pub fn counts_for(&self, session: SessionId) -> Option<QuotaKey> {
        self.with(session, |records| Some(records.get(&session)?.counted.as_ref()?.key.clone()))
    }

    /// Number of a key's live sessions.
    #[must_use]
    pub fn of_key(&self, key: &QuotaKey) -> usize {
        self.quotas.lock().sessions(key)
    }

    /// Removes a session that did not begin, unless an open stream holds it.
    pub fn forget_unless_held(&self, session: SessionId) {
        let record = self.with(session, |records| match records.get(&session) {
            Some(record) if !is_held(record) => records.remove(&session),
            _ => None,
        });
        if let Some(mut record) = record {
            self.gone(&mut record);
        }
    }

    /// Whether anybody keeps the session now.
    #[must_use]
    pub fn is_held(&self, session: SessionId) -> bool {
        self.with(session, |records| records.get(&session).is_some_and(is_held))
    }

    /// Forgets sessions that have waited for a second message for longer than `patience`. Returns
    /// how many.
    pub fn sweep_unused(&self, patience: Duration) -> usize {
        let now = UnixMillis::now();
        let mut swept = 0;
        loop {
            let oldest = self.quotas.lock().oldest_unused(None);
            let Some(session) = oldest else { return swept };
            let is_old = self.with(session, |records| {
                records.get(&session).is_some_and(|record| now.since(record.last_used) > patience)
            });
            if !is_old {
                return swept;
            }
            swept += usize::from(self.gives_way(session));
        }
    }

    /// Removes sessions that have not been used for longer than `idle` and that no guard
    /// holds. Returns how many.
    pub fn sweep(&self, idle: Duration) -> usize {
        let now = UnixMillis::now();
        let mut swept = 0;
        for shard in &self.shards {
            let mut records = shard.lock();
            records.retain(|_, record| {
                let keep = is_held(record) || now.since(record.last_used) <= idle;
                if !keep {
                    swept += 1;
                    self.gone(record);
                }
                keep
            });
            if records.len() * 4 < records.capacity() {
                records.shrink_to_fit();
            }
        }
        // The ids of nodes that are gone do not come back.
        self.loads.write().retain(|_, load| load.load(Ordering::Relaxed) > 0);
        swept
    }

    /// Like `with`, and makes room first if the session is not known yet.
    pub(in crate::store) fn with_room<T>(
        &self,
        session: SessionId,
        with: impl FnOnce(&mut SessionMap<SessionId, Record>) -> T,
    ) -> T {
        if self.sessions() >= self.bounds.in_all
            && !self.with(session, |records| records.contains_key(&session))
        {
            // A session that goes on is not refused where nothing gives way: all others have an
            // open stream then, and connections have a limit of their own.
            self.make_room();
        }
        self.with(session, with)
    }

    /// Makes room for one more session in all. False if nothing gives way.
    fn make_room(&self) -> bool {
        for _ in 0..ATTEMPTS {
            if self.sessions() < self.bounds.in_all {
                return true;
            }
            if !self.unused_gives_way(None) && !self.one_gives_way(&Whose::Anyone) {
                return false;
            }
            let most = self.bounds.in_all;
            self.met.in_all.note_gave_way(|since| {
                tracing::warn!(
                    since,
                    "there are {most} sessions (limits.sessions): the least used are forgotten, \
                     and known again when used"
                );
            });
        }
        self.sessions() < self.bounds.in_all
    }

    /// Forgets the oldest session without a second message, of one key or of all.
    fn unused_gives_way(&self, of: Option<&QuotaKey>) -> bool {
        for _ in 0..ATTEMPTS {
            let oldest = self.quotas.lock().oldest_unused(of);
            match oldest {
                Some(session) if self.gives_way(session) => return true,
                Some(_) => {}
                None => return false,
            }
        }
        false
    }

    /// Forgets a session without a second message. One that must not give way counts as used from
    /// now on, so that it is not looked at again.
    fn gives_way(&self, session: SessionId) -> bool {
        let record = self.with(session, |records| {
            let record = records.get_mut(&session)?;
            if is_held(record) || self.is_kept(record) {
                if let Some(counted) = &mut record.counted {
                    self.quotas.lock().used(counted);
                }
                return None;
            }
            record.counted.as_ref()?.unused?;
            records.remove(&session)
        });
        record.map(|record| self.let_go(session, record)).is_some()
    }

    /// Forgets a session of a key that has more than this one.
    fn larger_gives_way(&self, key: &QuotaKey) -> bool {
        let own = self.of_key(key);
        if self.one_gives_way(&Whose::LargerThan(own)) {
            return true;
        }
        let most = self.quotas.lock().most();
        most >= own + AHEAD && self.one_gives_way(&Whose::Largest(most))
    }

    /// Forgets one session of the first shard that has one which may go; see the order at the top.
    fn one_gives_way(&self, whose: &Whose<'_>) -> bool {
        for _ in 0..SHARDS {
            let shard = self.next_shard.fetch_add(1, Ordering::Relaxed) % SHARDS;
            let gone = {
                let mut records = self.shards[shard].lock();
                let quotas = self.quotas.lock();
                let sessions = |record: &Record| {
                    record.counted.as_ref().map_or(0, |counted| quotas.sessions(&counted.key))
                };
                let may_go = |record: &Record| match whose {
                    Whose::Anyone => !is_held(record),
                    Whose::Of(key) => {
                        let counted = record.counted.as_ref();
                        !is_held(record) && counted.is_some_and(|counted| counted.key == **key)
                    }
                    Whose::LargerThan(count) => sessions(record) >= count + AHEAD,
                    Whose::Largest(count) => sessions(record) >= *count,
                };
                let also_kept = matches!(whose, Whose::Largest(_));
                let may_go =
                    |record: &Record| may_go(record) && (also_kept || !self.is_kept(record));
                let rank = |record: &Record| {
                    let is_bound = !record.servers.is_empty();
                    (is_bound, std::cmp::Reverse(sessions(record)), record.last_used)
                };
                let candidates = records.iter().filter(|(_, record)| may_go(record));
                let session = candidates.min_by_key(|(_, record)| rank(record)).map(|(id, _)| *id);
                drop(quotas);
                session.and_then(|session| Some((session, records.remove(&session)?)))
            };
            if let Some((session, record)) = gone {
                self.let_go(session, record);
                return true;
            }
        }
        false
    }

    /// Whether the session would end if its servers were closed.
    fn is_kept(&self, record: &Record) -> bool {
        record.servers.iter().any(|(server, _)| (self.ends_when_lost)(server))
    }

    /// Uncounts a session that was removed, and has its servers closed.
    fn let_go(&self, session: SessionId, mut record: Record) {
        self.gone(&mut record);
        if !record.servers.is_empty() {
            // If too many wait, their instances end when they are idle.
            let _ = self.forgotten.try_send((session, record.servers));
        }
    }
}

/// Whether a stream of the session is open.
fn is_held(record: &Record) -> bool {
    Arc::strong_count(&record.in_use) > 1
}

#[cfg(test)]
mod tests;
