//! Every part of the process, built once from the configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::HeaderValue;
use tokio::sync::mpsc;

use crate::admin::{Admin, Api, Local, ProcessRole};
use crate::cluster::{Agent, Control, Gate, NodeEntry, ProtocolReport, Registry, RunnerView};
use crate::config::{Config, Mode, Wasi};
use crate::edge::{self, ColdStart, Edge, OtherRoutes, Worker};
use crate::model::{NodeId, Reach, Replica, ServerName, UnixMillis};
use crate::net::Pool;
use crate::protocol::seal::KeyRing;
use crate::runner::{self, Runner};
use crate::seam::Link;
use crate::store::{Bindings, DataFolder, Records};
use crate::sync::Locked;
use crate::wasm::{self, Strategy};

use super::capacity::CapacityGauge;
use super::routes::Routes;
use super::translate::{self, local_servers};
use super::{identity, node_side};

type Suspects = mpsc::UnboundedReceiver<(NodeId, String)>;

pub struct Parts {
    pub node_id: NodeId,
    pub zone: String,
    pub affinity_timeout: Duration,
    pub folder: DataFolder,
    pub registry: Arc<Registry>,
    pub host: Arc<runner::SharedRunner>,
    pub edge: Arc<Edge>,
    pub routes: Arc<dyn OtherRoutes>,
    /// The control runtime's connections to nodes and servers.
    pub control_link: Link,
    pub gauge: Arc<CapacityGauge>,
    replicas: BTreeMap<ServerName, Replica>,
    tls: Arc<rustls::ClientConfig>,
    credential: Option<HeaderValue>,
    pub control: Arc<Control>,
    // Each is taken once, by the task that runs it.
    agent: Locked<Option<(Agent, bool)>>,
    suspects: Locked<Option<Suspects>>,
}

impl Parts {
    /// # Errors
    /// If the strategy is refused, TLS cannot be set up, or the cluster token cannot
    /// be sent in a header.
    pub fn build(config: &Config, address: SocketAddr, workers: usize) -> anyhow::Result<Self> {
        let folder = DataFolder::open(&config.data_dir);
        let node_id = identity::node_id(&config.mode, &folder, address.port());
        let secret = match &config.secret {
            Some(secret) => secret.expose().as_bytes().to_vec(),
            None => folder.secret("secret"),
        };
        let keys = KeyRing::new(&[&secret]);
        let (node_timeout, zone) = match &config.mode {
            Mode::Coordinator(c) => (c.node_timeout, c.zone.clone()),
            Mode::Node(node) => (Duration::MAX, node.zone.clone()),
            Mode::Standalone => (Duration::MAX, String::new()),
        };
        let registry = Arc::new(Registry::new(node_timeout));
        let bindings = Arc::new(Bindings::new());
        let host = runner::SharedRunner::new(translate::host(config));
        host.enable_eviction();
        let replicas = translate::replicas(config);
        let strategy = strategy(config, workers)?;
        let tls = crate::net::client_config()?;
        let credential = credential(config)?;
        let control_link = link(&host, &tls, credential.clone());
        let edge_metrics = Arc::new(edge::Metrics::default());

        let control = Arc::new(Control::new(
            Arc::clone(&registry),
            Arc::clone(&bindings),
            config.token.clone(),
            folder.clone(),
        ));
        let is_coordinator = matches!(config.mode, Mode::Coordinator(_));
        let cold_start = if is_coordinator {
            let expected = crate::cluster::is_kept(&folder);
            ColdStart::new(crate::cluster::patience(&folder), expected, control.reports())
        } else {
            ColdStart::nobody()
        };
        let (suspects, suspected) = mpsc::unbounded_channel();
        let edge = Arc::new(Edge {
            config: translate::edge(config),
            topology: registry.current(),
            strategy: strategy.clone(),
            bindings: Arc::clone(&bindings),
            records: Arc::new(Records::open(folder.clone())),
            keys: keys.clone(),
            catalogs: Arc::default(),
            opened_servers: edge::OpenedServers::default(),
            own_ids: edge::OwnIds::default(),
            streams: edge::AggregateStreams::default(),
            snapshots: edge::ListSnapshots::default(),
            sse_sessions: edge::SseSessions::default(),
            cold_start,
            suspects,
            metrics: Arc::clone(&edge_metrics),
            signing_key: secret,
        });

        let gauge = CapacityGauge::new(&host, config);
        let sight: Arc<dyn RunnerView> =
            Arc::new(Local { host: Arc::clone(&host), node: node_id.clone() });
        let node_side = node_side::of(
            config,
            address,
            &node_id,
            (&host, &sight, &gauge),
            &replicas,
            &control_link,
        );
        let (node_routes, agent) =
            node_side.map_or((None, None), |(routes, agent)| (Some(routes), Some(agent)));
        let role = match (&config.mode, &agent) {
            (Mode::Coordinator(_), _) => ProcessRole::Coordinator {
                control: Arc::clone(&control),
                gate: Gate::for_nodes(config.token.clone()),
            },
            (_, Some((agent, _))) => ProcessRole::Node {
                join: Arc::clone(&agent.join),
                joined: agent.joined.subscribe(),
            },
            (_, None) => ProcessRole::Standalone,
        };
        let admin = Admin {
            role,
            node_id: node_id.clone(),
            registry: Arc::clone(&registry),
            bindings,
            keys,
            affinity_timeout: config.sticky.affinity_timeout,
            edge_metrics,
            host: Arc::clone(&host),
            sight,
            strategy,
            started_at: UnixMillis::now(),
            admit: edge::admit_management(Arc::clone(&edge)),
        };
        let parts = Self {
            zone,
            affinity_timeout: config.sticky.affinity_timeout,
            folder,
            registry,
            host,
            edge,
            routes: Arc::new(Routes { api: Api::new(Arc::new(admin)), node: node_routes }),
            control_link,
            gauge,
            replicas,
            tls,
            credential,
            control,
            agent: Locked::new(agent),
            suspects: Locked::new(Some(suspected)),
            node_id,
        };
        parts.enter_local_node(config, address);
        Ok(parts)
    }

