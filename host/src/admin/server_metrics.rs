//! Metrics of which servers can be used, and of the errors that clients got.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::cluster::{Condition, ReplicaCondition, conditions};
use crate::model::visible::visible;
use crate::protocol::error_kind::{Emitter, ErrorKind};

use super::Admin;

/// Bytes of a name: as long as names may be.
const MAX_LABEL: usize = 128;

/// The states of a replica, each of which has a number.
const REPLICA_STATES: [&str; 4] = ["ok", "draining", "failing", "away"];

/// A name as the value of a label.
pub fn label(name: &str) -> String {
    visible(name, MAX_LABEL).to_string()
}

/// Which servers of the cluster can be used.
pub fn availability(admin: &Admin, registry: &Registry) -> prometheus::Result<()> {
    let up = IntGaugeVec::new(
        Opts::new("server_up", "1 if a node takes sessions of the server, 0 if none does"),
        &["server"],
    )?;
    let replicas = IntGaugeVec::new(
        Opts::new("server_replicas", "Nodes with the server, by whether it can be used there"),
        &["server", "state"],
    )?;
    for server in conditions(&admin.registry.entries()) {
        let name = label(server.name.as_str());
        let name = name.as_str();
        up.with_label_values(&[name]).set((server.state() != Condition::Down).into());
        for state in REPLICA_STATES {
            replicas.with_label_values(&[name, state]).set(0);
        }
        for replica in &server.replicas {
            let condition: &ReplicaCondition = &replica.condition;
            replicas.with_label_values(&[name, condition.as_str()]).inc();
        }
    }
    registry.register(Box::new(up))?;
    registry.register(Box::new(replicas))
}

/// The errors that clients got: also those that are an answer with status 200.
pub fn errors(admin: &Admin, registry: &Registry) -> prometheus::Result<()> {
    let errors = IntCounterVec::new(
        Opts::new("errors_total", "Errors that clients got, by who has made them"),
        &["kind", "server", "emitter"],
    )?;
    let count = |server: &str, emitter: Emitter, kind: ErrorKind, count: u64| {
        let server = label(server);
        let labels = [kind.as_str(), server.as_str(), emitter.as_str()];
        errors.with_label_values(&labels).inc_by(count);
    };
    for ((server, emitter, kind), number) in admin.edge_metrics.errors() {
        count(server.as_ref().map_or("", |server| server.as_str()), emitter, kind, number);
    }
    for (server, counts) in &*admin.runner.errors() {
        for (emitter, kind, number) in counts.each() {
            count(server.as_str(), emitter, kind, number);
        }
    }
    registry.register(Box::new(errors))
}
