//! Deterministic simulation of a cluster: the gateway's own parts, put together as `app::parts` does
//! it, on a simulated network and clock, with faults by a seeded chance.
//!
//! What runs is what is shipped: the registry and its control, bindings, records and known nodes of
//! the coordinator; the edge, from a client's request to its response and to the closing of what a
//! session has left behind (`edge::delivery`); agent, routes and runner of the nodes. Simulated are
//! the clients, the sockets (`net::played` stands in at the pool of connections), the MCP servers
//! behind the nodes, the time (tokio's, paused; `sync::now` and `UnixMillis::now` follow it) and
//! chance (`SessionId::mint`). Handshakes are reduced to their outcome: whether the expected start of
//! a node is there.
//!
//! Each seed makes one schedule of faults. A schedule that breaks an invariant is named by its seed:
//! `MOORING_SIM_SEED=17 cargo nextest run -p mooring schedules_of_faults --no-capture` plays it
//! again, and prints what happens. Each invariant has a planted fault in the simulation's own wiring,
//! which the run has to find.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod chance;
mod client;
mod clock;
mod network;
mod plan;
mod process;
mod schedule;
mod server;
mod server_sessions;
mod tests;
mod witness;
mod world;

use std::sync::Arc;

use tempfile::TempDir;

use crate::wasm::Strategy;

use self::client::Client;
use self::clock::Simulated;
use self::plan::{NODES, Plant, SESSIONS};
use self::witness::Violation;
use self::world::World;

/// What one simulation has shown.
struct Shown {
    violations: Vec<Violation>,
    /// Messages that have run, and answers from another instance than the one before.
    ran: usize,
    moves: usize,
}

/// TLS and strategy, if this process simulates: to make them anew for each start would take long.
pub(super) fn costly_parts() -> Option<(Arc<rustls::ClientConfig>, Strategy)> {
    process::costly().map(|costly| (Arc::clone(&costly.tls), costly.strategy.clone()))
}

/// Plays the schedule of one seed.
fn simulate(seed: u64, plant: Plant, is_traced: bool) -> Shown {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    // In memory, where there is such a place: thousands of schedules write often.
    let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a folder");
    runtime.block_on(async {
        let _simulated = Simulated::begin(seed);
        let hosts = [&["coordinator"][..], &NODES[..]].concat();
        let world = World::new(seed, &hosts, plant, is_traced);
        for process in 0..hosts.len() {
            process::start(&world, process, folder.path());
        }
        let clients: Vec<_> =
            (0..SESSIONS).map(|number| tokio::spawn(Client::new(&world, number).run())).collect();
        schedule::run(&world, folder.path()).await;
        for client in clients {
            client.await.expect("a client");
        }
        for process in 0..hosts.len() {
            world.kill(process);
        }
        let witness = &world.witness;
        Shown { violations: witness.violations(), ran: witness.ran(), moves: witness.moves() }
    })
}
