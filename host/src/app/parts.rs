//! Every part of the process, built once from the configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};

use arc_swap::ArcSwap;

use crate::admin::{Admin, Api, Asked, Live, Local, ProcessRole, Reloads, SettingsFacts};
use crate::cluster::{
    Agents, Control, Dialer, Joined, KnownSessions, NodeEntry, NodeRoutes, OwnDrain,
    ProtocolReport, Registry, RunnerView, peer_of,
};
use crate::config::{Config, Mode, Secret, open_doors};
use crate::edge::{self, ColdStart, Connections, Edge, ListenerTls, OtherRoutes, Worker};
use crate::model::{GatewayStart, NodeId, Reach, Replica, ServerName, SessionId, UnixMillis};
use crate::net::{BodyBudget, Introduce, Pool};
use crate::protocol::proof::handshake::Party;
use crate::protocol::proof::mac;
use crate::protocol::seal::KeyRing;
use crate::runner::{self, Runner};
use crate::seam::Link;
use crate::store::shared::SharedStore;
use crate::store::sharing::{SharedSecret, Sharing, Told};
use crate::store::{Bindings, DataFolder, Forgotten, LOCAL_KEY, Records, SessionStates};
use crate::sync::{Signal, now};
use crate::telemetry::{LogFilter, SpanExporter, Telemetry};
use crate::wasm::{self, Strategy};

use super::capacity::CapacityGauge;
use super::descriptors::Descriptors;
use super::routes::Routes;
use super::shared_store::Secrets;
use super::translate::{self, Replicas, local_servers, strategy_options};
use super::troubles::TroubleWatch;
use super::{client_keys, identity, node_side, shared_store, telemetry, tls};

/// Nodes of which there is doubt, to be asked whether they are there.
pub type Doubted = mpsc::UnboundedReceiver<NodeId>;

/// What the tasks beside the workers own, in addition to the [`Parts`] that they share.
pub struct Background {
    /// What is looked at for the readers of the operators' page.
    pub admin: Arc<Admin>,
    pub doubted: Doubted,
    /// Sessions that were forgotten while their servers held something for them.
    pub forgotten: mpsc::Receiver<Forgotten>,
    /// Sends spans, if there are any.
    pub exporter: Option<SpanExporter>,
    /// A node's agents, and whether they register at startup.
    pub agents: Option<(Agents, bool)>,
    /// What other coordinators tell, if there may be any.
    pub told: Option<Told>,
    /// Who asks for a reload.
    pub reloads: Option<mpsc::Receiver<Asked>>,
}

/// What the workers and the tasks beside them share.
pub struct Parts {
    pub node_id: NodeId,
    pub zone: String,
    pub affinity_timeout: Duration,
    pub folder: DataFolder,
    pub registry: Arc<Registry>,
    pub runner: Arc<runner::SharedRunner>,
    pub edge: Arc<Edge>,
    pub routes: Arc<dyn OtherRoutes>,
    pub control: Arc<Control>,
    /// The control runtime's connections to nodes and servers.
    pub control_link: Link,
    pub capacity: Arc<CapacityGauge>,
    /// What is wrong with this process's own servers.
    pub troubles: Arc<TroubleWatch>,
    /// The drain of this process's own runner.
    pub drain: Arc<OwnDrain>,
    /// Whether this process itself knows which other nodes take sessions.
    pub tells_nodes: bool,
    /// A node's membership; `None` unless the process is a node.
    pub joined: Option<watch::Receiver<Joined>>,
    /// Raised when another process is what this one was.
    pub retired: Signal,
    pub reloads: Arc<Reloads>,
    replicas: Replicas,
    links: Links,
}

impl Parts {
    /// # Errors
    /// If the data folder is somebody else's, the strategy is refused, or TLS cannot be set up, as
    /// without a certificate that can be read.
    pub async fn build(
        config: &Config,
        address: SocketAddr,
        workers: usize,
        descriptors: Descriptors,
        log: Arc<dyn LogFilter>,
    ) -> anyhow::Result<(Arc<Self>, Background)> {
        let (parts, background) =
            Self::without_own_node(config, address, workers, descriptors, log).await?;
        parts.show_servers(config, address);
        Ok((parts, background))
    }

