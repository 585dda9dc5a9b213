//! How the servers of this host do, for whoever shows it to people.

use std::collections::BTreeMap;

use crate::model::ServerName;
use crate::runner::admission::backoff::Status;
use crate::runner::admission::starts::ServerState;
use crate::runner::session::served::{Recipe, Served};
use crate::runner::session::table::Key;
use crate::runner::shared::Shared;

impl Shared {
    /// How each server does.
    #[must_use]
    pub fn states(&self) -> BTreeMap<ServerName, ServerState> {
        let state = |(server, served): (&ServerName, &Served)| {
            let mut state = self.means.starts.state(server)?;
            if let Recipe::Broken(reason) = &served.recipe {
                state.status = Status::Misconfigured;
                state.last_error = Some(reason.as_str().into());
            }
            state.spares = self.means.spares.count(server);
            Some((server.clone(), state))
        };
        self.config.servers.iter().filter_map(state).collect()
    }

    /// The last stderr lines of the process behind one session.
    #[must_use]
    pub fn stderr_of(&self, key: &Key) -> Option<Vec<String>> {
        Some(self.table.peek(key)?.stderr_tail())
    }
}
