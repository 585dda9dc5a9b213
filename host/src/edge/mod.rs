//! The edge: the part that faces clients.
//!
//! The life of a request, one step a function:
//!
//! ```text
//! 1 accept    server     worker, connection, limits
//! 2 admit     admit      Host, Origin, credentials → principal
//! 3 classify  classify   path → scope, sealed id → session
//! 4 resolve   streamable pass-through: the server is the scope
//!             aggregate  envelope → local answer, or (server, rewritten bytes)
//!             legacy_sse HTTP+SSE: the same two, with the answers on one stream
//! 5 bind      bind       live binding, or the strategy's choice
//! 6 send      deliver    to the replica; what was surely not sent goes to the next
//! 7 relay     relay      status, headers, frames as they come
//! 8 settle    settle     by Drop: metrics and the access log
//! ```
//!
//! An error on the way is a refusal (`rescue`); one table answers the client.
//! The edge starts no process and knows no cluster: it sees a topology snapshot,
//! a strategy and a [`crate::seam::Link`].

mod activity;
mod admission;
mod admit;
mod affinity;
mod aggregate;
mod aggregate_reply;
mod aggregate_stream;
mod asking;
mod batch;
mod bind;
mod catalog;
mod classify;
mod cors;
mod deliver;
mod feed;
mod hearing;
mod large;
mod legacy_sse;
mod listener;
mod lists;
mod live;
mod losing;
mod memory;
mod merge;
mod messages;
mod metrics;
mod offers;
mod open;
mod openings;
mod owned;
mod relay;
mod rescue;
mod returning;
mod rewrite;
mod server;
mod session;
mod settle;
mod streamable;
mod tasks;
mod through;
mod uris;
mod vigil;
mod wire;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::model::{GroupName, NodeId, ServerName, Topology};
use crate::protocol::seal::KeyRing;
use crate::seam::Link;
use crate::store::{Bindings, Records};
use crate::streams::Bounds;
use crate::wasm::Strategy;

pub use admit::for_management as admit_management;
pub use aggregate_stream::AggregateStreams;
pub use asking::OwnRequests;
pub use catalog::Catalogs;
pub use listener::{Listeners, bind as listen};
pub use lists::Snapshots;
pub use live::EventStreams;
pub use merge::PrefixMode;
pub use metrics::Metrics;
pub use openings::Openings;
pub use returning::Returning;
pub use server::{OtherRoutes, serve};

/// A group of servers, or what of one server is shown.
#[derive(Debug, Clone)]
pub struct Member {
    pub server: ServerName,
    /// Names that are shown; none means all.
    pub tools: Option<Vec<String>>,
    pub prompts: Option<Vec<String>>,
    /// URIs of resources and templates.
    pub resources: Option<Vec<String>>,
}

#[derive(Debug, Clone)]
pub struct Group {
    /// Whether the name works in URLs, and not only the id.
    pub by_name: bool,
    pub name: GroupName,
    pub id: Option<String>,
    pub members: Vec<Member>,
}

/// What the operator decides about the edge.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    pub bearer: Option<crate::config::Secret>,
    pub allowed_hosts: Vec<String>,
    pub allowed_origins: Vec<String>,
    /// Whether `/mcp` without a name is served.
    pub global_route: bool,
    pub groups: Vec<Group>,
    /// Servers of this process's own file, in file order: lists keep it.
    pub order: Vec<ServerName>,
    pub separator: String,
    pub prefix: PrefixMode,
    /// Whether the strategy is asked at all.
    pub sticky: bool,
    pub signed: bool,
    pub request_body: usize,
    pub kept_body: usize,
    pub header_block: usize,
    /// Bytes of one event of a server.
    pub line: usize,
    /// Requests of one session that are under way.
    pub in_flight: usize,
    /// Bytes of one stream of HTTP+SSE that wait for the client to read.
    pub buffered_bytes: usize,
    /// Entries of one page of a list.
    pub page_size: usize,
    /// Of an aggregate's GET stream, for a client that comes back.
    pub kept_events: Bounds,
    /// Silence on a stream before a keep-alive comment.
    pub keep_alive: std::time::Duration,
    /// Live sessions of one principal.
    pub sessions_per_principal: usize,
    /// Only the coordinator may use `/mcp` of this process.
    pub closed: bool,
}

/// What all workers share.
pub struct Edge {
    pub config: EdgeConfig,
    pub topology: Arc<ArcSwap<Topology>>,
    pub strategy: Strategy,
    pub bindings: Arc<Bindings>,
    pub records: Arc<Records>,
    pub keys: KeyRing,
    pub catalogs: Arc<Catalogs>,
    /// Sessions of HTTP+SSE.
    pub event_streams: EventStreams,
    pub returning: Returning,
    pub openings: Openings,
    pub own_requests: OwnRequests,
    pub streams: AggregateStreams,
    pub snapshots: Snapshots,
    /// Nodes that did not answer, for whoever keeps their health.
    pub suspects: mpsc::UnboundedSender<(NodeId, String)>,
    pub metrics: Arc<Metrics>,
    pub affinity_key: Vec<u8>,
}

/// One worker's edge. Cloning is cheap.
#[derive(Clone)]
pub struct Worker {
    pub index: usize,
    pub edge: Arc<Edge>,
    pub link: Link,
}