    /// The edge of one worker, with its own connections.
    #[must_use]
    pub fn worker(&self, index: usize) -> Worker {
        let link = link(&self.host, &self.tls, self.credential.clone());
        Worker { index, edge: Arc::clone(&self.edge), link }
    }

    /// Replicas on this node, with the catalog digests that discovery knows now.
    #[must_use]
    pub fn local_servers(&self) -> BTreeMap<ServerName, Replica> {
        local_servers(&self.host, &self.replicas)
    }

    pub fn take_agent(&self) -> Option<(Agent, bool)> {
        take(&self.agent)
    }

    pub fn mark_suspects(&self) -> Option<Suspects> {
        take(&self.suspects)
    }

    /// Enters this process's own servers into the registry. A coordinator without
    /// servers does not count as a node.
    fn enter_local_node(&self, config: &Config, address: SocketAddr) {
        let servers = self.local_servers();
        if servers.is_empty() && matches!(config.mode, Mode::Coordinator(_)) {
            return;
        }
        let (name, labels) = match &config.mode {
            Mode::Node(node) => (identity::node_name(node), node.labels.clone()),
            Mode::Coordinator(_) | Mode::Standalone => (self.node_id.to_string(), Vec::new()),
        };
        let (id, host) = (self.node_id.clone(), address.ip().to_string());
        self.registry.register(NodeEntry {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: Some(ProtocolReport::own()),
            servers,
            zone: self.zone.clone(),
            labels,
            ..NodeEntry::new(id, name, Reach::Local, host, address.port())
        });
        // The edge must be able to route its first request.
        let topology = Arc::clone(&self.registry.topology().borrow());
        let view = super::strategy_view::of(&topology, &self.zone);
        self.edge.strategy.publish(Arc::new(view));
    }
}

fn take<T>(place: &Locked<Option<T>>) -> Option<T> {
    place.lock().take()
}

fn link(
    host: &Arc<runner::SharedRunner>,
    tls: &Arc<rustls::ClientConfig>,
    credential: Option<HeaderValue>,
) -> Link {
    let pool = Pool::new(Arc::clone(tls));
    let local = Runner::new(Arc::clone(host), pool.clone());
    Link::new(Arc::new(local), pool, credential)
}

fn strategy(config: &Config, workers: usize) -> anyhow::Result<Strategy> {
    let source = wasm::Source::parse(&config.sticky.strategy);
    let wasi = match config.sticky.wasi {
        Wasi::Deny => wasm::WasiPolicy::Deny,
        Wasi::Sandbox => wasm::WasiPolicy::Sandbox,
    };
    let options = wasm::Options { wasi, workers };
    Strategy::load(&source, &config.sticky.json, &options)
        .context("systemConfig.cluster.stickySession.strategy")
}

fn credential(config: &Config) -> anyhow::Result<Option<HeaderValue>> {
    let Some(token) = &config.token else { return Ok(None) };
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .context("the cluster token cannot be sent in a header: use visible ASCII characters")?;
    value.set_sensitive(true);
    Ok(Some(value))
}
