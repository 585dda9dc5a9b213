//! Limits on the number of processes: of one server, of one key (a credential, or the address of
//! clients without one), and on this node.
//!
//! An address has a share of each server's and of the node's processes. A credential has none by
//! default, since today one is everybody's: a share of it would only lower the limit.
//!
//! Processes of sessions count, from before their start until nothing is left of
//! them. One that is being ended still counts, but a start that finds no room waits
//! for it briefly. Spares give way to sessions. Discovery does not count here and is
//! bounded by turns (`starts`): a full node still has to know what its servers offer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::model::{QuotaKey, ServerName};
use crate::sync::{LimitCounts, Locked};

/// Longest wait for a process that is being ended: longer than the 4 s after which
/// it is killed (`AFTER_EOF` and `AFTER_TERM`).
const ENDING: Duration = Duration::from_secs(5);
/// Part of the processes that one address may have by default.
const SHARE: usize = 4;
/// A share is no smaller: where there are few processes, they give way in turn instead.
const LEAST_SHARE: usize = 4;

/// The limits, in processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessCaps {
    pub per_server: usize,
    /// Replaces `per_server` for servers with `maxInstances`.
    pub own: BTreeMap<ServerName, usize>,
    pub per_node: usize,
    /// Of one key on this node, and the same part of each server's. `None`: a quarter, of one
    /// address.
    pub per_principal: Option<usize>,
}

impl ProcessCaps {
    /// The processes of one key on this node.
    fn of_key(&self, key: &QuotaKey) -> usize {
        let own = match (self.per_principal, key) {
            (Some(own), _) => own,
            (None, QuotaKey::Address(_)) => self.per_node.div_ceil(SHARE).max(LEAST_SHARE),
            (None, QuotaKey::Credential(_)) => self.per_node,
        };
        own.min(self.per_node)
    }

    /// The processes of one key at a server that may have `of_server`.
    fn share(&self, key: &QuotaKey, of_server: usize) -> usize {
        let part = of_server.saturating_mul(self.of_key(key)).div_ceil(self.per_node.max(1));
        part.max(LEAST_SHARE).min(of_server)
    }
}

/// A limit that is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    limit: usize,
    which: Which,
    /// Whose start was refused.
    whom: QuotaKey,
}

impl Full {
    /// Whether processes of `server` count against this limit, which refused a start
    /// of `asked`.
    #[must_use]
    pub fn is_of(&self, asked: &ServerName, server: &ServerName) -> bool {
        match self.which {
            Which::Instances | Which::Server | Which::Share => asked == server,
            Which::Node | Which::Principal => true,
        }
    }

    /// Whether only processes of the refused key count.
    #[must_use]
    pub fn is_of_key(&self) -> bool {
        matches!(self.which, Which::Principal | Which::Share)
    }

    /// Notes that something has made room, or that nothing has.
    fn met<'a>(&self, met: &'a LimitsMet) -> &'a LimitCounts {
        match self.which {
            Which::Instances => &met.instances,
            Which::Server => &met.server,
            Which::Node => &met.node,
            Which::Principal | Which::Share => &met.principal,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Instances,
    Server,
    Node,
    Principal,
    /// The key's part of one server's processes.
    Share,
}

/// What has happened at the limits here.
#[derive(Debug)]
pub struct LimitsMet {
    pub instances: LimitCounts,
    pub server: LimitCounts,
    pub node: LimitCounts,
    pub principal: LimitCounts,
}

impl Default for LimitsMet {
    fn default() -> Self {
        Self {
            instances: LimitCounts::new("maxInstances"),
            server: LimitCounts::new("childrenPerServer"),
            node: LimitCounts::new("childrenPerNode"),
            principal: LimitCounts::new("childrenPerPrincipal"),
        }
    }
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { limit, which, whom } = self;
        match which {
            Which::Instances => write!(f, "all {limit} of its processes are in use (maxInstances)"),
            Which::Server => {
                write!(f, "all {limit} of its processes are in use (limits.childrenPerServer)")
            }
            Which::Node => {
                write!(f, "all {limit} processes of this node are in use (limits.childrenPerNode)")
            }
            Which::Principal => write!(
                f,
                "you have {limit} processes in use (limits.childrenPerPrincipal), counted for {whom}; end sessions that you no longer need"
            ),
            Which::Share => write!(
                f,
                "you have {limit} of its processes in use, your part of limits.childrenPerServer (limits.childrenPerPrincipal), counted for {whom}; end sessions that you no longer need"
            ),
        }
    }
}

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
    limits: Arc<ProcessCaps>,
    counts: Arc<Locked<CapCounts>>,
    /// Counts every change that may have made room.
    freed: watch::Sender<u64>,
    met: Arc<LimitsMet>,
}

