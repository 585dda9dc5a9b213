//! The strategies that ship with Mooring, as plain Rust.
//!
//! The same code runs twice: compiled to WebAssembly as the components in
//! `plugins/prebuilt/`, and linked into the gateway as the fallback that
//! decides when a component cannot. Both must give the same answer for the same
//! request, bit for bit, or a failing plugin would move sessions. So there is
//! no clock here, no randomness, no order that depends on a hash map, and no
//! floating point function that the platform may choose.
//!
//! `vocabulary` mirrors `wit/routing.wit` word by word. `rendezvous` is the
//! one way to choose among nodes; the strategies differ in what they do with a
//! client's affinity before it.
#![forbid(unsafe_code)]

mod affinity;
mod consistent_hash;
mod cookie;
mod header;
mod rendezvous;
mod session;
mod settings;
mod vocabulary;

pub use consistent_hash::ConsistentHash;
pub use cookie::Cookie;
pub use header::Header;
pub use rendezvous::Rendezvous;
pub use settings::Settings;
pub use vocabulary::{
    AffinityAction, Carrier, Decision, Health, Input, Node, Plan, Replica, Request, RouteError,
    Server, Strategy, Topology,
};
