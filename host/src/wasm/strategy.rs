//! The handle that the edge holds: load a plugin, publish topologies, choose.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::admission::{Options, admit};
use super::engine::Engines;
use super::janitor::{Chore, Janitor};
use super::pool::Pool;
use super::question::{Asking, Choice, Question};
use super::refusal::{AdmissionError, Refusal};
use super::snapshot::Snapshot;
use super::source::Source;
use super::stats::{Counters, Stats};
use super::vocabulary::{Plan, Topology};

/// Cheap to clone; all clones are one strategy.
#[derive(Clone)]
pub struct Strategy(Arc<Shared>);

struct Shared {
    current: ArcSwap<Snapshot>,
    /// Held while a snapshot is built from the current one.
    change: Mutex<()>,
    counters: Arc<Counters>,
    janitor: Janitor,
    engines: Engines,
    options: Options,
}

impl Strategy {
    /// Compiles, checks and tries the plugin. Takes a tenth of a second, for an
    /// interpreter ten: off the data path.
    pub fn load(
        source: &Source,
        config_json: &str,
        options: &Options,
    ) -> Result<Self, AdmissionError> {
        let refuse = |refusal| AdmissionError { plugin: source.to_string(), refusal };
        let workers = options.workers.max(1);
        let engines = Engines::new(Pool::most_instances(workers))
            .map_err(|error| refuse(Refusal::host(error)))?;
        let plugin = admit(&engines, source, config_json, options.wasi)?;
        let snapshot = Snapshot::empty(plugin).map_err(|e| refuse(Refusal::host(e)))?;
        let counters = Arc::new(Counters::new(workers));
        let janitor =
            Janitor::start(Arc::clone(&counters)).map_err(|e| refuse(Refusal::host(e)))?;
        Ok(Self(Arc::new(Shared {
            current: ArcSwap::from_pointee(snapshot),
            change: Mutex::new(()),
            counters,
            janitor,
            engines,
            options: Options { workers, wasi: options.wasi },
        })))
    }

    /// In the plugin's own words.
    pub fn name(&self) -> String {
        self.0.current.load().plugin.name.clone()
    }

    pub fn version(&self) -> String {
        self.0.current.load().plugin.version.clone()
    }

    /// What the inputs of a [`Question`] are gathered by.
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.0.current.load().plugin.plan)
    }

    /// The topology that decisions are made from right now.
    pub fn topology(&self) -> Arc<Topology> {
        Arc::clone(self.0.current.load().directory.topology())
    }

    pub fn stats(&self) -> Stats {
        self.0.counters.sum()
    }

    /// Decides by this topology from now on. Builds its instances beside the
    /// old ones first: off the data path.
    pub fn publish(&self, topology: Arc<Topology>) {
        let _change = self.0.lock_changes();
        let generation = topology.generation;
        let current = self.0.current.load_full();
        match current.with_topology(topology, self.0.options.workers) {
            Ok((snapshot, unready)) => {
                if let Some(unready) = unready {
                    let plugin = &*snapshot.plugin.name;
                    let bypassed = snapshot.pool.is_none();
                    tracing::error!(plugin, generation, bypassed, %unready, "topology not taken");
                }
                self.0.swap(snapshot);
            }
            Err(problem) => {
                tracing::error!(generation, problem, "topology contradicts itself; ignored");
            }
        }
    }

    /// Decides by this plugin from now on. After an error the old one still
    /// does.
    pub fn replace(&self, source: &Source, config_json: &str) -> Result<(), AdmissionError> {
        let shared = &self.0;
        let plugin = admit(&shared.engines, source, config_json, shared.options.wasi)?;
        let _change = shared.lock_changes();
        let current = shared.current.load_full();
        let snapshot = current.with_plugin(plugin, shared.options.workers).map_err(|unready| {
            AdmissionError { plugin: source.to_string(), refusal: unready.into() }
        })?;
        shared.swap(snapshot);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn ready_instances(&self) -> usize {
        let snapshot = self.0.current.load();
        snapshot.pool.as_ref().map_or(0, |pool| pool.ready())
    }

    /// None if no node at all can take the session. Waits for nothing, and does
    /// not fail.
    pub fn choose(&self, question: &Question<'_>) -> Option<Choice> {
        let shared = &*self.0;
        let snapshot = shared.current.load();
        let counters = shared.counters.of(question.worker);
        let asking = Asking { question, snapshot: &snapshot, counters, janitor: &shared.janitor };
        let choice = asking.choose();
        match choice {
            Some(_) => counters.decisions.count(),
            None => counters.unanswered.count(),
        }
        choice
    }
}

impl Shared {
    fn lock_changes(&self) -> MutexGuard<'_, ()> {
        // It guards no data of its own.
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn swap(&self, snapshot: Snapshot) {
        let old = self.current.swap(Arc::new(snapshot));
        // Gone before the next one is built, so that their instances do not
        // pile up; but a decision under way is not waited for.
        if let Err(read) = Arc::try_unwrap(old) {
            self.janitor.leave(Chore::Retire(read));
        }
    }
}
