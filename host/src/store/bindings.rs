//! The node of each (session, server): state in memory, in shards.
//!
//! A binding changes by compare-and-set on the previous node, so that two workers
//! with a session's first requests agree on one node.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use crate::model::{NodeId, Principal, ServerName, SessionId, UnixMillis};
use crate::protocol::log_level::LogLevel;
use crate::sync::{Locked, ReadMostly};

use super::record::{Binding, Bound, Record, ReportOutcome};

/// Each has its own lock: with 64, workers rarely wait for each other.
const SHARDS: usize = 64;
/// Subscriptions of one session that are restored on a new instance.
const MAX_SUBSCRIPTIONS: usize = 1000;

/// What is known of all live sessions, shared by all workers.
pub struct Bindings {
    shards: [Locked<HashMap<SessionId, Record>>; SHARDS],
    /// Bindings to each node.
    loads: ReadMostly<HashMap<NodeId, Arc<AtomicU32>>>,
    sessions: AtomicUsize,
    /// Live sessions of each principal.
    principals: Locked<HashMap<Principal, usize>>,
}

impl Default for Bindings {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Locked::default()),
            loads: ReadMostly::default(),
            sessions: AtomicUsize::default(),
            principals: Locked::default(),
        }
    }
}

impl Bindings {
    /// The session's node for a server. Counts as use of both.
    #[must_use]
    pub fn get(&self, session: SessionId, server: &ServerName) -> Option<Bound> {
        let now = UnixMillis::now();
        self.with(session, |records| {
            let record = records.get_mut(&session)?;
            record.last_used = now;
            let (_, binding) = record.servers.iter_mut().find(|(name, _)| name == server)?;
            binding.last_used = now;
            Some(Bound { node: binding.node.clone(), was_open: binding.was_open })
        })
    }

    /// Like [`Self::get`], but does not count as use.
    #[must_use]
    pub fn look(&self, session: SessionId, server: &ServerName) -> Option<NodeId> {
        self.with(session, |records| {
            let servers = &records.get(&session)?.servers;
            let (_, binding) = servers.iter().find(|(name, _)| name == server)?;
            Some(binding.node.clone())
        })
    }

    /// Binds the server to `node` if it is still bound to `previous` or to no node.
    /// Returns the node that it is bound to now.
    pub fn claim(
        &self,
        session: SessionId,
        server: &ServerName,
        previous: Option<&NodeId>,
        node: &NodeId,
    ) -> NodeId {
        let now = UnixMillis::now();
        self.with(session, |records| {
            let record = self.entry(records, session, now);
            let bound = record.servers.iter_mut().find(|(name, _)| name == server);
            match bound {
                Some((_, binding)) if Some(&binding.node) != previous => binding.node.clone(),
                Some((_, binding)) => {
                    self.moved(Some(&binding.node), Some(node));
                    let was_open = binding.was_open;
                    *binding = Binding { was_open, ..Binding::decided(node, now) };
                    node.clone()
                }
                None => {
                    self.moved(None, Some(node));
                    let was_open = take(&mut record.gone, server);
                    let binding = Binding { was_open, ..Binding::decided(node, now) };
                    record.servers.push((server.clone(), binding));
                    node.clone()
                }
            }
        })
    }

    /// Removes the server's binding if it is to `node`, on which it could not be opened.
    pub fn release(&self, session: SessionId, server: &ServerName, node: &NodeId) {
        self.with(session, |records| {
            let Some(record) = records.get_mut(&session) else { return };
            let is_it =
                |(name, binding): &(ServerName, Binding)| name == server && binding.node == *node;
            let Some(at) = record.servers.iter().position(is_it) else { return };
            let (server, binding) = record.servers.remove(at);
            self.moved(Some(node), None);
            if binding.was_open {
                record.gone.push(server);
            }
        });
    }

    /// Notes that the session has the server open, if it is bound to this node.
    pub fn opened(&self, session: SessionId, server: &ServerName, node: &NodeId) {
        self.with(session, |records| {
            let Some(record) = records.get_mut(&session) else { return };
            for (name, binding) in &mut record.servers {
                binding.was_open |= name == server && binding.node == *node;
            }
        });
    }

    /// Whether the session is known to have had the server open.
    #[must_use]
    pub fn was_open(&self, session: SessionId, server: &ServerName) -> bool {
        self.with(session, |records| {
            let Some(record) = records.get(&session) else { return false };
            let mut bound = record.servers.iter();
            bound.any(|(name, binding)| name == server && binding.was_open)
                || record.gone.contains(server)
        })
    }

