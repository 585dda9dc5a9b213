//! Every part of the process, built once from the configuration.

mod base;
mod doubts;
mod links;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::admin::{Admin, Api, Asked, Local, Reloads, SettingsFacts};
use crate::cluster::{
    Agents, Control, Joined, NodeEntry, OwnDrain, ProtocolReport, Registry, RunnerView,
};
use crate::config::{Config, Mode, open_doors};
use crate::edge::{Edge, OtherRoutes, Worker};
use crate::model::{NodeId, Reach, Replica, ServerName};
use crate::runner;
use crate::seam::Link;
use crate::store::sharing::Told;
use crate::store::{DataFolder, Forgotten};
use crate::sync::Signal;
use crate::telemetry::LogFilter;

use self::base::Base;
use self::doubts::Doubted;
use self::links::Links;
use super::capacity::CapacityGauge;
use super::descriptors::Descriptors;
use super::routes::Routes;
use super::telemetry::Exports;
use super::translate::{Replicas, local_servers};
use super::troubles::TroubleWatch;
use super::{identity, shared_store, tls};

/// What the tasks beside the workers own, in addition to the [`Parts`] that they share.
pub struct Background {
    /// What is looked at for the readers of the operators' page.
    pub admin: Arc<Admin>,
    pub doubted: Doubted,
    /// Sessions that were forgotten while their servers held something for them.
    pub forgotten: mpsc::Receiver<Forgotten>,
    /// What is told to collectors.
    pub exports: Exports,
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
        let listener = tls::listener(config, base.cluster_tls.clone())?;
        let (edge, doubted, told) = base.edge(config, listener);
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
            routes: Arc::new(Routes {
                api: Api::new(Arc::clone(&admin)),
                node: node_routes.map(Arc::new),
            }),
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
        let (exports, reloads) = (base.exports, Some(asked));
        let background = Background { admin, doubted, forgotten, exports, agents, told, reloads };
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
