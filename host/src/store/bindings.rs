//! The node of each (session, server): state in memory, in shards.
//!
//! A binding changes by compare-and-set on the previous node, so that two workers
//! with a session's first requests agree on one node. How many sessions there are is in
//! `counting`, what clients have set in `noted`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::model::{NodeId, QuotaKey, ServerName, SessionId, UnixMillis};
use crate::sync::{Locked, ReadMostly};

use super::quotas::Quotas;
use super::record::{Binding, Bound, Record, ReportOutcome};
use super::session_limits::{MostSessions, SessionLimitsMet};

/// Each has its own lock: with 64, workers rarely wait for each other.
pub(super) const SHARDS: usize = 64;
/// Forgotten sessions that wait to be closed at their servers. Of further ones the instances end
/// when they are idle.
const MAX_WAITING: usize = 10_000;

/// A session that was forgotten to make room, with what its servers still hold for it.
pub type Forgotten = (SessionId, Vec<(ServerName, Binding)>);
/// Whether a session ends when its instance of this server is lost.
pub type EndsWhenLost = dyn Fn(&ServerName) -> bool + Send + Sync;

/// What is known of all live sessions, shared by all workers.
pub struct Bindings {
    pub(super) shards: [Locked<HashMap<SessionId, Record>>; SHARDS],
    /// Bindings to each node.
    pub(super) loads: ReadMostly<HashMap<NodeId, AtomicU32>>,
    sessions: AtomicUsize,
    /// Bytes of the URIs that sessions are subscribed to.
    pub(super) subscribed: AtomicUsize,
    /// Whom the sessions count for. Locked for a moment, also while a shard is.
    pub(super) quotas: Locked<Quotas>,
    pub(super) bounds: MostSessions,
    pub(super) ends_when_lost: Box<EndsWhenLost>,
    pub(super) forgotten: mpsc::Sender<Forgotten>,
    /// The shard in which room is made next.
    pub(super) next_shard: AtomicUsize,
    /// What has happened at the bounds.
    pub met: SessionLimitsMet,
}

impl Default for Bindings {
    fn default() -> Self {
        Self::new(MostSessions::default(), Box::new(|_| false)).0
    }
}

impl Bindings {
    /// No sessions yet. The receiver gets those that are forgotten to make room while servers
    /// hold something for them.
    #[must_use]
    pub fn new(
        bounds: MostSessions,
        ends_when_lost: Box<EndsWhenLost>,
    ) -> (Self, mpsc::Receiver<Forgotten>) {
        let (forgotten, receiver) = mpsc::channel(MAX_WAITING);
        let bindings = Self {
            shards: std::array::from_fn(|_| Locked::default()),
            loads: ReadMostly::default(),
            sessions: AtomicUsize::default(),
            subscribed: AtomicUsize::default(),
            quotas: Locked::default(),
            bounds,
            ends_when_lost,
            forgotten,
            next_shard: AtomicUsize::default(),
            met: SessionLimitsMet::default(),
        };
        (bindings, receiver)
    }

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
        self.with_room(session, |records| {
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
                    record.bind(server, binding);
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

    /// Takes a node's report that it holds a session. A session whose holder this process chose,
    /// or whose holder is alive, stays there: a node may report what it likes. Of two other nodes
    /// the one that opened it earlier gets the binding.
    pub fn report(
        &self,
        session: SessionId,
        server: &ServerName,
        node: &NodeId,
        opened_at: UnixMillis,
        is_alive: impl Fn(&NodeId) -> bool,
    ) -> ReportOutcome {
        let now = UnixMillis::now();
        self.with_room(session, |records| {
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
                    record.bind(server, reported);
                    ReportOutcome::Taken
                }
                Some((_, binding)) if binding.node == *node => {
                    binding.since = binding.since.min(opened_at);
                    binding.was_open = true;
                    ReportOutcome::Taken
                }
                Some((_, binding))
                    if binding.decided_here
                        || binding.since <= opened_at
                        || is_alive(&binding.node) =>
                {
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

    /// Keeps the session in use until the guard is dropped: an open stream is use, even
    /// if nothing is sent on it.
    #[must_use]
    pub fn hold(self: &Arc<Self>, session: SessionId) -> InUse {
        self.held(session).0
    }

    /// The same for a session of `key`, which is counted if it was forgotten meanwhile.
    #[must_use]
    pub fn hold_for(self: &Arc<Self>, session: SessionId, key: &QuotaKey) -> InUse {
        let (held, is_counted) = self.held(session);
        if !is_counted {
            self.belongs_to(session, key);
        }
        held
    }

    fn held(self: &Arc<Self>, session: SessionId) -> (InUse, bool) {
        let now = UnixMillis::now();
        let (mark, is_counted) = self.with_room(session, |records| {
            let record = self.entry(records, session, now);
            (Arc::clone(&record.in_use), record.counted.is_some())
        });
        (InUse { bindings: Arc::clone(self), session, _mark: mark }, is_counted)
    }

    /// A copy of what is known of the session. Does not count as use.
    #[must_use]
    pub fn record(&self, session: SessionId) -> Option<Record> {
        self.with(session, |records| records.get(&session).cloned())
    }

    /// Removes an ended session. Returns what was known of it.
    pub fn forget(&self, session: SessionId) -> Option<Record> {
        let mut record = self.with(session, |records| records.remove(&session))?;
        self.gone(&mut record);
        Some(record)
    }

    /// Number of known sessions.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Most sessions that are known (`limits.sessions`).
    #[must_use]
    pub fn most(&self) -> usize {
        self.bounds.in_all
    }

    /// Number of bindings to a node.
    #[must_use]
    pub fn load(&self, node: &str) -> u32 {
        let loads = self.loads.read();
        loads.get(node).map_or(0, |load| load.load(Ordering::Relaxed))
    }

    pub(super) fn with<T>(
        &self,
        session: SessionId,
        with: impl FnOnce(&mut HashMap<SessionId, Record>) -> T,
    ) -> T {
        // The first byte of a session's uuid is random: sessions spread evenly.
        let index = usize::from(session.as_bytes()[0]) % SHARDS;
        with(&mut self.shards[index].lock())
    }

    pub(super) fn entry<'a>(
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

    pub(super) fn gone(&self, record: &mut Record) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        self.subscribed.fetch_sub(record.subscribed(), Ordering::Relaxed);
        for (_, binding) in &record.servers {
            self.moved(Some(&binding.node), None);
        }
        if let Some(counted) = &mut record.counted {
            self.quotas.lock().leave(counted);
        }
    }

    fn moved(&self, from: Option<&NodeId>, to: Option<&NodeId>) {
        if let Some(node) = from {
            self.count_at(node, |load| load.fetch_sub(1, Ordering::Relaxed));
        }
        if let Some(node) = to {
            self.count_at(node, |load| load.fetch_add(1, Ordering::Relaxed));
        }
    }

    /// Changes a node's counter. A lock is held meanwhile: a counter at 0 may be removed.
    fn count_at(&self, node: &NodeId, change: impl Fn(&AtomicU32) -> u32) {
        if let Some(load) = self.loads.read().get(node) {
            change(load);
            return;
        }
        change(self.loads.write().entry(node.clone()).or_default());
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
