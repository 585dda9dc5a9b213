//! The handle that the edge holds: load a plugin, publish topologies, choose.
//!
//! ```text
//!   choose ─▶ snapshot ─▶ lease ─▶ route(0), route(1), … ─▶ first usable answer
//!                │           │            │
//!                └───────────┴────────────┴─▶ anything else: the fallback decides
//! ```
//!
//! A question never fails because of a plugin. Of all faults only a trap is
//! tried again, once, on a spare instance, since it may be that instance's
//! memory that is full or broken; a loop would only take its time twice.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::admission::{Options, admit};
use super::directory::{Fallback, Verdict};
use super::engine::Engines;
use super::instance::Fault;
use super::janitor::{Chore, Janitor};
use super::pool::Pool;
use super::quarantine::Quarantine;
use super::refusal::{AdmissionError, Refusal};
use super::snapshot::Snapshot;
use super::source::Source;
use super::stats::{Counters, Reason, Stats, Worker};
use super::vocabulary::{AffinityAction, Decision, Plan, Request, RouteError, Topology};

/// Answers of one plugin to one question that may be refused by the host before
/// the fallback takes over: each costs a microseconds's call.
const MOST_ATTEMPTS: u32 = 32;

/// Cheap to clone; all clones are one strategy.
#[derive(Clone)]
pub struct Strategy(Arc<Shared>);

struct Shared {
    current: ArcSwap<Snapshot>,
    /// Held while a snapshot is built from the current one.
    change: Mutex<()>,
    counters: Arc<Counters>,
    quarantine: Arc<Quarantine>,
    janitor: Janitor,
    engines: Engines,
    options: Options,
}

