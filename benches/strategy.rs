//! Time of a routing decision, with the same strategy as native code and as a component.
//!
//! After criterion's figures it prints percentiles of single calls, less the time of reading the
//! clock. A call takes about a microsecond, and interruptions by timers and the hypervisor take
//! several. Two figures separate the two: a control, which is native code that takes as long as a
//! decision and is measured between decisions; and percentiles over questions, where each question
//! counts with the median of its repeated calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use mooring::wasm::vocabulary::{Health, Node, Replica, Server, Topology};
use mooring::wasm::{Options, Question, Source, Strategy, WasiPolicy};
use mooring_strategies::{ConsistentHash, Request, Strategy as Native};

/// Calls for each question.
const ROUNDS: usize = 201;
const QUESTIONS: usize = 1024;
/// The built-in strategies, and the node that their clients name.
const BUILTINS: [(&str, Option<&str>); 3] =
    [("consistent-hash", None), ("cookie", Some("node-1")), ("header", Some("node-1"))];
fn topology(nodes: u32) -> Topology {
    Topology {
        generation: 1,
        local_zone: String::new(),
        nodes: (0..nodes)
            .map(|index| Node {
                id: format!("node-{index}"),
                health: Health::Healthy,
                priority: 0,
                zone: String::new(),
                labels: Vec::new(),
            })
            .collect(),
        servers: vec![Server {
            name: "everything".to_owned(),
            replicas: (0..nodes).map(|node| Replica { node, weight: 1 }).collect(),
        }],
    }
}

fn keys() -> Vec<String> {
    (0..QUESTIONS).map(|_| mooring::model::SessionId::mint().to_string()).collect()
}

fn component(name: &str, nodes: u32) -> Strategy {
    let options = Options { wasi: WasiPolicy::Deny, workers: 1, ..Options::default() };
    let strategy = Strategy::load(&Source::parse(name), "{}", &options)
        .unwrap_or_else(|error| panic!("the built-in strategy: {error}"));
    strategy.publish(Arc::new(topology(nodes)));
    strategy
}

/// Decides by the session's key, or by `affinity`: the node that the client names in its cookie or
/// header.
fn decide(strategy: &Strategy, key: &str, affinity: Option<&str>) -> bool {
    let plan = strategy.plan();
    let mut inputs = [None; 8];
    inputs[0] = Some(key).filter(|_| !plan.inputs.is_empty());
    let choice = strategy.choose(&Question {
        worker: 0,
        server: "everything",
        plan: &plan,
        inputs: &inputs[..plan.inputs.len().min(8)],
        affinity,
        seed: 7,
        loads: None,
        excluded: &[],
    });
    choice.is_some()
}

fn native(nodes: u32) -> ConsistentHash {
    let (mut strategy, _) = ConsistentHash::configure("{}").unwrap_or_else(|e| panic!("{e}"));
    strategy.update(&topology(nodes)).unwrap_or_else(|e| panic!("{e}"));
    strategy
}

fn decisions(criterion: &mut Criterion) {
    let keys = keys();
    for nodes in [3, 16] {
        let mut group = criterion.benchmark_group(format!("decision among {nodes} nodes"));
        let strategy = native(nodes);
        let mut turn = keys.iter().cycle();
        group.bench_function("native", |bencher| {
            bencher.iter(|| {
                let inputs = [turn.next().map(String::as_str)];
                strategy.route(&Request {
                    server: 0,
                    inputs: &inputs,
                    affinity: None,
                    attempt: 0,
                    seed: 7,
                    loads: None,
                })
            });
        });
        for (name, affinity) in BUILTINS {
            let strategy = component(name, nodes);
            let mut turn = keys.iter().cycle();
            group.bench_function(format!("wasm, {name}"), |bencher| {
                bencher.iter(|| turn.next().is_some_and(|key| decide(&strategy, key, affinity)));
            });
        }
        group.finish();
    }
}

fn percentiles() {
    let keys = keys();
    // The time of measuring nothing, which is subtracted from every figure below.
    let clock = middle(&mut measure(&keys, |_| true).concat());
    println!("reading the clock twice takes {clock:?}");
    println!(
        "| nodes | strategy | p50 | p99 of all calls | the same of the control | p99 of questions |"
    );
    println!("|---:|---|---:|---:|---:|---:|");
    for nodes in [3, 16] {
        let native = native(nodes);
        for (name, affinity) in BUILTINS {
            let strategy = component(name, nodes);
            let decision = |key: &str| decide(&strategy, key, affinity);
            let took = middle(&mut measure(&keys, decision).concat()).saturating_sub(clock);
            let one = middle(&mut measure(&keys, |key| work(&native, key, 64)).concat());
            let one = one.saturating_sub(clock).as_nanos().max(1);
            // The amount of native work that takes as long as a decision.
            let turns = u32::try_from(64 * took.as_nanos() / one).unwrap_or(u32::MAX);
            let pairs = [&decision as &dyn Fn(&str) -> bool, &|key| work(&native, key, turns)];
            let [decisions, control] = side_by_side(&keys, pairs);
            let questions: Vec<Duration> =
                (0..QUESTIONS).map(|key| middle(&mut of_question(&decisions, key))).collect();
            let shown = [
                quantile(&mut decisions.concat(), 0.5),
                quantile(&mut decisions.concat(), 0.99),
                quantile(&mut control.concat(), 0.99),
                quantile(&mut questions.clone(), 0.99),
            ]
            .map(|time| format!("{:.2} µs", time.saturating_sub(clock).as_secs_f64() * 1e6));
            println!("| {nodes} | {name} | {} |", shown.join(" | "));
        }
    }
}

/// Makes `turns` native decisions.
fn work(strategy: &ConsistentHash, key: &str, turns: u32) -> bool {
    let inputs = [Some(key)];
    let request =
        Request { server: 0, inputs: &inputs, affinity: None, attempt: 0, seed: 7, loads: None };
    (0..turns).all(|_| std::hint::black_box(strategy.route(std::hint::black_box(&request))).is_ok())
}

/// The times of each round.
type Rounds = Vec<Vec<Duration>>;

fn measure(keys: &[String], act: impl Fn(&str) -> bool) -> Rounds {
    let [times, _] = side_by_side(keys, [&act, &|_| true]);
    times
}

/// Measures both acts in turn for each question, so that both run under the same conditions.
fn side_by_side(keys: &[String], acts: [&dyn Fn(&str) -> bool; 2]) -> [Rounds; 2] {
    let mut rounds = [Rounds::new(), Rounds::new()];
    for _ in 0..ROUNDS {
        let mut times = [Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len())];
        for key in keys {
            for (act, times) in acts.iter().zip(&mut times) {
                let began = Instant::now();
                assert!(std::hint::black_box(act(key)));
                times.push(began.elapsed());
            }
        }
        for (rounds, times) in rounds.iter_mut().zip(times) {
            rounds.push(times);
        }
    }
    rounds
}

/// All times of one question.
fn of_question(rounds: &Rounds, key: usize) -> Vec<Duration> {
    rounds.iter().map(|round| round[key]).collect()
}

fn middle(times: &mut [Duration]) -> Duration {
    quantile(times, 0.5)
}

fn quantile(times: &mut [Duration], of: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * of) as usize]
}

criterion_group!(benches, decisions);

fn main() {
    benches();
    percentiles();
    Criterion::default().configure_from_args().final_summary();
}
