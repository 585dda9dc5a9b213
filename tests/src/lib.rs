//! Helpers for tests of the gateway: processes to start, a client that speaks raw HTTP, and waits
//! with a deadline.
//!
//! Every helper panics with a sentence when it does not get what it expects: in a test that is the
//! report.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

pub mod authority;
pub mod authorization_server;
pub mod binaries;
pub mod borrowed;
pub mod cable;
pub mod canned;
pub mod certificates;
pub mod cluster;
pub mod deadline;
pub mod fake_node;
pub mod front;
pub mod gateway;
pub mod grpc_collector;
pub mod http;
pub mod issuer;
pub mod mcp;
pub mod odd_server;
pub mod orders;
pub mod over_sse;
pub mod pair;
pub mod played;
pub mod port;
pub mod process;
pub mod proofs;
pub mod protobuf;
pub mod redis_server;
pub mod relay;
pub mod running;
pub mod scripted;
pub mod servers;
pub mod settings;
pub mod sources;
pub mod spans;
pub mod sse;
pub mod stateless;
pub mod token_server;

pub use authority::{Authority, Identity, Names};
pub use authorization_server::AuthorizationServer;
pub use cable::Cable;
pub use canned::Canned;
pub use certificates::{Certificate, TlsRelay, client_of, client_showing, tls};
pub use cluster::Cluster;
pub use deadline::{PATIENCE, eventually, within};
pub use fake_node::FakeNode;
pub use front::Front;
pub use gateway::Gateway;
pub use gateway::setup::Setup;
pub use grpc_collector::{GrpcCollector, GrpcReply};
pub use http::{Connection, Request, Response};
pub use issuer::{Issuer, Signer};
pub use mcp::{Client, Session};
pub use odd_server::{OddServer, Way};
pub use over_sse::OverSse;
pub use pair::{Pair, wait_until_store};
pub use played::{Behind, PlayedCoordinator, PlayedNode, Stranger};
pub use port::Port;
pub use redis_server::RedisServer;
pub use relay::Relay;
pub use scripted::Scripted;
pub use stateless::Stateless;
pub use token_server::TokenServer;
