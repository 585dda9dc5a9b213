//! The node of each (session, server): state in memory, in shards.
//!
//! A binding changes by compare-and-set on the previous node, so that two workers
//! with a session's first requests agree on one node. Each change gives it a higher epoch, by which
//! runners tell the session's current instance from those that it has left. How many sessions there are is in
//! `counting`, what clients have set in `noted`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use crate::model::{
    Epoch, Epochs, NodeId, QuotaKey, ServerName, SessionId, SessionMap, UnixMillis,
};
use crate::sync::{Locked, ReadMostly};

use super::changes::Changes;
use super::epochs::EpochClock;
use super::limits::quotas::Quotas;
use super::limits::session_limits::{MostSessions, SessionLimitsMet};
use super::record::{Before, Binding, Bound, Record};

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
    pub(super) shards: [Locked<SessionMap<SessionId, Record>>; SHARDS],
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
    pub(super) epochs: EpochClock,
    /// Where changes are noted that other coordinators have to know of.
    pub(super) changes: OnceLock<Arc<Changes>>,
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
            epochs: EpochClock::default(),
            changes: OnceLock::new(),
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
            let (was_open, must_open) = (binding.was_open, binding.must_open());
            Some(Bound { node: binding.node.clone(), was_open, must_open })
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

    /// Like [`Self::look`], but `None` while the node may hold an instance that the session has
    /// left.
    #[must_use]
    pub fn look_open(&self, session: SessionId, server: &ServerName) -> Option<NodeId> {
        self.with(session, |records| {
            let servers = &records.get(&session)?.servers;
            let (_, binding) = servers.iter().find(|(name, _)| name == server)?;
            (!binding.must_open()).then(|| binding.node.clone())
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
        let bound = self.with_room(session, |records| {
            let record = self.entry(records, session, now);
            match record.servers.iter_mut().find(|(name, _)| name == server) {
                Some((_, binding)) if Some(&binding.node) != previous => binding.node.clone(),
                Some((_, binding)) => {
                    self.moved(Some(&binding.node), Some(node));
                    let epoch = self.epochs.after(binding.epoch.max(binding.opened));
                    *binding = Binding::decided(node, now, epoch, binding.before());
                    node.clone()
                }
                None => {
                    self.bind(record, server, node, now);
                    node.clone()
                }
            }
        });
        self.changed(session);
        bound
    }

    /// Binds a server that is bound to no node. Returns what an open says of the binding.
    fn bind(
        &self,
        record: &mut Record,
        server: &ServerName,
        node: &NodeId,
        now: UnixMillis,
    ) -> Epochs {
        self.moved(None, Some(node));
        let before = take(&mut record.gone, server).unwrap_or_default();
        let epoch = self.epochs.after(before.opened);
        let binding = Binding::decided(node, now, epoch, before);
        let epochs = binding.epochs();
        record.bind(server, binding);
        epochs
    }

    /// What is said when the server is opened at `node`; a session that was forgotten meanwhile is
    /// bound to it again.
    ///
    /// # Errors
    /// The node that the server is bound to, if that is another one.
    pub fn opening(
        &self,
        session: SessionId,
        server: &ServerName,
        node: &NodeId,
    ) -> Result<Epochs, NodeId> {
        let now = UnixMillis::now();
        self.with_room(session, |records| {
            let record = self.entry(records, session, now);
            match record.servers.iter().find(|(name, _)| name == server) {
                Some((_, binding)) if binding.node == *node => Ok(binding.epochs()),
                Some((_, binding)) => Err(binding.node.clone()),
                None => Ok(self.bind(record, server, node, now)),
            }
        })
    }

    /// Notes that the node holds an instance with an epoch which this process has not given, and
    /// raises the binding above it: the session has been open elsewhere since.
    pub fn surpass(&self, session: SessionId, server: &ServerName, node: &NodeId, held: Epoch) {
        self.with(session, |records| {
            let Some(record) = records.get_mut(&session) else { return };
            for (name, binding) in &mut record.servers {
                if name == server && binding.node == *node && binding.epoch < Some(held) {
                    binding.opened = Some(held.next());
                    binding.epoch = Some(self.epochs.after(binding.opened));
                }
            }
        });
        self.changed(session);
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
                record.gone.push((server, binding.opened));
            }
        });
    }

    /// Removes the server's binding if it is to `node`, and the session with its last one.
    pub fn leave(&self, session: SessionId, server: &ServerName, node: &NodeId) {
        let removed = self.with(session, |records| {
            let record = records.get_mut(&session)?;
            record.servers.retain(|(name, binding)| {
                let is_it = name == server && binding.node == *node;
                if is_it {
                    self.moved(Some(node), None);
                }
                !is_it
            });
            record.servers.is_empty().then(|| records.remove(&session))?
        });
        if let Some(mut record) = removed {
            self.gone(&mut record);
        }
    }

    /// Notes that the session has the server open at the node, as the instance with this epoch.
    /// Runners of earlier versions name no epoch. False if the server is bound to another node by
    /// now. One that is bound to none, since a request beside this one was refused, is bound again.
    #[must_use]
    pub fn opened(
        &self,
        session: SessionId,
        server: &ServerName,
        node: &NodeId,
        epoch: Option<Epoch>,
    ) -> bool {
        let is_bound = self.with(session, |records| {
            let Some(record) = records.get_mut(&session) else { return true };
            if !record.servers.iter().any(|(name, _)| name == server) {
                self.bind(record, server, node, UnixMillis::now());
            }
            let mut bound = record.servers.iter_mut();
            let of_server = bound.find(|(name, binding)| name == server && binding.node == *node);
            let Some((_, binding)) = of_server else { return false };
            binding.was_open = true;
            binding.epoch = epoch.or(binding.epoch);
            binding.opened = binding.epoch;
            true
        });
        self.changed(session);
        is_bound
    }

    /// Whether the session is known to have had the server open.
    #[must_use]
    pub fn was_open(&self, session: SessionId, server: &ServerName) -> bool {
        self.with(session, |records| {
            let Some(record) = records.get(&session) else { return false };
            let mut bound = record.servers.iter();
            bound.any(|(name, binding)| name == server && binding.was_open)
                || record.gone.iter().any(|(name, _)| name == server)
        })
    }

    /// Notes that a server's state for the session was lost and that the client has yet
    /// to be notified.
    pub fn note_unreported_loss(&self, session: SessionId, server: &ServerName) {
        self.with(session, |records| {
            let Some(record) = records.get_mut(&session) else { return };
            note(&mut record.unreported_losses, server);
        });
        self.changed(session);
    }

    /// The same for a loss that another coordinator has noted, which also writes it down.
    pub fn learn_loss(&self, session: SessionId, server: &ServerName) {
        self.with(session, |records| {
            if let Some(record) = records.get_mut(&session) {
                note(&mut record.unreported_losses, server);
            }
        });
    }

    /// The servers whose loss the client has yet to be notified of: by the caller, now.
    #[must_use]
    pub fn take_unreported_losses(&self, session: SessionId) -> Vec<ServerName> {
        let losses = self.with(session, |records| {
            let record = records.get_mut(&session);
            record.map(|record| std::mem::take(&mut record.unreported_losses)).unwrap_or_default()
        });
        if !losses.is_empty() {
            self.changed(session);
        }
        losses
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

    /// Number of bindings to all nodes.
    #[must_use]
    pub fn bound(&self) -> u64 {
        self.loads.read().values().map(|load| u64::from(load.load(Ordering::Relaxed))).sum()
    }

    pub(super) fn with<T>(
        &self,
        session: SessionId,
        with: impl FnOnce(&mut SessionMap<SessionId, Record>) -> T,
    ) -> T {
        // The first byte of a session's uuid is random: sessions spread evenly.
        let index = usize::from(session.as_bytes()[0]) % SHARDS;
        with(&mut self.shards[index].lock())
    }

    pub(super) fn entry<'a>(
        &self,
        records: &'a mut SessionMap<SessionId, Record>,
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

    pub(super) fn moved(&self, from: Option<&NodeId>, to: Option<&NodeId>) {
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

/// Removes a server that was open. Returns what was known of it.
pub(super) fn take(
    gone: &mut Vec<(ServerName, Option<Epoch>)>,
    server: &ServerName,
) -> Option<Before> {
    let at = gone.iter().position(|(name, _)| name == server)?;
    let (_, opened) = gone.swap_remove(at);
    Some(Before { was_open: true, opened })
}

/// Adds a name unless it is there.
pub(super) fn note(names: &mut Vec<ServerName>, server: &ServerName) {
    if !names.contains(server) {
        names.push(server.clone());
    }
}

#[cfg(test)]
mod tests;
