//! What several coordinators know together: bindings with their epochs, ended sessions, what
//! clients have set, large parameters, nodes, generated secrets.
//!
//! The verbs are those of the domain, and a store needs nothing else: `memory` (for tests) and
//! `redis` run one test suite. A store is dumb. It compares epochs and keeps bytes; what they mean,
//! who asks when, and what is done while the store is away is in `sharing`.

mod binding_text;
mod event_text;
pub mod memory;
pub(super) mod redis;
#[cfg(test)]
mod suite;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::model::{Epoch, NodeId, ServerName, SessionId, UnixMillis};

/// Servers of one session that are read from the store.
pub const MAX_SERVERS: usize = 1000;
/// Bytes of a node's entry, of settings, or of parameters that are read from the store.
pub const MAX_VALUE: usize = 2 << 20;
/// Nodes, and coordinators, that are read from the store.
pub const MAX_ENTRIES: usize = 4096;

/// Why the store has not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or did not answer in time. Whether it has done what was asked is
    /// not known.
    #[error("{0}")]
    Gone(String),
    /// It answers, and what was there is not there any more.
    #[error("it was emptied")]
    Emptied,
    /// It answers with something that is not understood, or refuses.
    #[error("{0}")]
    Refused(String),
}

/// The answer of a store.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Where one server of a session is, as all coordinators know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedBinding {
    pub node: NodeId,
    /// Rises with each move.
    pub epoch: Epoch,
    /// The epoch of the instance that the session had open last, here or elsewhere.
    pub opened: Option<Epoch>,
    /// Whether the session has had the server open.
    pub was_open: bool,
}

/// A binding that a coordinator wants to be that of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedClaim {
    pub session: SessionId,
    pub server: ServerName,
    /// The epoch of the binding that the coordinator knows; with its own epoch it says that it
    /// knows no better. A binding with a higher one stays.
    pub seen: Option<Epoch>,
    pub binding: SharedBinding,
    /// Whether the others hear of it even if it is the server's first: the session's client has an
    /// id, and may listen at one of them.
    pub is_news: bool,
}

/// The outcome of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The binding is that of all coordinators now, or was already.
    Kept,
    /// Another one is there, which the coordinator had not seen.
    Lost(SharedBinding),
    /// The session has ended.
    Ended,
}

/// What the store has of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedSession {
    pub is_ended: bool,
    pub bindings: Vec<(ServerName, SharedBinding)>,
    /// What the client has set, as `sharing` writes it.
    pub settings: Option<Vec<u8>>,
}

/// A GET stream of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    pub stream: u32,
    /// The stream that the client had before, and the number of the last event that it has seen.
    pub seen: Option<(u32, u64)>,
}

/// What one coordinator tells the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharedEvent {
    /// A session has moved to another node, or has a further server open.
    Moved(SessionId, ServerName, SharedBinding),
    Ended(SessionId, UnixMillis),
    /// A server's state was lost, and the client, which may listen elsewhere, was not told yet.
    Lost(SharedLoss),
    /// The client of a session knows of what it has lost until then. The number is the teller's.
    Told(SessionId, u64),
    /// A session's client listens to another stream of an aggregate from now on.
    Listens(SessionId, Listening),
    /// What the stream before had left for the client of this one is in the store.
    Rest(SessionId, u32),
    /// About a conversation that clients listen to at several coordinators. The number is the
    /// teller's.
    Feed(SessionId, u64, FeedWord),
    /// A node has registered, or what it says of itself has changed.
    Node(NodeId),
    /// A node was heard from.
    Heard(NodeId),
    /// The start of a node with this digest has signed off.
    Left(NodeId, u64),
}

/// What a coordinator says about a conversation that clients listen to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedWord {
    /// It has listeners, and leaves it to another one to hear the servers.
    Waits,
    /// It hears the servers.
    Hears,
    /// It hears them no more: one that waits goes on.
    Leaves,
    /// A notification for the listeners, sealed.
    Said(String),
    /// It has unsubscribed from a resource, whose URI is sealed.
    Unsubscribed(String),
}

