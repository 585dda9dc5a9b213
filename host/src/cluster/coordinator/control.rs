//! The calls of nodes to the coordinator: register, heartbeat, deregister.
//!
//! A registration is accepted only after a callback: the coordinator asks the node's
//! address for a proof, and for the sessions that the node holds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use tokio::sync::{Mutex, watch};

use crate::cluster::messages::{Heartbeat, Proof, ProtocolReport, Registration, ServerReport};
use crate::cluster::proof::prove;
use crate::config::Secret;
use crate::model::{NodeId, Reach, Replica, Reports, ServerName, SessionId, is_near};
use crate::net::{Body, collect};
use crate::seam::Link;
use crate::store::{Bindings, DataFolder};

use super::bounds;
use super::claims::Claims;
use super::known_nodes::KnownNodes;
use super::registry::{Beat, LeaseStatus, NodeEntry, Registry};

/// Longest wait for one answer of a node.
const CALLBACK_TIMEOUT: Duration = Duration::from_secs(2);
/// The node id of a coordinator's own runner.
const COORDINATOR_ID: &str = "coordinator";
/// Bytes of a proof, which is three short strings.
const PROOF_SIZE: usize = 4 * 1024;

/// Why a node's call is refused. `Display` is the text for the node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// A field is invalid, or the callback failed.
    #[error("{0}")]
    BadRequest(String),
    /// No such node is registered: it is to register.
    #[error("Node not found: {0}")]
    Unknown(String),
    /// Another process has the id and still answers.
    #[error(
        "node id {0} is in use by another process that still answers; give each node its own id"
    )]
    InUse(String),
    /// There is no room for another node, or for what it reports.
    #[error("{0}")]
    Full(String),
}

/// Handles the calls of nodes, and calls them back.
pub struct Control {
    pub registry: Arc<Registry>,
    bindings: Arc<Bindings>,
    token: Option<Secret>,
    snapshot: KnownNodes,
    /// One registration at a time, so that two with one id are not both accepted.
    registering: Mutex<()>,
    reports: watch::Sender<Reports>,
    /// Registrations whose sessions were not all taken in.
    cut_off: AtomicU64,
}

