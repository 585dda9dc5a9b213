//! The cluster: which nodes there are, and how coordinator and nodes talk.
//!
//! ```text
//! node                                      coordinator
//! agent ── POST /api/cluster/register ────► proofs ──► control ──► registry ──► topology
//! door  ◄─ GET  /cluster/link ───────────── dial         │  (is it that node, and there)
//! node  ◄─ GET  /cluster/alive ────────────  lease_watch (does it answer)
//! node  ◄─ GET  /cluster/bindings?after= ──              │  (which sessions does it hold)
//! agent ── POST /api/cluster/heartbeat ───► proofs ──► control
//! node  ◄─ /cluster/servers/{server}/mcp ── edge
//! node  ◄─ /cluster/instances, /cluster/logs ── management API
//! ```
//!
//! Each connection from the coordinator to a node begins with the handshake between
//! `dial` and `door` (`protocol/proof/handshake.rs`); each request of an agent carries a proof
//! (`protocol/proof/request_proof.rs`). Neither ever sends the cluster token.
//!
//! `registry` is policy without IO; `control` drives it on the coordinator, `agent`
//! is the node's counterpart.

mod addresses;
mod certified;
mod coordinator;
mod dial;
mod gate;
mod messages;
mod node;
mod observe;
mod own_drain;
mod replica;
mod state_report;
mod trouble;

pub use certified::ToCoordinator;
pub use coordinator::callback::peer_of;
pub use coordinator::closings::close;
pub use coordinator::control::Control;
pub use coordinator::drain::{DrainOrders, NotOrdered, Ordered};
pub use coordinator::fellows::Fellows;
pub use coordinator::known_nodes::{SNAPSHOT, is_kept, patience};
pub use coordinator::known_sessions::KnownSessions;
pub use coordinator::lease_watch::watch as watch_leases;
pub use coordinator::node_entry::{LeaseStatus, NodeEntry};
pub use coordinator::proofs::{NodeMessage, NodeRequest, ProvedMessage};
pub use coordinator::recall::recall;
pub use coordinator::registry::{LeaseChange, Registry};
pub use coordinator::rejected::Rejected;
pub use coordinator::streams::{OwnStreams, tell_streams};
pub use dial::{Dialer, Peer};
pub use gate::{Denied, Gate};
pub use messages::{
    DrainReport, DrainWaits, Heartbeat, HeartbeatAnswer, HeldSession, LoadReport, ProtocolReport,
    Registration, RoomReport, ServerReport,
};
pub use node::agent::{Agent, Identity};
pub use node::agents::Agents;
pub use node::door::Door;
pub use node::heard::Heard;
pub use node::membership::{Joined, Memberships};
pub use node::routes::NodeRoutes;
pub use node::unproved::UnprovedCallers;
pub use observe::conditions::{
    Condition, ReplicaCondition, ReplicaOf, ServerCondition, conditions,
};
pub use observe::instances::{
    ErrorReport, InstanceCursor, InstancePage, InstanceQuery, InstanceReport, MOST_ERRORS,
    MOST_INSTANCES, MOST_LINES, RunnerView, ServerHealth, Since, StderrLine, USUAL_INSTANCES,
    USUAL_LINES,
};
pub use observe::log_event::LogEvent;
pub use observe::logs::{BEAT, LogQuery, LogSources, MOST_LOG_LINES};
pub use observe::overview::{Overview, Unreachable, overview, overview_of_all};
pub use own_drain::{DrainOrder, DrainState, Ending, OwnDrain};
pub use trouble::{FlawReport, MAX_FLAWS, ServerNotes, TroubleReport, bounded_flaws};
