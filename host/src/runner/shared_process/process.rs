//! Processes that sessions share.
//!
//! ```text
//! a session ──► Starting ──► Running ──► closed   (nobody at it for the idle time)
//!                   │           └──────► lost     (it died: every seat with it)
//!                   └──────► failed               (whoever waited is told)
//! ```
//!
//! A hub initialises its process once, as a client that can do nothing, and
//! answers each session's `initialize` with what it got (`initialize::result_for`).
//! What a session sends then goes through the `exchange`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::model::{Principal, ServerName, SessionId};
use crate::protocol::initialize::{self, ClientSet};
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::methods;
use crate::runner::admission::admit::AdmittedStart;
use crate::runner::admission::caps::Permit;
use crate::runner::admission::open_error::OpenError;
use crate::runner::admission::starts::Starts;
use crate::runner::channel::answer::{self, CallError, OWN_ID};
use crate::runner::channel::pipe::{LostSignal, SessionLimits};
use crate::runner::channel::queue::ToServer;
use crate::runner::process::child::Children;
use crate::runner::process::program::Program;
use crate::runner::stderr::journal::Journal;
use crate::runner::stderr::tail;
use crate::runner::stdio::running::{self, Running, StartedProcess};
use crate::sync::Locked;

use super::mux::Mux;
use super::seat::Seat;

/// A process that ends between its start and the first session, so often.
const ATTEMPTS: u32 = 3;

/// Between two looks whether a process has lived long enough to be well.
const LOOK: Duration = Duration::from_secs(2);

/// Whether sessions share a process of their server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    pub by: Sharers,
    /// How long the process stays when no session is at it.
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
    /// Each session has its own.
    Nobody,
    /// The sessions of one principal.
    Principal,
    All,
}

/// Who shares one process: all, or those of one principal.
pub type SharedProcessKey = (ServerName, Option<Principal>);

/// What a shared process is started with.
#[derive(Clone)]
pub struct Beginning {
    pub program: Program,
    pub rules: SessionLimits,
    pub children: Children,
    pub starts: Arc<Starts>,
    pub journal: Journal,
    /// Whose session asks for it; none if it is the gateway's own.
    pub principal: Option<Principal>,
    /// Longest time until it has answered `initialize`.
    pub patience: Duration,
    /// How long it stays when nobody is at it.
    pub idle: Duration,
}

/// A shared process and what goes through it.
pub struct SharedProcess {
    pub mux: Arc<Mux>,
    /// The `InitializeResult`, as the server wrote it.
    pub result: Bytes,
    process: Running,
}

impl SharedProcess {
    /// Starts the process as one for a session is started (`launch`): if the server
    /// is not backing off, within the same limits, and in its turn (`doors`).
    async fn start(server: &ServerName, with: &Beginning) -> Result<Self, OpenError> {
        let admitting = with.starts.admit(server, with.principal.as_ref());
        let AdmittedStart { attempt, permit, turn } = admitting.await?;
        let introducing =
            tokio::time::timeout(with.patience, Self::introduce(server, with, permit));
        let started = turn.during(introducing).await.unwrap_or_else(|_| {
            Err(OpenError::Silent { server: server.clone(), patience: with.patience })
        });
        match &started {
            Ok(shared_process) => {
                attempt.succeeded();
                // It may have ended since.
                shared_process.process.mark_open();
            }
            Err(OpenError::Refused { .. }) => attempt.succeeded(),
            Err(error) => attempt.failed(&error.to_string(), Vec::new()),
        }
        started
    }

    async fn introduce(
        server: &ServerName,
        with: &Beginning,
        permit: Option<Permit>,
    ) -> Result<Self, OpenError> {
        let failed = |reason| OpenError::Start { server: server.clone(), reason };
        let (inbox, outbox) = ToServer::new();
        let mux = Mux::new(server, with.rules.line, inbox);
        let process = StartedProcess::start(server, &with.program, &with.children, &with.journal)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let process = Running::serve(process, &mux, outbox, &with.starts);
        if let Some(permit) = permit {
            process.child().hold(permit);
        }
        let own = Seat::take(&mux, SessionId::mint(), with.rules, process.pid());
        let own = own.ok_or_else(|| failed("has ended at once".to_owned()))?;
        let params = initialize::own_params(ClientSet::default());
        let message = jsonrpc::request(OWN_ID, methods::INITIALIZE, &params);
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

    /// Says now and then that it lives, for ever.
    async fn report_health(&self, server: &ServerName, starts: &Starts) -> Infallible {
        loop {
            tokio::time::sleep(LOOK).await;
            starts.lives(server, self.process.age(), running::has_answered(&*self.mux));
        }
    }
}

type Started = Option<Result<Arc<SharedProcess>, OpenError>>;

/// The shared processes of a host. Cloning is cheap.
#[derive(Clone, Default)]
pub struct SharedProcesses(Arc<Locked<HashMap<SharedProcessKey, watch::Receiver<Started>>>>);

impl fmt::Debug for SharedProcesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hubs").field(&self.locked().len()).finish()
    }
}