impl Control {
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        bindings: Arc<Bindings>,
        token: Option<Secret>,
        folder: DataFolder,
    ) -> Self {
        let snapshot = KnownNodes::new(folder, Arc::clone(&registry));
        Self {
            registry,
            bindings,
            token,
            snapshot,
            registering: Mutex::new(()),
            reports: watch::Sender::default(),
            cut_off: AtomicU64::default(),
        }
    }

    /// Writes the nodes that are registered now, for the next start to call.
    pub async fn save(&self) {
        self.snapshot.save().await;
    }

    /// How many registrations there were whose sessions were not all taken in.
    #[must_use]
    pub fn cut_off(&self) -> u64 {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// How many nodes have reported since the start, and whether all have.
    #[must_use]
    pub fn reports(&self) -> watch::Receiver<Reports> {
        self.reports.subscribe()
    }

    /// Notes that no further reports of nodes are expected.
    pub(in crate::cluster) fn all_reported(&self) {
        self.reports.send_modify(|reports| reports.all = true);
    }

    /// Registers a node that calls from `peer`.
    ///
    /// # Errors
    /// If a field is missing or invalid, the address does not answer as that node, or
    /// another process has the id.
    pub async fn register(
        &self,
        registration: Registration,
        peer: SocketAddr,
        link: &Link,
    ) -> Result<NodeEntry, Rejected> {
        let entry = self.entry_of(registration, peer)?;
        self.admit(entry, link).await
    }

    /// Calls a node back, registers it, and takes its report of sessions.
    pub(in crate::cluster) async fn admit(
        &self,
        mut entry: NodeEntry,
        link: &Link,
    ) -> Result<NodeEntry, Rejected> {
        let proved = self.call_back(&entry.url, link).await.map_err(|why| {
            Rejected::BadRequest(format!(
                "the node does not answer at {}: {why}; check cluster.node.advertiseUrl, the port \
                 and firewalls between coordinator and node",
                entry.url
            ))
        })?;
        if proved.id != entry.id.as_str() {
            return Err(Rejected::BadRequest(format!(
                "another node ({}) answers at {}; set cluster.node.advertiseUrl",
                proved.id, entry.url
            )));
        }
        if !entry.incarnation.is_empty() && entry.incarnation != proved.incarnation {
            return Err(Rejected::BadRequest(format!(
                "another process of this node answers at {}; stop it or set \
                 cluster.node.advertiseUrl",
                entry.url
            )));
        }
        entry.incarnation = proved.incarnation;
        let mut claims = Claims::of(&entry, &self.registry, &self.bindings, link);
        let first = claims.first().await.map_err(Rejected::BadRequest)?;
        let one_at_a_time = self.registering.lock().await;
        self.refuse_second(&entry, link).await?;
        self.registry.register(entry.clone()).map_err(|full| Rejected::Full(full.to_string()))?;
        drop(one_at_a_time);
        if claims.take(first).await {
            self.cut_off.fetch_add(1, Ordering::Relaxed);
        }
        self.reports.send_modify(|reports| reports.count += 1);
        tracing::info!(
            "Node registered: {} ({}) with {} servers",
            entry.name,
            entry.id,
            entry.servers.len()
        );
        if entry.version != env!("CARGO_PKG_VERSION") && !entry.version.is_empty() {
            tracing::warn!(
                node = %entry.id,
                "the node runs mooring {}, this coordinator {}: run one version of mooring on all",
                entry.version,
                env!("CARGO_PKG_VERSION")
            );
        }
        let own = ProtocolReport::own();
        if let Some(said) = entry.protocol.as_ref().filter(|said| **said != own) {
            tracing::warn!(
                node = %entry.id,
                "the node speaks revision {} of the seam and MCP up to {}, this coordinator {} and \
                 {}: run one version of mooring on all",
                said.seam, said.mcp, own.seam, own.mcp
            );
        }
        self.snapshot.save().await;
        Ok(entry)
    }

    /// Renews a node's lease.
    ///
    /// # Errors
    /// If the node is not registered, or a server's name is invalid.
    pub fn heartbeat(&self, heartbeat: Heartbeat) -> Result<(), Rejected> {
        let unknown = || Rejected::Unknown(heartbeat.id.clone());
        let id = NodeId::parse(&heartbeat.id).map_err(|_| unknown())?;
        if let Some(load) = &heartbeat.load {
            bounds::check_load(load).map_err(Rejected::BadRequest)?;
        }
        let mut beat =
            Beat { draining: heartbeat.draining, load: heartbeat.load.clone(), ..Beat::default() };
        if let Some(reports) = &heartbeat.servers {
            beat.size = bounds::check_servers(reports).map_err(Rejected::BadRequest)?;
            beat.servers = Some(replicas(reports.clone())?);
        }
        let incarnation = heartbeat.incarnation.as_deref();
        self.registry.heartbeat(&id, incarnation, beat, Instant::now()).map_err(|_| unknown())?;
        tracing::debug!(node = %id, "heartbeat");
        Ok(())
    }

    /// Marks a node that stops as inactive.
    ///
    /// # Errors
    /// If the node is not registered, or as another start of it.
    pub async fn deregister(&self, id: &str, incarnation: Option<&str>) -> Result<(), Rejected> {
        let known = NodeId::parse(id).ok().filter(|id| self.registry.deregister(id, incarnation));
        let Some(id) = known else { return Err(Rejected::Unknown(id.to_owned())) };
        tracing::info!("Node deregistered: {id}");
        self.snapshot.save().await;
        Ok(())
    }

    fn entry_of(
        &self,
        registration: Registration,
        peer: SocketAddr,
    ) -> Result<NodeEntry, Rejected> {
        let bad = |text: String| Rejected::BadRequest(text);
        if [&registration.id, &registration.name, &registration.url].iter().any(|f| f.is_empty()) {
            return Err(bad("Missing required fields: id, name, url".into()));
        }
        let size = bounds::check(&registration).map_err(bad)?;
        let id = NodeId::parse(&registration.id).map_err(|error| bad(format!("id {error}")))?;
        if id.as_str() == COORDINATOR_ID {
            return Err(bad(format!("id {id} is the coordinator's own")));
        }
        if registration.name.chars().any(char::is_control) || registration.name.len() > 256 {
            return Err(bad("name must be at most 256 bytes without control characters".into()));
        }
        let uri: http::Uri = registration
            .url
            .parse()
            .map_err(|_| bad(format!("url {:?} is not a URL", registration.url)))?;
        let declared = uri.host().unwrap_or("").to_owned();
        let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
        let Some(scheme) = scheme.filter(|_| !declared.is_empty()) else {
            return Err(bad(format!(
                "url {:?} must begin with http:// or https://",
                registration.url
            )));
        };
        let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        let peer_ip = peer.ip().to_canonical();
        let peer_host = match peer_ip {
            std::net::IpAddr::V4(v4) => v4.to_string(),
            std::net::IpAddr::V6(v6) => format!("[{v6}]"),
        };
        let (url, host) = if registration.advertised {
            // Without a token, a registration must not direct the coordinator's calls to
            // a third party.
            let own = declared == peer_host
                || (is_near(peer_ip) && peer_ip.is_loopback() && declared == "localhost");
            if self.token.is_none() && !own {
                return Err(bad(format!(
                    "without a cluster token, the host of url must be the peer's address \
                     {peer_host}, not {declared}; set a token on both sides"
                )));
            }
            (registration.url.trim_end_matches('/').to_owned(), declared)
        } else {
            (format!("{scheme}://{peer_host}:{port}"), peer_host)
        };
        let reach = Reach::Remote(url.as_str().into());
        Ok(NodeEntry {
            incarnation: registration.incarnation,
            version: registration.version,
            protocol: registration.protocol,
            servers: replicas(registration.servers)?,
            zone: registration.zone,
            labels: registration.labels.into_iter().collect(),
            load: registration.load,
            heartbeat_interval: Duration::from_millis(match registration.heartbeat_interval {
                0 => 5000,
                interval => interval.min(bounds::MAX_INTERVAL),
            }),
            size,
            ..NodeEntry::new(id, registration.name, reach, host, port)
        })
    }

    /// Refuses a process whose id another process has that still answers.
    async fn refuse_second(&self, entry: &NodeEntry, link: &Link) -> Result<(), Rejected> {
        let Some(known) = self.registry.get(&entry.id) else { return Ok(()) };
        if known.incarnation == entry.incarnation || known.status == LeaseStatus::Inactive {
            return Ok(());
        }
        if known.reach == Reach::Local {
            return Err(Rejected::InUse(entry.id.to_string()));
        }
        match self.call_back(&known.url, link).await {
            Ok(proof)
                if proof.id == entry.id.as_str() && proof.incarnation == known.incarnation =>
            {
                Err(Rejected::InUse(entry.id.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Asks the process at an address to prove which node it is. Sends no secret.
    async fn call_back(&self, url: &str, link: &Link) -> Result<Proof, String> {
        let nonce = SessionId::mint().to_string();
        // The token must not be sent to an address without a proof.
        let bare = link.without_credential();
        let path = format!("/cluster/proof?nonce={nonce}");
        let body = fetch(&bare, url, &path, PROOF_SIZE).await?;
        let proof: Proof = serde_json::from_slice(&body)
            .map_err(|_| "it does not answer as a mooring node".to_owned())?;
        let token = self.token.as_ref().map_or("", |token| token.expose());
        let expect = prove(token.as_bytes(), &nonce, &proof.id, &proof.incarnation);
        if Secret::new(expect).matches(proof.proof.as_bytes()) {
            Ok(proof)
        } else {
            Err("it has a different cluster token".to_owned())
        }
    }
}

async fn fetch(link: &Link, url: &str, path: &str, limit: usize) -> Result<Bytes, String> {
    let exchange = async {
        let response = link
            .remote(url, path, Request::new(Body::Empty))
            .await
            .map_err(|failure| failure.to_string())?;
        if !response.status().is_success() {
            return Err(format!("it answered {}", response.status()));
        }
        collect(response.into_body(), limit).await.map_err(|error| error.to_string())
    };
    tokio::time::timeout(CALLBACK_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", CALLBACK_TIMEOUT.as_secs())))
}

fn replicas(reports: Vec<ServerReport>) -> Result<BTreeMap<ServerName, Replica>, Rejected> {
    reports
        .into_iter()
        .map(|report| {
            let read = report.replica();
            read.map_err(|error| Rejected::BadRequest(format!("server name {error}")))
        })
        .collect()
}
