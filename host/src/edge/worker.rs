//! What all workers share, and one worker's handle to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;

use crate::model::{GatewayStart, NodeId, Topology};
use crate::net::BodyBudget;
use crate::protocol::seal::KeyRing;
use crate::seam::Link;
use crate::store::sharing::Sharing;
use crate::store::{Bindings, Records};
use crate::telemetry::Telemetry;
use crate::wasm::Strategy;

use super::access::fair_share::FairShare;
use super::aggregate::found_owners::FoundOwners;
use super::bridge::session_feeds::SessionFeeds;
use super::bridge::timers::Suspended;
use super::catalog::cache::Catalogs;
use super::catalog::pages::ListSnapshots;
use super::config::EdgeConfig;
use super::connection::table::Connections;
use super::connection::tls::ListenerTls;
use super::delivery::doubts::Doubts;
use super::delivery::own_ids::OwnIds;
use super::front::sse_session::SseSessions;
use super::leaving::Leaving;
use super::logins::user_tokens::UserTokens;
use super::metrics::Metrics;
use super::routing::cold_start::ColdStart;
use super::routing::decisions::Decisions;
use super::session::get_streams::AggregateStreams;
use super::session::last_start::LastStarts;
use super::session::opened::OpenedServers;
use super::state::kept_state::KeptState;

/// What all workers share: the settings as they were at one moment, and the state that goes on
/// whatever they are. A request keeps to the edge that it began with.
#[derive(Clone)]
pub struct Edge {
    pub config: EdgeConfig,
    /// How often the settings had been replaced by then.
    pub revision: u64,
    /// Where the newest edge is found.
    pub latest: Arc<LatestEdge>,
    pub topology: Arc<ArcSwap<Topology>>,
    pub strategy: Strategy,
    pub bindings: Arc<Bindings>,
    pub records: Arc<Records>,
    /// What is known to several coordinators together; `None` where there is one.
    pub sharing: Option<Arc<Sharing>>,
    pub keys: KeyRing,
    /// The tokens of users who have logged in at servers.
    pub logins: Arc<UserTokens>,
    pub catalogs: Arc<Catalogs>,
    pub connections: Arc<Connections>,
    /// What the port speaks TLS with; `None` if it speaks plain HTTP.
    pub tls: Option<Arc<ListenerTls>>,
    /// The memory for what clients send.
    pub bodies: Arc<BodyBudget>,
    /// HTTP+SSE sessions whose stream is open.
    pub sse_sessions: Arc<SseSessions>,
    /// This start of the gateway, which has those streams.
    pub start: GatewayStart,
    pub cold_start: Arc<ColdStart>,
    /// Why sessions are where they are.
    pub decisions: Arc<Decisions>,
    pub opened_servers: Arc<OpenedServers>,
    pub own_ids: Arc<OwnIds>,
    /// Servers that have resources which no list names.
    pub found_owners: Arc<FoundOwners>,
    pub streams: Arc<AggregateStreams>,
    /// What sessions of clients that have none hear outside of requests.
    pub feeds: Arc<SessionFeeds>,
    /// The memory for those who listen so.
    pub listened: Arc<FairShare>,
    /// The memory for requests of HTTP+SSE that wait for their answers.
    pub posted: Arc<FairShare>,
    /// Requests that wait for their client's input.
    pub suspended: Arc<Suspended>,
    pub snapshots: Arc<ListSnapshots>,
    /// State that comes along to new instances.
    pub state: Arc<KeptState>,
    /// The nodes that servers of sessions have left since they were drained.
    pub planned_moves: Arc<LastStarts<NodeId>>,
    /// Reports nodes of which there is doubt to the task that asks them.
    pub doubts: Arc<Doubts>,
    pub metrics: Arc<Metrics>,
    pub telemetry: Arc<Telemetry>,
    pub leaving: Arc<Leaving>,
    /// Signs affinity tokens and list cursors.
    pub signing_key: Vec<u8>,
}

/// The edge with the newest settings, once they were replaced.
#[derive(Default)]
pub struct LatestEdge {
    /// Its revision: all that a request reads.
    revision: AtomicU64,
    edge: ArcSwapOption<Edge>,
    /// The same revision, for what outlives requests.
    told: watch::Sender<u64>,
}

impl LatestEdge {
    /// Changes whenever there are newer settings, and everything else has followed them.
    #[must_use]
    pub fn replaced(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }
}

impl Edge {
    /// Serves requests by these settings from now on; those under way end with the ones before.
    /// Call it from one task only.
    pub fn replace_config(self: &Arc<Self>, config: EdgeConfig) {
        let now = self.now();
        let revision = now.revision + 1;
        let next = Self { config, revision, ..Self::clone(&now) };
        self.latest.edge.store(Some(Arc::new(next)));
        self.latest.revision.store(revision, Ordering::Release);
        self.latest.told.send_replace(revision);
    }

    /// The edge with the newest settings.
    #[must_use]
    pub fn now(self: &Arc<Self>) -> Arc<Self> {
        self.latest.edge.load_full().unwrap_or_else(|| Arc::clone(self))
    }
}

/// One worker's edge. Cloning is cheap.
#[derive(Clone)]
pub struct Worker {
    pub index: usize,
    pub edge: Arc<Edge>,
    pub link: Link,
}

impl Worker {
    /// Whether its settings are the newest.
    #[must_use]
    pub fn is_latest(&self) -> bool {
        self.edge.latest.revision.load(Ordering::Acquire) == self.edge.revision
    }

    /// The same worker with the newest settings.
    #[must_use]
    pub fn renewed(&self) -> Self {
        Self { edge: self.edge.now(), ..self.clone() }
    }

    /// Takes the newest settings, in a task that outlives requests.
    pub(super) fn keep_up(&mut self) {
        if !self.is_latest() {
            self.edge = self.edge.now();
        }
    }

    /// Notes that a request to a node failed. Until the node has answered, it gets no other one on
    /// a connection that was there before.
    pub(super) fn suspect(&self, node: &NodeId, why: &str) {
        tracing::debug!(node = %node, "did not answer: {why}");
        self.edge.doubts.broke(node, why);
    }
}
