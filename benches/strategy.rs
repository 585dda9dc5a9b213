//! A routing decision: the same strategy native and as a component.
//!
//! After criterion's figures, percentiles of single calls: the median and p99 as
//! the clock saw them, and p99 without the calls during which the scheduler took
//! the thread away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use mooring::wasm::vocabulary::{Health, Node, Replica, Server, Topology};
use mooring::wasm::{Options, Question, Source, Strategy, Wasi};
use mooring_strategies::{ConsistentHash, Request, Strategy as Native};

const CALLS: usize = 200_000;
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

fn component(nodes: u32) -> Strategy {
    let options = Options { wasi: Wasi::Deny, workers: 1 };
    let strategy = Strategy::load(&Source::parse("consistent-hash"), "{}", &options)
        .unwrap_or_else(|error| panic!("the built-in strategy: {error}"));
    strategy.publish(Arc::new(topology(nodes)));
    strategy
}

fn decide(strategy: &Strategy, key: &str) -> bool {
    let plan = strategy.plan();
    let choice = strategy.choose(&Question {
        worker: 0,
        server: "everything",
        plan: &plan,
        inputs: &[Some(key)],
        affinity: None,
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
        let strategy = component(nodes);
        let mut turn = keys.iter().cycle();
        group.bench_function("wasm", |bencher| {
            bencher.iter(|| turn.next().is_some_and(|key| decide(&strategy, key)));
        });
        group.finish();
    }
}

fn percentiles() {
    let keys = keys();
    for nodes in [3, 16] {
        let strategy = component(nodes);
        let mut times: Vec<Duration> = keys
            .iter()
            .cycle()
            .take(CALLS)
            .map(|key| {
                let began = Instant::now();
                assert!(decide(&strategy, key));
                began.elapsed()
            })
            .collect();
        times.sort_unstable();
        let at = |times: &[Duration], of: f64| times[((times.len() - 1) as f64 * of) as usize];
        let running = times.partition_point(|time| *time < PREEMPTED);
        println!(
            "single calls among {nodes} nodes: p50 {:?}, p99 {:?}, p99 without {} preempted {:?} \
             (the clock itself included)",
            at(&times, 0.5),
            at(&times, 0.99),
            times.len() - running,
            at(&times[..running], 0.99),
        );
    }
}

criterion_group!(benches, decisions);

fn main() {
    benches();
    percentiles();
    Criterion::default().configure_from_args().final_summary();
}
