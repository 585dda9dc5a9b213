//! Limits on the number of processes: of one server, of one key (a credential, or the address of
//! clients without one), and on this node.
//!
//! Processes of sessions count, from before their start until nothing is left of
//! them. One that is being ended still counts, but a start that finds no room waits
//! for it briefly. Spares give way to sessions. Discovery does not count here and is
//! bounded by turns (`starts`): a full node still has to know what its servers offer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::model::{QuotaKey, ServerName};
use crate::sync::Locked;

use super::process_limits::{Full, ProcessCaps, ProcessLimitsMet, Which};

/// Longest wait for a process that is being ended: longer than the 4 s after which
/// it is killed (`AFTER_EOF` and `AFTER_TERM`).
const ENDING: Duration = Duration::from_secs(5);
#[derive(Debug, Default)]
struct CapCounts {
    all: Count,
    servers: HashMap<ServerName, Count>,
    keys: HashMap<QuotaKey, Count>,
    /// What each key has of each server.
    shares: HashMap<(ServerName, QuotaKey), Count>,
    /// Starts for which another process was ended: the place is theirs.
    promised: Vec<(u64, ServerName, QuotaKey)>,
    promises: u64,
    spares: usize,
}

impl CapCounts {
    /// Places that are promised to starts of other keys.
    fn promised_to_others(&self, key: &QuotaKey, of: Option<&ServerName>) -> usize {
        let of_others = |(_, server, whom): &&(u64, ServerName, QuotaKey)| {
            whom != key && of.is_none_or(|of| of == server)
        };
        self.promised.iter().filter(of_others).count()
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    there: usize,
    /// The part of `there` that is being ended.
    ending: usize,
}

/// The counts and their limits. A clone is another handle to the same counts.
#[derive(Debug, Clone)]
pub struct Caps {
    limits: Arc<ArcSwap<ProcessCaps>>,
    counts: Arc<Locked<CapCounts>>,
    /// Counts every change that may have made room.
    freed: watch::Sender<u64>,
    met: Arc<ProcessLimitsMet>,
}

impl Caps {
    #[must_use]
    pub fn new(limits: ProcessCaps) -> Self {
        let limits = Arc::new(ArcSwap::from_pointee(limits));
        let (counts, met) = (Arc::default(), Arc::default());
        Self { limits, counts, freed: watch::Sender::new(0), met }
    }

    /// Counts against these limits from now on. What is there stays.
    pub fn renew(&self, limits: ProcessCaps) {
        self.limits.store(limits.into());
        self.freed.send_modify(|freed| *freed += 1);
    }

    /// What has happened at the limits.
    #[must_use]
    pub fn met(&self) -> &ProcessLimitsMet {
        &self.met
    }

    /// Notes that a start was refused.
    pub fn note_refused(&self, server: &ServerName, full: &Full) {
        let whom = &full.whom;
        full.met(&self.met).note_refused(|since| {
            tracing::warn!(server = %server, since, "no process for {whom}: {full}");
        });
    }

    /// Notes that a process makes room for a start.
    pub fn note_gave_way(&self, server: &ServerName, full: &Full) {
        let whom = &full.whom;
        full.met(&self.met).note_gave_way(|since| {
            tracing::warn!(server = %server, since, "processes make room for {whom}: {full}");
        });
    }

    /// The processes that count against the limit which has refused a start of `server`, by key,
    /// without those that are being ended.
    #[must_use]
    pub fn holders(&self, full: &Full, server: &ServerName) -> HashMap<QuotaKey, usize> {
        let counts = self.counts.lock();
        let left = |count: &Count| count.there.saturating_sub(count.ending);
        match full.which {
            Which::Node | Which::Principal => {
                counts.keys.iter().map(|(key, count)| (key.clone(), left(count))).collect()
            }
            Which::Instances | Which::Server | Which::Share => {
                let of_server = counts.shares.iter().filter(|((name, _), _)| name == server);
                of_server.map(|((_, key), count)| (key.clone(), left(count))).collect()
            }
        }
    }

    /// Keeps the place that becomes free for a start of this key, until the promise is dropped.
    #[must_use]
    pub fn promise(&self, server: &ServerName, key: &QuotaKey) -> Promise {
        let mut counts = self.counts.lock();
        counts.promises += 1;
        let number = counts.promises;
        counts.promised.push((number, server.clone(), key.clone()));
        Promise { caps: self.clone(), number }
    }

    /// Takes a place for one more process of a session. At a limit it waits, up to
    /// 5 s, while a process that counts against it is being ended.
    ///
    /// # Errors
    /// The limit that is reached.
    pub async fn enter(&self, server: &ServerName, key: &QuotaKey) -> Result<Permit, Full> {
        let mut freed = self.freed.subscribe();
        let deadline = tokio::time::Instant::now() + ENDING;
        loop {
            freed.borrow_and_update();
            let (full, room_comes) = match self.try_enter(server, key) {
                Ok(permit) => return Ok(permit),
                Err(refused) => refused,
            };
            let waiting = tokio::time::timeout_at(deadline, freed.changed());
            if !room_comes || !matches!(waiting.await, Ok(Ok(()))) {
                return Err(full);
            }
        }
    }

