//! The cluster: which nodes there are, and how coordinator and nodes talk.
//!
//! ```text
//! node                                      coordinator
//! agent ── POST /api/cluster/register ────► control ──► registry ──► topology
//!       ◄─ GET  /cluster/proof?nonce= ─────    │  (is it who it says, is it reachable)
//!       ◄─ GET  /cluster/bindings?after= ──    │  (which sessions does it hold)
//! agent ── POST /api/cluster/heartbeat ───►    │
//! node  ◄─ /cluster/servers/{server}/mcp ── edge
//! ```
//!
//! `registry` is policy without IO; `control` and `agent` drive it.

mod agent;
mod control;
mod gate;
mod messages;
mod node_routes;
mod proof;
mod recall;
mod registry;

pub use agent::{Agent, Identity, Joined};
pub use control::{Control, Rejected};
pub use gate::{Gate, is_near};
pub use messages::{Heartbeat, HeldSession, Registration, ServerReport};
pub use node_routes::NodeRoutes;
pub use recall::{SNAPSHOT, is_kept, patience, recall};
pub use registry::{Entry, Event, Registry, Status};
