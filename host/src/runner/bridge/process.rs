//! Processes of servers of the revision without sessions.
//!
//! ```text
//! a session ──► Starting ──► Running ──► closed   (no session for the idle time)
//!                   │           └──────► lost     (it died: its requests fail, nothing else is lost)
//!                   └──────► failed               (the waiting sessions get the error)
//! ```
//!
//! One serves all sessions, unless the server's `isolation` asks for several. It is started like one
//! for a single session (`launch`), and asked what it offers before anything else.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::model::{Principal, QuotaKey, ServerName, SessionId};
use crate::runner::admission::admit::AdmittedStart;
use crate::runner::admission::caps::Permit;
use crate::runner::admission::open_error::OpenError;
use crate::runner::admission::starts::{Opener, Starts};
use crate::runner::channel::queue::ToServer;
use crate::runner::process::child::Children;
use crate::runner::process::program::Program;
use crate::runner::stderr::journal::{Journal, ProcessOwner};
use crate::runner::stderr::tail;
use crate::runner::stdio::running::{self, Running, StartedProcess};
use crate::sync::Locked;

use super::discover::{self, NotDiscovered};
use super::mux::{ModernMux, Place};
use super::server::ModernServer;

/// Attempts to take a place: a process may end between its start and that moment.
const ATTEMPTS: u32 = 3;
/// Longest wait for the exit of a process that has closed its output.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Pause between two reports that a process is alive.
const LOOK: Duration = Duration::from_secs(2);

/// Whose process it is: of all sessions, of those of one principal, or of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UsedBy {
    All,
    Principal(Principal),
    Session(SessionId),
}

/// Identifies a process.
pub type ModernKey = (ServerName, UsedBy);

/// Everything that the start of a process needs.
#[derive(Clone)]
pub struct ModernStart {
    pub program: Program,
    /// The longest line, in bytes.
    pub line: usize,
    pub children: Children,
    pub starts: Arc<Starts>,
    pub journal: Journal,
    /// Whom it counts for. `None` if the gateway itself needs it.
    pub quota: Option<QuotaKey>,
    /// Longest time from its start to its first answer.
    pub patience: Duration,
    /// How long it stays without a session.
    pub idle: Duration,
    /// Whether it is only tried: then a failure counts neither for the server nor against it.
    pub is_trial: bool,
    /// Whether its entry says that it serves the revision: else it is no failure that it does not.
    pub is_pinned: bool,
}

/// A running process.
struct ModernProcess {
    mux: Arc<ModernMux>,
    /// What it has answered to `server/discover`.
    found: Bytes,
    process: Running,
}

impl ModernProcess {
    async fn start(server: &ServerName, with: &ModernStart) -> Result<Self, NotDiscovered> {
        let admitting = with.starts.admit(server, with.quota.as_ref());
        let AdmittedStart { attempt, permit, turn } = admitting.await?;
        let asking = tokio::time::timeout(with.patience, Self::ask(server, with, permit));
        let started = turn.during(asking).await.unwrap_or_else(|_| {
            let (server, patience) = (server.clone(), with.patience);
            Err(match with.is_trial {
                true => NotDiscovered::OtherEra("it did not answer in time".to_owned()),
                false => OpenError::Silent { server, patience }.into(),
            })
        });
        match &started {
            Ok(started) => {
                let of_client = with.quota.is_some();
                attempt.succeeded(if of_client { Opener::Client } else { Opener::Gateway });
                // The process may have ended since.
                started.process.mark_open();
            }
            Err(_) if with.is_trial => {}
            Err(NotDiscovered::OtherEra(_)) if !with.is_pinned => {}
            Err(error) => attempt.failed(&error.to_string(), Vec::new()),
        }
        started
    }

