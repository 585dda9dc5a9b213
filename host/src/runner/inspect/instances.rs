//! The instances of this runner, as operators see them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{ServerName, SessionId, UnixMillis};
use crate::runner::session::instance::Instance;
use crate::runner::session::served::Recipe;
use crate::runner::shared::SharedRunner;
use crate::runner::shared_process::process::Sharers;
use crate::runner::stderr::journal::{Journal, ProcessOwner};
use crate::runner::stderr::tail::Line;

/// How far an instance has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has not answered `initialize` yet.
    Starting,
    Ready,
    /// It has ended by itself; its session's next message opens another.
    Ended,
    /// It waits for a session.
    Spare,
}

impl Phase {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Ended => "ended",
            Self::Spare => "spare",
        }
    }
}

/// One instance as it is now.
#[derive(Debug, Clone)]
pub struct InstanceView {
    pub server: ServerName,
    /// The sessions that it serves, in order: several if they share a process, none if it is a
    /// spare.
    pub sessions: Vec<SessionId>,
    pub phase: Phase,
    pub transport: &'static str,
    /// `None` for a remote server, and while it starts.
    pub pid: Option<u32>,
    pub opened_at: UnixMillis,
    pub last_used: UnixMillis,
    /// The last lines on stderr, oldest first. Empty for a shared process.
    pub stderr: Vec<Line>,
    /// How often the process of this session, or of these sessions, has ended by itself before.
    pub restarts: u64,
}

/// How many processes and instances this runner has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Processes of sessions, those that start included. Those of discovery and those
    /// that are being ended do not count.
    pub processes: usize,
    /// By server: its processes, or the sessions at a remote one. Servers without any are
    /// left out.
    pub instances: BTreeMap<ServerName, u32>,
}

/// What makes sessions share one entry of the list.
#[derive(PartialEq, Eq, Hash)]
enum Subject {
    Process(*const ()),
    /// The starting process that all sessions of a server wait for.
    Starting(ServerName),
}

/// A process that waits for a session, as one of the list.
fn spare((server, pid, age): (ServerName, u32, Duration)) -> InstanceView {
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    let since = UnixMillis(UnixMillis::now().0.saturating_sub(age));
    InstanceView {
        server,
        sessions: Vec::new(),
        phase: Phase::Spare,
        transport: "stdio",
        pid: Some(pid),
        opened_at: since,
        last_used: since,
        stderr: Vec::new(),
        restarts: 0,
    }
}

impl SharedRunner {
    /// Instances that start, run or have just ended, and spares, of one server or of all.
    #[must_use]
    pub fn look(&self, server: Option<&ServerName>) -> Vec<InstanceView> {
        // Sessions that share a process are one entry.
        let mut known: HashMap<Subject, usize> = HashMap::new();
        let mut all: Vec<InstanceView> = Vec::new();
        // Held until the end, since `behind` is an address: a new process must not get
        // that of an old one meanwhile.
        let slots = self.table.slots(server);
        for slot in &slots {
            let (session, server) = &slot.key;
            let subject = match &slot.instance {
                Some(instance) => Some(Subject::Process(instance.behind())),
                None => self.waits_with_all(server).then(|| Subject::Starting(server.clone())),
            };
            if let Some(subject) = subject {
                let index = *known.entry(subject).or_insert(all.len());
                if let Some(seen) = all.get_mut(index) {
                    seen.sessions.push(*session);
                    seen.opened_at = seen.opened_at.min(slot.opened_at);
                    seen.last_used = seen.last_used.max(slot.last_used);
                    continue;
                }
            }
            let instance = slot.instance.as_ref();
            all.push(InstanceView {
                server: server.clone(),
                sessions: vec![*session],
                phase: match instance {
                    None => Phase::Starting,
                    Some(instance) if instance.is_lost() => Phase::Ended,
                    Some(_) => Phase::Ready,
                },
                transport: instance
                    .map_or_else(|| self.transport_of(server), |instance| instance.transport()),
                pid: instance.and_then(|instance| instance.pid()),
                opened_at: slot.opened_at,
                last_used: slot.last_used,
                stderr: instance.map(|instance| instance.stderr()).unwrap_or_default(),
                restarts: self.restarts(session, server, instance),
            });
        }
        // The first session stands for the entry where the list is read in pages.
        all.iter_mut().for_each(|seen| seen.sessions.sort_unstable());
        all.extend(self.resources.spares.running(server).into_iter().map(spare));
        all
    }

    fn restarts(
        &self,
        session: &SessionId,
        server: &ServerName,
        instance: Option<&Arc<Instance>>,
    ) -> u64 {
        let shared = instance.and_then(|instance| instance.restarts());
        let of_session = || self.resources.journal.lost(server, &ProcessOwner::Session(*session));
        shared.unwrap_or_else(of_session)
    }

    /// Whether all sessions that open this server wait for one process.
    fn waits_with_all(&self, server: &ServerName) -> bool {
        let servers = self.servers.load();
        servers.get(server).is_some_and(|served| served.sharing.by == Sharers::All)
    }

    /// What counts against the limits now.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let servers = self.servers.load();
        let is_remote = |server: &ServerName| {
            let recipe = servers.get(server).map(|served| &served.recipe);
            !matches!(recipe, Some(Recipe::Stdio(_)))
        };
        let mut instances = self.table.count(is_remote);
        let in_use = self.resources.starts.caps.in_use();
        let processes = in_use.iter().map(|(_, count)| count).sum();
        let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
        instances.extend(in_use.into_iter().map(|(server, count)| (server, number(count))));
        Tally { processes, instances }
    }

    /// What the children of servers write to stderr.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.resources.journal
    }

    /// The transport that an instance would try first.
    fn transport_of(&self, server: &ServerName) -> &'static str {
        let servers = self.servers.load();
        match servers.get(server).map(|served| &served.recipe) {
            Some(Recipe::Stdio(_)) => "stdio",
            Some(Recipe::Http(_) | Recipe::HttpOrSse(_)) => "http",
            Some(Recipe::Sse(_)) => "sse",
            Some(Recipe::Broken(_)) | None => "",
        }
    }
}
