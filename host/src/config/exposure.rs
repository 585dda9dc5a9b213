//! What a configuration opens to every process that reaches the port.

use std::net::IpAddr;

use super::Config;
use super::sections::cluster::Mode;
use super::sections::lock::Lock;

/// A door that neither key nor token closes, on an address that other machines may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenDoor {
    /// `/mcp`, `/sse` and `/api`.
    Clients,
    /// The endpoints by which nodes and coordinator talk.
    Cluster,
}

impl OpenDoor {
    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Cluster => "cluster",
        }
    }
}

/// The doors of a gateway that listens on `host`, an address or a name, to other machines.
#[must_use]
pub fn open_doors(config: &Config, host: &str) -> Vec<OpenDoor> {
    if is_loopback(host) {
        return Vec::new();
    }
    let clients_may_come = match &config.mode {
        // Only its coordinator is served, unless it is public.
        Mode::Node(node) => node.public,
        Mode::Standalone | Mode::Coordinator(_) => true,
    };
    let is_open = config.access.lock == Lock::Open && !config.takes_certificates();
    let clients = clients_may_come && is_open;
    let cluster = config.mode != Mode::Standalone && is_cluster_open(config);
    [(clients, OpenDoor::Clients), (cluster, OpenDoor::Cluster)]
        .into_iter()
        .filter_map(|(is_open, door)| is_open.then_some(door))
        .collect()
}

/// One sentence for each open door: what it lets in, and how to close it.
#[must_use]
pub fn open_door_warnings(config: &Config, host: &str) -> Vec<String> {
    let text = |door| match door {
        OpenDoor::Clients => Some(format!(
            "no key is set, and the gateway listens on {host}: every program that reaches the port \
             may use all servers; set systemConfig.routing.enableBearerAuth and bearerAuthKey, or \
             MOORING_HOST=127.0.0.1"
        )),
        OpenDoor::Cluster => open_cluster_warning(config),
    };
    open_doors(config, host).into_iter().filter_map(text).collect()
}

/// Which peers a cluster without a token trusts, on whatever address it listens.
#[must_use]
pub fn open_cluster_warning(config: &Config) -> Option<String> {
    let who = match config.mode {
        Mode::Coordinator(_) => {
            "any process at a loopback or private address can register a node and is then given \
             sessions"
        }
        Mode::Node(_) => {
            "this node sends its secret to whatever answers at its coordinatorUrl; a process there, \
             or one that hears the network, can read all session ids and call inside sessions"
        }
        Mode::Standalone => return None,
    };
    is_cluster_open(config).then(|| {
        format!(
            "no cluster token is set: {who}; set MOORING_CLUSTER_TOKEN on coordinator and nodes"
        )
    })
}

/// Whether neither a token nor certificates tell who belongs to the cluster.
fn is_cluster_open(config: &Config) -> bool {
    config.token.is_none() && config.cluster_tls.as_ref().is_none_or(|tls| tls.optional)
}

/// Whether only this machine reaches the address. A name counts as reachable, but `localhost`.
fn is_loopback(host: &str) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    address.map_or(host.eq_ignore_ascii_case("localhost"), |a| a.to_canonical().is_loopback())
}
