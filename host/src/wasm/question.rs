//! A routing question, and how it is answered.
//!
//! ```text
//!   Question ─▶ lease ─▶ route(0), route(1), … ─▶ first usable answer
//!                 │          │
//!                 └──────────┴─▶ anything else: the fallback decides
//! ```
//!
//! A question never fails because of a plugin. Of all faults only a trap is
//! retried, once, on another instance: the memory of the first may have been full
//! or damaged. A loop would only cost its time twice.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use super::care::PluginCare;
use super::directory::{AnswerCheck, Fallback};
use super::pool::InstancePool;
use super::stats::Reason;
use super::vocabulary::{AffinityAction, Decision, Plan, Request, RouteError};

/// Calls for one question whose answers the gateway refuses before the fallback
/// decides.
const MOST_ATTEMPTS: u32 = 32;

/// Asks which node a session's server is to be opened on.
pub struct Question<'a> {
    /// Number of the calling worker, from 0: selects its instances and counters.
    pub worker: usize,
    /// Name of the server. One that is not in the topology has no answer.
    pub server: &'a str,
    /// The plan that `inputs` were gathered for. It may have been replaced since.
    pub plan: &'a Arc<Plan>,
    /// Same order and length as `plan.inputs`.
    pub inputs: &'a [Option<&'a str>],
    /// Node id in the client's valid affinity token; an unknown id is ignored.
    pub affinity: Option<&'a str>,
    /// A fresh random number, the plugin's only source of randomness.
    pub seed: u64,
    /// Number of sessions bound to the node with this id. Called for every node, but
    /// only if the plan wants loads.
    pub loads: Option<&'a dyn Fn(&str) -> u32>,
    /// Ids of nodes that refused or failed already.
    pub excluded: &'a [&'a str],
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingChoice {
    /// Id of a node that hosts the server, is up and is not excluded.
    pub node: Arc<str>,
    /// What to do with the client's affinity token; the fallback keeps it.
    pub affinity: AffinityAction,
    /// For metrics.
    pub decided_by: DecidedBy,
}

/// Where a [`RoutingChoice`] comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecidedBy {
    /// The plugin's answer passed all checks.
    Plugin,
    /// The gateway itself decided, for this reason.
    Fallback(Reason),
}

/// How a question was answered, for those who ask why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// The plugin's name, as it states it.
    pub plugin: String,
    /// The plugin's version, as it states it.
    pub version: String,
    /// Of the topology that it was asked about.
    pub generation: u64,
    /// The nodes that the plugin named, in order, and whether each could take the session.
    pub named: Vec<(Arc<str>, bool)>,
    /// Why the plugin has not decided, if it was not the plugin.
    pub fallback: Option<Reason>,
}

/// One question while it is being answered.
pub(super) struct Asking<'a> {
    pub(super) question: &'a Question<'a>,
    pub(super) care: PluginCare<'a>,
}

impl Asking<'_> {
    pub(super) fn choose(&self, trace: &mut Trace) -> Option<RoutingChoice> {
        trace.plugin.clone_from(&self.care.snapshot.plugin.name);
        trace.version.clone_from(&self.care.snapshot.plugin.version);
        trace.generation = self.care.snapshot.directory.topology().generation;
        let directory = &self.care.snapshot.directory;
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
        let (decision, decided_by) = match self.ask(request, &mut trace.named) {
            Ok(decision) => (decision, DecidedBy::Plugin),
            Err(reason) => {
                trace.fallback = Some(reason);
                (self.fall_back(&request)?, DecidedBy::Fallback(reason))
            }
        };
        if let DecidedBy::Fallback(reason) = decided_by {
            self.care.counters.fallbacks[reason as usize].count();
        }
        Some(RoutingChoice {
            node: Arc::clone(directory.id(decision.node)?),
            affinity: decision.affinity,
            decided_by,
        })
    }

    /// The inputs in the order of the current plan, which may have replaced the one
    /// that they were gathered for.
    fn inputs(&self) -> Cow<'_, [Option<&str>]> {
        let (asked, plan) = (self.question.plan, &self.care.snapshot.plugin.plan);
        if Arc::ptr_eq(asked, plan) || asked.inputs == plan.inputs {
            return Cow::Borrowed(self.question.inputs);
        }
        let given = |input| {
            let position = asked.inputs.iter().position(|asked| asked == input)?;
            self.question.inputs.get(position).copied().flatten()
        };
        plan.inputs.iter().map(given).collect()
    }

    fn ask(
        &self,
        request: Request<'_>,
        named: &mut Vec<(Arc<str>, bool)>,
    ) -> Result<Decision, Reason> {
        let pool = self.care.snapshot.pool.as_ref().ok_or(Reason::UpdateRefused)?;
        if self.care.snapshot.plugin.check_bypass(Instant::now) {
            return Err(Reason::Quarantined);
        }
        match self.question.loads {
            Some(loads) if self.care.snapshot.plugin.plan.wants_loads => {
                let nodes = &self.care.snapshot.directory.topology().nodes;
                let loads: Vec<u32> = nodes.iter().map(|node| loads(&node.id)).collect();
                let loads = Some(&*loads);
                self.ask_pool(pool, Request { loads, ..request }, named)
            }
            _ => self.ask_pool(pool, request, named),
        }
    }

    fn ask_pool(
        &self,
        pool: &Arc<InstancePool>,
        request: Request<'_>,
        named: &mut Vec<(Arc<str>, bool)>,
    ) -> Result<Decision, Reason> {
        let worker = self.question.worker;
        if pool.take_short(worker) {
            self.care.order_refill(pool, None);
        }
        let directory = &self.care.snapshot.directory;
        let attempts = (directory.replicas(request.server) + 1).min(MOST_ATTEMPTS);
        let mut lease = pool.lease(worker).ok_or(Reason::NoInstance)?;
        let mut spare = true;
        let mut attempt = 0;
        while attempt < attempts {
            let answer = match lease.route(&Request { attempt, ..request }) {
                Ok(answer) => answer,
                Err(fault) => {
                    let reason = self.care.note(&fault);
                    self.care.order_refill(pool, lease.condemn());
                    if reason != Reason::Trap || !std::mem::take(&mut spare) {
                        return Err(reason);
                    }
                    lease = pool.lease(worker).ok_or(reason)?;
                    continue;
                }
            };
            let decision = answer.map_err(reason_of)?;
            let check = directory.judge(request.server, decision.node, self.question.excluded);
            if let Some(id) = directory.id(decision.node) {
                named.push((Arc::clone(id), check == AnswerCheck::Usable));
            }
            match check {
                AnswerCheck::Usable => return Ok(decision),
                AnswerCheck::Refused => attempt += 1,
                AnswerCheck::Invalid => {
                    self.care.blame("it named a node that does not host the server");
                    return Err(Reason::InvalidAnswer);
                }
            }
        }
        Err(Reason::AllRefused)
    }

    fn fall_back(&self, request: &Request<'_>) -> Option<Decision> {
        let node = self.care.snapshot.directory.fall_back(&Fallback {
            server: request.server,
            key: self.care.snapshot.plugin.fallback_key(request.inputs),
            affinity: request.affinity,
            seed: request.seed,
            excluded: self.question.excluded,
        })?;
        // The fallback leaves the client's token as it is.
        let affinity = AffinityAction::Keep;
        Some(Decision { node, affinity })
    }
}

fn reason_of(error: RouteError) -> Reason {
    match error {
        RouteError::NoCandidate => Reason::NoCandidate,
        RouteError::Abstain => Reason::Abstain,
        RouteError::MissingInput => Reason::MissingInput,
    }
}
