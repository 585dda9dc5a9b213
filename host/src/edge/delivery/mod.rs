//! Step 6, send: delivers a session's messages to its replica, and opens another replica if that
//! one is lost.

pub mod absent;
mod ask_to_open;
pub mod call;
pub mod deliver;
pub mod deliver_streamed;
pub mod doubts;
pub mod end;
mod fellows;
pub mod left_behind;
mod listen;
pub mod loss;
pub mod moved;
pub mod node_watch;
pub mod open;
pub mod outgoing;
pub mod own_ids;
pub mod own_request;
pub mod repeat;
pub mod resume;
pub mod setting;
pub mod tried;
