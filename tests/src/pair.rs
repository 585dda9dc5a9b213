//! Two coordinators that share a Redis, and their nodes.

use serde_json::{Value, json};

use crate::deadline::eventually;
use crate::gateway::Gateway;
use crate::mcp::{Client, Session};
use crate::redis_server::RedisServer;
use crate::{servers, settings};

/// Two coordinators and two equal nodes, each of which registers with one coordinator alone.
pub struct Pair {
    pub coordinators: [Gateway; 2],
    pub nodes: Vec<Gateway>,
    pub redis: RedisServer,
}

impl Pair {
    /// `None` where there is no Redis. `cluster` is merged into the coordinators' sections. Each
    /// node has a `counter`.
    #[must_use]
    #[track_caller]
    pub fn start(what: &str, cluster: &Value) -> Option<Self> {
        Some(Self::over(RedisServer::start(what)?, cluster))
    }

    #[must_use]
    #[track_caller]
    pub fn over(redis: RedisServer, cluster: &Value) -> Self {
        let counter = |id: &str| json!({"counter": servers::counter_named(id)});
        Self::with(redis, cluster, counter)
    }

    /// With these servers on the node of an id.
    #[must_use]
    #[track_caller]
    pub fn with(redis: RedisServer, cluster: &Value, servers: impl Fn(&str) -> Value) -> Self {
        let urls = [redis.url(), redis.url()];
        Self::by(redis, urls, cluster, servers)
    }

    /// The same, where `system` is merged into `systemConfig` of the coordinators.
    #[must_use]
    #[track_caller]
    pub fn with_system(
        redis: RedisServer,
        system: &Value,
        servers: impl Fn(&str) -> Value,
    ) -> Self {
        let urls = [redis.url(), redis.url()];
        Self::started(redis, urls, (&json!({}), system), servers)
    }

    /// The same, where each coordinator has its own way to Redis.
    #[must_use]
    #[track_caller]
    pub fn by(
        redis: RedisServer,
        urls: [String; 2],
        cluster: &Value,
        servers: impl Fn(&str) -> Value,
    ) -> Self {
        Self::started(redis, urls, (cluster, &json!({})), servers)
    }

    #[track_caller]
    fn started(
        redis: RedisServer,
        urls: [String; 2],
        (cluster, system): (&Value, &Value),
        servers: impl Fn(&str) -> Value,
    ) -> Self {
        let coordinators = urls.map(|url| {
            let store = json!({"store": {"type": "redis", "url": url}});
            let own = settings::coordinator(settings::merged(store, cluster.clone()));
            let all = settings::merged(own, json!({"systemConfig": system}));
            Gateway::start_with(&all)
        });
        let mut pair = Self { coordinators, nodes: Vec::new(), redis };
        for (at, id) in ["a", "b"].into_iter().enumerate() {
            let url = pair.coordinators[at].url();
            pair.nodes.push(Self::node(&url, id, servers(id)));
        }
        pair.wait_for(2);
        pair
    }

    /// A running node with these servers, which knows only the coordinator at this URL.
    #[must_use]
    #[track_caller]
    pub fn node(coordinator: &str, id: &str, servers: Value) -> Gateway {
        let own = json!({"id": id, "coordinatorUrl": coordinator});
        Gateway::start_with(&settings::roomy(settings::node(0, own, servers)))
    }

    /// Waits until both coordinators know so many active nodes.
    #[track_caller]
    pub fn wait_for(&self, count: usize) {
        for coordinator in &self.coordinators {
            eventually(&format!("{count} nodes are active at both"), || {
                let nodes = coordinator.data("/api/cluster/nodes?active=true");
                (nodes.as_array()?.len() == count).then_some(())
            });
        }
    }

    #[must_use]
    pub fn client(&self, at: usize, path: &str) -> Client {
        self.coordinators[at].client(path)
    }

    /// The same session by way of the other coordinator.
    #[must_use]
    pub fn elsewhere(&self, at: usize, path: &str, session: &Session) -> Session {
        Session::resumed(&self.client(at, path), &session.id)
    }

    /// Waits until both say so of their store.
    #[track_caller]
    pub fn wait_until_store(&self, is: &str) {
        for coordinator in &self.coordinators {
            wait_until_store(coordinator, is);
        }
    }
}

/// Waits until a coordinator says so of its store.
#[track_caller]
pub fn wait_until_store(coordinator: &Gateway, is: &str) {
    eventually(&format!("the store is {is}"), || {
        let said = coordinator.get("/health").json()["store"].clone();
        said.as_str()?.starts_with(is).then_some(())
    });
}