    /// Notes that a server's state for the session was lost and that the client has yet
    /// to be notified.
    pub fn note_unreported_loss(&self, session: SessionId, server: &ServerName) {
        self.with(session, |records| {
            let Some(record) = records.get_mut(&session) else { return };
            if !record.unreported_losses.contains(server) {
                record.unreported_losses.push(server.clone());
            }
        });
    }

    /// The servers whose loss the client has yet to be notified of: by the caller, now.
    #[must_use]
    pub fn take_unreported_losses(&self, session: SessionId) -> Vec<ServerName> {
        self.with(session, |records| {
            let record = records.get_mut(&session);
            record.map(|record| std::mem::take(&mut record.unreported_losses)).unwrap_or_default()
        })
    }

    /// Takes a node's report that it holds a session. If two nodes report it, the one
    /// that opened it earlier gets the binding, unless this process chose a node.
    pub fn report(
        &self,
        session: SessionId,
        server: &ServerName,
        node: &NodeId,
        opened_at: UnixMillis,
    ) -> ReportOutcome {
        let now = UnixMillis::now();
        self.with(session, |records| {
            let record = self.entry(records, session, opened_at);
            // The node keeps it: its idle time begins now.
            record.last_used = record.last_used.max(now);
            let reported = Binding {
                node: node.clone(),
                since: opened_at,
                last_used: now,
                decided_here: false,
                was_open: true,
            };
            match record.servers.iter_mut().find(|(name, _)| name == server) {
                None => {
                    self.moved(None, Some(node));
                    take(&mut record.gone, server);
                    record.servers.push((server.clone(), reported));
                    ReportOutcome::Taken
                }
                Some((_, binding)) if binding.node == *node => {
                    binding.since = binding.since.min(opened_at);
                    binding.was_open = true;
                    ReportOutcome::Taken
                }
                Some((_, binding)) if binding.decided_here || binding.since <= opened_at => {
                    ReportOutcome::Older(binding.node.clone())
                }
                Some((_, binding)) => {
                    let loser = std::mem::replace(binding, reported).node;
                    self.moved(Some(&loser), Some(node));
                    ReportOutcome::Replaced(loser)
                }
            }
        })
    }

    /// Makes a session known that has no binding yet. Counts as use.
    pub fn begin(&self, session: SessionId) {
        let now = UnixMillis::now();
        self.with(session, |records| {
            self.entry(records, session, now).last_used = now;
        });
    }

    /// Makes a new session known and counts it, if its principal has fewer than `limit`.
    #[must_use]
    pub fn admit(&self, session: SessionId, principal: &Principal, limit: usize) -> bool {
        {
            let mut principals = self.principals.lock();
            let count = principals.entry(principal.clone()).or_default();
            if *count >= limit {
                return false;
            }
            *count += 1;
        }
        let now = UnixMillis::now();
        let before = self.with(session, |records| {
            self.entry(records, session, now).principal.replace(principal.clone())
        });
        // A session with a principal had been counted already.
        before.inspect(|before| self.uncount(before));
        true
    }

    /// Counts a session that goes on, if it is not counted yet. It may have begun
    /// before this process did, so it is never refused.
    pub fn belongs_to(&self, session: SessionId, principal: &Principal) {
        let now = UnixMillis::now();
        self.with(session, |records| {
            let record = self.entry(records, session, now);
            if record.principal.is_none() {
                record.principal = Some(principal.clone());
                let mut principals = self.principals.lock();
                *principals.entry(principal.clone()).or_default() += 1;
            }
        });
    }

    /// Number of a principal's live sessions.
    #[must_use]
    pub fn of_principal(&self, principal: &Principal) -> usize {
        let principals = self.principals.lock();
        principals.get(principal).copied().unwrap_or(0)
    }

