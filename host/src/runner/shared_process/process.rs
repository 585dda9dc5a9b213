//! Processes that sessions share.
//!
//! ```text
//! a session ──► Starting ──► Running ──► closed   (no session for the idle time)
//!                   │           └──────► lost     (it died: every seat is lost)
//!                   └──────► failed               (the waiting sessions get the error)
//! ```
//!
//! The gateway initialises a shared process once, as a client without capabilities, and answers
//! each session's `initialize` with the process's result (`initialize::result_for`). The sessions'
//! further messages go through the [`Mux`].

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::model::{Principal, QuotaKey, ServerName, SessionId};
use crate::protocol::initialize::{self, ClientSet};
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::{methods, own_id};
use crate::runner::admission::admit::AdmittedStart;
use crate::runner::admission::caps::Permit;
use crate::runner::admission::open_error::OpenError;
use crate::runner::admission::starts::{Opener, Starts};
use crate::runner::channel::answer::{self, CallError};
use crate::runner::channel::pipe::LostSignal;
use crate::runner::channel::queue::ToServer;
use crate::runner::channel::terms::SessionTerms;
use crate::runner::process::child::Children;
use crate::runner::process::program::Program;
use crate::runner::session::revision::{Asking, Revisions};
use crate::runner::stderr::journal::{Journal, ProcessOwner};
use crate::runner::stderr::tail;
use crate::runner::stdio::running::{self, Running, StartedProcess};
use crate::sync::Locked;

use super::mux::Mux;
use super::seat::Seat;

/// Attempts to take a seat: a process may end between its start and that moment.
const ATTEMPTS: u32 = 3;

/// Pause between two reports that a process is alive.
const LOOK: Duration = Duration::from_secs(2);

/// Whether sessions share a process of their server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    pub by: Sharers,
    /// How long the process stays without a session.
    pub idle: Duration,
}

impl Sharing {
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.by != Sharers::Nobody
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharers {
    /// Each session has its own process.
    Nobody,
    /// The sessions of one principal.
    Principal,
    All,
}

/// Identifies a shared process: its server, and the principal whose sessions share it; `None` if
/// all sessions do.
pub type SharedProcessKey = (ServerName, Option<Principal>);

/// Everything that the start of a shared process needs.
#[derive(Clone)]
pub struct Beginning {
    pub program: Program,
    pub terms: SessionTerms,
    pub children: Children,
    pub starts: Arc<Starts>,
    pub journal: Journal,
    pub revisions: Revisions,
    /// Whether a refusal may mean that the server has no sessions, which is then found out.
    pub probes: bool,
    /// Whom it counts for: the session that needs it first. `None` if the gateway itself does.
    pub quota: Option<QuotaKey>,
    /// Longest time from its start to its answer to `initialize`.
    pub patience: Duration,
    /// How long it stays without a session.
    pub idle: Duration,
}

/// A running shared process.
pub struct SharedProcess {
    pub mux: Arc<Mux>,
    /// The `InitializeResult`, as the server wrote it.
    pub result: Bytes,
    process: Running,
}

impl SharedProcess {
    /// Starts the process, with an older revision if the server refuses ours.
    async fn start(server: &ServerName, with: &Beginning) -> Result<Self, OpenError> {
        let own = initialize::own_params(ClientSet::default(), None);
        let mut asking = Asking::of(server, own.into(), &with.revisions);
        asking.probes = with.probes;
        loop {
            let error = match Self::start_once(server, with, &asking).await {
                Ok(started) => {
                    asking.granted();
                    return Ok(started);
                }
                Err(error) => error,
            };
            let OpenError::Refused { reason, .. } = &error else {
                asking.given_up();
                return Err(error);
            };
            if !asking.asks_again(reason) {
                return Err(error);
            }
        }
    }

