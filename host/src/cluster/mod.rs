//! The cluster: which nodes there are, and how coordinator and nodes talk.
//!
//! ```text
//! node                                      coordinator
//! agent ── POST /api/cluster/register ────► control ──► registry ──► topology
//!       ◄─ GET  /cluster/proof?nonce= ─────    │  (is it that node, is it reachable)
//!       ◄─ GET  /cluster/bindings?after= ──    │  (which sessions does it hold)
//! agent ── POST /api/cluster/heartbeat ───►    │
//! node  ◄─ /cluster/servers/{server}/mcp ── edge
//! node  ◄─ /cluster/instances, /cluster/logs ── management API
//! ```
//!
//! `registry` is policy without IO; `control` drives it on the coordinator, `agent`
//! is the node's counterpart.

mod addresses;
mod coordinator;
mod gate;
mod messages;
mod node;
mod observe;
mod proof;
mod replica;

pub use coordinator::claims::close;
pub use coordinator::control::{Control, Rejected};
pub use coordinator::known_nodes::{SNAPSHOT, is_kept, patience};
pub use coordinator::recall::recall;
pub use coordinator::registry::{LeaseChange, LeaseStatus, NodeEntry, Registry};
pub use gate::Gate;
pub use messages::{
    Heartbeat, HeldSession, LoadReport, ProtocolReport, Registration, RoomReport, ServerReport,
};
pub use node::agent::{Agent, Identity, Joined};
pub use node::routes::NodeRoutes;
pub use observe::instances::{
    InstanceCursor, InstancePage, InstanceQuery, InstanceReport, MOST_INSTANCES, MOST_LINES,
    RunnerView, ServerHealth, Since, StderrLine, USUAL_INSTANCES, USUAL_LINES, Unreachable,
    overview,
};
pub use observe::log_event::LogEvent;
pub use observe::logs::{BEAT, LogQuery, LogSources, MOST_LOG_LINES};
pub use proof::prove;