impl Caps {
    #[must_use]
    pub fn new(limits: ProcessCaps) -> Self {
        let (limits, counts, met) = (limits.into(), Arc::default(), Arc::default());
        Self { limits, counts, freed: watch::Sender::new(0), met }
    }

    /// What has happened at the limits.
    #[must_use]
    pub fn met(&self) -> &LimitsMet {
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
        let (of_server, which) = match self.limits.own.get(server) {
            Some(own) => (*own, Which::Instances),
            None => (self.limits.per_server, Which::Server),
        };
        let count = |count: Option<&Count>| count.copied().unwrap_or_default();
        let at = (server.clone(), key.clone());
        let (of_key, share) = (self.limits.of_key(key), self.limits.share(key, of_server));
        // A key's own limits come first: whoever has reached them makes nobody give way.
        let checks = [
            (count(counts.shares.get(&at)), 0, share, Which::Share, share < of_server),
            (
                count(counts.keys.get(key)),
                0,
                of_key,
                Which::Principal,
                of_key < self.limits.per_node,
            ),
            (
                count(counts.servers.get(server)),
                counts.promised_to_others(key, Some(server)),
                of_server,
                which,
                true,
            ),
            (
                counts.all,
                counts.promised_to_others(key, None),
                self.limits.per_node,
                Which::Node,
                true,
            ),
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
        if counts.all.there + counts.spares >= self.limits.per_node {
            return None;
        }
        counts.spares += 1;
        Some(SparePermit(self.clone()))
    }

    /// Whether a spare has to end, since sessions need its place.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        let counts = self.counts.lock();
        counts.spares > 0 && counts.all.there + counts.spares > self.limits.per_node
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
mod tests {
    use super::*;

    fn server(name: &str) -> ServerName {
        ServerName::parse(name).unwrap()
    }

    fn key(name: &str) -> QuotaKey {
        QuotaKey::Credential(crate::model::Principal::named(name))
    }

    fn caps(per_server: usize, per_node: usize, per_principal: usize) -> Caps {
        let per_principal = Some(per_principal);
        let own = BTreeMap::from([(server("own"), 1)]);
        Caps::new(ProcessCaps { per_server, own, per_node, per_principal })
    }

    fn refusal(caps: &Caps, name: &str, principal: &str) -> String {
        match caps.try_enter(&server(name), &key(principal)) {
            Ok(_) => "taken".to_owned(),
            Err((full, _)) => full.to_string(),
        }
    }

    fn enter(caps: &Caps, name: &str, principal: &str) -> Permit {
        caps.try_enter(&server(name), &key(principal)).unwrap()
    }

    #[test]
    fn the_limit_that_is_reached_is_named() {
        let caps = caps(2, 4, 3);
        let mut permits = vec![enter(&caps, "a", "p"), enter(&caps, "a", "p")];
        assert_eq!(
            refusal(&caps, "a", "q"),
            "all 2 of its processes are in use (limits.childrenPerServer)"
        );
        permits.push(enter(&caps, "own", "p"));
        assert_eq!(refusal(&caps, "own", "q"), "all 1 of its processes are in use (maxInstances)");
        assert_eq!(
            refusal(&caps, "b", "p"),
            "you have 3 processes in use (limits.childrenPerPrincipal), counted for the credential p; \
             end sessions that you no longer need"
        );
        permits.push(enter(&caps, "b", "q"));
        assert_eq!(
            refusal(&caps, "c", "r"),
            "all 4 processes of this node are in use (limits.childrenPerNode)"
        );
        drop(permits);
        assert_eq!(refusal(&caps, "a", "p"), "taken");
        assert_eq!(caps.of(&server("a")), 0);
        assert!(caps.counts.lock().keys.is_empty());
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_for_what_is_being_ended_and_for_nothing_else() {
        let caps = caps(1, 10, 10);
        let mut first = enter(&caps, "a", "p");
        let (name, principal) = (server("a"), key("q"));
        assert!(caps.enter(&name, &principal).await.is_err());
        first.mark_ending();
        first.mark_ending();
        let ends = async {
            tokio::task::yield_now().await;
            drop(first);
        };
        let (entered, ()) = tokio::join!(caps.enter(&name, &principal), ends);
        let second = entered.unwrap();
        assert!(caps.enter(&name, &principal).await.is_err(), "nothing is being ended any more");
        drop(second);
    }

    #[test]
    fn spares_have_what_sessions_leave_and_give_way() {
        let caps = caps(10, 2, 10);
        let spare = caps.enter_spare().unwrap();
        let _one = enter(&caps, "a", "p");
        assert!(caps.enter_spare().is_none());
        assert!(!caps.is_crowded());
        let _two = enter(&caps, "a", "p");
        assert!(caps.is_crowded());
        drop(spare);
        assert!(!caps.is_crowded());
    }
}
