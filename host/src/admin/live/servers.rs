//! The servers of all nodes, with what is wrong with each.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cluster::{NodeEntry, Overview, ServerHealth};
use crate::model::{Health, ServerName, Topology};

use super::nodes::{self, Condition};

/// States of a server that can be used, or can be tried.
const USABLE: [&str; 2] = ["running", "starting"];

/// One server on one node.
struct ReplicaState {
    node: String,
    condition: Condition,
    status: String,
    failures: u32,
    why: Option<String>,
}

/// All servers by name.
pub fn shown(
    entries: &[NodeEntry],
    topology: &Topology,
    overview: Option<&Overview>,
) -> BTreeMap<String, Value> {
    let mut servers: BTreeMap<&ServerName, Vec<ReplicaState>> = BTreeMap::new();
    for entry in entries {
        for server in entry.servers.keys() {
            let reported = overview.and_then(|overview| {
                let mut reported = overview.servers.iter();
                reported.find(|it| it.node == entry.id.as_str() && it.server == server.as_str())
            });
            let health = topology.node(&entry.id).map_or(Health::Inactive, |node| node.health);
            let state = replica(entry, health, reported);
            servers.entry(server).or_default().push(state);
        }
    }
    servers.iter().map(|(name, replicas)| (name.to_string(), server(name, replicas))).collect()
}

fn replica(entry: &NodeEntry, health: Health, reported: Option<&ServerHealth>) -> ReplicaState {
    let node = entry.id.to_string();
    if !health.serves() {
        let (condition, why) = nodes::condition(health, crate::model::Room::Free);
        let why = why.map(|why| format!("the node {why}"));
        return ReplicaState { node, condition, status: "unknown".to_owned(), failures: 0, why };
    }
    let Some(reported) = reported else {
        let (condition, status) = (Condition::Ok, "unknown".to_owned());
        return ReplicaState { node, condition, status, failures: 0, why: None };
    };
    let is_usable = USABLE.contains(&reported.status.as_str());
    let condition = match is_usable {
        true if reported.flaws.is_empty() => Condition::Ok,
        true => Condition::Degraded,
        false => Condition::Failed,
    };
    // What has failed before is no news once it runs.
    let error = reported.last_error.clone().filter(|_| !is_usable);
    ReplicaState {
        node,
        condition,
        status: reported.status.clone(),
        failures: reported.failures,
        why: error.or_else(|| reported.flaws.first().cloned()),
    }
}

fn server(name: &ServerName, replicas: &[ReplicaState]) -> Value {
    let best = replicas.iter().map(|replica| replica.condition).min();
    let worst = replicas.iter().map(|replica| replica.condition).max();
    let condition = match (best, worst) {
        (Some(Condition::Failed) | None, _) => Condition::Failed,
        (Some(Condition::Ok), Some(Condition::Ok)) => Condition::Ok,
        _ => Condition::Degraded,
    };
    let usable = replicas.iter().filter(|replica| replica.condition != Condition::Failed).count();
    json!({
        "name": name.as_str(),
        "state": condition.as_str(),
        "usable": usable,
        "replicas": replicas.iter().map(|replica| json!({
            "node": replica.node,
            "state": replica.condition.as_str(),
            "status": replica.status,
            "failures": replica.failures,
            "why": replica.why,
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_as_well_as_its_replicas() {
        let name = ServerName::parse("notes").unwrap();
        let replica = |condition| ReplicaState {
            node: "a".to_owned(),
            condition,
            status: String::new(),
            failures: 0,
            why: None,
        };
        use Condition::{Degraded, Failed, Ok};
        for (conditions, state, usable) in [
            (&[Ok, Ok][..], "ok", 2),
            (&[Ok, Failed], "degraded", 1),
            (&[Degraded], "degraded", 1),
            (&[Degraded, Failed], "degraded", 1),
            (&[Failed, Failed], "failed", 0),
            (&[], "failed", 0),
        ] {
            let replicas: Vec<ReplicaState> =
                conditions.iter().map(|condition| replica(*condition)).collect();
            let shown = server(&name, &replicas);
            assert_eq!((&shown["state"], &shown["usable"]), (&json!(state), &json!(usable)));
        }
    }
}
