//! The start of a stdio server for one session, up to its answer to `initialize`.
//!
//! ```text
//! admit ──► a spare, or a new process ──► initialize
//! ```

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::model::{QuotaKey, ServerName};
use crate::protocol::jsonrpc::Envelope;
use crate::runner::admission::admit::AdmittedStart;
use crate::runner::admission::caps::Permit;
use crate::runner::admission::open_error::OpenError;
use crate::runner::admission::starts::Opener;
use crate::runner::channel::answer::{self, CallError, RefusalKind};
use crate::runner::channel::terms::SessionTerms;
use crate::runner::process::program::Program;
use crate::runner::stderr::tail;
use crate::runner::stdio::own_process::Stdio;
use crate::runner::stdio::running::StartedProcess;
use crate::seam::Outcome;

use super::resources::Resources;
use super::revision::Asking;
use super::served::Served;

/// Longest wait for the exit of a process that has closed its output.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What is to be started, and for whom.
pub struct Launch<'a> {
    pub server: &'a ServerName,
    pub served: &'a Served,
    pub program: &'a Program,
    pub terms: SessionTerms,
    pub resources: &'a Resources,
    /// Whom the process counts for. `None` for a session of the gateway's own, which counts
    /// against no limit and takes no spare.
    pub quota: Option<&'a QuotaKey>,
    pub asking: &'a Asking<'a>,
}

/// Why a process did not become an instance.
enum LaunchFailure {
    /// It did not start, or ended: why, and its last stderr lines.
    Ended(String, Vec<String>),
    /// It did not start, since this process or machine is short of something.
    Short(String),
    /// It runs, and has refused `initialize` with this error.
    Refused(String),
}

impl Launch<'_> {
    /// Starts the server and sends it this `initialize`. Returns also its result.
    pub async fn run(self, initialize: &Bytes) -> Result<(Stdio, Bytes), OpenError> {
        let server = || self.server.clone();
        let starts = &self.resources.starts;
        let AdmittedStart { attempt, permit, turn } = starts.admit(self.server, self.quota).await?;
        let (patience, began) = (self.served.start_timeout, Instant::now());
        let starting = tokio::time::timeout(patience, self.start(permit, initialize));
        let started = turn.during(starting).await;
        match started {
            Ok(Ok((stdio, result))) => {
                attempt.succeeded(self.opener());
                if self.served.spares() == 0 {
                    self.resources.slow_starts.note(self.server, began.elapsed());
                }
                // It may have ended meanwhile, which is then counted.
                stdio.running().mark_open();
                Ok((stdio, result))
            }
            Ok(Err(LaunchFailure::Refused(reason))) => {
                // Asked for an older revision, it may still open the session.
                if !self.asking.may_ask_again(&reason) {
                    attempt.refused(self.opener(), &format!("it refused initialize: {reason}"));
                }
                Err(OpenError::Refused { server: server(), reason })
            }
            // Dropped, the attempt counts neither for the server nor against it.
            Ok(Err(LaunchFailure::Short(reason))) => Err(OpenError::short(server(), reason)),
            Ok(Err(LaunchFailure::Ended(why, words))) => {
                let reason = format!("{why}{}", tail::shown(&words));
                attempt.failed(&reason, words);
                Err(OpenError::Start { server: server(), reason })
            }
            Err(_) => {
                let error = OpenError::Silent { server: server(), patience };
                attempt.failed(&error.to_string(), Vec::new());
                Err(error)
            }
        }
    }

    async fn start(
        &self,
        permit: Option<Permit>,
        initialize: &Bytes,
    ) -> Result<(Stdio, Bytes), LaunchFailure> {
        let spare = match permit {
            Some(_) => self.resources.spares.take(self.server),
            None => None,
        };
        if let Some(spare) = spare {
            tracing::debug!(server = %self.server, pid = spare.child.pid, "a spare process is used");
            let stdio = self.serve(spare);
            match self.introduce(&stdio, initialize).await {
                // A spare may die just now: that is no failed start yet.
                Err(LaunchFailure::Ended(..)) => {}
                done => {
                    hold(&stdio, permit);
                    return done.map(|result| (stdio, result));
                }
            }
        }
        let process = StartedProcess::start(
            self.server,
            self.program,
            &self.resources.children,
            &self.resources.journal,
        )
        .await;
        let process = process.map_err(|error| match error.is_shortage {
            true => LaunchFailure::Short(error.to_string()),
            false => LaunchFailure::Ended(error.to_string(), Vec::new()),
        })?;
        let stdio = self.serve(process);
        hold(&stdio, permit);
        let result = self.introduce(&stdio, initialize).await?;
        Ok((stdio, result))
    }

    fn opener(&self) -> Opener {
        if self.quota.is_some() { Opener::Client } else { Opener::Gateway }
    }

    fn serve(&self, process: StartedProcess) -> Stdio {
        Stdio::serve(self.server, process, self.terms.clone(), &self.resources.starts)
    }

    async fn introduce(&self, stdio: &Stdio, initialize: &Bytes) -> Result<Bytes, LaunchFailure> {
        let envelope = Envelope::parse(initialize)
            .map_err(|error| LaunchFailure::Refused(format!("initialize: {error}")))?;
        let response = stdio.pipe().post(initialize.clone(), &envelope, true).await;
        // The runner sets an outcome where it has no answer of the server.
        let is_lost = Outcome::read(response.headers()).is_some();
        let error = match answer::result_of(response).await {
            Ok(result) => return Ok(result),
            Err(error) => error,
        };
        // Some end after such a refusal.
        if let CallError::Refused(said, RefusalKind::Other) = &error
            && self.asking.next(said).is_some()
        {
            return Err(LaunchFailure::Refused(said.clone()));
        }
        if is_lost || stdio.pipe().has_ended() {
            let mut lost = stdio.pipe().lost_signal();
            let how = tokio::time::timeout(LAST_WORD, lost.wait_for(Option::is_some)).await;
            let why = match how {
                Ok(Ok(why)) => why.as_deref().map(str::to_owned),
                Ok(Err(_)) | Err(_) => None,
            };
            let why = why.unwrap_or_else(|| match &error {
                CallError::Refused(said, _) if !stdio.pipe().has_ended() => said.clone(),
                CallError::Refused(..) | CallError::Unanswered(_) => {
                    "it has closed its stdout".to_owned()
                }
            });
            return Err(LaunchFailure::Ended(why, stdio.tail().texts()));
        }
        match error {
            CallError::Refused(reason, _) => Err(LaunchFailure::Refused(reason)),
            CallError::Unanswered(why) => Err(LaunchFailure::Ended(why, stdio.tail().texts())),
        }
    }
}

fn hold(stdio: &Stdio, permit: Option<Permit>) {
    if let Some(permit) = permit {
        stdio.child().hold(permit);
    }
}
