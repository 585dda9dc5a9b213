//! A coordinator and its nodes.

use serde_json::{Value, json};

use crate::deadline::eventually;
use crate::gateway::Gateway;
use crate::gateway::setup::Setup;
use crate::mcp::{Client, Session};
use crate::{servers, settings};

pub struct Cluster {
    pub coordinator: Gateway,
    pub nodes: Vec<Gateway>,
}

impl Cluster {
    /// The scenario of `examples/manual`, prepared but not started. Of its files only the
    /// coordinator's port is changed, to one of the test.
    #[must_use]
    pub fn of_examples() -> Self {
        let coordinator = Setup::text(&settings::example("manual/coordinator/mcp_settings.json"));
        let coordinator = coordinator.prepare();
        let port = coordinator.port();
        let node = |name: &str| {
            let text = settings::example(&format!("manual/{name}/mcp_settings.json"));
            let text = text.replace("http://127.0.0.1:3000", &format!("http://127.0.0.1:{port}"));
            Setup::text(&text).prepare()
        };
        Self { nodes: vec![node("node1"), node("node2")], coordinator }
    }

    /// A running cluster of two nodes, `a` and `b`, each with a server `counter` whose `whoami`
    /// names the node. `cluster` is merged into the coordinator's cluster section.
    #[must_use]
    #[track_caller]
    pub fn of_two_equal_nodes(cluster: Value) -> Self {
        let coordinator = Gateway::start_with(&settings::coordinator(cluster));
        let mut cluster = Self { coordinator, nodes: Vec::new() };
        for id in ["a", "b"] {
            cluster.add(id, json!({"counter": servers::counter_named(id)}));
        }
        cluster.wait_for_active(2);
        cluster
    }

    /// Starts one more node.
    #[track_caller]
    pub fn add(&mut self, id: &str, servers: Value) {
        self.start(json!({"id": id}), servers);
    }

    /// Starts one more node, whose own `/mcp` and `/api` are open.
    #[track_caller]
    pub fn add_public(&mut self, id: &str, servers: Value) {
        self.start(json!({"id": id, "public": true}), servers);
    }

    #[track_caller]
    fn start(&mut self, node: Value, servers: Value) {
        let settings = settings::node(self.coordinator.port(), node, servers);
        self.nodes.push(Gateway::start_with(&settings::roomy(settings)));
    }

    /// A session of `counter` at this node. Equal nodes get new sessions at random, so this opens
    /// sessions until one is at the node.
    #[must_use]
    #[track_caller]
    pub fn session_at(&self, node: &str) -> Session {
        let mut begun = (0..64).map(|_| self.client("/mcp/counter").initialize());
        let found = begun.find(|session| session.whoami("whoami").name == node);
        found.unwrap_or_else(|| panic!("no session is at {node}"))
    }

    /// Waits until `count` nodes are active, and returns them.
    #[track_caller]
    pub fn wait_for_active(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} nodes are active"), || {
            let nodes = self.active();
            (nodes.len() == count).then_some(nodes)
        })
    }

    #[must_use]
    pub fn active(&self) -> Vec<Value> {
        let nodes = self.coordinator.data("/api/cluster/nodes?active=true");
        nodes.as_array().expect("a list of nodes").clone()
    }

    /// The coordinator's entry of a node.
    #[must_use]
    pub fn node(&self, id: &str) -> Option<Value> {
        let nodes = self.coordinator.data("/api/cluster/nodes");
        nodes.as_array()?.iter().find(|node| node["id"] == id).cloned()
    }

    #[must_use]
    pub fn client(&self, path: &str) -> Client {
        self.coordinator.client(path)
    }
}