    async fn ask(
        server: &ServerName,
        with: &ModernStart,
        permit: Option<Permit>,
    ) -> Result<Self, NotDiscovered> {
        let failed = |reason| OpenError::Start { server: server.clone(), reason };
        let (inbox, outbox) = ToServer::new();
        let mux = ModernMux::new(server, with.line, inbox);
        let process = StartedProcess::start(server, &with.program, &with.children, &with.journal)
            .await
            .map_err(|error| match error.is_shortage {
                true => OpenError::short(server.clone(), error.to_string()),
                false => failed(error.to_string()),
            })?;
        let process = Running::serve(process, &mux, outbox, &with.starts);
        if let Some(permit) = permit {
            process.child().hold(permit);
        }
        let Some(place) = mux.enter(process.pid()) else {
            return Err(failed("it ended right after its start".to_owned()).into());
        };
        let found = discover::ask(server, &ModernServer::Process(place)).await;
        let error = match found {
            Ok(found) => return Ok(Self { mux, found: found.result, process }),
            Err(error) => error,
        };
        if matches!(error, NotDiscovered::Open(_)) && mux.is_closed() {
            let mut lost = mux.lost.subscribe();
            let how = tokio::time::timeout(LAST_WORD, lost.wait_for(Option::is_some)).await;
            let why = how.ok().and_then(|how| how.ok()?.clone());
            let why = why.as_deref().unwrap_or("it has closed its stdout").to_owned();
            return Err(failed(format!("{why}{}", tail::shown(&process.tail().texts()))).into());
        }
        process.close();
        Err(error)
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Reports every `LOOK` that the process is alive; never returns.
    async fn report_health(&self, server: &ServerName, starts: &Starts) -> Infallible {
        loop {
            tokio::time::sleep(LOOK).await;
            starts.lives(server, self.process.age(), running::has_answered(&*self.mux));
        }
    }
}

type Started = Option<Result<Arc<ModernProcess>, NotDiscovered>>;

/// The processes of a runner. Cloning is cheap.
#[derive(Clone, Default)]
pub struct ModernProcesses(Arc<Locked<HashMap<ModernKey, Entry>>>);

/// A process that is being started, or runs.
#[derive(Clone)]
struct Entry {
    started: watch::Receiver<Started>,
    /// A session that begins with other settings does not use it.
    program: Program,
}

impl fmt::Debug for ModernProcesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ModernProcesses").field(&self.locked().len()).finish()
    }
}

impl ModernProcesses {
    /// A place at the process of this key, which is started if it does not run, and what the server
    /// offers.
    ///
    /// # Errors
    /// If the process cannot be started, keeps ending, or is of another era.
    pub async fn place(
        &self,
        key: &ModernKey,
        with: ModernStart,
    ) -> Result<(Arc<Place>, Bytes), NotDiscovered> {
        for _ in 0..ATTEMPTS {
            let process = self.process(key, &with).await?;
            if let Some(place) = process.mux.enter(process.pid()) {
                return Ok((place, process.found.clone()));
            }
        }
        let reason = "its process keeps ending right after its start".to_owned();
        Err(OpenError::Start { server: key.0.clone(), reason }.into())
    }

    /// Whether the process of this key runs.
    #[must_use]
    pub fn is_running(&self, key: &ModernKey) -> bool {
        let processes = self.locked();
        let Some(entry) = processes.get(key) else { return false };
        matches!(&*entry.started.borrow(), Some(Ok(process)) if !process.mux.is_closed())
    }

    /// Gives no more places at the processes of this server that run now. Each ends once its
    /// sessions have left it.
    pub fn retire(&self, server: &ServerName) {
        let mut retired = Vec::new();
        self.locked().retain(|(name, _), entry| {
            let stays = name != server;
            if !stays {
                retired.push(entry.started.clone());
            }
            stays
        });
        for mut started in retired {
            tokio::spawn(async move {
                if let Ok(Some(Ok(process))) = started.wait_for(Option::is_some).await.as_deref() {
                    process.mux.retired.raise();
                }
            });
        }
    }

    /// Closes all processes.
    pub fn close(&self) {
        for entry in std::mem::take(&mut *self.locked()).into_values() {
            if let Some(Ok(process)) = &*entry.started.borrow() {
                process.process.close();
            }
        }
    }