    /// The same, but the registry does not know the servers of this process.
    pub(super) async fn without_own_node(
        config: &Config,
        address: SocketAddr,
        workers: usize,
        descriptors: Descriptors,
        log: Arc<dyn LogFilter>,
    ) -> anyhow::Result<(Arc<Self>, Background)> {
        let folder = DataFolder::open(&config.data_dir)?;
        let store = shared_store::of(config);
        let secrets = shared_store::secrets(config, &folder, store.as_ref()).await?;
        let kept = (folder, secrets, store);
        let (base, forgotten) = Base::build(config, address, (workers, descriptors), kept)?;
        let (edge, doubted, told) = base.edge(config, tls::listener(config)?);
        let view: Arc<dyn RunnerView> =
            Arc::new(Local { runner: Arc::clone(&base.runner), node: base.node_id.clone() });
        let (node_routes, agents) = base.node_side(config, address, &view);
        let (reloads, asked) = Reloads::new(SettingsFacts {
            open_doors: open_doors(config, &config.listen.host),
            runs_no_server: config.runs_no_server(),
            key_header: config.access.key_header.clone(),
        });
        let admin = Arc::new(base.admin(&reloads, config, &edge, (view, log), agents.as_ref()));
        let joined = agents.as_ref().map(|(agents, _)| agents.joined.clone());
        let Base { node_id, zone, folder, registry, runner, control, links, .. } = base;
        let parts = Self {
            node_id,
            zone,
            affinity_timeout: config.sticky.affinity_timeout,
            folder,
            registry,
            runner,
            edge,
            routes: Arc::new(Routes { api: Api::new(Arc::clone(&admin)), node: node_routes }),
            control,
            control_link: base.control_link,
            capacity: base.capacity,
            troubles: base.troubles,
            drain: base.drain,
            tells_nodes: matches!(config.mode, Mode::Coordinator(_)),
            joined,
            replicas: base.replicas,
            reloads,
            retired: Signal::default(),
            links,
        };
        let (exporter, reloads) = (base.exporter, Some(asked));
        let background = Background { admin, doubted, forgotten, exporter, agents, told, reloads };
        Ok((Arc::new(parts), background))
    }

    /// The edge of one worker, with its own connections.
    #[must_use]
    pub fn worker(&self, index: usize) -> Worker {
        Worker { index, edge: Arc::clone(&self.edge), link: self.links.another() }
    }

    /// Replicas on this node, with the catalog digests that discovery knows now.
    #[must_use]
    pub fn local_servers(&self) -> BTreeMap<ServerName, Replica> {
        local_servers(&self.runner, &self.replicas.load())
    }

    /// The settings describe other replicas from now on.
    pub fn set_replicas(&self, replicas: BTreeMap<ServerName, Replica>) {
        self.replicas.store(Arc::new(replicas));
    }

    /// Another process is what this one was: nothing is decided or kept here any more.
    pub fn retire(&self) {
        self.edge.leaving.end();
        self.control.retire();
        self.retired.raise();
    }

