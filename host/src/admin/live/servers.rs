//! The servers of all nodes, with what is wrong with each.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cluster::{NodeEntry, Overview, ServerHealth};
use crate::model::{Health, ServerName, Topology};

use super::nodes::{self, PageState};

/// States of a server that can be used, or can be tried.
const USABLE: [&str; 2] = ["running", "starting"];

/// One server on one node.
struct ReplicaState {
    node: String,
    state: PageState,
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
        let (state, why) = nodes::state_of(health, crate::model::Room::Free);
        let why = why.map(|why| format!("the node {why}"));
        return ReplicaState { node, state, status: "unknown".to_owned(), failures: 0, why };
    }
    let Some(reported) = reported else {
        let (state, status) = (PageState::Ok, "unknown".to_owned());
        return ReplicaState { node, state, status, failures: 0, why: None };
    };
    let is_usable = USABLE.contains(&reported.status.as_str());
    let state = match is_usable {
        true if reported.flaws.is_empty() => PageState::Ok,
        true => PageState::Degraded,
        false => PageState::Failed,
    };
    // What has failed before is no news once it runs.
    let error = reported.last_error.clone().filter(|_| !is_usable);
    ReplicaState {
        node,
        state,
        status: reported.status.clone(),
        failures: reported.failures,
        why: error.or_else(|| reported.flaws.first().cloned()),
    }
}

fn server(name: &ServerName, replicas: &[ReplicaState]) -> Value {
    let best = replicas.iter().map(|replica| replica.state).min();
    let worst = replicas.iter().map(|replica| replica.state).max();
    let state = match (best, worst) {
        (Some(PageState::Failed) | None, _) => PageState::Failed,
        (Some(PageState::Ok), Some(PageState::Ok)) => PageState::Ok,
        _ => PageState::Degraded,
    };
    let usable = replicas.iter().filter(|replica| replica.state != PageState::Failed).count();
    json!({
        "name": name.as_str(),
        "state": state.as_str(),
        "usable": usable,
        "replicas": replicas.iter().map(|replica| json!({
            "node": replica.node,
            "state": replica.state.as_str(),
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
        let replica = |state| ReplicaState {
            node: "a".to_owned(),
            state,
            status: String::new(),
            failures: 0,
            why: None,
        };
        use PageState::{Degraded, Failed, Ok};
        for (conditions, state, usable) in [
            (&[Ok, Ok][..], "ok", 2),
            (&[Ok, Failed], "degraded", 1),
            (&[Degraded], "degraded", 1),
            (&[Degraded, Failed], "degraded", 1),
            (&[Failed, Failed], "failed", 0),
            (&[], "failed", 0),
        ] {
            let replicas: Vec<ReplicaState> =
                conditions.iter().map(|state| replica(*state)).collect();
            let shown = server(&name, &replicas);
            assert_eq!((&shown["state"], &shown["usable"]), (&json!(state), &json!(usable)));
        }
    }
}
