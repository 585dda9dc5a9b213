//! Routing strategies as WebAssembly components, with wasmtime kept inside.
//!
//! A [`Strategy`] answers one [`Question`], which node for this server, within
//! a microsecond and whatever its plugin does. How:
//!
//! - **One snapshot.** Plugin, ready instances and topology are one immutable
//!   value behind one `ArcSwap` (`snapshot`). A new topology or plugin is a
//!   new value, built beside the old one and then swapped in; decisions under
//!   way finish with the one they began with.
//! - **Instances are reused and owned.** Every worker has a few of its own
//!   (`pool`), called synchronously on its thread. An instance that fails is
//!   thrown away; a background thread puts a fresh one in its place (`janitor`).
//! - **Nothing a plugin says is believed.** An answer is an index, checked
//!   against topology, health and what failed already (`directory`). A trap, a
//!   loop (`engine`), a wrong answer or a refusal costs one decision of the
//!   plugin, and the gateway's own fallback makes it instead. A plugin that
//!   keeps failing is left alone for a while (`quarantine`).
//! - **Admission before use.** Size, kind, imports, exports, plan and a trial of
//!   a thousand questions (`admission`, `trial`), all with the old plugin still
//!   serving.
//! - **Nothing is reachable.** A plugin gets the lines of `wit/routing.wit` and
//!   no more; on request a WASI in which nothing exists (`sandbox`).
//!
//! Everything else in the gateway speaks the [`vocabulary`], which names no
//! wasmtime type.

mod admission;
mod bindings;
mod directory;
mod engine;
mod guest_log;
mod guest_text;
mod inspect;
mod instance;
mod janitor;
mod line_rate;
mod plugin;
mod pool;
mod quarantine;
mod question;
mod refusal;
mod sandbox;
mod snapshot;
mod source;
mod stats;
mod strategy;
mod trial;

#[cfg(test)]
mod tests;

pub use admission::{Options, Wasi};
pub use inspect::{Inspection, inspect};
pub use question::{Choice, DecidedBy, Question};
pub use refusal::{AdmissionError, Kind, Refusal};
pub use source::{Builtin, Source};
pub use stats::{Reason, Stats};
pub use strategy::Strategy;
pub use trial::Trial;

/// The words of `wit/routing.wit`, as plain Rust.
pub mod vocabulary {
    pub use mooring_strategies::{
        AffinityAction, Carrier, Decision, Health, Input, Node, Plan, Replica, Request, RouteError,
        Server, Topology,
    };
}
