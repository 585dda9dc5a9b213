//! The identity of this process in the cluster: its node id and name.

use crate::config::{Mode, NodeMode};
use crate::model::{NodeId, SessionId};
use crate::store::{DataFolder, NODE_ID};

/// The node id of this process.
///
/// A node without a configured id gets a random one, kept in the data folder under
/// its hostname and port. So two nodes that share settings and data folder have
/// different ids, and a restarted node keeps its own.
#[must_use]
pub fn node_id(mode: &Mode, folder: &DataFolder, port: u16) -> NodeId {
    match mode {
        Mode::Standalone => NodeId::standalone(),
        Mode::Coordinator(_) => NodeId::coordinator(),
        Mode::Node(NodeMode { id: Some(id), .. }) => id.clone(),
        Mode::Node(_) => kept(folder, port),
    }
}

#[must_use]
pub fn hostname() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// The node's name for people: the configured one, else the hostname.
#[must_use]
pub fn node_name(node: &NodeMode) -> String {
    node.name.clone().unwrap_or_else(hostname)
}

fn kept(folder: &DataFolder, port: u16) -> NodeId {
    let host: String =
        hostname().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let file = format!("{NODE_ID}{host}-{port}");
    let before = folder
        .read(&file)
        .and_then(|text| NodeId::parse(String::from_utf8(text).ok()?.trim()).ok());
    if let Some(id) = before {
        // Of many such files, the latest are kept. A folder that cannot be written is in the log.
        let _ = folder.write_remembered(&file, format!("{id}\n").as_bytes());
        return id;
    }
    let [a, b, c, d, ..] = *SessionId::mint().as_bytes();
    let id = NodeId::numbered(u32::from_be_bytes([a, b, c, d]));
    if let Err(error) = folder.write_remembered(&file, format!("{id}\n").as_bytes()) {
        tracing::warn!(
            "cannot save the node's id {id}: {error}; the next start gets another id, unless \
             cluster.node.id is set or the data folder is writable"
        );
    }
    id
}
