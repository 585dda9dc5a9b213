//! The registered nodes, kept in the data folder for the next start. The file has what nodes
//! prove themselves by, and is private like the folder.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::messages::{ProtocolReport, ServerReport};
use crate::config::Secret;
use crate::model::{NodeId, Reach, Replica, ServerName};
use crate::protocol::objects::object_only;
use crate::store::DataFolder;
use crate::sync::{Locked, beside};

use super::node_entry::{LeaseStatus, NodeEntry};
use super::registry::Registry;

/// The registry's file in the data folder.
pub const SNAPSHOT: &str = "nodes.json";

/// The longest heartbeat interval that sessions wait for.
const MAX_PATIENCE: Duration = Duration::from_secs(60);

/// What is kept of a node: enough to call it back after a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase")]
pub struct KnownNode {
    id: String,
    name: String,
    url: String,
    host: String,
    port: u16,
    servers: Vec<ServerReport>,
    version: String,
    #[serde(default)]
    protocol: Option<ProtocolReport>,
    #[serde(default)]
    zone: String,
    #[serde(default)]
    labels: Vec<(String, String)>,
    heartbeat_interval: u64,
    /// Absent in files of earlier versions, whose nodes register by themselves.
    #[serde(default)]
    incarnation: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<IpAddr>,
}
object_only!(both KnownNode);

/// Writes the list of nodes. Clones are handles to the same writer.
#[derive(Clone)]
pub struct KnownNodes {
    folder: DataFolder,
    registry: Arc<Registry>,
    /// Number of saves that were requested.
    asked: Arc<AtomicU64>,
    /// Value of `asked` just before the last write. Locked during a write, so that the
    /// last one to write has the latest list.
    written: Arc<Locked<u64>>,
}

impl KnownNodes {
    #[must_use]
    pub fn new(folder: DataFolder, registry: Arc<Registry>) -> Self {
        Self { folder, registry, asked: Arc::default(), written: Arc::default() }
    }

    /// Writes the nodes that are registered now, on a blocking thread. Of many saves at
    /// one time only few write.
    pub async fn save(&self) {
        let this = self.clone();
        let own = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let saving = beside(move || {
            let mut written = this.written.lock();
            if *written < own {
                *written = this.asked.load(Ordering::Acquire);
                save(&this.folder, &this.registry);
            }
        });
        if saving.await.is_none() {
            tracing::warn!("cannot write {SNAPSHOT} to the data folder: the writer has panicked");
        }
    }
}

/// Writes all active remote nodes; a failure is logged.
pub fn save(folder: &DataFolder, registry: &Registry) {
    let kept: Vec<KnownNode> = registry
        .entries()
        .into_iter()
        .filter(|entry| entry.reach != Reach::Local && entry.status == LeaseStatus::Active)
        .map(|entry| KnownNode {
            id: entry.id.to_string(),
            name: entry.name,
            url: entry.url,
            host: entry.host,
            port: entry.port,
            servers: entry.servers.iter().map(|(name, replica)| reported(name, replica)).collect(),
            version: entry.version,
            protocol: entry.protocol,
            zone: entry.zone,
            labels: entry.labels,
            heartbeat_interval: u64::try_from(entry.heartbeat_interval.as_millis()).unwrap_or(0),
            incarnation: entry.incarnation.expose().to_owned(),
            secret: entry.secret.map(|secret| secret.expose().to_owned()),
            from: entry.from,
        })
        .collect();
    let text = serde_json::to_vec_pretty(&kept).unwrap_or_default();
    // The folder logs a failure, once in a while.
    let _ = folder.write(SNAPSHOT, &text);
}

/// The longest time that sessions from before the start wait for their nodes: the
/// longest heartbeat interval and a second, but no longer than a client would wait. A node may
/// report an interval of a day and not come back.
#[must_use]
pub fn patience(folder: &DataFolder) -> Duration {
    let slowest = read(folder).iter().map(|kept| kept.heartbeat_interval).max();
    Duration::from_millis(slowest.unwrap_or(5000)).min(MAX_PATIENCE) + Duration::from_secs(1)
}

/// Whether a coordinator has run with this data folder before.
#[must_use]
pub fn is_kept(folder: &DataFolder) -> bool {
    folder.has(SNAPSHOT)
}

/// A replica as it is kept: with what the node's file hides, so that this stays hidden
/// from the first request on, but without the catalog's digest, which the node reports.
pub fn reported(name: &ServerName, replica: &Replica) -> ServerReport {
    ServerReport::of(name, &Replica { digest: None, ..replica.clone() })
}

/// The nodes of the last start; none if the file is missing or unreadable.
pub fn read(folder: &DataFolder) -> Vec<KnownNode> {
    let Some(text) = folder.read(SNAPSHOT) else { return Vec::new() };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!(
            "cannot read {SNAPSHOT}: {error}; the nodes of the last start are not called"
        );
        Vec::new()
    })
}

/// The registry's entry of a kept node; `None` if its id is invalid.
pub fn entry_of(kept: KnownNode) -> Option<NodeEntry> {
    let servers = kept.servers.into_iter().filter_map(|report| report.replica().ok());
    let id = NodeId::parse(&kept.id).ok()?;
    let reach = Reach::Remote(kept.url.as_str().into());
    Some(NodeEntry {
        version: kept.version,
        protocol: kept.protocol,
        servers: servers.collect(),
        zone: kept.zone,
        labels: kept.labels,
        heartbeat_interval: Duration::from_millis(kept.heartbeat_interval),
        incarnation: Secret::new(kept.incarnation),
        secret: kept.secret.map(Secret::new),
        from: kept.from,
        ..NodeEntry::new(id, kept.name, reach, kept.host, kept.port)
    })
}
