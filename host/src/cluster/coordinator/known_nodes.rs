//! The registered nodes, kept in the data folder for the next start. The file has what nodes
//! prove themselves by, and is private like the folder.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::messages::{
    DrainReport, LoadReport, ProtocolReport, Registration, ServerReport,
};
use crate::cluster::trouble::{FlawReport, ServerNotes, TroubleReport};
use crate::config::Secret;
use crate::model::{Absence, Away, NodeId, Reach, Replica, ServerName, UnixMillis};
use crate::protocol::objects::object_only;
use crate::store::{DataFolder, Renewals};
use crate::sync::{Locked, beside, now};

use super::bounds;
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
    /// Only between coordinators: a file of before says nothing of now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    load: Option<LoadReport>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    draining: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drain: Option<DrainReport>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    troubles: Vec<TroubleReport>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    flaws: Vec<FlawReport>,
    /// Since when it was away, in Unix ms, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    away_since: Option<u64>,
}
object_only!(both KnownNode);

impl KnownNode {
    /// Whether it was there when the file was written.
    #[must_use]
    pub fn was_there(&self) -> bool {
        self.away_since.is_none()
    }
}

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
    /// Whether the file is another process's now.
    is_retired: Arc<AtomicBool>,
    /// The folder as it was when the list was written last.
    renewed: Arc<Locked<Renewals>>,
}

impl KnownNodes {
    #[must_use]
    pub fn new(folder: DataFolder, registry: Arc<Registry>) -> Self {
        let renewed = Arc::new(Locked::new(folder.renewals()));
        Self {
            folder,
            registry,
            asked: Arc::default(),
            written: Arc::default(),
            renewed,
            is_retired: Arc::default(),
        }
    }

    /// Leaves the file to another process.
    pub fn retire(&self) {
        self.is_retired.store(true, Ordering::Release);
    }

    /// Writes the nodes that are registered now, on a blocking thread. Of many saves at
    /// one time only few write.
    pub async fn save(&self) {
        let this = self.clone();
        let own = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let saving = beside(move || {
            let mut written = this.written.lock();
            if *written < own && !this.is_retired.load(Ordering::Acquire) {
                let asked = this.asked.load(Ordering::Acquire);
                let renewals = this.folder.renewals();
                if save(&this.folder, &this.registry).is_ok() {
                    *written = asked;
                    *this.renewed.lock() = renewals;
                }
            }
        });
        if saving.await.is_none() {
            tracing::warn!("cannot write {SNAPSHOT} to the data folder: the writer has panicked");
        }
    }

    /// Writes them if the folder has come back since they were written last.
    pub async fn save_if_renewed(&self) {
        if *self.renewed.lock() != self.folder.renewals() {
            self.save().await;
        }
    }
}

/// Writes all remote nodes that are active, or away and listed. The folder logs a failure.
fn save(folder: &DataFolder, registry: &Registry) -> io::Result<()> {
    let kept: Vec<KnownNode> = registry
        .entries()
        .into_iter()
        .filter(|entry| entry.reach != Reach::Local && is_kept_for_next(entry))
        .map(KnownNode::of)
        .collect();
    let text = serde_json::to_vec_pretty(&kept).unwrap_or_default();
    folder.write(SNAPSHOT, &text)
}

impl KnownNode {
    /// What is kept of a node.
    fn of(entry: NodeEntry) -> Self {
        Self {
            away_since: entry
                .away
                .filter(|_| entry.status != LeaseStatus::Active)
                .map(|(away, _)| away.since.0),
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
            load: None,
            draining: false,
            drain: None,
            troubles: Vec::new(),
            flaws: Vec::new(),
        }
    }

    /// Whether it is within the bounds of a registration. Returns the bytes of its servers, about.
    fn checked(&self) -> Option<usize> {
        let registration = Registration {
            id: self.id.clone(),
            name: self.name.clone(),
            url: self.url.clone(),
            servers: self.servers.clone(),
            incarnation: self.incarnation.clone(),
            version: self.version.clone(),
            protocol: self.protocol.clone(),
            zone: self.zone.clone(),
            labels: self.labels.iter().cloned().collect(),
            load: self.load.clone(),
            ..Registration::default()
        };
        bounds::check(&registration).ok()
    }
}

