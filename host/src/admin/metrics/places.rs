//! Metrics of the servers of this process, and of nodes.

use crate::admin::Admin;
use crate::cluster::{Condition, conditions};
use crate::runner::ServerStatus;

use super::exposition::Exposition;

/// The states of a replica, each of which has a number.
const REPLICA_STATES: [&str; 4] = ["ok", "draining", "failing", "away"];

pub fn add(admin: &Admin, page: &mut Exposition) {
    availability(admin, page);
    servers(admin, page);
    nodes(admin, page);
}

/// Which servers of the cluster can be used.
fn availability(admin: &Admin, page: &mut Exposition) {
    let conditions = conditions(&admin.registry.entries());
    let up = page.gauge("server_up", "1 if a node takes sessions of the server, 0 if none does");
    for server in &conditions {
        let is_up = server.state() != Condition::Down;
        up.add(&[("server", server.name.as_str())], u8::from(is_up));
    }
    let replicas =
        page.gauge("server_replicas", "Nodes with the server, by whether it can be used there");
    for server in &conditions {
        for state in REPLICA_STATES {
            let with = server.replicas.iter().filter(|one| one.condition.as_str() == state);
            let labels = [("server", server.name.as_str()), ("state", state)];
            replicas.add(&labels, with.count());
        }
    }
}

fn servers(admin: &Admin, page: &mut Exposition) {
    let states: Vec<_> = admin.runner.states().into_iter().collect();
    let restarts = page.counter("server_restarts_total", "Starts after a failure or a sudden end");
    for (server, state) in &states {
        restarts.add(&[("server", server.as_str())], state.restarts);
    }
    let recycled = page.counter("server_recycled_total", "Instances ended for age or memory");
    for (server, state) in &states {
        recycled.add(&[("server", server.as_str())], state.recycled);
    }
    let failures = page.gauge("server_failures", "Failed starts since the server was last healthy");
    for (server, state) in &states {
        failures.add(&[("server", server.as_str())], state.failures);
    }
    let crash_loop = page.gauge("server_crash_loop", "1 while the server is in a crash loop");
    for (server, state) in &states {
        let is_looping = state.status == ServerStatus::CrashLoop;
        crash_loop.add(&[("server", server.as_str())], u8::from(is_looping));
    }
    let processes = page.gauge("server_processes", "Processes that serve sessions");
    for (server, state) in &states {
        processes.add(&[("server", server.as_str())], state.processes);
    }
    let spares = page.gauge("server_spares", "Warm processes waiting for a session");
    for (server, state) in &states {
        spares.add(&[("server", server.as_str())], state.spares);
    }
}

fn nodes(admin: &Admin, page: &mut Exposition) {
    let entries = admin.registry.entries();
    let up = page.gauge("node_up", "1 for the node's current status");
    for entry in &entries {
        up.add(&[("node", entry.id.as_str()), ("status", entry.status.as_str())], 1_u8);
    }
    let silent = page.gauge("node_silent", "1 if the node does not answer its coordinator");
    for entry in &entries {
        silent.add(&[("node", entry.id.as_str())], u8::from(entry.liveness.is_silent()));
    }
    let bound = page.gauge("node_bindings", "Bindings of sessions' servers to the node");
    for entry in &entries {
        bound.add(&[("node", entry.id.as_str())], admin.bindings.load(entry.id.as_str()));
    }
    let servers = page.gauge("node_servers", "Servers on the node");
    for entry in &entries {
        servers.add(&[("node", entry.id.as_str())], entry.servers.len());
    }
}