    fn uncount(&self, principal: &Principal) {
        let mut principals = self.principals.lock();
        if let Some(count) = principals.get_mut(principal) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                principals.remove(principal);
            }
        }
    }

    /// Keeps the session in use until the guard is dropped: an open stream is use, even
    /// if nothing is sent on it.
    #[must_use]
    pub fn hold(self: &Arc<Self>, session: SessionId) -> InUse {
        let now = UnixMillis::now();
        let mark =
            self.with(session, |records| Arc::clone(&self.entry(records, session, now).in_use));
        InUse { bindings: Arc::clone(self), session, _mark: mark }
    }

    /// Notes the level, as JSON, that the client has set.
    pub fn set_log_level(&self, session: SessionId, level: LogLevel) {
        let now = UnixMillis::now();
        self.with(session, |records| {
            self.entry(records, session, now).log_level = Some(level);
        });
    }

    /// Notes the level that a node reports, unless this process knows one: that is as
    /// new or newer.
    pub fn set_log_level_if_unknown(&self, session: SessionId, level: LogLevel) {
        let now = UnixMillis::now();
        self.with(session, |records| {
            self.entry(records, session, now).log_level.get_or_insert(level);
        });
    }

    /// Notes a subscription, to be restored after a loss of the server. Above 1000
    /// of a session, further ones are not noted.
    pub fn subscribe(&self, session: SessionId, server: &ServerName, uri: &str) {
        let now = UnixMillis::now();
        self.with(session, |records| {
            let subscriptions = &mut self.entry(records, session, now).subscriptions;
            let is_there =
                subscriptions.iter().any(|(name, known)| name == server && **known == *uri);
            if !is_there && subscriptions.len() < MAX_SUBSCRIPTIONS {
                subscriptions.push((server.clone(), uri.into()));
            }
        });
    }

    /// Forgets a subscription that the client has ended.
    pub fn unsubscribe(&self, session: SessionId, server: &ServerName, uri: &str) {
        self.with(session, |records| {
            if let Some(record) = records.get_mut(&session) {
                record.subscriptions.retain(|(name, known)| name != server || **known != *uri);
            }
        });
    }

    /// A copy of what is known of the session. Does not count as use.
    #[must_use]
    pub fn record(&self, session: SessionId) -> Option<Record> {
        self.with(session, |records| records.get(&session).cloned())
    }

    /// Removes an ended session. Returns what was known of it.
    pub fn forget(&self, session: SessionId) -> Option<Record> {
        let record = self.with(session, |records| records.remove(&session))?;
        self.gone(&record);
        Some(record)
    }

    /// Removes sessions that have not been used for longer than `idle` and that no guard
    /// holds. Returns how many.
    pub fn sweep(&self, idle: Duration) -> usize {
        let now = UnixMillis::now();
        let mut swept = 0;
        for shard in &self.shards {
            let mut records = shard.lock();
            records.retain(|_, record| {
                let is_held = Arc::strong_count(&record.in_use) > 1;
                let keep = is_held || now.since(record.last_used) <= idle;
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
        swept
    }

    /// Number of known sessions.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Number of bindings to a node.
    #[must_use]
    pub fn load(&self, node: &str) -> u32 {
        let loads = self.loads.read();
        loads.get(node).map_or(0, |load| load.load(Ordering::Relaxed))
    }

    fn with<T>(
        &self,
        session: SessionId,
        with: impl FnOnce(&mut HashMap<SessionId, Record>) -> T,
    ) -> T {
        // The first byte of a session's uuid is random: sessions spread evenly.
        let index = usize::from(session.as_bytes()[0]) % SHARDS;
        with(&mut self.shards[index].lock())
    }

    fn entry<'a>(
        &self,
        records: &'a mut HashMap<SessionId, Record>,
        session: SessionId,
        now: UnixMillis,
    ) -> &'a mut Record {
        records.entry(session).or_insert_with(|| {
            self.sessions.fetch_add(1, Ordering::Relaxed);
            Record::new(now)
        })
    }

    fn gone(&self, record: &Record) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        for (_, binding) in &record.servers {
            self.moved(Some(&binding.node), None);
        }
        if let Some(principal) = &record.principal {
            self.uncount(principal);
        }
    }

    fn moved(&self, from: Option<&NodeId>, to: Option<&NodeId>) {
        if let Some(node) = from {
            self.counter(node).fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(node) = to {
            self.counter(node).fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counter(&self, node: &NodeId) -> Arc<AtomicU32> {
        if let Some(counter) = self.loads.read().get(node) {
            return Arc::clone(counter);
        }
        let mut loads = self.loads.write();
        Arc::clone(loads.entry(node.clone()).or_default())
    }
}

/// Guard that keeps a session in use; its idle time begins when the guard is dropped.
pub struct InUse {
    bindings: Arc<Bindings>,
    session: SessionId,
    _mark: Arc<()>,
}

impl Drop for InUse {
    fn drop(&mut self) {
        let now = UnixMillis::now();
        self.bindings.with(self.session, |records| {
            if let Some(record) = records.get_mut(&self.session) {
                record.last_used = now;
            }
        });
    }
}

/// Removes a name. Returns whether it was there.
fn take(names: &mut Vec<ServerName>, server: &ServerName) -> bool {
    let at = names.iter().position(|name| name == server);
    at.map(|at| names.swap_remove(at)).is_some()
}

#[cfg(test)]
mod tests;