    async fn process(
        &self,
        key: &ModernKey,
        with: &ModernStart,
    ) -> Result<Arc<ModernProcess>, NotDiscovered> {
        let mut started = {
            let mut processes = self.locked();
            let is_meant =
                |entry: &&Entry| entry.program == with.program && is_usable(&entry.started);
            match processes.get(key).filter(is_meant) {
                Some(entry) => entry.started.clone(),
                None => {
                    let (told, started) = watch::channel(None);
                    let entry = Entry { started: started.clone(), program: with.program.clone() };
                    processes.insert(key.clone(), entry);
                    // On its own task: other sessions wait for it even if this one leaves.
                    tokio::spawn(self.clone().run(key.clone(), with.clone(), told));
                    started
                }
            }
        };
        let given_up = || {
            let reason = "its start was abandoned".to_owned();
            OpenError::Start { server: key.0.clone(), reason }.into()
        };
        match started.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            Ok(None) | Err(_) => Err(given_up()),
        }
    }

    /// Runs one process from its start to its end.
    async fn run(self, key: ModernKey, with: ModernStart, told: watch::Sender<Started>) {
        let outcome = ModernProcess::start(&key.0, &with).await.map(Arc::new);
        let started = outcome.as_ref().ok().map(Arc::clone);
        let owner = ProcessOwner::Sharers(match &key.1 {
            UsedBy::Principal(principal) => Some(principal.clone()),
            UsedBy::All | UsedBy::Session(_) => None,
        });
        if let Some(process) = &started {
            let restarts = with.journal.lost(&key.0, &owner);
            process.mux.restarts.store(restarts, Ordering::Relaxed);
        }
        told.send_replace(Some(outcome));
        let Some(process) = started else {
            self.forget(&key, &told);
            return;
        };
        tracing::info!(server = %key.0, pid = process.pid(), "process started; it serves without sessions");
        let mut lost = process.mux.lost.subscribe();
        // One of a single session ends with it.
        let limit = if matches!(key.1, UsedBy::Session(_)) { Duration::ZERO } else { with.idle };
        let why = tokio::select! {
            () = idle(&process.mux, limit) => None,
            why = lost.wait_for(Option::is_some) => why.ok().and_then(|why| why.clone()),
            never = process.report_health(&key.0, &with.starts) => match never {},
        };
        match why {
            Some(why) => {
                with.journal.count_lost(&key.0, owner);
                tracing::warn!(server = %key.0, "{why}; it is started again when needed");
            }
            None => {
                tracing::info!(server = %key.0, pid = process.pid(), "idle process ended");
            }
        }
        self.forget(&key, &told);
        process.process.close();
    }

    /// Removes the entry, unless a later start has replaced it.
    fn forget(&self, key: &ModernKey, told: &watch::Sender<Started>) {
        let mut processes = self.locked();
        let own = told.subscribe();
        if processes.get(key).is_some_and(|entry| entry.started.same_channel(&own)) {
            processes.remove(key);
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<ModernKey, Entry>> {
        self.0.lock()
    }
}

/// Time for the session that has waited for a process to take its place there.
const ARRIVAL: Duration = Duration::from_secs(1);

/// Resolves when no session has used the process for `limit`, or none uses it once it is retired,
/// after closing it to new ones.
async fn idle(mux: &ModernMux, limit: Duration) {
    let (mut users, mut retired) = (mux.users.subscribe(), mux.retired.watch());
    let _ = tokio::time::timeout(ARRIVAL, users.wait_for(|users| *users > 0)).await;
    loop {
        // Cannot fail: the sender lives as long as the mux.
        let _ = users.wait_for(|users| *users == 0).await;
        let is_idle = tokio::select! {
            next = tokio::time::timeout(limit, users.wait_for(|users| *users > 0)) => next.is_err(),
            () = retired.raised() => true,
        };
        if is_idle && mux.close_if_empty() {
            return;
        }
    }
}

/// Whether the process is being started, or runs and can be used.
fn is_usable(started: &watch::Receiver<Started>) -> bool {
    match &*started.borrow() {
        None => started.has_changed().is_ok(),
        Some(Ok(process)) => !process.mux.is_closed(),
        Some(Err(_)) => false,
    }
}
