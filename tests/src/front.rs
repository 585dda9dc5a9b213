//! The same servers behind one gateway, and behind a coordinator with two nodes.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::gateway::Gateway;
use crate::gateway::setup::Setup;
use crate::mcp::Client;
use crate::process;
use crate::settings;

/// More than one, so that two requests of a session may be on different threads.
const WORKERS: &str = "4";

pub enum Front {
    Alone(Gateway),
    Cluster(Cluster),
}

impl Front {
    /// One gateway with `system` as its `systemConfig`.
    #[must_use]
    #[track_caller]
    pub fn alone(servers: &Value, system: &Value) -> Self {
        let settings = json!({"mcpServers": servers, "systemConfig": system});
        Self::Alone(Setup::new(&settings).arg("--workers").arg(WORKERS).start())
    }

    /// A coordinator and two nodes, each with every server.
    #[must_use]
    #[track_caller]
    pub fn cluster(servers: &Value, system: &Value) -> Self {
        let system = json!({"systemConfig": system});
        let coordinator = settings::merged(settings::coordinator(json!({})), system.clone());
        let coordinator = Setup::new(&coordinator).arg("--workers").arg(WORKERS).start();
        let port = coordinator.port();
        let node = |id: &str| {
            let node = settings::node(port, json!({"id": id}), servers.clone());
            let node = settings::merged(node, system.clone());
            Setup::new(&node).arg("--workers").arg("2").start()
        };
        let nodes = vec![node("a"), node("b")];
        let cluster = Cluster { coordinator, nodes };
        cluster.wait_for_active(2);
        Self::Cluster(cluster)
    }

    /// Runs `test` with each front, one after the other.
    #[track_caller]
    pub fn each(servers: &Value, system: &Value, test: impl Fn(&Self)) {
        for front in [Self::alone, Self::cluster] {
            let front = front(servers, system);
            eprintln!("{}", if matches!(front, Self::Alone(_)) { "standalone" } else { "cluster" });
            test(&front);
        }
    }

    /// The gateway that clients connect to.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        match self {
            Self::Alone(gateway) => gateway,
            Self::Cluster(cluster) => &cluster.coordinator,
        }
    }

    /// Waits until every gateway that runs servers has read their lists.
    pub fn wait_until_discovered(&self, servers: &[&str]) {
        match self {
            Self::Alone(gateway) => gateway.wait_until_discovered(servers),
            Self::Cluster(cluster) => {
                cluster.nodes.iter().for_each(|node| node.wait_until_discovered(servers));
            }
        }
    }

    #[must_use]
    pub fn client(&self, path: &str) -> Client {
        self.gateway().client(path)
    }

    /// All processes below its gateways.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        match self {
            Self::Alone(gateway) => process::descendants(gateway.pid()),
            Self::Cluster(cluster) => {
                cluster.nodes.iter().flat_map(|node| process::descendants(node.pid())).collect()
            }
        }
    }
}
