//! What the rest of the gateway may rely on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admission;
mod choice;
mod conversations;
mod faults;
mod golden;
mod prebuilt;
mod sandbox;
mod swap;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::vocabulary::{Health, Node, Replica, Server, Topology};
use super::{Builtin, Options, Question, RoutingChoice, Source, Strategy, WasiPolicy};

const CONFIG: &str = r#"{"enabled": true}"#;

fn prebuilt() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/prebuilt")
}

fn faulty(name: &str) -> Source {
    Source::File(prebuilt().join(format!("faults/{name}.wasm")))
}

fn options(workers: usize) -> Options {
    Options { workers, ..Options::default() }
}

fn consistent_hash() -> Strategy {
    load(&Source::Builtin(Builtin::ConsistentHash))
}

fn load(source: &Source) -> Strategy {
    Strategy::load(source, CONFIG, &options(1)).unwrap()
}

fn load_faulty(name: &str, nodes: usize) -> Strategy {
    let strategy = load(&faulty(name));
    strategy.publish(topology(nodes));
    strategy
}

/// Healthy nodes `a`, `b`, … which all host the server "files".
fn topology(nodes: usize) -> Arc<Topology> {
    Arc::new(Topology {
        generation: 1,
        local_zone: String::new(),
        nodes: ('a'..='z').take(nodes).map(node).collect(),
        servers: vec![Server {
            name: "files".to_owned(),
            replicas: (0..nodes as u32).map(|node| Replica { node, weight: 1 }).collect(),
        }],
    })
}

fn node(id: char) -> Node {
    Node {
        id: id.to_string(),
        health: Health::Healthy,
        priority: 0,
        zone: String::new(),
        labels: Vec::new(),
    }
}

fn ask(strategy: &Strategy, session: &str) -> Option<RoutingChoice> {
    ask_without(strategy, session, &[])
}

fn ask_without(strategy: &Strategy, session: &str, excluded: &[&str]) -> Option<RoutingChoice> {
    strategy.choose(&Question {
        worker: 0,
        server: "files",
        plan: &strategy.plan(),
        inputs: &[Some(session)],
        affinity: None,
        seed: 7,
        loads: None,
        excluded,
    })
}

/// Polls for what a background thread does, since there is no handle to wait on.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "not in time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
