//! One slot of the table: an instance, or its opening.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::model::{Epoch, GatewayStart, UnixMillis};
use crate::runner::admission::open_error::OpenError;
use crate::runner::session::instance::Instance;
use crate::runner::upkeep::drain_policy::SessionFacts;
use crate::sync::since;

/// How long an instance is kept for a message that the edge has announced: it may be a
/// large body on a slow connection.
const ARRIVAL: Duration = Duration::from_secs(10);

/// What came of an opening; `None` while it is under way.
pub type OpenOutcome = Option<Result<Arc<Instance>, OpenError>>;

/// The place of one instance in the table.
pub(super) struct Slot {
    pub opened: watch::Receiver<OpenOutcome>,
    /// That of the binding that had it opened.
    pub epoch: Option<Epoch>,
    /// The session ends with the stream that this start of a gateway has.
    pub stream: Option<GatewayStart>,
    pub opened_at: UnixMillis,
    pub last_used: Instant,
    /// The same, but pings do not count: a client that sends nothing else does not need the
    /// process.
    pub last_called: Instant,
    /// When the edge last made sure that the session is open, before a message that it
    /// cannot repeat. `None` once a message has come.
    pub awaited: Option<Instant>,
    /// Each `InHand` of the instance holds a clone.
    pub in_hand: Arc<()>,
}

impl Slot {
    /// Whether no request is about to use the instance, none is under way, and none is
    /// announced.
    pub fn is_quiet(&self, instance: &Instance) -> bool {
        Arc::strong_count(&self.in_hand) == 1
            && !instance.is_working()
            && self.awaited.is_none_or(|from| since(from) > ARRIVAL)
    }
}

/// What a drain has to know of a session; `None` if there is nothing to let go.
pub(super) fn facts_of(slot: &Slot) -> Option<SessionFacts> {
    match SlotState::at(&slot.opened) {
        SlotState::Opening => Some(SessionFacts { is_working: true, ..SessionFacts::default() }),
        SlotState::Ready(instance) if !instance.is_lost() => Some(SessionFacts {
            is_working: !slot.is_quiet(&instance),
            is_asked: instance.is_asked(),
            is_heard: instance.is_busy(),
            holds_state: instance.holds_state(),
            is_unsaved: instance.unsaved.is_any(),
            ..SessionFacts::default()
        }),
        SlotState::Ready(_) | SlotState::Failed | SlotState::Abandoned => None,
    }
}

pub(super) fn instance_of(slot: Slot) -> Option<Arc<Instance>> {
    match SlotState::at(&slot.opened) {
        SlotState::Ready(instance) => Some(instance),
        SlotState::Opening | SlotState::Failed | SlotState::Abandoned => None,
    }
}

/// The state of a slot's opening.
pub(super) enum SlotState {
    Opening,
    Ready(Arc<Instance>),
    Failed,
    /// The task that was opening it has gone without an outcome.
    Abandoned,
}

impl SlotState {
    /// Borrows the channel once: a second `borrow` while the first is held never returns
    /// if the sender waits for the lock by then. `has_changed` takes no lock.
    pub fn at(opened: &watch::Receiver<OpenOutcome>) -> Self {
        match &*opened.borrow() {
            None if opened.has_changed().is_err() => Self::Abandoned,
            None => Self::Opening,
            Some(Ok(instance)) => Self::Ready(Arc::clone(instance)),
            Some(Err(_)) => Self::Failed,
        }
    }
}
