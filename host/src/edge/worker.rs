//! What all workers share, and one worker's handle to it.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::model::{GatewayStart, NodeId, Topology};
use crate::net::BodyBudget;
use crate::protocol::seal::KeyRing;
use crate::seam::Link;
use crate::store::{Bindings, Records};
use crate::wasm::Strategy;

use super::aggregate::found_owners::FoundOwners;
use super::bridge::session_feeds::SessionFeeds;
use super::bridge::timers::Suspended;
use super::catalog::cache::Catalogs;
use super::catalog::pages::ListSnapshots;
use super::config::EdgeConfig;
use super::connection::table::Connections;
use super::delivery::doubts::Doubts;
use super::delivery::own_ids::OwnIds;
use super::front::sse_session::SseSessions;
use super::leaving::Leaving;
use super::metrics::Metrics;
use super::routing::cold_start::ColdStart;
use super::routing::decisions::Decisions;
use super::session::get_streams::AggregateStreams;
use super::session::last_start::LastStarts;
use super::session::opened::OpenedServers;
use super::state::kept_state::KeptState;

/// What all workers share.
pub struct Edge {
    pub config: EdgeConfig,
    pub topology: Arc<ArcSwap<Topology>>,
    pub strategy: Strategy,
    pub bindings: Arc<Bindings>,
    pub records: Arc<Records>,
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
    /// Why sessions are where they are.
    pub decisions: Arc<Decisions>,
    pub opened_servers: OpenedServers,
    pub own_ids: OwnIds,
    /// Servers that have resources which no list names.
    pub found_owners: FoundOwners,
    pub streams: AggregateStreams,
    /// What sessions of clients that have none hear outside of requests.
    pub feeds: SessionFeeds,
    /// Requests that wait for their client's input.
    pub suspended: Suspended,
    pub snapshots: ListSnapshots,
    /// State that comes along to new instances.
    pub state: KeptState,
    /// The nodes that servers of sessions have left since they were drained.
    pub planned_moves: LastStarts<NodeId>,
    /// Reports nodes of which there is doubt to the task that asks them.
    pub doubts: Doubts,
    pub metrics: Arc<Metrics>,
    pub leaving: Arc<Leaving>,
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
    /// Notes that a request to a node failed. Until the node has answered, it gets no other one on
    /// a connection that was there before.
    pub(super) fn suspect(&self, node: &NodeId, why: &str) {
        tracing::debug!(node = %node, "did not answer: {why}");
        self.edge.doubts.broke(node, why);
    }
}
