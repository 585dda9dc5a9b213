//! What this host's instances are doing, for people who look.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::model::{ServerName, SessionId, UnixMillis};

use super::endpoint::Shared;
use super::journal::Journal;
use super::served::Recipe;
use super::tail::Line;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has not answered `initialize` yet.
    Starting,
    Ready,
    /// It has gone; its session's next message opens it again.
    Ended,
}

impl Phase {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Ended => "ended",
        }
    }
}

/// One instance as it is now.
#[derive(Debug, Clone)]
pub struct Seen {
    pub server: ServerName,
    /// Whom it works for.
    pub sessions: Vec<SessionId>,
    pub phase: Phase,
    pub transport: &'static str,
    /// None for a remote server, and until it has started.
    pub pid: Option<u32>,
    pub opened_at: UnixMillis,
    pub last_used: UnixMillis,
    /// Oldest first.
    pub stderr: Vec<Line>,
    /// Of all instances of the server.
    pub restarts: u64,
}

impl Shared {
    /// Instances that start, run or have just ended; of one server, or of all.
    #[must_use]
    pub fn look(&self, server: Option<&ServerName>) -> Vec<Seen> {
        // Sessions that share an instance are one entry.
        let mut shared = HashMap::new();
        let mut all: Vec<Seen> = Vec::new();
        for slot in self.table.slots(server) {
            let (session, server) = slot.key;
            let Some(instance) = slot.instance else {
                all.push(Seen {
                    restarts: self.means.journal.lost(&server),
                    transport: self.transport_of(&server),
                    server,
                    sessions: vec![session],
                    phase: Phase::Starting,
                    pid: None,
                    opened_at: slot.opened_at,
                    last_used: slot.last_used,
                    stderr: Vec::new(),
                });
                continue;
            };
            let address = Arc::as_ptr(&instance);
            if let Some(seen) = shared.get(&address).and_then(|index: &usize| all.get_mut(*index)) {
                seen.sessions.push(session);
                seen.opened_at = seen.opened_at.min(slot.opened_at);
                seen.last_used = seen.last_used.max(slot.last_used);
                continue;
            }
            shared.insert(address, all.len());
            all.push(Seen {
                restarts: self.means.journal.lost(&server),
                server,
                sessions: vec![session],
                phase: if instance.is_lost() { Phase::Ended } else { Phase::Ready },
                transport: instance.transport(),
                pid: instance.pid(),
                opened_at: slot.opened_at,
                last_used: slot.last_used,
                stderr: instance.stderr(),
            });
        }
        all
    }

    /// Instances of each server that has one.
    #[must_use]
    pub fn per_server(&self) -> BTreeMap<ServerName, u32> {
        let mut counts = BTreeMap::new();
        let mut shared = HashSet::new();
        for slot in self.table.slots(None) {
            let instance = slot.instance.as_ref().map(Arc::as_ptr);
            if instance.is_none_or(|address| shared.insert(address)) {
                *counts.entry(slot.key.1).or_default() += 1;
            }
        }
        counts
    }

    /// Processes of sessions, those that start included. Discovery has its own.
    #[must_use]
    pub fn processes(&self) -> usize {
        let of_process = |server| self.transport_of(server) == "stdio";
        self.per_server().iter().filter(|(s, _)| of_process(s)).map(|(_, n)| *n as usize).sum()
    }

    /// What the children of servers write to stderr.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.means.journal
    }

    /// The transport that is tried first.
    fn transport_of(&self, server: &ServerName) -> &'static str {
        match self.config.servers.get(server).map(|served| &served.recipe) {
            Some(Recipe::Stdio(_)) => "stdio",
            Some(Recipe::Http(_) | Recipe::HttpOrSse(_)) => "http",
            Some(Recipe::Sse(_)) => "sse",
            Some(Recipe::Broken(_)) | None => "",
        }
    }
}
