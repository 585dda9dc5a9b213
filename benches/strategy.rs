//! A routing decision: the same strategy native and as a component.
//!
//! After criterion's figures, percentiles of single calls, less what reading the
//! clock takes, and without the calls during which the scheduler took the thread
//! away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use mooring::wasm::vocabulary::{Health, Node, Replica, Server, Topology};
use mooring::wasm::{Options, Question, Source, Strategy, Wasi};
use mooring_strategies::{ConsistentHash, Request, Strategy as Native};

const CALLS: usize = 200_000;
/// The strategies in the binary, and what a client of theirs says of its node.
const BUILTINS: [(&str, Option<&str>); 3] =
    [("consistent-hash", None), ("cookie", Some("node-1")), ("header", Some("node-1"))];
/// No decision takes that long by itself: the thread was not running.
const PREEMPTED: Duration = Duration::from_micros(10);

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
    (0..1024).map(|_| mooring::model::SessionId::mint().to_string()).collect()
}

fn component(name: &str, nodes: u32) -> Strategy {
    let options = Options { wasi: Wasi::Deny, workers: 1 };
    let strategy = Strategy::load(&Source::parse(name), "{}", &options)
        .unwrap_or_else(|error| panic!("the built-in strategy: {error}"));
    strategy.publish(Arc::new(topology(nodes)));
    strategy
}

/// By the session's key; with `affinity` the client says its node by itself, as
/// cookie and header are for.
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
    // What it takes to measure nothing: part of every figure below, and taken off.
    let mut clock = measure(&keys, |_| true);
    let clock = quantile(running(&mut clock), 0.5);
    println!("reading the clock twice takes {clock:?}");
    for nodes in [3, 16] {
        for (name, affinity) in BUILTINS {
            let strategy = component(name, nodes);
            let mut times = measure(&keys, |key| decide(&strategy, key, affinity));
            let all = times.len();
            let of = |times: &[Duration], of| quantile(times, of).saturating_sub(clock);
            let times = running(&mut times);
            println!(
                "{name} among {nodes} nodes: p50 {:?}, p99 {:?}, without {} calls that were preempted",
                of(times, 0.5),
                of(times, 0.99),
                all - times.len(),
            );
        }
    }
}

fn measure(keys: &[String], act: impl Fn(&str) -> bool) -> Vec<Duration> {
    let time = |key: &String| {
        let began = Instant::now();
        assert!(std::hint::black_box(act(key)));
        began.elapsed()
    };
    keys.iter().cycle().take(CALLS).map(time).collect()
}

/// In order, without those during which the thread was not running.
fn running(times: &mut [Duration]) -> &[Duration] {
    times.sort_unstable();
    let running = times.partition_point(|time| *time < PREEMPTED);
    &times[..running]
}

fn quantile(times: &[Duration], of: f64) -> Duration {
    times[((times.len() - 1) as f64 * of) as usize]
}

criterion_group!(benches, decisions);

fn main() {
    benches();
    percentiles();
    Criterion::default().configure_from_args().final_summary();
}
