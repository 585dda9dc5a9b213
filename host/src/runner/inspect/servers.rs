//! The state of this runner's servers, as operators see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::ServerName;
use crate::runner::admission::backoff::ServerStatus;
use crate::runner::admission::server_state::ServerState;
use crate::runner::session::served::{Recipe, Served};
use crate::runner::session::table::InstanceKey;
use crate::runner::shared::SharedRunner;

impl SharedRunner {
    /// The state of each server.
    #[must_use]
    pub fn states(&self) -> BTreeMap<ServerName, ServerState> {
        let wanting = self.resources.wanting_tokens.lock().clone();
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
            state.flaws = self.discovery.flaws(server);
            state.spares = self.resources.spares.count(server);
            Some((server.clone(), state))
        };
        self.servers.load().iter().filter_map(state).collect()
    }

    /// The last stderr lines of the process behind one session.
    #[must_use]
    pub fn stderr_of(&self, key: &InstanceKey) -> Option<Vec<String>> {
        Some(self.table.peek(key)?.stderr_tail())
    }
}
