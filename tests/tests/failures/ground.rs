//! The cluster in which something goes wrong: a coordinator and two nodes, `n1` and `n2`. It goes
//! wrong at `n1`, at the coordinator, or at the store that this one shares with another.

use std::path::PathBuf;

use mooring_tests::{Gateway, Port, RedisServer, Setup, eventually, settings, wait_until_store};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::cable::Cable;
use super::faults::Fault;
use super::proxy::Proxy;

/// What seals ids, before and after a restart.
const SECRET: &str = "failures-secret-of-thirty-two-bytes-and-more";
const TOKEN: &str = "failures-token-of-sixteen-bytes-and-more";
/// The header that brings a new session to `n1`.
pub const AT_N1: [(&str, &str); 1] = [("X-MCPHub-Node", "n1")];

pub struct Ground {
    pub coordinator: Gateway,
    pub nodes: Vec<Gateway>,
    folder: TempDir,
    proxy: Option<Proxy>,
    cable: Option<Cable>,
    redis: Option<RedisServer>,
    /// The coordinator that shares the store. Nodes register with the first.
    _other: Option<Gateway>,
}

/// The servers of a node: `tally` has a tool for each kind of call, `ticker` sends events as well,
/// and `far` is at `n2` only.
fn servers(node: &str, file: &str) -> Value {
    let tally = |args: &[&str]| {
        let args: Vec<&str> = [node, file].iter().chain(args).copied().collect();
        json!({"command": "mooring-tally-server", "args": args})
    };
    let both = json!({"tally": tally(&[]), "ticker": tally(&["tick"])});
    match node {
        "n2" => settings::merged(both, json!({"far": tally(&[])})),
        _ => both,
    }
}

/// The node with the deadline of a drain that it has by default.
fn default_deadline(node: Value) -> Value {
    settings::merged(node, json!({"systemConfig": {"cluster": {"drainDeadline": 25_000}}}))
}

impl Ground {
    /// A cluster in which this fault can happen. `None` if it cannot be made here.
    pub fn for_fault(fault: Fault) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("tally").to_str().unwrap().to_owned();
        let cable = match fault {
            Fault::Partition => Some(Cable::lay(fault.name())?),
            _ => None,
        };
        let redis = match fault.is_of_the_store() {
            true => Some(RedisServer::start(fault.name())?),
            false => None,
        };
        let mut sticky = json!({"stickySession": {"enabled": true, "strategy": "header"}});
        if let Some(redis) = &redis {
            sticky["store"] = json!({"type": "redis", "url": redis.url()});
        }
        let with =
            |setup: Setup| setup.env("MOORING_SECRET", SECRET).env("MOORING_CLUSTER_TOKEN", TOKEN);
        let other = redis.is_some().then(|| {
            let setup = with(Setup::new(&settings::coordinator(sticky.clone())));
            let other = setup.start();
            wait_until_store(&other, "fresh");
            other
        });
        let mut coordinator = with(Setup::new(&settings::coordinator(sticky)));
        if cable.is_some() {
            coordinator = coordinator.env("MOORING_HOST", "0.0.0.0");
        }
        let coordinator = coordinator.start();
        let [one, two] = [Port::reserve(), Port::reserve()];
        let proxy = (fault == Fault::AcceptAndClose).then(|| Proxy::before(one.number()));
        // The interval that a node has by default.
        let usual = json!({"heartbeatInterval": 5000});
        let mut n1 = settings::merged(usual.clone(), json!({"id": "n1", "name": "n1"}));
        if let Some(proxy) = &proxy {
            n1["advertiseUrl"] = format!("http://127.0.0.1:{}", proxy.port).into();
        }
        if let Some(cable) = &cable {
            n1["coordinatorUrl"] = format!("http://{}:{}", cable.here, coordinator.port()).into();
            n1["advertiseUrl"] = format!("http://{}:{}", cable.there, one.number()).into();
        }
        let n1 = settings::node(coordinator.port(), n1, servers("n1", &file));
        let mut n1 = with(Setup::new(&settings::roomy(default_deadline(n1))).port(one));
        if let Some(cable) = &cable {
            n1 = n1.within(&cable.words()).env("MOORING_HOST", "0.0.0.0");
        }
        let n2 = settings::merged(usual, json!({"id": "n2", "name": "n2"}));
        let n2 = settings::node(coordinator.port(), n2, servers("n2", &file));
        let n2 = with(Setup::new(&settings::roomy(default_deadline(n2))).port(two));
        let nodes = vec![n1.start(), n2.start()];
        let ground = Self { coordinator, nodes, folder, proxy, cable, redis, _other: other };
        ground.wait_until_whole();
        Some(ground)
    }

    pub fn n1(&mut self) -> &mut Gateway {
        &mut self.nodes[0]
    }

    pub fn redis(&mut self) -> &mut RedisServer {
        self.redis.as_mut().expect("a Redis")
    }

    /// Waits until both nodes are there, with all of their tools.
    fn wait_until_whole(&self) {
        let client = self.coordinator.client("/mcp");
        eventually("both nodes are there with their tools", || {
            let nodes = self.coordinator.get("/api/cluster/nodes?active=true").json();
            if nodes["data"].as_array()?.len() != self.nodes.len() {
                return None;
            }
            let session = client.initialize();
            let tools = session.tools();
            session.delete();
            let is_there = |tool: &&str| tools.iter().any(|name| name == tool);
            ["tally-count", "ticker-count", "far-count"].iter().all(is_there).then_some(())
        });
    }

    pub fn cut(&self) {
        self.cable.as_ref().expect("a cable").pull(true);
    }

    pub fn join(&self) {
        self.cable.as_ref().expect("a cable").pull(false);
    }

    pub fn close_proxy(&self, is_closed: bool) {
        self.proxy.as_ref().expect("a proxy").close(is_closed);
    }

    /// Where the servers write down what has run.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("tally")
    }
}
