//! Limits on the number of processes: of one server, of one principal, and on this
//! node.
//!
//! Processes of sessions count, from before their start until nothing is left of
//! them. One that is being ended still counts, but a start that finds no room waits
//! for it briefly. Spares give way to sessions. Discovery does not count here and is
//! bounded by turns (`starts`): a full node still has to know what its servers offer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::model::{Principal, ServerName};
use crate::sync::Locked;

/// Longest wait for a process that is being ended: longer than the 4 s after which
/// it is killed (`AFTER_EOF` and `AFTER_TERM`).
const ENDING: Duration = Duration::from_secs(5);

/// The limits, in processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessCaps {
    pub per_server: usize,
    /// Replaces `per_server` for servers with `maxInstances`.
    pub own: BTreeMap<ServerName, usize>,
    pub per_node: usize,
    pub per_principal: usize,
}

/// A limit that is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    limit: usize,
    which: Which,
}

impl Full {
    /// Whether processes of `server` count against this limit, which refused a start
    /// of `asked`.
    #[must_use]
    pub fn is_of(&self, asked: &ServerName, server: &ServerName) -> bool {
        match self.which {
            Which::Instances | Which::Server => asked == server,
            Which::Node | Which::Principal => true,
        }
    }

    /// Whether only processes of the refused principal count.
    #[must_use]
    pub fn is_of_principal(&self) -> bool {
        self.which == Which::Principal
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Instances,
    Server,
    Node,
    Principal,
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let limit = self.limit;
        match self.which {
            Which::Instances => write!(f, "all {limit} of its processes are in use (maxInstances)"),
            Which::Server => {
                write!(f, "all {limit} of its processes are in use (limits.childrenPerServer)")
            }
            Which::Node => {
                write!(f, "all {limit} processes of this node are in use (limits.childrenPerNode)")
            }
            Which::Principal => {
                write!(f, "you have {limit} processes in use (limits.childrenPerPrincipal)")
            }
        }
    }
}

#[derive(Debug, Default)]
struct CapCounts {
    all: Count,
    servers: HashMap<ServerName, Count>,
    principals: HashMap<Principal, Count>,
    spares: usize,
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
}

impl Caps {
    #[must_use]
    pub fn new(limits: ProcessCaps) -> Self {
        Self { limits: limits.into(), counts: Arc::default(), freed: watch::Sender::new(0) }
    }

    /// Takes a place for one more process of a session. At a limit it waits, up to
    /// 5 s, while a process that counts against it is being ended.
    ///
    /// # Errors
    /// The limit that is reached.
    pub async fn enter(&self, server: &ServerName, principal: &Principal) -> Result<Permit, Full> {
        let mut freed = self.freed.subscribe();
        let deadline = tokio::time::Instant::now() + ENDING;
        loop {
            freed.borrow_and_update();
            let (full, room_comes) = match self.try_enter(server, principal) {
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
    fn try_enter(
        &self,
        server: &ServerName,
        principal: &Principal,
    ) -> Result<Permit, (Full, bool)> {
        let mut counts = self.counts.lock();
        let (of_server, which) = match self.limits.own.get(server) {
            Some(own) => (*own, Which::Instances),
            None => (self.limits.per_server, Which::Server),
        };
        let count = |count: Option<&Count>| count.copied().unwrap_or_default();
        let checks = [
            (count(counts.servers.get(server)), of_server, which),
            (counts.all, self.limits.per_node, Which::Node),
            (count(counts.principals.get(principal)), self.limits.per_principal, Which::Principal),
        ];
        for (count, limit, which) in checks {
            if count.there >= limit {
                return Err((Full { limit, which }, count.ending > 0));
            }
        }
        let (server, principal) = (server.clone(), principal.clone());
        counts.all.there += 1;
        counts.servers.entry(server.clone()).or_default().there += 1;
        counts.principals.entry(principal.clone()).or_default().there += 1;
        drop(counts);
        Ok(Permit { caps: self.clone(), server, principal, is_ending: false })
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
        if let Some(count) = counts.principals.get_mut(&permit.principal) {
            change(count);
            if count.there == 0 {
                counts.principals.remove(&permit.principal);
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
    principal: Principal,
    is_ending: bool,
}

impl Permit {
    #[must_use]
    pub fn is_of(&self, principal: &Principal) -> bool {
        self.principal == *principal
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

    fn caps(per_server: usize, per_node: usize, per_principal: usize) -> Caps {
        let own = BTreeMap::from([(server("own"), 1)]);
        Caps::new(ProcessCaps { per_server, own, per_node, per_principal })
    }

    fn refusal(caps: &Caps, name: &str, principal: &str) -> String {
        match caps.try_enter(&server(name), &Principal::named(principal)) {
            Ok(_) => "taken".to_owned(),
            Err((full, _)) => full.to_string(),
        }
    }

    fn enter(caps: &Caps, name: &str, principal: &str) -> Permit {
        caps.try_enter(&server(name), &Principal::named(principal)).unwrap()
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
            "you have 3 processes in use (limits.childrenPerPrincipal)"
        );
        permits.push(enter(&caps, "b", "q"));
        assert_eq!(
            refusal(&caps, "c", "r"),
            "all 4 processes of this node are in use (limits.childrenPerNode)"
        );
        drop(permits);
        assert_eq!(refusal(&caps, "a", "p"), "taken");
        assert_eq!(caps.of(&server("a")), 0);
        assert!(caps.counts.lock().principals.is_empty());
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_for_what_is_being_ended_and_for_nothing_else() {
        let caps = caps(1, 10, 10);
        let mut first = enter(&caps, "a", "p");
        let (name, principal) = (server("a"), Principal::named("q"));
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
