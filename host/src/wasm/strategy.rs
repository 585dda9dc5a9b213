//! The handle that the edge holds: it loads a plugin, takes topologies, and chooses.

use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::sync::Locked;

use super::admission::admit::{Options, admit};
use super::admission::refusal::{AdmissionError, PluginRefusal};
use super::care::PluginCare;
use super::conversing::{ConversationAnswer, ConversationInput};
use super::engine::Engines;
use super::identify::identify;
use super::janitor::{Chore, Janitor};
use super::pool::InstancePool;
use super::question::{Asking, Question, RoutingChoice, Trace};
use super::snapshot::Snapshot;
use super::source::Source;
use super::stats::{Counters, Stats};
use super::stats_by_name::StatsByName;
use super::vocabulary::{Plan, Topology};

/// A loaded plugin and the topology that it decides on. Clones are cheap and share
/// all of it.
#[derive(Clone)]
pub struct Strategy(Arc<LoadedStrategy>);

struct LoadedStrategy {
    current: ArcSwap<Snapshot>,
    /// Held while a snapshot is built from the current one.
    change: Locked<()>,
    counters: Arc<Counters>,
    by_name: Locked<StatsByName>,
    janitor: Janitor,
    engines: Engines,
    workers: usize,
}

impl Strategy {
    /// Compiles the plugin and takes it through admission. Blocks the thread for a
    /// tenth of a second, or ten seconds for an interpreter: not for the data path.
    ///
    /// # Errors
    /// If the plugin fails a check of admission.
    pub fn load(
        source: &Source,
        config_json: &str,
        options: &Options,
    ) -> Result<Self, AdmissionError> {
        let refuse = |refusal| AdmissionError { plugin: source.to_string(), refusal };
        let workers = options.workers.max(1);
        let engines = Engines::new(InstancePool::most_instances(workers))
            .map_err(|error| refuse(PluginRefusal::host(error)))?;
        let plugin = admit(&engines, source, config_json, options)?;
        let snapshot = Snapshot::empty(plugin).map_err(|e| refuse(PluginRefusal::host(e)))?;
        let counters = Arc::new(Counters::new(workers));
        let janitor =
            Janitor::start(Arc::clone(&counters)).map_err(|e| refuse(PluginRefusal::host(e)))?;
        Ok(Self(Arc::new(LoadedStrategy {
            current: ArcSwap::from_pointee(snapshot),
            change: Locked::new(()),
            counters,
            by_name: Locked::default(),
            janitor,
            engines,
            workers,
        })))
    }

    /// As the plugin states it; changes with [`Self::replace`].
    pub fn name(&self) -> String {
        self.0.current.load().plugin.name.clone()
    }

    /// As the plugin states it; changes with [`Self::replace`].
    pub fn version(&self) -> String {
        self.0.current.load().plugin.version.clone()
    }