/// Which node for this server?
pub struct Question<'a> {
    /// The asking worker's number, from 0.
    pub worker: usize,
    pub server: &'a str,
    /// The plan that `inputs` were gathered for. It may be outdated by now.
    pub plan: &'a Arc<Plan>,
    /// Same order and length as `plan.inputs`.
    pub inputs: &'a [Option<&'a str>],
    /// Node id of the client's valid token.
    pub affinity: Option<&'a str>,
    /// Fresh randomness.
    pub seed: u64,
    /// Sessions bound to the node with this id; called if the plan wants loads.
    pub loads: Option<&'a dyn Fn(&str) -> u32>,
    /// Ids of nodes that refused or failed already.
    pub excluded: &'a [&'a str],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub node: Arc<str>,
    pub affinity: AffinityAction,
    pub decided_by: DecidedBy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecidedBy {
    Plugin,
    Fallback(Reason),
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
        let quarantine = Arc::new(Quarantine::new(Instant::now()));
        let janitor = Janitor::start({
            let (counters, quarantine) = (Arc::clone(&counters), Arc::clone(&quarantine));
            move |unready| {
                tracing::warn!(%unready, "an instance of the routing plugin was not replaced");
                note_fault(&quarantine, counters.of(0));
            }
        })
        .map_err(|e| refuse(Refusal::host(e)))?;
        Ok(Self(Arc::new(Shared {
            current: ArcSwap::from_pointee(snapshot),
            change: Mutex::new(()),
            counters,
            quarantine,
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
        shared.quarantine.forgive();
        Ok(())
    }

    /// None if no node at all can take the session. Waits for nothing, and does
    /// not fail.
    pub fn choose(&self, question: &Question<'_>) -> Option<Choice> {
        let shared = &*self.0;
        let snapshot = shared.current.load();
        let counters = shared.counters.of(question.worker);
        let choice = Asking { shared, snapshot: &snapshot, counters, question }.choose();
        match choice {
            Some(_) => counters.decisions.count(),
            None => counters.unanswered.count(),
        }
        choice
    }
}

impl Shared {
    fn lock_changes(&self) -> std::sync::MutexGuard<'_, ()> {
        // It guards no data of its own.
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn swap(&self, snapshot: Snapshot) {
        let old = self.current.swap(Arc::new(snapshot));
        self.janitor.leave(Chore::Retire(old));
    }
}

/// One question on its way.
struct Asking<'a> {
    shared: &'a Shared,
    snapshot: &'a Snapshot,
    counters: &'a Worker,
    question: &'a Question<'a>,
}

impl Asking<'_> {
    fn choose(&self) -> Option<Choice> {
        let directory = &self.snapshot.directory;
        let server = directory.server(self.question.server)?;
        let inputs = self.inputs();
        let affinity = self.question.affinity.and_then(|id| directory.node(id));
        let request = Request {
            server,
            inputs: &inputs,
            affinity,
            attempt: 0,
            seed: self.question.seed,
            loads: None,
        };
        let (decision, decided_by) = match self.ask(request) {
            Ok(decision) => (decision, DecidedBy::Plugin),
            Err(reason) => (self.fall_back(&request)?, DecidedBy::Fallback(reason)),
        };
        if let DecidedBy::Fallback(reason) = decided_by {
            self.counters.fallbacks[reason as usize].count();
        }
        Some(Choice {
            node: Arc::clone(directory.id(decision.node)?),
            affinity: decision.affinity,
            decided_by,
        })
    }

    /// The inputs in the order of the present plan, which a swap may have
    /// changed since they were gathered.
    fn inputs(&self) -> Cow<'_, [Option<&str>]> {
        let (asked, plan) = (self.question.plan, &self.snapshot.plugin.plan);
        if Arc::ptr_eq(asked, plan) || asked.inputs == plan.inputs {
            return Cow::Borrowed(self.question.inputs);
        }
        let given = |input| {
            let position = asked.inputs.iter().position(|asked| asked == input)?;
            self.question.inputs.get(position).copied().flatten()
        };
        plan.inputs.iter().map(given).collect()
    }

    fn ask(&self, request: Request<'_>) -> Result<Decision, Reason> {
        let pool = self.snapshot.pool.as_ref().ok_or(Reason::UpdateRefused)?;
        if self.shared.quarantine.bypasses(Instant::now) {
            return Err(Reason::Quarantined);
        }
        match self.question.loads {
            Some(loads) if self.snapshot.plugin.plan.wants_loads => {
                let nodes = &self.snapshot.directory.topology().nodes;
                let loads: Vec<u32> = nodes.iter().map(|node| loads(&node.id)).collect();
                let loads = Some(&*loads);
                self.ask_pool(pool, Request { loads, ..request })
            }
            _ => self.ask_pool(pool, request),
        }
    }

    fn ask_pool(&self, pool: &Arc<Pool>, request: Request<'_>) -> Result<Decision, Reason> {
        let worker = self.question.worker;
        if pool.take_short(worker) {
            self.order_refill(pool, None);
        }
        let directory = &self.snapshot.directory;
        let attempts = (directory.replicas(request.server) + 1).min(MOST_ATTEMPTS);
        let mut lease = pool.lease(worker).ok_or(Reason::NoInstance)?;
        let mut spare = true;
        let mut attempt = 0;
        while attempt < attempts {
            let answer = match lease.route(&Request { attempt, ..request }) {
                Ok(answer) => answer,
                Err(fault) => {
                    let reason = self.note(&fault);
                    self.order_refill(pool, lease.condemn());
                    if reason != Reason::Trap || !std::mem::take(&mut spare) {
                        return Err(reason);
                    }
                    lease = pool.lease(worker).ok_or(reason)?;
                    continue;
                }
            };
            let decision = answer.map_err(reason_of)?;
            match directory.judge(request.server, decision.node, self.question.excluded) {
                Verdict::Usable => return Ok(decision),
                Verdict::Refused => attempt += 1,
                Verdict::Invalid => {
                    self.fault("it named a node that does not host the server");
                    return Err(Reason::InvalidAnswer);
                }
            }
        }
        Err(Reason::AllRefused)
    }

    fn fall_back(&self, request: &Request<'_>) -> Option<Decision> {
        let node = self.snapshot.directory.fall_back(&Fallback {
            server: request.server,
            key: self.snapshot.plugin.fallback_key(request.inputs),
            affinity: request.affinity,
            seed: request.seed,
            excluded: self.question.excluded,
        })?;
        // The client's token stays as the plugin left it.
        let affinity = AffinityAction::Keep;
        Some(Decision { node, affinity })
    }

    fn note(&self, fault: &Fault) -> Reason {
        self.counters.replaced.count();
        self.fault(fault);
        match fault {
            Fault::Trap(_) => {
                self.counters.traps.count();
                Reason::Trap
            }
            Fault::Deadline => {
                self.counters.interrupts.count();
                Reason::Deadline
            }
        }
    }

    fn fault(&self, fault: impl std::fmt::Display) {
        let plugin = &*self.snapshot.plugin.name;
        tracing::debug!(plugin, %fault, "the routing plugin failed a decision");
        note_fault(&self.shared.quarantine, self.counters);
    }

    fn order_refill(&self, pool: &Arc<Pool>, broken: Option<super::instance::Instance>) {
        self.shared.janitor.leave(Chore::Refill {
            pool: Arc::downgrade(pool),
            worker: self.question.worker,
            broken,
        });
    }
}

fn note_fault(quarantine: &Quarantine, counters: &Worker) {
    if let Some(bypass) = quarantine.fault(Instant::now()) {
        counters.quarantines.count();
        tracing::error!(?bypass, "the routing plugin fails too often; the fallback decides");
    }
}

fn reason_of(error: RouteError) -> Reason {
    match error {
        RouteError::NoCandidate => Reason::NoCandidate,
        RouteError::Abstain => Reason::Abstain,
        RouteError::MissingInput => Reason::MissingInput,
    }
}
