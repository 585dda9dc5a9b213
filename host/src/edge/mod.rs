//! The edge: the part that faces clients.
//!
//! The life of a request, one step a function:
//!
//! ```text
//! 1 accept    connection    worker, connection, limits
//! 2 admit     access        Host, Origin, credentials → principal
//! 3 classify  scope         path → scope; sealed id → session
//!             front         the client's transport: Streamable HTTP, or HTTP+SSE
//! 4 resolve   pass_through  one server behind the URL: it is the scope
//!             aggregate     several: envelope → local answer, or (server, rewritten bytes)
//! 5 bind      routing       live binding, or the strategy's choice
//! 6 send      delivery      to the replica; what was surely not sent goes to the next
//! 7 relay     relay         status, headers, frames as they come
//! 8 settle    connection    by Drop: metrics and the access log
//! ```
//!
//! Beside the steps: `catalog`, what each scope offers, and `session`, what is known of a
//! client's session.
//!
//! An error on the way is a refusal (`rescue`); one table answers the client.
//! The edge starts no process and knows no cluster: it sees a topology snapshot,
//! a strategy and a [`crate::seam::Link`].

mod access;
mod aggregate;
mod catalog;
mod client_request;
mod config;
mod connection;
mod delivery;
mod front;
mod metrics;
mod pass_through;
mod relay;
mod rescue;
mod routing;
mod scope;
mod session;
mod worker;

pub use access::admit::for_management as admit_management;
pub use catalog::cache::Catalogs;
pub use catalog::pages::ListSnapshots;
pub use config::PrefixMode;
pub use config::{EdgeConfig, Group, Member};
pub use connection::listener::{Listeners, bind as listen};
pub use connection::server::{OtherRoutes, serve};
pub use delivery::own_ids::OwnIds;
pub use front::sse_session::SseSessions;
pub use metrics::Metrics;
pub use routing::cold_start::ColdStart;
pub use session::get_streams::AggregateStreams;
pub use session::opened::OpenedServers;
pub use worker::{Edge, Worker};