    /// Takes a place at once. The error also says whether a process that counts
    /// against the limit is being ended.
    fn try_enter(&self, server: &ServerName, key: &QuotaKey) -> Result<Permit, (Full, bool)> {
        let mut counts = self.counts.lock();
        let limits = self.limits.load();
        let (of_server, which) = limits.of_server(server);
        let count = |count: Option<&Count>| count.copied().unwrap_or_default();
        let at = (server.clone(), key.clone());
        let (of_key, share) = (limits.of_key(key), limits.share(key, of_server));
        // A key's own limits come first: whoever has reached them makes nobody give way.
        let checks = [
            (count(counts.shares.get(&at)), 0, share, Which::Share, share < of_server),
            (count(counts.keys.get(key)), 0, of_key, Which::Principal, of_key < limits.per_node),
            (
                count(counts.servers.get(server)),
                counts.promised_to_others(key, Some(server)),
                of_server,
                which,
                true,
            ),
            (counts.all, counts.promised_to_others(key, None), limits.per_node, Which::Node, true),
        ];
        for (count, promised, limit, which, applies) in checks {
            if applies && count.there + promised >= limit {
                let whom = key.clone();
                return Err((Full { limit, which, whom }, count.ending > 0));
            }
        }
        counts.all.there += 1;
        counts.servers.entry(server.clone()).or_default().there += 1;
        counts.keys.entry(key.clone()).or_default().there += 1;
        counts.shares.entry(at).or_default().there += 1;
        drop(counts);
        let (caps, server, key) = (self.clone(), server.clone(), key.clone());
        Ok(Permit { caps, server, key, is_ending: false })
    }

    /// Takes a place for a spare process. `None` if processes of sessions and spares
    /// already fill the node.
    #[must_use]
    pub fn enter_spare(&self) -> Option<SparePermit> {
        let mut counts = self.counts.lock();
        if counts.all.there + counts.spares >= self.limits.load().per_node {
            return None;
        }
        counts.spares += 1;
        Some(SparePermit(self.clone()))
    }

    /// Whether a spare has to end, since sessions need its place.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        let counts = self.counts.lock();
        counts.spares > 0 && counts.all.there + counts.spares > self.limits.load().per_node
    }

    /// Session processes of one server, including those that are being ended.
    #[must_use]
    pub fn of(&self, server: &ServerName) -> usize {
        let counts = self.counts.lock();
        counts.servers.get(server).map_or(0, |count| count.there)
    }

    /// Session processes by server, without those that are being ended. Servers
    /// without one are left out.
    #[must_use]
    pub fn in_use(&self) -> Vec<(ServerName, usize)> {
        let counts = self.counts.lock();
        let left = |count: &Count| count.there.saturating_sub(count.ending);
        let servers = counts.servers.iter().map(|(server, count)| (server.clone(), left(count)));
        servers.filter(|(_, left)| *left > 0).collect()
    }

    fn change(&self, permit: &Permit, change: impl Fn(&mut Count)) {
        let mut counts = self.counts.lock();
        change(&mut counts.all);
        if let Some(count) = counts.servers.get_mut(&permit.server) {
            change(count);
        }
        if let Some(count) = counts.keys.get_mut(&permit.key) {
            change(count);
            if count.there == 0 {
                counts.keys.remove(&permit.key);
            }
        }
        let at = (permit.server.clone(), permit.key.clone());
        if let Some(count) = counts.shares.get_mut(&at) {
            change(count);
            if count.there == 0 {
                counts.shares.remove(&at);
            }
        }
        drop(counts);
        self.freed.send_modify(|freed| *freed = freed.wrapping_add(1));
    }
}

/// The place of one process of a session, freed on drop.
#[derive(Debug)]
pub struct Permit {
    caps: Caps,
    server: ServerName,
    key: QuotaKey,
    is_ending: bool,
}

impl Permit {
    /// Whom the process counts for.
    #[must_use]
    pub fn key(&self) -> &QuotaKey {
        &self.key
    }

    /// The process is being ended: starts that find no room may wait for it.
    pub fn mark_ending(&mut self) {
        if !std::mem::replace(&mut self.is_ending, true) {
            self.caps.change(self, |count| count.ending += 1);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let ending = usize::from(self.is_ending);
        self.caps.change(self, |count| {
            count.there = count.there.saturating_sub(1);
            count.ending = count.ending.saturating_sub(ending);
        });
    }
}

/// A place that is kept for one start; see [`Caps::promise`].
#[derive(Debug)]
pub struct Promise {
    caps: Caps,
    number: u64,
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut counts = self.caps.counts.lock();
        counts.promised.retain(|(number, ..)| *number != self.number);
        drop(counts);
        self.caps.freed.send_modify(|freed| *freed = freed.wrapping_add(1));
    }
}

/// The place of one spare process, freed on drop.
#[derive(Debug)]
pub struct SparePermit(Caps);

impl Drop for SparePermit {
    fn drop(&mut self) {
        let mut counts = self.0.counts.lock();
        counts.spares = counts.spares.saturating_sub(1);
        drop(counts);
        self.0.freed.send_modify(|freed| *freed = freed.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests;
