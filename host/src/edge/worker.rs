//! What all workers share, and one worker's handle to it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::model::{GatewayStart, NodeId, Topology};
use crate::net::BodyBudget;
use crate::protocol::seal::KeyRing;
use crate::seam::Link;
use crate::store::sharing::Sharing;
use crate::store::{Bindings, Records};
use crate::wasm::Strategy;

use super::aggregate::found_owners::FoundOwners;
use super::catalog::cache::Catalogs;
use super::catalog::pages::ListSnapshots;
use super::config::EdgeConfig;
use super::connection::table::Connections;
use super::delivery::own_ids::OwnIds;
use super::front::sse_session::SseSessions;
use super::metrics::Metrics;
use super::routing::cold_start::ColdStart;
use super::session::get_streams::AggregateStreams;
use super::session::opened::OpenedServers;

/// What all workers share.
pub struct Edge {
    pub config: EdgeConfig,
    pub topology: Arc<ArcSwap<Topology>>,
    pub strategy: Strategy,
    pub bindings: Arc<Bindings>,
    pub records: Arc<Records>,
    /// What is known to several coordinators together; `None` where there is one.
    pub sharing: Option<Arc<Sharing>>,
    pub keys: KeyRing,
    pub catalogs: Arc<Catalogs>,
    pub connections: Arc<Connections>,
    /// The memory for what clients send.
    pub bodies: Arc<BodyBudget>,
    /// HTTP+SSE sessions whose stream is open.
    pub sse_sessions: Arc<SseSessions>,
    /// This start of the gateway, which has those streams.
    pub start: GatewayStart,
    pub cold_start: ColdStart,
    pub opened_servers: OpenedServers,
    pub own_ids: OwnIds,
    /// Servers that have resources which no list names.
    pub found_owners: FoundOwners,
    pub streams: AggregateStreams,
    pub snapshots: ListSnapshots,
    /// Reports nodes that did not answer, and why, to the task that keeps their health.
    pub suspects: mpsc::UnboundedSender<(NodeId, String)>,
    pub metrics: Arc<Metrics>,
    /// Signs affinity tokens and list cursors.
    pub signing_key: Vec<u8>,
}

/// One worker's edge. Cloning is cheap.
#[derive(Clone)]
pub struct Worker {
    pub index: usize,
    pub edge: Arc<Edge>,
    pub link: Link,
}

impl Worker {
    /// Reports a node that did not answer to the registry, which then checks its health.
    pub(super) fn suspect(&self, node: &NodeId, why: &str) {
        tracing::debug!(node = %node, "did not answer: {why}");
        // The receiver is gone only while the process ends.
        let _ = self.edge.suspects.send((node.clone(), why.to_owned()));
    }
}
