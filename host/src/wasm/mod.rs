//! Routing strategies as WebAssembly components, with wasmtime kept inside.
//!
//! A [`Strategy`] answers one [`Question`]: which node gets this session's
//! server. The plugin decides in about a microsecond; if it fails, the gateway
//! decides. How:
//!
//! - **One snapshot.** Plugin, ready instances and topology are one immutable
//!   value behind one `ArcSwap` (`snapshot`). A new topology or plugin makes a
//!   new value, built beside the old one and then swapped in; a decision under
//!   way finishes with the value it began with.
//! - **Instances are reused.** Each worker has one or two ready instances (`pool`)
//!   and calls them synchronously on its thread. An instance that fails is
//!   discarded; a background thread replaces it (`janitor`).
//! - **Answers are checked.** An answer is an index, checked against topology,
//!   health and the nodes that failed already (`directory`). After a trap, a
//!   loop (`engine`), a wrong answer or a refusal, the gateway's own fallback
//!   makes that one decision. A plugin that keeps failing is bypassed for a
//!   while (`quarantine`).
//! - **Conversations.** A plugin may also tell which conversation a request without a
//!   session belongs to (`identify`), under the same rules.
//! - **Admission before use.** Size, kind, imports, exports, the cost of compiling,
//!   plan and a trial of a thousand questions, while the old plugin still serves
//!   (`admission`).
//! - **Nothing else is reachable.** A plugin may import what `wit/routing.wit`
//!   declares and, on request, a WASI in which nothing exists (`sandbox`).
//!
//! All other modules use the [`vocabulary`], which names no wasmtime type.

#![warn(missing_docs)]

mod admission;
mod bindings;
mod care;
mod conversing;
mod directory;
mod engine;
mod guest_log;
mod guest_text;
mod identify;
mod inspect;
mod instance;
mod janitor;
mod line_rate;
mod plugin;
mod pool;
mod quarantine;
mod question;
mod sandbox;
mod snapshot;
mod source;
mod stats;
mod stats_by_name;
mod strategy;

#[cfg(test)]
mod tests;

pub use admission::admit::{Options, WasiPolicy};
pub use admission::compile_probe::probe_if_asked;
pub use admission::conversation_trial::ConversationTrial;
pub use admission::credentials::Readable;
pub use admission::refusal::{AdmissionError, FileKind, PluginRefusal};
pub use admission::trial::Trial;
pub use conversing::{ConversationAnswer, ConversationInput};
pub use inspect::{Inspection, inspect};
pub use question::{DecidedBy, Question, RoutingChoice, Trace};
pub use source::{Builtin, Source};
pub use stats::{Reason, Stats};
pub use strategy::Strategy;

/// The types of `wit/routing.wit` as plain Rust. Their meaning is documented there.
pub mod vocabulary {
    pub use mooring_strategies::{
        AffinityAction, Carrier, Decision, Health, Input, Node, Plan, Replica, Request, RouteError,
        Server, Topology,
    };
}
