//! The servers of all nodes, with what is wrong with each.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use crate::cluster::{NodeEntry, Overview, ServerHealth};
use crate::model::{Health, Room, ServerName, Topology};

use super::nodes::{self, PageState};

/// States of a server that can be used, or can be tried.
const USABLE: [&str; 2] = ["running", "starting"];
/// Replicas of one server that are named; the entry counts all.
const MOST_REPLICAS: usize = 50;

/// One server on one node.
struct ReplicaState {
    node: String,
    state: PageState,
    status: String,
    failures: u32,
    why: Option<String>,
}

/// The servers by name, at most `most`.
pub fn shown(
    entries: &[NodeEntry],
    topology: &Topology,
    overview: Option<&Overview>,
    most: usize,
) -> BTreeMap<String, Value> {
    let reports = overview.map(|overview| overview.servers.as_slice()).unwrap_or_default();
    let reports: HashMap<(&str, &str), &ServerHealth> =
        reports.iter().map(|it| ((it.node.as_str(), it.server.as_str()), it)).collect();
    let mut servers: BTreeMap<&ServerName, Vec<ReplicaState>> = BTreeMap::new();
    for entry in entries {
        let health = topology.node(&entry.id).map_or(Health::Inactive, |node| node.health);
        for server in entry.servers.keys() {
            let reported = reports.get(&(entry.id.as_str(), server.as_str())).copied();
            servers.entry(server).or_default().push(replica(entry, health, reported));
        }
    }
    // What is not shown need not be written.
    let shown = servers.into_iter().take(most);
    shown.map(|(name, replicas)| (name.to_string(), server(name, replicas))).collect()
}

fn replica(entry: &NodeEntry, health: Health, reported: Option<&ServerHealth>) -> ReplicaState {
    let node = entry.id.to_string();
    if !health.serves() {
        let (state, why) = nodes::state_of(health, Room::Free);
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

fn server(name: &ServerName, mut replicas: Vec<ReplicaState>) -> Value {
    let best = replicas.iter().map(|replica| replica.state).min();
    let worst = replicas.iter().map(|replica| replica.state).max();
    let state = match (best, worst) {
        (Some(PageState::Failed) | None, _) => PageState::Failed,
        (Some(PageState::Ok), Some(PageState::Ok)) => PageState::Ok,
        _ => PageState::Degraded,
    };
    let usable = replicas.iter().filter(|replica| replica.state != PageState::Failed).count();
    let count = replicas.len();
    // The worst first, which must not be among those that are left out.
    replicas.sort_by_key(|replica| Reverse(replica.state));
    replicas.truncate(MOST_REPLICAS);
    json!({
        "name": name.as_str(),
        "state": state.as_str(),
        "usable": usable,
        "count": count,
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
            let shown = server(&name, conditions.iter().map(|state| replica(*state)).collect());
            assert_eq!((&shown["state"], &shown["usable"]), (&json!(state), &json!(usable)));
        }
    }

    #[test]
    fn of_many_replicas_the_worst_are_named() {
        let name = ServerName::parse("notes").unwrap();
        let replicas = (0..MOST_REPLICAS * 2).map(|at| ReplicaState {
            node: at.to_string(),
            state: if at % 2 == 0 { PageState::Ok } else { PageState::Failed },
            status: String::new(),
            failures: 0,
            why: None,
        });
        let shown = server(&name, replicas.collect());
        let named = shown["replicas"].as_array().unwrap();
        assert_eq!((named.len(), &shown["count"]), (MOST_REPLICAS, &json!(MOST_REPLICAS * 2)));
        assert!(named.iter().all(|replica| replica["state"] == "failed"));
    }
}