    /// Enters this process's own servers into the registry, at the start and after each reload. A
    /// coordinator that never had servers does not count as a node.
    pub fn show_servers(&self, config: &Config, address: SocketAddr) {
        let servers = self.local_servers();
        if self.registry.topology().borrow().node(&self.node_id).is_some() {
            self.registry.set_local_servers(&self.node_id, servers);
            return;
        }
        if servers.is_empty() && matches!(config.mode, Mode::Coordinator(_)) {
            return;
        }
        let (name, labels) = match &config.mode {
            Mode::Node(node) => (identity::node_name(node), node.labels.clone()),
            Mode::Coordinator(_) | Mode::Standalone => (self.node_id.to_string(), Vec::new()),
        };
        let (id, host) = (self.node_id.clone(), address.ip().to_string());
        self.registry.enter(NodeEntry {
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

/// The parts that know no other part, from which the others are made.
struct Base {
    node_id: NodeId,
    zone: String,
    folder: DataFolder,
    /// Seals session ids, and signs what clients carry.
    secret: Vec<u8>,
    keys: KeyRing,
    registry: Arc<Registry>,
    bindings: Arc<Bindings>,
    records: Arc<Records>,
    sse_sessions: Arc<edge::SseSessions>,
    start: GatewayStart,
    runner: Arc<runner::SharedRunner>,
    replicas: Replicas,
    strategy: Strategy,
    control: Arc<Control>,
    control_link: Link,
    links: Links,
    capacity: Arc<CapacityGauge>,
    troubles: Arc<TroubleWatch>,
    drain: Arc<OwnDrain>,
    edge_metrics: Arc<edge::Metrics>,
    telemetry: Arc<Telemetry>,
    exporter: Option<SpanExporter>,
    connections: Arc<Connections>,
    bodies: Arc<BodyBudget>,
    pressure: Arc<runner::Pressure>,
    /// What several coordinators share.
    store: Option<Arc<dyn SharedStore>>,
    shared_secrets: Vec<SharedSecret>,
}

impl Base {
    fn build(
        config: &Config,
        address: SocketAddr,
        (workers, descriptors): (usize, Descriptors),
        (folder, secrets, store): (DataFolder, Secrets, Option<Arc<dyn SharedStore>>),
    ) -> anyhow::Result<(Self, mpsc::Receiver<Forgotten>)> {
        let Secrets { sealing: secret, shared: shared_secrets } = secrets;
        let (node_timeout, zone) = match &config.mode {
            Mode::Coordinator(c) => (c.node_timeout, c.zone.clone()),
            Mode::Node(node) => (Duration::MAX, node.zone.clone()),
            Mode::Standalone => (Duration::MAX, String::new()),
        };
        let registry = Registry::new(node_timeout);
        let registry = Arc::new(match &config.mode {
            Mode::Coordinator(c) => registry.with_away_timeout(c.away_timeout),
            Mode::Node(_) | Mode::Standalone => registry,
        });
        let topology = registry.current();
        let (bindings, forgotten) = Bindings::new(
            translate::most_sessions(config),
            Box::new(move |server| topology.load().ends_when_lost(server)),
        );
        let bindings = Arc::new(bindings);
        let node_id = identity::node_id(&config.mode, &folder, address.port());
        let (telemetry, exporter) = telemetry::start(config, &node_id, workers)?;
        let runner = runner::SharedRunner::new(translate::runner(config), telemetry.traces.clone());
        runner.enable_eviction();
        // Towards nodes; a process without any never uses it.
        let own = Party {
            id: NodeId::coordinator().to_string(),
            incarnation: SessionId::mint().to_string(),
        };
        let links = Links {
            runner: Arc::clone(&runner),
            tls: tls()?,
            dialer: dialer(&own, &registry, config),
        };
        let records = Arc::new(Records::open(
            folder.clone(),
            Arc::clone(&bindings),
            config.limits.data_folder,
        ));
        let (start, sse_sessions) = (GatewayStart::random(), Arc::<edge::SseSessions>::default());
        let streams = Arc::clone(&sse_sessions);
        let known = KnownSessions {
            bindings: Arc::clone(&bindings),
            records: Arc::clone(&records),
            start,
            has_stream: Box::new(move |session| streams.has(session)),
        };
        let drain = Arc::new(OwnDrain::new(config.drain_deadline));
        let control = Control::new(
            Arc::clone(&registry),
            known,
            own,
            config.token.clone(),
            folder.clone(),
            Arc::clone(&drain),
        );
        let limits = &config.limits;
        let bodies = BodyBudget::new(limits.bodies_in_memory, limits.request_body);
        let bounds = translate::connections(config, descriptors.limit);
        let proxies = config.access.trusted_proxies.clone();
        // Many clients share the address of a proxy.
        let is_proxy = move |peer| edge::is_trusted(&proxies, peer);
        let connections = Connections::new(bounds, Box::new(is_proxy), Arc::clone(&bodies));
        let pressure = Arc::new(runner::Pressure::new(descriptors.limit));
        let capacity = CapacityGauge::new(&runner, config, &pressure, &connections);
        let base = Self {
            pressure,
            connections,
            bodies,
            node_id,
            zone,
            keys: KeyRing::new(&[&secret]),
            secret,
            replicas: Arc::new(ArcSwap::from_pointee(translate::replicas(config))),
            strategy: strategy(config, workers)?,
            control: Arc::new(control),
            control_link: links.another(),
            capacity,
            troubles: TroubleWatch::new(&runner),
            drain,
            edge_metrics: Arc::default(),
            telemetry: Arc::new(telemetry),
            exporter,
            folder,
            registry,
            bindings,
            records,
            sse_sessions,
            start,
            runner,
            links,
            store,
            shared_secrets,
        };
        Ok((base, forgotten))
    }

    /// The edge, the nodes that it has doubts about, and what other coordinators tell.
    fn edge(
        &self,
        config: &Config,
        tls: Option<Arc<ListenerTls>>,
    ) -> (Arc<Edge>, Doubted, Option<Told>) {
        let cold_start = if matches!(config.mode, Mode::Coordinator(_)) {
            let (folder, reports) = (&self.folder, self.control.reports());
            let expected = self.store.is_some() || crate::cluster::is_kept(folder);
            self.control.expect_known();
            ColdStart::new(crate::cluster::patience(folder), expected, reports)
        } else {
            ColdStart::none()
        };
        let (sharing, told) = self
            .store
            .clone()
            .map(|store| {
                let (bindings, records) = (Arc::clone(&self.bindings), Arc::clone(&self.records));
                let name = shared_store::own_name(&self.folder);
                let secrets = (self.keys.clone(), self.shared_secrets.clone(), name);
                Sharing::new(store, bindings, records, secrets)
            })
            .unzip();
        let is_coordinator = matches!(config.mode, Mode::Coordinator(_));
        let runs_elsewhere = is_coordinator && self.replicas.load().is_empty();
        let lists = is_coordinator.then(|| self.folder.read(edge::CATALOGS)).flatten();
        let (doubts, doubted) = doubts(&self.registry);
        let (folder, limit) = (self.folder.clone(), config.limits.data_folder);
        let (records, bindings) = (Arc::clone(&self.records), Arc::clone(&self.bindings));
        let states = SessionStates::new(folder, records, bindings, self.keys.clone(), limit);
        let edge = Edge {
            config: translate::edge(config, client_keys::of(config, &self.folder)),
            revision: 0,
            latest: Arc::default(),
            topology: self.registry.current(),
            strategy: self.strategy.clone(),
            bindings: Arc::clone(&self.bindings),
            records: Arc::clone(&self.records),
            sharing,
            state: Arc::new(edge::KeptState::new(Arc::new(states))),
            planned_moves: Arc::default(),
            keys: self.keys.clone(),
            catalogs: Arc::new(edge::Catalogs::kept(lists)),
            connections: Arc::clone(&self.connections),
            tls,
            bodies: Arc::clone(&self.bodies),
            opened_servers: Arc::default(),
            own_ids: Arc::default(),
            found_owners: Arc::default(),
            streams: Arc::default(),
            feeds: Arc::default(),
            suspended: Arc::default(),
            snapshots: Arc::default(),
            sse_sessions: Arc::clone(&self.sse_sessions),
            start: self.start,
            cold_start: Arc::new(cold_start),
            decisions: Arc::default(),
            doubts: Arc::new(doubts),
            metrics: Arc::clone(&self.edge_metrics),
            telemetry: Arc::clone(&self.telemetry),
            leaving: Arc::new(edge::Leaving::new(runs_elsewhere)),
            signing_key: self.secret.clone(),
        };
        (Arc::new(edge), doubted, told)
    }

    /// What only a node has.
    fn node_side(
        &self,
        config: &Config,
        address: SocketAddr,
        view: &Arc<dyn RunnerView>,
    ) -> (Option<NodeRoutes>, Option<(Agents, bool)>) {
        let (runner, capacity) = (&self.runner, &self.capacity);
        let shown = (runner, view, capacity, &self.troubles);
        let link = (&self.control_link, &self.drain);
        node_side::of(config, address, &self.node_id, shown, &self.replicas, link).unzip()
    }

    fn admin(
        &self,
        reloads: &Arc<Reloads>,
        config: &Config,
        edge: &Arc<Edge>,
        (view, log): (Arc<dyn RunnerView>, Arc<dyn LogFilter>),
        agents: Option<&(Agents, bool)>,
    ) -> Admin {
        let role = match (&config.mode, agents) {
            (Mode::Coordinator(_), _) => {
                ProcessRole::Coordinator { control: Arc::clone(&self.control) }
            }
            (_, Some((agents, _))) => {
                ProcessRole::Node { join: Arc::clone(&agents.join), joined: agents.joined.clone() }
            }
            (_, None) => ProcessRole::Standalone,
        };
        Admin {
            role,
            node_id: self.node_id.clone(),
            registry: Arc::clone(&self.registry),
            bindings: Arc::clone(&self.bindings),
            records: Arc::clone(&edge.records),
            sharing: edge.sharing.clone(),
            states: Arc::clone(&edge.state.states),
            keys: self.keys.clone(),
            affinity_timeout: config.sticky.affinity_timeout,
            edge_metrics: Arc::clone(&self.edge_metrics),
            telemetry: Arc::clone(&self.telemetry),
            log,
            decisions: Arc::clone(&edge.decisions),
            live: Live::default(),
            settings: edge.latest.replaced(),
            connections: Arc::clone(&self.connections),
            bodies: Arc::clone(&self.bodies),
            leaving: Arc::clone(&edge.leaving),
            pressure: Arc::clone(&self.pressure),
            runner: Arc::clone(&self.runner),
            view,
            strategy: self.strategy.clone(),
            started_at: UnixMillis::now(),
            reloads: Arc::clone(reloads),
            admit: edge::admit_management(Arc::clone(edge), local_key(&self.folder)),
            check_site: edge::check_site_of_management(Arc::clone(edge)),
        }
    }
}

/// Makes links to the runners of this process and of other nodes.
struct Links {
    runner: Arc<runner::SharedRunner>,
    tls: Arc<rustls::ClientConfig>,
    /// Introduces this process to the nodes that are registered here.
    dialer: Arc<dyn Introduce>,
}

impl Links {
    /// A link with connections of its own.
    fn another(&self) -> Link {
        let pool = Pool::new(Arc::clone(&self.tls));
        let local = Runner::new(Arc::clone(&self.runner), pool.clone());
        Link::new(Arc::new(local), pool, Arc::clone(&self.dialer))
    }
}

/// The key of the local command line, in hexadecimal as it is sent.
fn local_key(folder: &DataFolder) -> edge::LocalKey {
    edge::LocalKey(Secret::new(mac::hex(&folder.secret(LOCAL_KEY))))
}

fn tls() -> anyhow::Result<Arc<rustls::ClientConfig>> {
    #[cfg(test)]
    if let Some(kept) = super::simulation::costly_parts() {
        return Ok(kept.0);
    }
    crate::net::client_config()
}

fn strategy(config: &Config, workers: usize) -> anyhow::Result<Strategy> {
    #[cfg(test)]
    if let Some(kept) = super::simulation::costly_parts() {
        return Ok(kept.1);
    }
    let source = wasm::Source::parse(&config.sticky.strategy);
    let options = strategy_options(&config.sticky, workers);
    Strategy::load(&source, &config.sticky.json, &options)
        .context("systemConfig.cluster.stickySession.strategy")
}

/// What the edge reports its doubts to. A node that has failed is avoided from that moment on.
fn doubts(registry: &Arc<Registry>) -> (edge::Doubts, Doubted) {
    let (sender, doubted) = mpsc::unbounded_channel();
    let registry = Arc::clone(registry);
    let report = move |node: &NodeId, broke: Option<&str>| {
        if let Some(why) = broke
            && registry.suspect(node, now())
        {
            tracing::warn!(
                node = %node,
                "a request to the node failed: it is avoided until it answers: {why}"
            );
        }
        // Nobody receives it where there are no other nodes.
        let _ = sender.send(node.clone());
    };
    (edge::Doubts::new(report), doubted)
}

fn dialer(own: &Party, registry: &Arc<Registry>, config: &Config) -> Arc<dyn Introduce> {
    let (registry, token) = (Arc::clone(registry), config.token.clone());
    let starts = Arc::clone(&registry);
    let find = move |url: &str| registry.read_at(url, |node| peer_of(node, token.as_ref()))?;
    Arc::new(Dialer::to_registered(own.clone(), find, move || starts.starts()))
}