    /// Starts the process like one for a single session (`launch`): only if the server is not
    /// backing off, within the same limits, and in its turn (`admit`).
    async fn start_once(
        server: &ServerName,
        with: &Beginning,
        asking: &Asking<'_>,
    ) -> Result<Self, OpenError> {
        let admitting = with.starts.admit(server, with.quota.as_ref());
        let AdmittedStart { attempt, permit, turn } = admitting.await?;
        let introducing =
            tokio::time::timeout(with.patience, Self::introduce(server, with, permit, asking));
        let started = turn.during(introducing).await.unwrap_or_else(|_| {
            Err(OpenError::Silent { server: server.clone(), patience: with.patience })
        });
        match &started {
            Ok(shared_process) => {
                attempt.succeeded(Opener::Gateway);
                // The process may have ended since.
                shared_process.process.mark_open();
            }
            Err(OpenError::Refused { reason, .. }) => {
                if !asking.may_ask_again(reason) {
                    attempt.refused(Opener::Gateway, &format!("it refused initialize: {reason}"));
                }
            }
            Err(error) => attempt.failed(&error.to_string(), Vec::new()),
        }
        started
    }

    async fn introduce(
        server: &ServerName,
        with: &Beginning,
        permit: Option<Permit>,
        asking: &Asking<'_>,
    ) -> Result<Self, OpenError> {
        let failed = |reason| OpenError::Start { server: server.clone(), reason };
        let (inbox, outbox) = ToServer::new();
        let mux = Mux::new(server, with.terms.limits.line, inbox);
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
        let own = Seat::take(&mux, SessionId::mint(), with.terms.clone(), process.pid());
        let own = own.ok_or_else(|| failed("it ended right after its start".to_owned()))?;
        let params = String::from_utf8_lossy(&asking.params);
        let message = jsonrpc::request(own_id::OPENING, methods::INITIALIZE, &params);
        let envelope = Envelope::parse(&message).map_err(|error| failed(error.to_string()))?;
        let response = own.pipe().post(message.clone(), &envelope, true).await;
        let result = answer::result_of(response).await.map_err(|error| {
            let words = || tail::shown(&process.tail().texts());
            match (mux.lost.borrow().as_deref(), error) {
                (Some(why), _) => failed(format!("{why}{}", words())),
                (None, CallError::Refused(reason, _)) => {
                    OpenError::Refused { server: server.clone(), reason }
                }
                (None, error) => failed(format!("{error}{}", words())),
            }
        })?;
        mux.tell(jsonrpc::notification(methods::INITIALIZED)).await;
        Ok(Self { mux, result, process })
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
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

type Started = Option<Result<Arc<SharedProcess>, OpenError>>;

/// The shared processes of a runner. Cloning is cheap.
#[derive(Clone, Default)]
pub struct SharedProcesses(Arc<Locked<HashMap<SharedProcessKey, Entry>>>);

/// A process that is being started, or runs.
#[derive(Clone)]
struct Entry {
    started: watch::Receiver<Started>,
    /// A session that begins with other settings does not join it.
    program: Program,
}

impl fmt::Debug for SharedProcesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedProcesses").field(&self.locked().len()).finish()
    }
}

impl SharedProcesses {
    /// A seat at the process of this key, which is started if it does not run.
    ///
    /// # Errors
    /// If the process cannot be started, or keeps ending.
    pub async fn seat(
        &self,
        key: &SharedProcessKey,
        session: SessionId,
        terms: SessionTerms,
        with: Beginning,
    ) -> Result<(Seat, Bytes), OpenError> {
        for _ in 0..ATTEMPTS {
            let shared_process = self.shared_process(key, &with).await?;
            if let Some(seat) =
                Seat::take(&shared_process.mux, session, terms.clone(), shared_process.pid())
            {
                return Ok((seat, shared_process.result.clone()));
            }
        }
        let reason = "its shared process keeps ending right after its start".to_owned();
        Err(OpenError::Start { server: key.0.clone(), reason })
    }

    /// A seat at the process of this key, if it runs already.
    #[must_use]
    pub fn seat_if_running(
        &self,
        key: &SharedProcessKey,
        terms: SessionTerms,
    ) -> Option<(Seat, Bytes)> {
        let shared_process = match &*self.locked().get(key)?.started.borrow() {
            Some(Ok(shared_process)) => Arc::clone(shared_process),
            _ => return None,
        };
        let seat = Seat::take(&shared_process.mux, SessionId::mint(), terms, shared_process.pid())?;
        Some((seat, shared_process.result.clone()))
    }

