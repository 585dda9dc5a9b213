//! The cluster: which nodes there are, and how coordinator and nodes talk.
//!
//! ```text
//! node                                      coordinator
//! agent ── POST /api/cluster/register ────► control ──► registry ──► topology
//!       ◄─ GET  /cluster/proof?nonce= ─────    │  (is it who it says, is it reachable)
//!       ◄─ GET  /cluster/bindings?after= ──    │  (which sessions does it hold)
//! agent ── POST /api/cluster/heartbeat ───►    │
//! node  ◄─ /cluster/servers/{server}/mcp ── edge
//! node  ◄─ /cluster/instances, /cluster/logs ── whoever looks
//! ```
//!
//! `registry` is policy without IO; `control` and `agent` drive it.

mod addresses;
mod agent;
mod control;
mod gate;
mod log_follow;
mod messages;
mod node_routes;
mod proof;
mod recall;
mod registry;
mod replica;
mod sight;

pub use agent::{Agent, Identity, Joined};
pub use control::{Control, Rejected};
pub use gate::{Gate, is_near};
pub use log_follow::{BEAT, LogEvent, MOST_LOG_LINES, Sources, Wanted};
pub use messages::{
    Heartbeat, HeldSession, LoadReport, ProtocolReport, Registration, RoomReport, ServerReport,
};
pub use node_routes::NodeRoutes;
pub use proof::prove;
pub use recall::{SNAPSHOT, is_kept, patience, recall};
pub use registry::{Entry, Event, Registry, Status};
pub use sight::{
    InstancePage, InstanceReport, Look, MOST_INSTANCES, MOST_LINES, Place, ServerHealth, Sight,
    Since, StderrLine, USUAL_INSTANCES, USUAL_LINES, Unreachable, overview,
};
