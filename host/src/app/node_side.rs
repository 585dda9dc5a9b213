//! The parts that only a node has: its agents, and the routes for its coordinator.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::cluster::{
    Agent, Agents, Door, Gate, Heard, HeldSession, Identity, Memberships, NodeRoutes, OwnDrain,
    RunnerView, ServerReport, ToCoordinator, UnprovedCallers,
};
use crate::config::{Config, Mode};
use crate::model::{Epoch, GatewayStart, NodeId, Replica, ServerName};
use crate::protocol::log_level::LogLevel;
use crate::protocol::proof::handshake::Party;
use crate::runner;
use crate::seam::Link;
use crate::sync::Seldom;
use crate::tls::ClusterTls;

use super::capacity::CapacityGauge;
use super::translate::Replicas;
use super::troubles::TroubleWatch;
use super::{identity, translate};

/// Longest time that an idle connection to the coordinator is kept. A coordinator
/// closes idle connections later, so that one connection serves all heartbeats.
const REST: Duration = Duration::from_secs(60);

/// The routes, the agents, and whether they register at startup; `None` unless
/// the process is a node.
pub fn of(
    config: &Config,
    address: SocketAddr,
    id: &NodeId,
    (host, view, capacity, troubles): (
        &Arc<runner::SharedRunner>,
        &Arc<dyn RunnerView>,
        &Arc<CapacityGauge>,
        &Arc<TroubleWatch>,
    ),
    replicas: &Replicas,
    (link, drain, tls): (&Link, &Arc<OwnDrain>, Option<&Arc<ClusterTls>>),
) -> Option<(NodeRoutes, (Agents, bool))> {
    let Mode::Node(node) = &config.mode else { return None };
    let name = identity::node_name(node);
    let (zone, labels) = (node.zone.clone(), node.labels.clone());
    let token = config.token.clone();
    let identity = Arc::new(Identity::new(id.clone(), name, zone, labels, token));
    let hosts = node.coordinator_urls.iter().map(|coordinator| {
        let default_port = if coordinator.scheme_str() == Some("https") { 443 } else { 80 };
        (coordinator.host().unwrap_or(""), coordinator.port_u16().unwrap_or(default_port))
    });
    let gate = Gate::for_coordinators(config.token.is_some(), hosts);
    let holder = Arc::clone(host);
    let own = Party { id: id.to_string(), incarnation: identity.incarnation.clone() };
    let memberships = Memberships::new(node.coordinator_urls.len());
    let door = Door {
        gate,
        tls: tls.cloned(),
        own,
        key: identity.key.secret().clone(),
        advertised: node.advertise_url.clone(),
        unproved: Arc::new(UnprovedCallers::new(&memberships)),
        misdirected: Seldom::default(),
        uncertified: Seldom::default(),
    };
    let heard = Arc::<Heard>::default();
    let routes = NodeRoutes {
        door: Arc::new(door),
        unproved: Arc::default(),
        held: Arc::new(move |after, limit| {
            holder.held(after, limit).into_iter().map(held_session).collect()
        }),
        streams: {
            let holder = Arc::clone(host);
            Arc::new(move |start, lease, sessions| holder.note_streams(start, lease, &sessions))
        },
        view: Arc::clone(view),
        drain: Arc::clone(drain),
        heard: Arc::clone(&heard),
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let agent = |(index, coordinator): (usize, &http::Uri)| Agent {
        identity: Arc::clone(&identity),
        coordinator: coordinator.to_string().trim_end_matches('/').to_owned(),
        url: match &node.advertise_url {
            Some(url) => url.to_string().trim_end_matches('/').to_owned(),
            None => format!("{scheme}://{}:{}", identity::hostname(), address.port()),
        },
        advertised: node.advertise_url.is_some(),
        port: address.port(),
        interval: node.heartbeat_interval,
        servers: {
            let (reporter, replicas) = (Arc::clone(host), Arc::clone(replicas));
            Box::new(move || reports(&reporter, &replicas.load()))
        },
        changes: host.discovery.changes(),
        room: capacity.changes(),
        notes: troubles.changes(),
        load: {
            let capacity = Arc::clone(capacity);
            Box::new(move || capacity.report())
        },
        membership: memberships.with(index),
        several: node.coordinator_urls.len() > 1,
        close_of_streams: {
            let (holder, pool) = (Arc::clone(host), link.pool().clone());
            Box::new(move || holder.close_of_streams(&pool))
        },
        drain: Arc::clone(drain),
        heard: Arc::clone(&heard),
        link: {
            let rest = node.heartbeat_interval.saturating_mul(2).min(REST);
            let begin = tls.map(|tls| Arc::new(ToCoordinator(Arc::clone(tls))) as _);
            link.with_rest(rest, begin)
        },
    };
    let agents = Agents {
        agents: node.coordinator_urls.iter().enumerate().map(agent).collect(),
        join: Arc::new(Notify::new()),
        joined: memberships.together(),
    };
    Some((routes, (agents, node.register_on_startup)))
}

fn held_session(held: runner::Held) -> HeldSession {
    HeldSession {
        session: held.session.to_string(),
        server: held.server.to_string(),
        opened_at: held.opened_at.0,
        epoch: held.epoch.map(Epoch::get),
        stream: held.stream.map(GatewayStart::get),
        level: held.level.map(LogLevel::json),
        subscriptions: held.subscriptions,
    }
}

fn reports(
    runner: &runner::SharedRunner,
    replicas: &BTreeMap<ServerName, Replica>,
) -> Vec<ServerReport> {
    let servers = translate::local_servers(runner, replicas);
    servers.iter().map(|(server, replica)| ServerReport::of(server, replica)).collect()
}
