//! Outgoing HTTP/1.1: a pool of connections for each worker, one exchange at a time on each,
//! and bodies that are read as they come.
//!
//! An exchange is read and written by the one who waits for it: no task, no channel, no second
//! wake. Requests of which surely nothing went out come back as [`Failure::NotSent`].

mod body;
mod exchange;
mod idle;
mod message;
#[cfg(test)]
mod peer;
mod percent;
mod pool;
mod socket;
mod target;
mod tls;

pub use body::{Body, BodyError, Cut, TooLong, Why, collect};
pub use message::{Message, Written, WrittenHead};
pub use percent::{percent_decoded, percent_encoded};
pub use pool::{Connection, Failure, Pool, Sending, Unanswered};
pub use target::Target;
pub use tls::client_config;
