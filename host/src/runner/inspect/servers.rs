//! The state of this runner's servers, as operators see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::ServerName;
use crate::protocol::error_kind::{Emitter, ErrorKind};
use crate::runner::admission::backoff::ServerStatus;
use crate::runner::admission::server_state::ServerState;
use crate::runner::session::served::{Recipe, Served};
use crate::runner::session::table::InstanceKey;
use crate::runner::shared::SharedRunner;

/// Why a server cannot be used now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub status: &'static str,
    /// Failed starts in a row.
    pub failures: u32,
    pub reason: Arc<str>,
}

impl Trouble {
    fn of(status: &'static str, reason: Arc<str>) -> Self {
        Self { status, failures: 0, reason }
    }
}

impl SharedRunner {
    /// The state of each server.
    #[must_use]
    pub fn states(&self) -> BTreeMap<ServerName, ServerState> {
        let wanting = self.resources.wanting_tokens.all();
        let state = |(server, served): (&ServerName, &Arc<Served>)| {
            let mut state = self.resources.starts.state(server)?;
            if let Recipe::Broken(reason) = &served.recipe {
                state.status = ServerStatus::Misconfigured;
                state.last_error = Some(reason.as_str().into());
            }
            if let Some(said) = wanting.get(server) {
                state.status = ServerStatus::NeedsOauth;
                state.last_error = Some(Arc::clone(said));
            }
            if state.status == ServerStatus::Running
                && let Some(why) = self.why_unusable(server, state.unreached.as_ref())
            {
                (state.status, state.last_error) = (ServerStatus::Failed, Some(why));
            }
            state.flaws = self.discovery.flaws(server);
            state.spares = self.resources.spares.count(server);
            Some((server.clone(), state))
        };
        self.servers.load().iter().filter_map(state).collect()
    }

    /// The servers that cannot be used now. It is looked for often, and costs little for each.
    #[must_use]
    pub fn troubles(&self) -> BTreeMap<ServerName, Trouble> {
        let wanting = self.resources.wanting_tokens.all();
        let trouble = |(server, served): (&ServerName, &Arc<Served>)| {
            let trouble = match (&served.recipe, wanting.get(server)) {
                (Recipe::Broken(reason), _) => {
                    Trouble::of(ServerStatus::Misconfigured.as_str(), reason.as_str().into())
                }
                (_, Some(said)) => Trouble::of(ServerStatus::NeedsOauth.as_str(), Arc::clone(said)),
                _ => self.failing(server).or_else(|| self.unusable(server))?,
            };
            Some((server.clone(), trouble))
        };
        self.servers.load().iter().filter_map(trouble).collect()
    }

    /// What is wrong with what servers answer, of those with which anything is.
    #[must_use]
    pub fn flaws(&self) -> BTreeMap<ServerName, Vec<String>> {
        let servers = self.servers.load();
        let known = self.discovery.flawed().into_iter().filter(|name| servers.contains_key(name));
        known.map(|server| (server.clone(), self.discovery.flaws(&server))).collect()
    }

    /// The trouble of a server whose last start has failed.
    fn failing(&self, server: &ServerName) -> Option<Trouble> {
        let state = self.resources.starts.state(server).filter(|state| state.is_failing)?;
        let status = match state.status {
            status @ (ServerStatus::Backoff | ServerStatus::CrashLoop) => status,
            // It is being tried once more.
            _ => ServerStatus::Backoff,
        };
        let reason = state.last_error.unwrap_or_else(|| "it has ended".into());
        Some(Trouble { failures: state.failures, ..Trouble::of(status.as_str(), reason) })
    }

    /// The trouble of a server that cannot be reached, or that starts and does not say what it has.
    fn unusable(&self, server: &ServerName) -> Option<Trouble> {
        let state = self.resources.starts.state(server);
        let unreached = state.as_ref().and_then(|state| state.unreached.as_ref());
        let why = self.why_unusable(server, unreached)?;
        let failures = state.map_or(0, |state| state.failures);
        Some(Trouble { failures, ..Trouble::of(ServerStatus::Failed.as_str(), why) })
    }

    /// Why a server that starts, or is not to be started here, cannot be used all the same.
    fn why_unusable(&self, server: &ServerName, unreached: Option<&Arc<str>>) -> Option<Arc<str>> {
        let unread = || {
            // The gateway itself has no token by which it could read the lists of such a server.
            let is_open = self.resources.wanting_tokens.is_open(server);
            if is_open { None } else { self.discovery.failure(server) }
        };
        unreached.cloned().or_else(unread)
    }

    /// A number for each server elsewhere that rises with every call of a client which it has lost, or
    /// could not be reached for.
    #[must_use]
    pub fn lost_elsewhere(&self) -> BTreeMap<ServerName, u64> {
        let counted = self.errors();
        let is_elsewhere =
            |served: &Served| !matches!(served.recipe, Recipe::Stdio(_) | Recipe::Broken(_));
        let lost = |server: &ServerName| {
            let counts = counted.get(server)?;
            let is_lost = |(emitter, kind, _): &(Emitter, ErrorKind, u64)| {
                *emitter == Emitter::Node && *kind == ErrorKind::ServerLost
            };
            let lost: u64 = counts.each().filter(is_lost).map(|(_, _, count)| count).sum();
            Some((server.clone(), lost + counts.unreached()))
        };
        let servers = self.servers.load();
        let elsewhere = servers.iter().filter(|(_, served)| is_elsewhere(served));
        elsewhere.filter_map(|(server, _)| lost(server)).collect()
    }

    /// The last stderr lines of the process behind one session.
    #[must_use]
    pub fn stderr_of(&self, key: &InstanceKey) -> Option<Vec<String>> {
        Some(self.table.peek(key)?.stderr_tail())
    }
}
