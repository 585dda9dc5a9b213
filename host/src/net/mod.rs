//! Outgoing HTTP/1.1: a pool of connections for each worker, one exchange at a time on each
//! connection, and bodies that are read as they arrive.
//!
//! The task that waits for an exchange also reads and writes it: no second task, no channel, no
//! second wake-up. A request of which certainly no byte went out fails as [`Failure::NotSent`].

mod begun;
mod body;
mod budget;
mod collect;
mod connection_waker;
mod decoding;
mod events;
mod exchange;
mod failure;
mod idle;
mod intake;
mod introduction;
mod message;
mod one_stream;
#[cfg(test)]
mod peer;
mod percent;
#[cfg(test)]
pub mod played;
mod pool;
mod proxy;
mod shortage;
mod socket;
mod target;
mod through;
mod tls;
mod unreached;

pub use body::{Body, BodyError, BodyFault, Cut};
pub use budget::{BodyBudget, NoRoom};
pub use collect::{Kept, TooLong, UNCLAIMED, collect, collect_request};
pub use decoding::decoded;
pub use events::{EventReader, Read, is_event_stream, is_like_events, is_open_stream, name_events};
pub use failure::Failure;
pub use intake::{ClientBody, Intake, IntakeFault};
pub use introduction::{Introduce, Introduced, Introduction};
pub use message::{Message, Written, WrittenHead, written_lines};
pub(crate) use one_stream::stream_of_kinds;
pub use percent::{percent_decoded, percent_encoded};
pub use pool::{Connection, Pool, Sending, Unanswered};
pub use proxy::{Proxy, ProxyKind};
pub use shortage::{SHORTAGE, SHORTAGE_PAUSE, is_shortage};
pub use socket::Socket;
pub use target::Target;
pub use through::{Piece, Through};
pub use tls::{TargetTls, client_config};
pub use unreached::{Sign, Unreached};
