//! The periodic sweep: closes idle sessions, forgets answers that nobody came for, and replaces instances for their age or
//! memory. Also starts the tasks that keep spares.

use std::sync::Arc;
use std::time::Duration;

use crate::model::ServerName;
use crate::net::Pool;
use crate::runner::process::usage::Processes;
use crate::runner::session::instance::Instance;
use crate::runner::session::served::{Recipe, Served};
use crate::runner::shared::SharedRunner;

/// Shortest interval of the sweep, however short the timeouts are.
const SHORTEST: Duration = Duration::from_millis(50);
/// Interval at which the memory of servers is checked: it may grow quickly.
const MEMORY: Duration = Duration::from_secs(1);
/// A timed action may be late by 1/PRECISION of its timeout.
pub const PRECISION: u32 = 4;

impl SharedRunner {
    /// Sweeps until the process ends, at intervals of at most `longest`.
    pub async fn sweep(self: Arc<Self>, longest: Duration, pool: Pool) {
        loop {
            self.close_idle(&pool);
            self.recycle(&pool).await;
            let pause = tokio::time::sleep(self.pace(longest));
            tokio::select! {
                () = pause => {}
                // Other servers may need it more often.
                () = self.reloaded.notified() => {}
            }
        }
    }

    /// Starts to keep the spares of all servers that have some configured.
    pub fn keep_spares(&self) {
        self.servers.load().iter().for_each(|(server, served)| self.keep_spares_of(server, served));
    }

    pub fn keep_spares_of(&self, server: &ServerName, served: &Served) {
        let Recipe::Stdio(program) = &served.recipe else { return };
        if served.spares() > 0 {
            let spares = Arc::clone(&self.resources.spares);
            tokio::spawn(spares.keep(
                server.clone(),
                program.clone(),
                served.spares(),
                Arc::clone(&self.resources.starts),
                self.resources.children.clone(),
                self.resources.journal.clone(),
            ));
        }
    }

    fn pace(&self, longest: Duration) -> Duration {
        let of = |served: &Arc<Served>| {
            let recycling = served.recycling;
            let times = [served.idle, recycling.max_lifetime].into_iter().flatten();
            let memory = recycling.max_memory.map(|_| MEMORY);
            times.map(|time| time / PRECISION).chain(memory).min()
        };
        // Often enough to mark busy instances as used, for `eviction`.
        let unused = self.config.unused / PRECISION;
        let servers = self.servers.load();
        let shortest = servers.values().filter_map(of).chain(std::iter::once(unused)).min();
        shortest.unwrap_or(longest).clamp(SHORTEST, longest.max(SHORTEST))
    }

    /// Closes sessions that were unused for the idle time of their server.
    fn close_idle(&self, pool: &Pool) {
        let servers = self.servers.load_full();
        let (own, default) = (|server: &_| servers.get(server)?.idle, self.config.idle);
        for ((session, server), instance) in self.table.take_idle(own, default) {
            tracing::info!(session = %session.short(), server = %server, "idle session closed");
            close(instance, pool);
        }
    }

    async fn recycle(&self, pool: &Pool) {
        let ready = self.table.all_ready();
        ready.iter().for_each(|(_, instance)| instance.sweep());
        let servers = self.servers.load_full();
        let rules = |server: &_| servers.get(server).map(|served| served.recycling);
        let measures = ready
            .iter()
            .any(|((_, server), _)| rules(server).is_some_and(|rules| rules.max_memory.is_some()));
        let processes = match measures {
            // This reads a file for every process of the machine.
            true => tokio::task::spawn_blocking(Processes::read).await.ok(),
            false => None,
        };
        for (key, instance) in ready {
            let Some(stdio) = instance.stdio() else { continue };
            self.resources.starts.lives(&key.1, stdio.age(), stdio.has_answered());
            let Some(rules) = rules(&key.1).filter(|rules| rules.is_set()) else { continue };
            let memory = processes
                .as_ref()
                .filter(|_| rules.max_memory.is_some())
                .and_then(|processes| processes.usage(stdio.pid()))
                .map(|usage| usage.rss_bytes);
            let due = |is_quiet| rules.due(stdio.age(), memory, is_quiet);
            if let Some(due) = self.table.take_if(&key, &instance, due) {
                tracing::info!(
                    session = %key.0.short(), server = %key.1, pid = stdio.pid(),
                    "recycled: {due}; the next message opens it again"
                );
                self.resources.starts.recycled(&key.1);
                close(instance, pool);
            }
        }
    }
}

/// Closes an instance on its own task: a remote server that does not answer must not
/// delay the sweep.
fn close(instance: Arc<Instance>, pool: &Pool) {
    let pool = pool.clone();
    tokio::spawn(async move { instance.close(&pool).await });
}
