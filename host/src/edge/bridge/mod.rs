//! Clients without sessions at servers that have them.
//!
//! ```text
//! request ─ conversation ─ inner session ─ call ── aggregate, delivery, runner as for any session
//!                                           ├─ answer
//!                                           └─ questions ─ requestState ─► the client sends it back
//! ```
//!
//! The **conversation** is what the request's client names, or what the operator says of it. From it
//! follows an **inner session**, whose id is computed: any gateway with the key finds the same one,
//! and its binding leads to the node and the process. Without a conversation the inner session is
//! that of one request, and ends with it.
//!
//! What a server asks during a call ends the client's request with an answer that asks for input.
//! Nothing is held here meanwhile: the stream of the call is kept by its runner, as for a client that
//! has lost its connection, and the sealed `requestState` says where to read on. So the answers may
//! come to any gateway.

pub mod ahead;
pub mod answer;
pub mod call;
pub mod conversation;
pub mod demanded_task;
pub mod feed;
mod identified;
pub mod inner_session;
pub mod legacy_message;
pub mod named_by;
pub mod notices;
pub mod questions;
mod relayed;
pub mod session_feeds;
pub mod source;
pub mod suspension;
pub mod timers;