    /// Gives no more seats at the processes of this server that run now: the next session starts
    /// another one. Each ends once its sessions have left it.
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
                if let Ok(Some(Ok(shared_process))) =
                    started.wait_for(Option::is_some).await.as_deref()
                {
                    shared_process.mux.retired.raise();
                }
            });
        }
    }

    /// Closes all shared processes.
    pub fn close(&self) {
        let shared_processes = std::mem::take(&mut *self.locked());
        for entry in shared_processes.into_values() {
            if let Some(Ok(shared_process)) = &*entry.started.borrow() {
                shared_process.process.close();
            }
        }
    }

    async fn shared_process(
        &self,
        key: &SharedProcessKey,
        with: &Beginning,
    ) -> Result<Arc<SharedProcess>, OpenError> {
        let mut started = {
            let mut shared_processes = self.locked();
            let is_meant =
                |entry: &&Entry| entry.program == with.program && is_usable(&entry.started);
            match shared_processes.get(key).filter(is_meant) {
                Some(entry) => entry.started.clone(),
                None => {
                    let (told, started) = watch::channel(None);
                    let program = with.program.clone();
                    let entry = Entry { started: started.clone(), program };
                    shared_processes.insert(key.clone(), entry);
                    // On its own task: other sessions wait for it even if this one leaves.
                    tokio::spawn(self.clone().run(key.clone(), with.clone(), told));
                    started
                }
            }
        };
        let given_up = || {
            let reason = "its start was abandoned".to_owned();
            OpenError::Start { server: key.0.clone(), reason }
        };
        match started.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            Ok(None) | Err(_) => Err(given_up()),
        }
    }

    /// Runs one process from its start to its end.
    async fn run(self, key: SharedProcessKey, with: Beginning, told: watch::Sender<Started>) {
        let outcome = SharedProcess::start(&key.0, &with).await.map(Arc::new);
        told.send_replace(Some(outcome.clone()));
        let Ok(shared_process) = outcome else {
            self.forget(&key, &told);
            return;
        };
        let owner = ProcessOwner::Sharers(key.1.clone());
        let restarts = with.journal.lost(&key.0, &owner);
        shared_process.mux.restarts.store(restarts, Ordering::Relaxed);
        let sharers = key.1.as_ref().map_or("by all sessions", |_| "by one principal");
        tracing::info!(server = %key.0, pid = shared_process.pid(), "shared process started, used {sharers}");
        let mut lost: LostSignal = shared_process.mux.lost.subscribe();
        let why = tokio::select! {
            () = idle(&shared_process.mux, with.idle) => None,
            why = lost.wait_for(Option::is_some) => why.ok().and_then(|why| why.clone()),
            never = shared_process.report_health(&key.0, &with.starts) => match never {},
        };
        match why {
            Some(why) => {
                with.journal.count_lost(&key.0, owner);
                tracing::warn!(server = %key.0, "{why}; it was shared, and is started again when needed")
            }
            None => {
                tracing::info!(server = %key.0, pid = shared_process.pid(), "idle shared process ended")
            }
        }
        self.forget(&key, &told);
        shared_process.process.close();
    }

    /// Removes the entry, unless a later start has replaced it.
    fn forget(&self, key: &SharedProcessKey, told: &watch::Sender<Started>) {
        let mut shared_processes = self.locked();
        let own = told.subscribe();
        if shared_processes.get(key).is_some_and(|entry| entry.started.same_channel(&own)) {
            shared_processes.remove(key);
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<SharedProcessKey, Entry>> {
        self.0.lock()
    }
}

/// Resolves when no seat has been taken for `limit`, or none is taken once it is retired, after closing
/// the process to new ones.
async fn idle(mux: &Mux, limit: Duration) {
    let (mut seated, mut retired) = (mux.seated.subscribe(), mux.retired.watch());
    loop {
        // Cannot fail: the sender lives as long as the mux.
        let _ = seated.wait_for(|seated| *seated == 0).await;
        let is_idle = tokio::select! {
            next = tokio::time::timeout(limit, seated.wait_for(|seated| *seated > 0)) => {
                next.is_err()
            }
            () = retired.raised() => true,
        };
        if is_idle && mux.close_if_empty() {
            return;
        }
    }
}

/// Whether the process is being started, or runs and can be joined.
fn is_usable(started: &watch::Receiver<Started>) -> bool {
    match &*started.borrow() {
        None => started.has_changed().is_ok(),
        Some(Ok(shared_process)) => !shared_process.mux.is_closed(),
        Some(Err(_)) => false,
    }
}
