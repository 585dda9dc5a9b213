//! One decision about where a session's server is opened, kept for those who ask why.
//!
//! It holds what the strategy saw and said, which nodes there were, and what came of each attempt.
//! Values of credentials are left out when it is noted, not when it is shown.

use std::time::Duration;

use crate::model::{Health, NodeId, Room, ServerName, SessionId, UnixMillis};
use crate::wasm::Trace;
use crate::wasm::vocabulary::AffinityAction;

/// The most attempts that one decision names; it counts all.
pub(super) const MOST_ATTEMPTS: usize = 8;
/// The most candidates that one decision names.
pub(super) const MOST_CANDIDATES: usize = 32;

/// A decision with all its attempts.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Rises with each decision of this process.
    pub number: u64,
    pub at: UnixMillis,
    /// Until the server was open, or all had refused.
    pub took: Duration,
    /// Of the client's request that made it necessary; `None` for what the gateway does by itself.
    pub request: Option<Box<str>>,
    /// What named the conversation, of a client without a session.
    pub conversation: Option<Box<str>>,
    pub session: SessionId,
    pub server: ServerName,
    /// What the strategy was shown; empty where it was not asked.
    pub inputs: Vec<ShownInput>,
    /// The node in the client's valid affinity token.
    pub affinity: Option<NodeId>,
    /// The nodes that have the server, as they were at the first attempt.
    pub candidates: Vec<Candidate>,
    /// Candidates that are not named.
    pub more_candidates: usize,
    pub attempts: Vec<Attempt>,
    /// Attempts that are not named.
    pub more_attempts: usize,
    pub result: DecisionResult,
}

/// One input of the strategy's plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownInput {
    /// `session-id`, `header:x-tenant`, `body:/params/name`.
    pub name: String,
    pub value: InputValue,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputValue {
    /// The request has no such value, or the strategy may not see it.
    Missing,
    /// The strategy saw a value that is likely a secret.
    Hidden,
    Shown(String),
}

/// A node that has the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub node: NodeId,
    pub health: Health,
    pub room: Room,
    pub zone: Box<str>,
    pub weight: u32,
    /// Sessions' servers that were bound to it.
    pub bindings: u32,
}

/// One choice, and what came of it.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Of the topology that the gateway had then.
    pub generation: u64,
    /// What the strategy was asked and has said; `None` where it was not asked.
    pub asked: Option<Box<Trace>>,
    pub by: ChosenBy,
    /// Nodes that were left out, since they had refused or were full.
    pub excluded: Vec<NodeId>,
    /// `None` if no node was left.
    pub node: Option<NodeId>,
    pub token: AffinityAction,
    pub outcome: AttemptOutcome,
}

/// Who has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChosenBy {
    /// The strategy's component.
    Strategy,
    /// The gateway in its place, by the strategies' own hash.
    Fallback,
    /// The gateway takes the node with the fewest sessions, for a reason.
    LeastLoaded(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// Not known yet.
    UnderWay,
    Opened,
    /// Why the server was not opened there.
    Refused(String),
}

/// What came of the decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecisionResult {
    /// The client left before the server was open.
    Left,
    Opened(NodeId),
    Refused(String),
}
