//! Servers with flaws: each flaw costs as little as it can, whatever the transport, standalone and
//! behind a coordinator.

mod apps;
mod discovery;
mod ids;
mod refusals;
mod streams;
mod unlisted;

use mooring_tests::{Client, Cluster, Gateway, Session, eventually, settings};
use serde_json::{Map, Value};

/// Where the servers run.
pub enum Place {
    Standalone(Box<Gateway>),
    Cluster(Box<Cluster>),
}

impl Place {
    /// The same servers in both places, one after the other.
    pub fn each(servers: &Map<String, Value>) -> impl Iterator<Item = Self> {
        let servers = Value::from(servers.clone());
        [false, true].into_iter().map(move |is_cluster| {
            if !is_cluster {
                return Self::standalone(&servers);
            }
            let coordinator = Gateway::start_with(&settings::coordinator(serde_json::json!({})));
            let mut cluster = Cluster { coordinator, nodes: Vec::new() };
            cluster.add("a", servers.clone());
            cluster.wait_for_active(1);
            Self::Cluster(Box::new(cluster))
        })
    }

    pub fn standalone(servers: &Value) -> Self {
        Self::Standalone(Box::new(Gateway::start_with(&settings::standalone(servers.clone()))))
    }

    /// Where clients go.
    pub fn edge(&self) -> &Gateway {
        match self {
            Self::Standalone(gateway) => gateway,
            Self::Cluster(cluster) => &cluster.coordinator,
        }
    }

    /// Where the servers run.
    pub fn runner(&self) -> &Gateway {
        match self {
            Self::Standalone(gateway) => gateway,
            Self::Cluster(cluster) => &cluster.nodes[0],
        }
    }

    pub fn client(&self, path: &str) -> Client {
        self.edge().client(path)
    }

    /// What operators see of a server.
    pub fn health(&self, server: &str) -> Value {
        let all = self.edge().data("/api/cluster/instances");
        let mut servers = all["servers"].as_array().expect("servers").iter();
        servers.find(|known| known["server"] == server).cloned().unwrap_or_default()
    }
}

/// Waits until a session is offered exactly these tools.
#[track_caller]
pub fn wait_for_tools(session: &Session, expected: &[&str]) {
    let mut expected: Vec<String> = expected.iter().map(|name| (*name).to_owned()).collect();
    expected.sort();
    let mut last = Vec::new();
    eventually(&format!("the tools {expected:?}"), || {
        last = session.tools();
        last.sort();
        (last == expected).then_some(())
    });
}
