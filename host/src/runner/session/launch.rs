//! The start of a stdio server for one session: from the question whether it may
//! be started now to its answer to `initialize`.
//!
//! ```text
//! the doors ──► a spare, or a new process ──► initialize
//! ```

use std::time::Duration;

use bytes::Bytes;

use crate::model::{Principal, ServerName};
use crate::protocol::jsonrpc::Envelope;
use crate::runner::admission::admit::AdmittedStart;
use crate::runner::admission::caps::Permit;
use crate::runner::admission::open_error::OpenError;
use crate::runner::channel::answer::{self, CallError};
use crate::runner::channel::pipe::SessionLimits;
use crate::runner::process::program::Program;
use crate::runner::stderr::tail;
use crate::runner::stdio::own_process::Stdio;
use crate::runner::stdio::running::StartedProcess;
use crate::seam::Outcome;

use super::resources::Resources;
use super::served::Served;

/// Longest wait for how a process has ended that said nothing more.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What is to be started, and for whom.
pub struct Launch<'a> {
    pub server: &'a ServerName,
    pub served: &'a Served,
    pub program: &'a Program,
    pub rules: SessionLimits,
    pub resources: &'a Resources,
    /// Whose session it is; none for the gateway's own questions, which count
    /// against no limit.
    pub principal: Option<&'a Principal>,
}

/// Why a process did not become an instance.
enum LaunchFailure {
    /// It never ran, or ended; what it had on stderr.
    Ended(String, Vec<String>),
    /// It runs, and wants no session with these parameters.
    Refused(String),
}

impl Launch<'_> {
    /// Starts the server and sends it this `initialize`: its result.
    pub async fn run(self, initialize: &Bytes) -> Result<(Stdio, Bytes), OpenError> {
        let server = || self.server.clone();
        let starts = &self.resources.starts;
        let AdmittedStart { attempt, permit, turn } =
            starts.admit(self.server, self.principal).await?;
        let patience = self.served.start_timeout;
        let starting = tokio::time::timeout(patience, self.start(permit, initialize));
        let started = turn.during(starting).await;
        match started {
            Ok(Ok((stdio, result))) => {
                attempt.succeeded();
                // It may have ended since.
                stdio.running().mark_open();
                Ok((stdio, result))
            }
            Ok(Err(LaunchFailure::Refused(reason))) => {
                attempt.succeeded();
                Err(OpenError::Refused { server: server(), reason })
            }
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
                // It may have died at the very moment: that is no failed start yet.
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
        let process =
            process.map_err(|error| LaunchFailure::Ended(error.to_string(), Vec::new()))?;
        let stdio = self.serve(process);
        hold(&stdio, permit);
        let result = self.introduce(&stdio, initialize).await?;
        Ok((stdio, result))
    }

    fn serve(&self, process: StartedProcess) -> Stdio {
        Stdio::serve(self.server, process, self.rules, &self.resources.starts)
    }

    async fn introduce(&self, stdio: &Stdio, initialize: &Bytes) -> Result<Bytes, LaunchFailure> {
        let envelope = Envelope::parse(initialize)
            .map_err(|error| LaunchFailure::Refused(format!("initialize: {error}")))?;
        let response = stdio.post(initialize.clone(), &envelope, true).await;
        // Only the host itself says what became of a message.
        let is_lost = Outcome::read(response.headers()).is_some();
        let error = match answer::result_of(response).await {
            Ok(result) => return Ok(result),
            Err(error) => error,
        };
        if is_lost || stdio.pipe().has_ended() {
            let mut lost = stdio.lost_signal();
            let how = tokio::time::timeout(LAST_WORD, lost.wait_for(Option::is_some)).await;
            let why = match how {
                Ok(Ok(why)) => why.as_deref().map(str::to_owned),
                Ok(Err(_)) | Err(_) => None,
            };
            let why = why.unwrap_or_else(|| match &error {
                CallError::Refused(said, _) if !stdio.pipe().has_ended() => said.clone(),
                CallError::Refused(..) | CallError::Unanswered(_) => {
                    "it has closed its output".to_owned()
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
