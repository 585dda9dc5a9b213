//! Step 6, send: a message of a session on its way to a replica, whatever became of the last one
//! that held the session.

pub mod call;
pub mod deliver;
pub mod deliver_streamed;
pub mod end;
pub mod listen;
pub mod loss;
pub mod node_watch;
pub mod open;
pub mod outgoing;
pub mod own_ids;
pub mod own_request;
pub mod repeat;
pub mod resume;
pub mod setting;
pub mod tried;