/// A node's entry as coordinators tell it to each other.
#[must_use]
pub fn kept_of(entry: NodeEntry) -> Vec<u8> {
    let (load, draining, drain) = (entry.load.clone(), entry.draining, entry.drain.clone());
    let ServerNotes { troubles, flaws } = entry.notes.clone();
    let kept = KnownNode { load, draining, drain, troubles, flaws, ..KnownNode::of(entry) };
    serde_json::to_vec(&kept).unwrap_or_default()
}

/// The entry that another coordinator tells, if it is within the bounds of a registration.
#[must_use]
pub fn node_of(text: &[u8]) -> Option<NodeEntry> {
    let kept: KnownNode = serde_json::from_slice(text).ok()?;
    let (size, load) = (kept.checked()?, kept.load.clone());
    let (draining, drain) = (kept.draining, kept.drain.clone());
    let notes = ServerNotes::bounded(kept.troubles.clone(), kept.flaws.clone());
    Some(NodeEntry { size, load, draining, drain, notes, away: None, ..entry_of(kept)? })
}

/// The nodes of the last start that can be called.
#[must_use]
pub fn known_nodes(folder: &DataFolder) -> Vec<NodeEntry> {
    read(folder).into_iter().filter_map(entry_of).collect()
}

fn is_kept_for_next(entry: &NodeEntry) -> bool {
    entry.status == LeaseStatus::Active || entry.away.is_some_and(|(away, _)| away.is_listed)
}

/// The longest time that sessions from before the start wait for their nodes: the
/// longest heartbeat interval and a second, but no longer than a client would wait. A node may
/// report an interval of a day and not come back.
#[must_use]
pub fn patience(folder: &DataFolder) -> Duration {
    let kept = read(folder);
    let there = kept.iter().filter(|kept| kept.was_there());
    let slowest = there.map(|kept| kept.heartbeat_interval).max();
    Duration::from_millis(slowest.unwrap_or(5000)).min(MAX_PATIENCE) + Duration::from_secs(1)
}

/// Whether a coordinator has run with this data folder before.
#[must_use]
pub fn is_kept(folder: &DataFolder) -> bool {
    folder.has(SNAPSHOT)
}

/// A replica as it is kept: with what the node's file hides, so that this stays hidden
/// from the first request on, and with the catalog's digest, by which the lists are known that were
/// kept.
pub fn reported(name: &ServerName, replica: &Replica) -> ServerReport {
    ServerReport::of(name, replica)
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
    let now = (UnixMillis::now(), now());
    let away = kept.away_since.map(|since| {
        let since = UnixMillis(since.min(now.0.0));
        // The clock may not go back that far.
        let at = now.1.checked_sub(now.0.since(since)).unwrap_or(now.1);
        (Away { since, how: Absence::Silent, is_listed: true }, at)
    });
    Some(NodeEntry {
        away,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::SessionId;

    fn entry(name: &str) -> NodeEntry {
        let reach = Reach::Remote(format!("http://{name}").into());
        NodeEntry::new(NodeId::parse(name).unwrap(), name.into(), reach, name.into(), 80)
    }

    fn names(folder: &DataFolder) -> Vec<String> {
        let mut names: Vec<String> = read(folder).into_iter().map(|node| node.id).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn nodes_of_the_last_start_stay_in_the_list_until_they_are_given_up() {
        let path = std::env::temp_dir().join(format!("mooring-nodes-{}", SessionId::mint()));
        let folder = DataFolder::open(&path).unwrap();
        let registry = || Arc::new(Registry::new(Duration::from_secs(15)));
        let first = registry();
        ["n1", "n2"].into_iter().for_each(|name| first.register(entry(name)).unwrap());
        KnownNodes::new(folder.clone(), first).save().await;
        assert_eq!(names(&folder), ["n1", "n2"]);

        let second = registry();
        let nodes = KnownNodes::new(folder.clone(), Arc::clone(&second));
        second.expect(read(&folder).into_iter().filter_map(entry_of).collect());
        ["n2", "n3"].into_iter().for_each(|name| second.register(entry(name)).unwrap());
        nodes.save().await;
        assert_eq!(names(&folder), ["n1", "n2", "n3"], "a crash now forgets none");
        let much_later = std::time::Instant::now() + Duration::from_secs(3600);
        second.expire(much_later);
        second.clean_up(much_later);
        ["n2", "n3"].into_iter().for_each(|name| second.register(entry(name)).unwrap());
        nodes.save().await;
        assert_eq!(names(&folder), ["n2", "n3"]);
        std::fs::remove_dir_all(path).unwrap();
    }
}