    /// What to gather the inputs of a [`Question`] by; fetched for each question, since
    /// [`Self::replace`] changes it.
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.0.current.load().plugin.plan)
    }

    /// The topology that decisions are based on now.
    pub fn topology(&self) -> Arc<Topology> {
        Arc::clone(self.0.current.load().directory.topology())
    }

    /// Sums the counters of all workers since the strategy was loaded; a replaced
    /// plugin does not reset them.
    pub fn stats(&self) -> Stats {
        self.0.counters.sum()
    }

    /// The same by the name of the strategy that had to decide.
    pub fn stats_by_name(&self) -> Vec<(String, Stats)> {
        let shared = &*self.0;
        // The name and the counts are of one moment, since replacing takes the lock, too.
        let by_name = shared.by_name.lock();
        by_name.with_current(&self.name(), shared.counters.sum())
    }

    /// Bases decisions on this topology from now on; an inconsistent one is ignored
    /// and logged. Starts new instances first: not for the data path.
    pub fn publish(&self, topology: Arc<Topology>) {
        let _change = self.0.lock_changes();
        let generation = topology.generation;
        let current = self.0.current.load_full();
        match current.with_topology(topology, self.0.workers) {
            Ok((snapshot, unready)) => {
                if let Some(unready) = unready {
                    let plugin = &*snapshot.plugin.name;
                    let bypassed = snapshot.pool.is_none();
                    tracing::error!(plugin, generation, bypassed, %unready, "topology refused");
                }
                self.0.swap(snapshot);
            }
            Err(problem) => {
                tracing::error!(generation, problem, "inconsistent topology ignored");
            }
        }
    }

    /// Lets another plugin decide from now on. Takes as long as [`Self::load`].
    ///
    /// # Errors
    /// If the plugin fails a check of admission or refuses the current topology. The
    /// old one then still decides.
    pub fn replace(
        &self,
        source: &Source,
        config_json: &str,
        options: &Options,
    ) -> Result<(), AdmissionError> {
        let shared = &self.0;
        let plugin = admit(&shared.engines, source, config_json, options)?;
        let _change = shared.lock_changes();
        let current = shared.current.load_full();
        let snapshot = current.with_plugin(plugin, shared.workers).map_err(|unready| {
            AdmissionError { plugin: source.to_string(), refusal: unready.into() }
        })?;
        let mut by_name = shared.by_name.lock();
        by_name.hand_over(&current.plugin.name, shared.counters.sum());
        shared.swap(snapshot);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn ready_instances(&self) -> usize {
        let snapshot = self.0.current.load();
        snapshot.pool.as_ref().map_or(0, |pool| pool.ready())
    }

    /// What to gather the inputs of [`Self::identify`] by; `None` if the plugin does not tell
    /// conversations apart.
    pub fn conversation_plan(&self) -> Option<Arc<[ConversationInput]>> {
        self.0.current.load().plugin.conversations.clone()
    }

    /// The conversation of a request, asked on the calling worker's thread, without waiting. `inputs`
    /// has the order and length of the plan. A plugin that fails, or was replaced since, abstains.
    pub fn identify(
        &self,
        worker: usize,
        plan: &Arc<[ConversationInput]>,
        inputs: &[Option<&str>],
    ) -> ConversationAnswer {
        let snapshot = self.0.current.load();
        identify(&self.0.care(worker, &snapshot), plan, inputs)
    }

    /// Answers a question on the calling worker's thread, without waiting. `None` only
    /// if no usable node hosts the server.
    pub fn choose(&self, question: &Question<'_>) -> Option<RoutingChoice> {
        self.choose_traced(question, &mut Trace::default())
    }

    /// The same, and notes how the answer came about.
    pub fn choose_traced(
        &self,
        question: &Question<'_>,
        trace: &mut Trace,
    ) -> Option<RoutingChoice> {
        let shared = &*self.0;
        let snapshot = shared.current.load();
        let asking = Asking { question, care: shared.care(question.worker, &snapshot) };
        let counters = asking.care.counters;
        let began = Instant::now();
        let choice = asking.choose(trace);
        counters.durations.note(began.elapsed());
        match choice {
            Some(_) => counters.decisions.count(),
            None => counters.unanswered.count(),
        }
        choice
    }
}

impl LoadedStrategy {
    fn care<'a>(&'a self, worker: usize, snapshot: &'a Snapshot) -> PluginCare<'a> {
        let counters = self.counters.of(worker);
        PluginCare { worker, snapshot, counters, janitor: &self.janitor }
    }

    fn lock_changes(&self) -> MutexGuard<'_, ()> {
        // It guards no data: it orders changes.
        self.change.lock()
    }

    fn swap(&self, snapshot: Snapshot) {
        let old = self.current.swap(Arc::new(snapshot));
        // Dropped at once if no decision reads it, so that the instances of old
        // snapshots do not pile up; else the janitor drops it later.
        if let Err(read) = Arc::try_unwrap(old) {
            self.janitor.leave(Chore::Retire(read));
        }
    }
}
