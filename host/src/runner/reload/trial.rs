//! Tries servers before they are put in place: each is opened, read as by a discovery, and closed.
//!
//! Nothing of a trial touches what runs: its servers have records of their own, so that a failure
//! counts for no server, and takes neither a place nor a spare.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures_util::future::join_all;

use crate::model::ServerName;
use crate::net::Pool;
use crate::protocol::initialize::ClientSet;
use crate::runner::admission::open_error::OpenError;
use crate::runner::admission::starts::Starts;
use crate::runner::bridge::process::ModernProcesses;
use crate::runner::catalog::discover::{Subject, discover};
use crate::runner::catalog::gathered::Gathered;
use crate::runner::session::resources::Resources;
use crate::runner::session::served::{Served, Servers};
use crate::runner::shared::SharedRunner;
use crate::runner::shared_process::process::SharedProcesses;
use crate::runner::stdio::spares::Spares;

/// What was read of servers that have passed their trial. One that wants a client's token is there
/// without anything.
#[derive(Default)]
pub struct Tried(pub(super) BTreeMap<ServerName, Option<Gathered>>);

/// A server that has failed its trial.
#[derive(Debug)]
pub struct TrialFailure {
    pub server: ServerName,
    pub reason: String,
}

impl fmt::Display for TrialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl SharedRunner {
    /// The servers that are to be tried before `servers` take the place of those that run: new ones,
    /// and those whose instances cannot go on.
    #[must_use]
    pub fn to_be_tried(&self, servers: &Servers) -> Servers {
        let now = self.servers.load();
        let is_new = |(server, served): &(&ServerName, &Arc<Served>)| {
            now.get(*server).is_none_or(|before| !before.goes_on_with(served))
        };
        let new = servers.iter().filter(is_new);
        new.map(|(server, served)| (server.clone(), Arc::clone(served))).collect()
    }

    /// Opens each of these servers, reads what it offers and closes it. All have ended when this
    /// returns; if it is dropped, they are killed.
    ///
    /// # Errors
    /// Every server that could not be opened, and why.
    pub async fn try_out(
        &self,
        servers: &Servers,
        pool: &Pool,
    ) -> Result<Tried, Vec<TrialFailure>> {
        let starts = Starts::new(servers.keys(), self.config.caps.clone(), self.config.starts);
        let resources = Resources {
            starts,
            spares: Spares::none(),
            eras: Arc::default(),
            modern_processes: ModernProcesses::default(),
            shared_processes: SharedProcesses::default(),
            old_transport: Arc::default(),
            wanting_tokens: Arc::default(),
            revisions: Arc::default(),
            ..self.resources.clone()
        };
        let trials = servers.iter().map(|(server, served)| {
            let resources = &resources;
            async move {
                let set = ClientSet::default();
                let subject = Subject { server, served, set, extensions: None };
                (server.clone(), discover(subject, pool, resources, |_| {}).await)
            }
        });
        let (mut tried, mut failures) = (Tried::default(), Vec::new());
        for (server, outcome) in join_all(trials).await {
            match outcome {
                Ok(gathered) => drop(tried.0.insert(server, Some(gathered))),
                // Only a client has the token: nobody can try it before.
                Err(OpenError::NeedsOauth { .. }) => drop(tried.0.insert(server, None)),
                Err(error) => {
                    failures.push(TrialFailure { server, reason: error.to_string() });
                }
            }
        }
        if failures.is_empty() { Ok(tried) } else { Err(failures) }
    }
}
