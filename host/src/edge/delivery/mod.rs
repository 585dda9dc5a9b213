//! Step 6, send: a message of a session on its way to a replica, whatever became of the last one
//! that held the session.

pub mod call;
pub mod deliver;
pub mod deliver_streamed;
pub mod end;
pub mod loss;
pub mod open;
pub mod outgoing;
pub mod own_ids;
pub mod own_request;
pub mod tried;
