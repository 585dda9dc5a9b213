//! A dry run: a thousand questions to two instances, on a sample topology.
//!
//! Instances are replicated, so both must give the same answers; every answer
//! must name a node that hosts the server. A plugin may decline: not every
//! strategy has an answer for made-up requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::refusal::PluginRefusal;
use crate::wasm::bindings::Answer;
use crate::wasm::directory::{AnswerCheck, Directory};
use crate::wasm::plugin::Plugin;
use crate::wasm::vocabulary::{Health, Input, Node, Plan, Replica, Request, Server, Topology};

const QUESTIONS: u64 = 1000;

/// Wall time of all questions together; an interpreter needs half a second.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// What a trial showed.
#[derive(Debug, Clone, Default)]
pub struct Trial {
    /// By node id: how often it was named for a new session.
    pub spread: BTreeMap<String, u32>,
    /// Each was put to both instances.
    pub questions: u64,
    /// Answers without a node: no candidate, abstain, missing input.
    pub declined: u64,
    /// Median wall time of one call.
    pub p50: Duration,
    /// 99th percentile of the wall time of one call.
    pub p99: Duration,
    /// Whether both instances gave the same answer to every question.
    pub deterministic: bool,
    /// The first answer whose node does not exist or does not host the server.
    pub invalid: Option<String>,
}

impl Trial {
    pub(in crate::wasm) fn run(plugin: &Plugin) -> Result<Self, PluginRefusal> {
        let topology = Arc::new(sample());
        let directory = Directory::new(Arc::clone(&topology)).map_err(PluginRefusal::Trial)?;
        let mut one = plugin.ready(&topology)?;
        let mut other = plugin.ready(&topology)?;
        let fails = |fault| PluginRefusal::Trial(format!("in route: {fault}"));
        let mut trial = Self { deterministic: true, ..Self::default() };
        let mut times = Vec::with_capacity(2 * QUESTIONS as usize);
        let begun = Instant::now();
        for number in 0..QUESTIONS {
            let texts = Texts::new(number, &plugin.plan);
            let inputs = texts.inputs();
            let request = texts.request(&inputs, &plugin.plan);
            let before = Instant::now();
            let answer = one.route(&request).map_err(fails)?;
            let between = Instant::now();
            let same = other.route(&request).map_err(fails)?;
            times.extend([between - before, between.elapsed()]);
            trial.note(&directory, &request, &answer);
            trial.deterministic &= answer == same;
            if begun.elapsed() > TIME_LIMIT {
                return Err(PluginRefusal::Trial(format!(
                    "only {number} questions were answered within {TIME_LIMIT:?}"
                )));
            }
        }
        times.sort_unstable();
        trial.p50 = times[times.len() / 2];
        trial.p99 = times[times.len() * 99 / 100];
        Ok(trial)
    }

    fn note(&mut self, directory: &Directory, request: &Request<'_>, answer: &Answer) {
        self.questions += 1;
        let Ok(decision) = answer else {
            self.declined += 1;
            return;
        };
        if directory.judge(request.server, decision.node, &[]) == AnswerCheck::Invalid {
            self.invalid.get_or_insert_with(|| {
                format!(
                    "node {} for server {}, which has no replica there",
                    decision.node, request.server
                )
            });
        } else if request.affinity.is_none()
            && request.attempt == 0
            && request.server == 0
            && let Some(id) = directory.id(decision.node)
        {
            *self.spread.entry(id.to_string()).or_default() += 1;
        }
    }

    pub(in crate::wasm) fn verdict(&self) -> Result<(), PluginRefusal> {
        if let Some(answer) = &self.invalid {
            return Err(PluginRefusal::Trial(format!("it named {answer}")));
        }
        if !self.deterministic {
            return Err(PluginRefusal::Trial(
                "two instances answered the same request differently; use nothing but \
                 configuration, topology and request"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// Four healthy nodes and a draining one; one server on all, another on two.
pub(super) fn sample() -> Topology {
    let node = |number: u32| Node {
        id: format!("node-{number}"),
        health: if number == 4 { Health::Draining } else { Health::Healthy },
        priority: 0,
        zone: format!("zone-{}", number % 2),
        labels: vec![("disk".to_owned(), "ssd".to_owned())],
    };
    let replica = |node, weight| Replica { node, weight };
    Topology {
        generation: 1,
        local_zone: "zone-0".to_owned(),
        nodes: (0..5).map(node).collect(),
        servers: vec![
            Server {
                name: "everywhere".to_owned(),
                replicas: (0..5).map(|node| replica(node, 1)).collect(),
            },
            Server { name: "pair".to_owned(), replicas: vec![replica(1, 1), replica(3, 10)] },
        ],
    }
}

/// A made-up request. In every eight, one is a retry, one has an affinity, one is
/// for the second server and one lacks its inputs.
struct Texts {
    number: u64,
    inputs: Vec<Option<String>>,
}

impl Texts {
    fn new(number: u64, plan: &Plan) -> Self {
        let absent = number % 8 == 5;
        let text = |input| (!absent).then(|| text(input, number));
        Self { number, inputs: plan.inputs.iter().map(text).collect() }
    }

    fn inputs(&self) -> Vec<Option<&str>> {
        self.inputs.iter().map(Option::as_deref).collect()
    }

    fn request<'a>(&self, inputs: &'a [Option<&'a str>], plan: &Plan) -> Request<'a> {
        Request {
            server: u32::from(self.number % 8 == 1),
            inputs,
            affinity: (self.number % 8 == 3).then_some((self.number % 5) as u32),
            attempt: u32::from(self.number % 8 == 7),
            seed: scramble(self.number),
            loads: plan.wants_loads.then_some(&[3, 0, 1, 2, 5]),
        }
    }
}

fn text(input: &Input, number: u64) -> String {
    let (a, b) = (scramble(number), scramble(!number));
    match input {
        Input::SessionId => format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        ),
        Input::RpcMethod => "tools/call".to_owned(),
        Input::RpcTarget => format!("tool-{}", number % 10),
        Input::ClientAddress => format!("192.0.2.{}", number % 256),
        Input::Principal => format!("user-{}", number % 100),
        Input::Header(_) | Input::Cookie(_) | Input::Query(_) | Input::Body(_) => {
            if number.is_multiple_of(2) { format!("node-{}", number % 7) } else { format!("{a:x}") }
        }
    }
}

/// The finalizer of SplitMix64.
pub(super) fn scramble(number: u64) -> u64 {
    let mut x = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