/// A loss of a server's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedLoss {
    pub session: SessionId,
    pub server: ServerName,
    /// The number of its teller, who has noted it already.
    pub teller: u64,
    /// What more is known of it, sealed; empty if nothing is.
    pub sealed: String,
}

/// A connected store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// The place after all events that there are.
    pub from: EventCursor,
    /// Whether what was there before is gone, all of it or the latest, or nothing was: the coordinator
    /// writes what it knows.
    pub was_emptied: bool,
}

/// A place in the store's sequence of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventCursor(pub String);

/// Named values that go away unless they are renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leased {
    Node,
    Coordinator,
    /// What a stream has left for its client, by session.
    Rest,
    /// What a coordinator keeps of the state of a session's servers, by session and coordinator.
    State,
    /// What is kept of a user who has logged in at a server.
    Login,
}

/// What several coordinators share.
pub trait SharedStore: Send + Sync + 'static {
    /// Connects, or connects again.
    fn connect(&self) -> Answer<'_, Connected>;

    /// Makes bindings those of all, each unless one is there that its coordinator had not seen, or
    /// one to another node whose epoch is as high: the first writer wins. Answers in the order of the
    /// claims.
    fn claim<'a>(&'a self, claims: &'a [SharedClaim]) -> Answer<'a, Vec<Claimed>>;

    /// What is known of sessions, in their order.
    fn sessions<'a>(&'a self, sessions: &'a [SessionId]) -> Answer<'a, Vec<SharedSession>>;

    /// Keeps what the client of a session has set. The last writer wins.
    fn set<'a>(&'a self, session: SessionId, settings: &'a [u8]) -> Answer<'a, ()>;

    /// Ends sessions, each until its id expires, and tells the others of those that were not.
    fn end<'a>(&'a self, ended: &'a [(SessionId, UnixMillis)]) -> Answer<'a, ()>;

    /// Keeps a session's large parameters.
    fn keep_params<'a>(
        &'a self,
        session: SessionId,
        params: &'a [u8],
        until: UnixMillis,
    ) -> Answer<'a, ()>;

    fn params(&self, session: SessionId) -> Answer<'_, Option<Bytes>>;

    /// Notes that the coordinator of this name keeps what sets the state of a session's servers;
    /// without a name nothing is noted. Answers with the names of those that do.
    fn join_keepers<'a>(&'a self, session: SessionId, own: &'a str) -> Answer<'a, Vec<String>>;

    /// The secret of this name: the one that is there, else the `fresh` one, which is there then.
    fn secret<'a>(&'a self, name: &'a str, fresh: &'a [u8]) -> Answer<'a, Vec<u8>>;

    /// Keeps a value for a time.
    fn lease<'a>(
        &'a self,
        kind: Leased,
        name: &'a str,
        value: &'a [u8],
        time: Duration,
    ) -> Answer<'a, ()>;

    /// Renews a value's time without reading or writing it. False if it is not there.
    fn renew<'a>(&'a self, kind: Leased, name: &'a str, time: Duration) -> Answer<'a, bool>;

    /// Keeps a value for a time if none is there. False if one is.
    fn lease_first<'a>(
        &'a self,
        kind: Leased,
        name: &'a str,
        value: &'a [u8],
        time: Duration,
    ) -> Answer<'a, bool>;

    /// Removes a value. False if it was not there: of several who remove it, one hears that it was.
    fn let_go<'a>(&'a self, kind: Leased, name: &'a str) -> Answer<'a, bool>;

    fn leased<'a>(&'a self, kind: Leased, name: &'a str) -> Answer<'a, Option<Vec<u8>>>;

    /// The names of all values of a kind.
    fn all_leased(&self, kind: Leased) -> Answer<'_, Vec<String>>;

    /// Tells the other coordinators.
    fn tell<'a>(&'a self, event: &'a SharedEvent) -> Answer<'a, ()>;

    /// The events after a place, oldest first, and the place after them. Waits for one, at most
    /// about half a second; then there is none.
    fn events<'a>(&'a self, after: &'a EventCursor) -> Answer<'a, (Vec<SharedEvent>, EventCursor)>;
}
