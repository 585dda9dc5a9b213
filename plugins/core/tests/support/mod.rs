//! Short ways to build topologies and requests.
#![allow(dead_code, reason = "no test binary uses all of it")]
#![allow(clippy::expect_used, reason = "a panic fails the test")]

use mooring_strategies::{
    Decision, Health, Node, Replica, Request, RouteError, Server, Strategy, Topology,
};

pub fn node(id: &str, health: Health, priority: u32) -> Node {
    Node {
        id: id.to_owned(),
        health,
        priority,
        zone: String::new(),
        labels: Vec::new(),
    }
}

pub fn healthy(count: usize) -> Vec<Node> {
    (0..count)
        .map(|n| node(&format!("node-{n}"), Health::Healthy, 0))
        .collect()
}

/// All nodes host one server, with these weights in turn.
pub fn topology(nodes: Vec<Node>, weights: &[u32]) -> Topology {
    let replicas = (0..).zip(weights.iter().cycle());
    let replicas = replicas.take(nodes.len());
    Topology {
        generation: 1,
        local_zone: String::new(),
        servers: vec![Server {
            name: "playwright".to_owned(),
            replicas: replicas
                .map(|(node, weight)| Replica {
                    node,
                    weight: *weight,
                })
                .collect(),
        }],
        nodes,
    }
}

pub fn strategy<S: Strategy>(topology: &Topology) -> S {
    let (mut strategy, _) = S::configure("{}").expect("defaults are valid");
    strategy.update(topology).expect("a sound topology");
    strategy
}

/// Where a session is routed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    pub server: u32,
    pub session: Option<&'a str>,
    pub affinity: Option<u32>,
    pub attempt: u32,
    pub seed: u64,
}

impl Ask<'_> {
    pub fn of(self, strategy: &impl Strategy) -> Result<Decision, RouteError> {
        strategy.route(&Request {
            server: self.server,
            inputs: &[self.session],
            affinity: self.affinity,
            attempt: self.attempt,
            seed: self.seed,
            loads: None,
        })
    }
}

pub fn ask(session: &str) -> Ask<'_> {
    Ask {
        session: Some(session),
        ..Ask::default()
    }
}

/// The id of the node that a session goes to.
pub fn home<'a>(strategy: &impl Strategy, topology: &'a Topology, session: &str) -> &'a str {
    let decision = ask(session).of(strategy).expect("a candidate");
    &topology.nodes[decision.node as usize].id
}

/// This number of uuids, the same in every run.
pub fn uuids(count: u64) -> impl Iterator<Item = String> {
    let mut state = 0x6d6f_6f72_696e_6721_u64;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    (0..count).map(move |_| {
        let (a, b) = (next(), next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 48 & 0x3fff | 0x8000,
            b & 0xffff_ffff_ffff
        )
    })
}