impl SharedProcesses {
    /// A seat at the process of this key, which is started if there is none.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn seat(
        &self,
        key: &SharedProcessKey,
        session: SessionId,
        rules: SessionLimits,
        with: Beginning,
    ) -> Result<(Seat, Bytes), OpenError> {
        for _ in 0..ATTEMPTS {
            let shared_process = self.shared_process(key, &with).await?;
            if let Some(seat) =
                Seat::take(&shared_process.mux, session, rules, shared_process.pid())
            {
                return Ok((seat, shared_process.result.clone()));
            }
        }
        let reason = "its process ends again and again".to_owned();
        Err(OpenError::Start { server: key.0.clone(), reason })
    }

    /// A seat at a process that runs already.
    #[must_use]
    pub fn seat_if_running(
        &self,
        key: &SharedProcessKey,
        rules: SessionLimits,
    ) -> Option<(Seat, Bytes)> {
        let shared_process = match &*self.locked().get(key)?.borrow() {
            Some(Ok(shared_process)) => Arc::clone(shared_process),
            _ => return None,
        };
        let seat = Seat::take(&shared_process.mux, SessionId::mint(), rules, shared_process.pid())?;
        Some((seat, shared_process.result.clone()))
    }

    /// Ends them all.
    pub fn close(&self) {
        let shared_processes = std::mem::take(&mut *self.locked());
        for started in shared_processes.into_values() {
            if let Some(Ok(shared_process)) = &*started.borrow() {
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
            match shared_processes.get(key).filter(|started| is_usable(started)) {
                Some(started) => started.clone(),
                None => {
                    let (told, started) = watch::channel(None);
                    shared_processes.insert(key.clone(), started.clone());
                    // On its own task: others wait for it, whoever leaves.
                    tokio::spawn(self.clone().run(key.clone(), with.clone(), told));
                    started
                }
            }
        };
        let given_up = || {
            let reason = "its start was given up".to_owned();
            OpenError::Start { server: key.0.clone(), reason }
        };
        match started.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            Ok(None) | Err(_) => Err(given_up()),
        }
    }

    /// One process, from its start to its end.
    async fn run(self, key: SharedProcessKey, with: Beginning, told: watch::Sender<Started>) {
        let outcome = SharedProcess::start(&key.0, &with).await.map(Arc::new);
        told.send_replace(Some(outcome.clone()));
        let Ok(shared_process) = outcome else {
            self.forget(&key, &told);
            return;
        };
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
                with.journal.count_lost(&key.0);
                tracing::warn!(server = %key.0, "{why}; it was shared, and is started again when needed")
            }
            None => {
                tracing::info!(server = %key.0, pid = shared_process.pid(), "idle shared process ended")
            }
        }
        self.forget(&key, &told);
        shared_process.process.close();
    }

    /// Takes the slot away, unless it is another's by now.
    fn forget(&self, key: &SharedProcessKey, told: &watch::Sender<Started>) {
        let mut shared_processes = self.locked();
        if shared_processes.get(key).is_some_and(|started| started.same_channel(&told.subscribe()))
        {
            shared_processes.remove(key);
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<SharedProcessKey, watch::Receiver<Started>>> {
        self.0.lock()
    }
}

/// Resolves when nobody has been at it for so long, and nobody can be any more.
async fn idle(mux: &Mux, limit: Duration) {
    let mut seated = mux.seated.subscribe();
    loop {
        // The sender lives as long as the exchange.
        let _ = seated.wait_for(|seated| *seated == 0).await;
        let somebody = seated.wait_for(|seated| *seated > 0);
        if tokio::time::timeout(limit, somebody).await.is_err() && mux.close_if_empty() {
            return;
        }
    }
}

/// Being started, or running and open.
fn is_usable(started: &watch::Receiver<Started>) -> bool {
    match &*started.borrow() {
        None => started.has_changed().is_ok(),
        Some(Ok(shared_process)) => !shared_process.mux.is_closed(),
        Some(Err(_)) => false,
    }
}
