//! What the edge counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::model::ServerName;
use crate::protocol::error_kind::{Emitter, ErrorKind};
use crate::sync::{Locked, Seldom};

use super::bridge::named_by::NamedByCounts;
use super::refusal::Refusal;
use super::refusal_reason::RefusalCounts;

/// The server that an error is about, who has made it, and its kind.
pub type CountedError = (Option<ServerName>, Emitter, ErrorKind);

#[derive(Debug, Default)]
pub struct Metrics {
    requests: AtomicU64,
    refused: AtomicU64,
    in_flight: AtomicU64,
    opened: AtomicU64,
    reopened: AtomicU64,
    ended: AtomicU64,
    has_met_proxy: AtomicBool,
    catalogs_left_out: AtomicU64,
    streams: [AtomicU64; StreamTransport::ALL.len()],
    recoveries: [AtomicU64; Recovery::ALL.len()],
    /// Why requests were refused.
    pub refusals: RefusalCounts,
    /// What named the conversations of clients without sessions.
    pub conversations: NamedByCounts,
    states_saved: AtomicU64,
    states_restored: AtomicU64,
    states_failed: AtomicU64,
    /// Refusals, by the server that they are about, who has made them, and their kind. Only known
    /// servers are in it.
    errors: Locked<BTreeMap<CountedError, u64>>,
    /// Lines of the log about servers that cannot be opened, or do not answer when they are.
    pub(super) not_opened: Seldom,
    /// Lines about servers whose state is lost.
    pub(super) lost: Seldom,
    /// Lines about state that could not be saved.
    pub(super) not_saved: Seldom,
    /// Lines about sessions that end with it.
    pub(super) ended_lost: Seldom,
}

/// By which transport an event stream reaches its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamTransport {
    StreamableHttp,
    HttpSse,
}

impl StreamTransport {
    const ALL: [Self; 2] = [Self::StreamableHttp, Self::HttpSse];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StreamableHttp => "streamable-http",
            Self::HttpSse => "http-sse",
        }
    }
}

/// How a call was kept going that had lost its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// The node has lost the session's instance, which was opened again there.
    Instance,
    /// The node is gone or takes no sessions: the server was opened at another one.
    Node,
    /// The session had moved meanwhile, and the server was opened where it is now.
    Moved,
    /// The connection broke during the call, which was sent once more.
    Repeated,
}

impl Recovery {
    pub const ALL: [Self; 4] = [Self::Instance, Self::Node, Self::Moved, Self::Repeated];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Node => "node",
            Self::Moved => "moved",
            Self::Repeated => "repeated",
        }
    }
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub requests: u64,
    /// Requests answered with a status of 400 or more.
    pub refused: u64,
    /// Requests and streams in progress.
    pub in_flight: u64,
    /// Sessions that have begun.
    pub opened: u64,
    /// Servers that were opened again for a session after their state was lost.
    pub reopened: u64,
    /// Sessions that have ended: by DELETE, with their HTTP+SSE stream, or by `onLost: "fail"`.
    pub ended: u64,
    /// Catalogs of nodes that did not fit into their bound.
    pub catalogs_left_out: u64,
    /// Savings of a session's state at a server.
    pub states_saved: u64,
    /// New instances to which all of a session's state was brought back.
    pub states_restored: u64,
    /// Savings that failed, and new instances to which something was not brought back.
    pub states_failed: u64,
}

impl Metrics {
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            requests: read(&self.requests),
            refused: read(&self.refused),
            in_flight: read(&self.in_flight),
            opened: read(&self.opened),
            reopened: read(&self.reopened),
            ended: read(&self.ended),
            catalogs_left_out: read(&self.catalogs_left_out),
            states_saved: read(&self.states_saved),
            states_restored: read(&self.states_restored),
            states_failed: read(&self.states_failed),
        }
    }

    /// Whether this is the first call.
    pub(super) fn first_proxy(&self) -> bool {
        !self.has_met_proxy.swap(true, Ordering::Relaxed)
    }

    /// Counts a refusal that a client gets.
    pub(super) fn refusal(&self, refusal: &Refusal) {
        self.refusals.note(refusal.reason());
        let (server, emitter, kind) = refusal.counted();
        let counted = (server.cloned(), emitter, kind);
        *self.errors.lock().entry(counted).or_default() += 1;
    }

    /// The refusals so far.
    #[must_use]
    pub fn errors(&self) -> BTreeMap<CountedError, u64> {
        self.errors.lock().clone()
    }

    pub(super) fn began(&self) {
        add(&self.requests);
        add(&self.in_flight);
    }

    pub(super) fn settled(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Event streams that are open to clients.
    pub fn streams(&self) -> impl Iterator<Item = (StreamTransport, u64)> {
        let read = |one: StreamTransport| self.streams[one as usize].load(Ordering::Relaxed);
        StreamTransport::ALL.into_iter().map(move |one| (one, read(one)))
    }

    /// Counts an event stream until the guard is dropped.
    pub(super) fn stream(self: &Arc<Self>, transport: StreamTransport) -> OpenStream {
        add(&self.streams[transport as usize]);
        OpenStream { metrics: Arc::clone(self), transport }
    }

    /// How often calls were kept going, by how that was done.
    pub fn recoveries(&self) -> impl Iterator<Item = (Recovery, u64)> {
        let read = |one: Recovery| self.recoveries[one as usize].load(Ordering::Relaxed);
        Recovery::ALL.into_iter().map(move |one| (one, read(one)))
    }

    pub(super) fn recovered(&self, how: Recovery) {
        add(&self.recoveries[how as usize]);
    }

    pub(super) fn left_catalog_out(&self) {
        add(&self.catalogs_left_out);
    }

    pub(super) fn refused(&self) {
        add(&self.refused);
    }

    pub(super) fn opened(&self) {
        add(&self.opened);
    }

    pub(super) fn reopened(&self) {
        add(&self.reopened);
    }

    pub(super) fn ended(&self) {
        add(&self.ended);
    }

    pub(super) fn state_saved(&self) {
        add(&self.states_saved);
    }

    pub(super) fn state_restored(&self) {
        add(&self.states_restored);
    }

    pub(super) fn state_failed(&self) {
        add(&self.states_failed);
    }
}

/// One event stream in the count of all.
pub struct OpenStream {
    metrics: Arc<Metrics>,
    transport: StreamTransport,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.metrics.streams[self.transport as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}
