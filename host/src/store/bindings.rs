//! (session, server) → node: soft state, sharded.
//!
//! A binding changes by compare-and-set on the previous node, so that two
//! workers with first requests of one session agree on one node.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crate::model::{NodeId, Principal, ServerName, SessionId, UnixMillis};

use super::record::{Binding, Bound, Record, Report};

const SHARDS: usize = 64;
/// Subscriptions of one session that are kept for a new instance.
const MAX_SUBSCRIPTIONS: usize = 1000;

#[derive(Default)]
pub struct Bindings {
    shards: Vec<Mutex<HashMap<SessionId, Record>>>,
    loads: RwLock<HashMap<NodeId, Arc<AtomicU32>>>,
    sessions: AtomicUsize,
    /// Live sessions by whose they are.
    principals: Mutex<HashMap<Principal, usize>>,
}

impl Bindings {
    #[must_use]
    pub fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, ..Self::default() }
    }

    /// The session's node for a server, which counts as use.
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

    /// The same for who only looks on, which is no use.
    #[must_use]
    pub fn look(&self, session: SessionId, server: &ServerName) -> Option<NodeId> {
        self.with(session, |records| {
            let servers = &records.get(&session)?.servers;
            let (_, binding) = servers.iter().find(|(name, _)| name == server)?;
            Some(binding.node.clone())
        })
    }

    /// Binds to `node` if the binding still is what the caller saw; in any case
    /// says which node it is now.
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

    /// Undoes a binding that came to nothing.
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

    /// The session has the server open on this node now.
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

    /// What a server held for the session is lost, and the client does not know yet.
    pub fn keep_untold(&self, session: SessionId, server: &ServerName) {
        self.with(session, |records| {
            let Some(record) = records.get_mut(&session) else { return };
            if !record.untold.contains(server) {
                record.untold.push(server.clone());
            }
        });
    }

    /// The servers of which the client has to be told that; it is told now.
    #[must_use]
    pub fn take_untold(&self, session: SessionId) -> Vec<ServerName> {
        self.with(session, |records| {
            let record = records.get_mut(&session);
            record.map(|record| std::mem::take(&mut record.untold)).unwrap_or_default()
        })
    }

    /// A node says that it holds a session. If two do, the older open wins,
    /// unless this process has moved the session itself.
    pub fn report(
        &self,
        session: SessionId,
        server: &ServerName,
        node: &NodeId,
        opened_at: UnixMillis,
    ) -> Report {
        let now = UnixMillis::now();
        self.with(session, |records| {
            let record = self.entry(records, session, opened_at);
            // It is in use somewhere: its idle time begins now.
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
                    Report::Taken
                }
                Some((_, binding)) if binding.node == *node => {
                    binding.since = binding.since.min(opened_at);
                    binding.was_open = true;
                    Report::Taken
                }
                Some((_, binding)) if binding.decided_here || binding.since <= opened_at => {
                    Report::Older(binding.node.clone())
                }
                Some((_, binding)) => {
                    let loser = std::mem::replace(binding, reported).node;
                    self.moved(Some(&loser), Some(node));
                    Report::Replaced(loser)
                }
            }
        })
    }

    /// Makes the session known before it has any binding.
    pub fn begin(&self, session: SessionId) {
        let now = UnixMillis::now();
        self.with(session, |records| {
            self.entry(records, session, now).last_used = now;
        });
    }

    /// Makes a session known that begins, if its principal may have one more.
    #[must_use]
    pub fn admit(&self, session: SessionId, principal: &Principal, limit: usize) -> bool {
        {
            let mut principals = self.principals.lock().unwrap_or_else(PoisonError::into_inner);
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
        // It was counted before.
        before.inspect(|before| self.uncount(before));
        true
    }

    /// A session goes on that may have begun before this process did: it counts,
    /// and is never refused.
    pub fn belongs_to(&self, session: SessionId, principal: &Principal) {
        let now = UnixMillis::now();
        self.with(session, |records| {
            let record = self.entry(records, session, now);
            if record.principal.is_none() {
                record.principal = Some(principal.clone());
                let mut principals = self.principals.lock().unwrap_or_else(PoisonError::into_inner);
                *principals.entry(principal.clone()).or_default() += 1;
            }
        });
    }

    /// Live sessions of a principal.
    #[must_use]
    pub fn of_principal(&self, principal: &Principal) -> usize {
        let principals = self.principals.lock().unwrap_or_else(PoisonError::into_inner);
        principals.get(principal).copied().unwrap_or(0)
    }

    fn uncount(&self, principal: &Principal) {
        let mut principals = self.principals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = principals.get_mut(principal) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                principals.remove(principal);
            }
        }
    }

    /// Keeps the session's record for as long as the mark is held: a stream that is
    /// open is use, whatever is said on it.
    #[must_use]
    pub fn hold(self: &Arc<Self>, session: SessionId) -> InUse {
        let now = UnixMillis::now();
        let mark =
            self.with(session, |records| Arc::clone(&self.entry(records, session, now).in_use));
        InUse { bindings: Arc::clone(self), session, _mark: mark }
    }

    pub fn set_log_level(&self, session: SessionId, level: &str) {
        let now = UnixMillis::now();
        self.with(session, |records| {
            self.entry(records, session, now).log_level = Some(level.into());
        });
    }

    /// What a node says of a session's log level: this process knows better.
    pub fn set_log_level_if_unknown(&self, session: SessionId, level: &str) {
        let now = UnixMillis::now();
        self.with(session, |records| {
            self.entry(records, session, now).log_level.get_or_insert_with(|| level.into());
        });
    }

    /// Notes a subscription; a client that has more of them than fit is not told
    /// of all after its server was lost.
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

    pub fn unsubscribe(&self, session: SessionId, server: &ServerName, uri: &str) {
        self.with(session, |records| {
            if let Some(record) = records.get_mut(&session) {
                record.subscriptions.retain(|(name, known)| name != server || **known != *uri);
            }
        });
    }

    #[must_use]
    pub fn record(&self, session: SessionId) -> Option<Record> {
        self.with(session, |records| records.get(&session).cloned())
    }

    pub fn forget(&self, session: SessionId) -> Option<Record> {
        let record = self.with(session, |records| records.remove(&session))?;
        self.gone(&record);
        Some(record)
    }

    /// Drops what was not used for so long; says how many.
    pub fn sweep(&self, idle: Duration) -> usize {
        let now = UnixMillis::now();
        let mut swept = 0;
        for shard in &self.shards {
            let mut records = shard.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Sessions known.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Bindings on a node.
    #[must_use]
    pub fn load(&self, node: &str) -> u32 {
        let loads = self.loads.read().unwrap_or_else(PoisonError::into_inner);
        loads.get(node).map_or(0, |load| load.load(Ordering::Relaxed))
    }

    fn with<T>(
        &self,
        session: SessionId,
        with: impl FnOnce(&mut HashMap<SessionId, Record>) -> T,
    ) -> T {
        // The uuid is random: any of its bytes spreads evenly.
        let index = usize::from(session.as_bytes()[0]) % SHARDS;
        match self.shards.get(index) {
            Some(shard) => with(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)),
            None => with(&mut HashMap::new()),
        }
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
        if let Some(counter) = self.loads.read().unwrap_or_else(PoisonError::into_inner).get(node) {
            return Arc::clone(counter);
        }
        let mut loads = self.loads.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(loads.entry(node.clone()).or_default())
    }
}

/// Held by what uses a session for a while; its idle time begins with the end.
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

/// Takes a name out; says whether it was there.
fn take(names: &mut Vec<ServerName>, server: &ServerName) -> bool {
    let at = names.iter().position(|name| name == server);
    at.map(|at| names.swap_remove(at)).is_some()
}

#[cfg(test)]
mod tests;
