//! Puts other servers in the place of those that run. It waits for nothing: from one message to the
//! next, sessions are opened with the new settings.

use std::sync::Arc;

use crate::model::ServerName;
use crate::net::Pool;
use crate::runner::admission::process_limits::ProcessCaps;
use crate::runner::session::served::{Served, Servers};
use crate::runner::shared::SharedRunner;

use super::trial::Tried;

impl SharedRunner {
    /// Serves these servers from now on. One that has not changed keeps all that it has; the
    /// instances of others are retired (`retire.rs`).
    pub fn adopt(&self, mut servers: Servers, caps: ProcessCaps, tried: &Tried, pool: &Pool) {
        let before = self.servers.load_full();
        for (server, served) in &mut servers {
            // The same entry says that nothing is new.
            if let Some(known) = before.get(server).filter(|known| *known == served) {
                *served = Arc::clone(known);
            }
        }
        let goes_on = |server: &_, served: &Served| {
            before.get(server).is_some_and(|known| known.goes_on_with(served))
        };
        let keeps_spares = |server: &_, served: &Served| {
            goes_on(server, served)
                && before.get(server).is_some_and(|known| known.spares() == served.spares())
        };
        let kept = servers.iter().map(|(server, served)| (server, goes_on(server, served)));
        self.resources.starts.renew(kept);
        self.resources.starts.caps.renew(caps);
        self.renew_error_counts(&servers);
        // Before sessions are opened with other settings: none takes a spare of those before.
        for server in before.keys() {
            let stays = servers.get(server).is_some_and(|served| keeps_spares(server, served));
            if !stays {
                self.resources.spares.end_of(server);
            }
        }
        let now = Arc::new(servers);
        self.servers.store(Arc::clone(&now));
        for server in before.keys() {
            if !now.get(server).is_some_and(|served| goes_on(server, served)) {
                self.forget(server);
            }
            if !now.contains_key(server) {
                self.discovery.forget(server);
            }
        }
        for (server, served) in &*now {
            if !keeps_spares(server, served) {
                self.keep_spares_of(server, served);
            }
        }
        for (server, read) in &tried.0 {
            match read {
                Some(read) => self.discovery.adopt(pool, server, read),
                None => {
                    self.discovery.forget(server);
                    self.discovery.begin(pool, server);
                }
            }
        }
        self.discovery.touch();
        self.reloaded.notify_one();
        self.retiring.notify_one();
    }

    /// Counts the errors of these servers from now on. One that was there goes on with its counts:
    /// they only ever grow.
    fn renew_error_counts(&self, servers: &Servers) {
        let before = self.resources.errors.load();
        let counts = |server: &ServerName| before.get(server).map_or_else(Arc::default, Arc::clone);
        let now = servers.keys().map(|server| (server.clone(), counts(server))).collect();
        self.resources.errors.store(Arc::new(now));
    }

    /// Forgets what was found out about a server under its settings before.
    fn forget(&self, server: &ServerName) {
        self.resources.shared_processes.retire(server);
        self.resources.modern_processes.retire(server);
        self.resources.eras.forget(server);
        self.resources.old_transport.lock().remove(server);
        self.resources.wanting_tokens.forget(server);
        self.resources.revisions.lock().remove(server);
        self.resources.slow_starts.forget(server);
    }
}
