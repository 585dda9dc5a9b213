//! The parts that know no other part, and what is made of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::admin::{Admin, Live, ProcessRole, Reloads};
use crate::app::capacity::CapacityGauge;
use crate::app::descriptors::Descriptors;
use crate::app::shared_store::Secrets;
use crate::app::telemetry::Exports;
use crate::app::translate::{self, Replicas, strategy_options};
use crate::app::troubles::TroubleWatch;
use crate::app::{access, identity, node_side, shared_store, telemetry, tls};
use crate::cluster::{Agents, Control, KnownSessions, NodeRoutes, OwnDrain, Registry, RunnerView};
use crate::config::{Config, Mode, Secret};
use crate::edge::{self, ColdStart, Connections, Edge, ListenerTls};
use crate::model::{GatewayStart, NodeId, SessionId, UnixMillis};
use crate::net::BodyBudget;
use crate::protocol::proof::handshake::Party;
use crate::protocol::proof::mac;
use crate::protocol::seal::KeyRing;
use crate::runner;
use crate::seam::Link;
use crate::store::shared::SharedStore;
use crate::store::sharing::{SharedSecret, Sharing, Told};
use crate::store::{
    Bindings, DataFolder, Forgotten, KeptLogins, LOCAL_KEY, Records, SessionStates,
};
use crate::telemetry::{LogFilter, Telemetry};
use crate::tls::ClusterTls;
use crate::wasm::{self, Strategy};

use super::doubts::{Doubted, doubts};
use super::links::{self, Links};

/// The parts that know no other part, from which the others are made.
pub(super) struct Base {
    pub node_id: NodeId,
    pub zone: String,
    pub folder: DataFolder,
    /// Seals session ids, and signs what clients carry.
    pub secret: Vec<u8>,
    pub keys: KeyRing,
    pub registry: Arc<Registry>,
    pub bindings: Arc<Bindings>,
    pub records: Arc<Records>,
    pub sse_sessions: Arc<edge::SseSessions>,
    pub start: GatewayStart,
    pub runner: Arc<runner::SharedRunner>,
    pub replicas: Replicas,
    pub strategy: Strategy,
    pub control: Arc<Control>,
    pub control_link: Link,
    pub links: Links,
    pub capacity: Arc<CapacityGauge>,
    pub troubles: Arc<TroubleWatch>,
    pub drain: Arc<OwnDrain>,
    pub edge_metrics: Arc<edge::Metrics>,
    pub telemetry: Arc<Telemetry>,
    pub exports: Exports,
    pub connections: Arc<Connections>,
    pub bodies: Arc<BodyBudget>,
    pub pressure: Arc<runner::Pressure>,
    /// What the cluster speaks TLS with.
    pub cluster_tls: Option<Arc<ClusterTls>>,
    /// What several coordinators share.
    pub store: Option<Arc<dyn SharedStore>>,
    pub shared_secrets: Vec<SharedSecret>,
}

impl Base {
    pub fn build(
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
        let (telemetry, exports) = telemetry::start(config, &node_id, workers)?;
        let runner = runner::SharedRunner::new(translate::runner(config), telemetry.traces.clone());
        runner.enable_eviction();
        runner.hide_files(&config.secret_files);
        // Towards nodes; a process without any never uses it.
        let own = Party {
            id: NodeId::coordinator().to_string(),
            incarnation: SessionId::mint().to_string(),
        };
        let cluster_tls = tls::cluster(config, &node_id)?;
        let links = Links {
            runner: Arc::clone(&runner),
            tls: links::tls()?,
            dialer: links::dialer(&own, &registry, config, cluster_tls.clone()),
            cluster: cluster_tls.as_ref().map(|tls| tls.client()),
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
            (config.token.clone(), cluster_tls.clone()),
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
            exports,
            folder,
            registry,
            bindings,
            records,
            sse_sessions,
            start,
            runner,
            links,
            cluster_tls,
            store,
            shared_secrets,
        };
        Ok((base, forgotten))
    }

    /// The edge, the nodes that it has doubts about, and what other coordinators tell.
    pub fn edge(
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
        if let Some(sharing) = &sharing {
            states.share(Arc::clone(sharing));
        }
        let keys = self.keys.clone();
        let logins = KeptLogins::new(self.folder.clone(), sharing.clone(), keys);
        let edge = Edge {
            logins: Arc::new(edge::UserTokens::new(logins)),
            config: translate::edge(config, access::of(config, &self.folder, None)),
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
            listened: edge::FairShare::of(edge::MOST_LISTENED),
            posted: edge::FairShare::of(edge::MOST_POSTED),
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
    pub fn node_side(
        &self,
        config: &Config,
        address: SocketAddr,
        view: &Arc<dyn RunnerView>,
    ) -> (Option<NodeRoutes>, Option<(Agents, bool)>) {
        let (runner, capacity) = (&self.runner, &self.capacity);
        let shown = (runner, view, capacity, &self.troubles);
        let link = (&self.control_link, &self.drain, self.cluster_tls.as_ref());
        node_side::of(config, address, &self.node_id, shown, &self.replicas, link).unzip()
    }

    pub fn admin(
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
            tls: edge.tls.clone(),
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

/// The key of the local command line, in hexadecimal as it is sent.
fn local_key(folder: &DataFolder) -> edge::LocalKey {
    edge::LocalKey(Secret::new(mac::hex(&folder.secret(LOCAL_KEY))))
}

fn strategy(config: &Config, workers: usize) -> anyhow::Result<Strategy> {
    #[cfg(test)]
    if let Some(kept) = crate::app::simulation::costly_parts() {
        return Ok(kept.1);
    }
    let source = wasm::Source::parse(&config.sticky.strategy);
    let options = strategy_options(&config.sticky, workers);
    Strategy::load(&source, &config.sticky.json, &options)
        .context("systemConfig.cluster.stickySession.strategy")
}
