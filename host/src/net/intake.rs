//! What is known of a client's connection while it sends the body of a request. The connection's
//! owner sees from here whether somebody waits for the body, and can have it broken off.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use crate::model::QuotaKey;
use crate::sync::Locked;

use super::budget::{BodyBudget, Claim, GivesWay};
use super::connection_waker::{ConnectionWaker, taking};

/// Why the gateway has broken a body off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IntakeFault {
    /// The client sends nothing, or too little.
    #[error("the request body does not go on (systemConfig.limits.bodyRate, bodyTimeout)")]
    Stalled,
    /// Its memory is needed for others.
    #[error("the request body gave way to others (systemConfig.limits.bodiesInMemory)")]
    GaveWay,
}

/// Why a body broke off, as the crate's bodies say it.
type Broken = Box<dyn std::error::Error + Send + Sync>;

const STALLED: u8 = 1;
const GAVE_WAY: u8 = 2;

/// A client's connection, as the bodies that come over it see it. There is one body at a time.
pub struct Intake {
    budget: Arc<BodyBudget>,
    /// Whom the bodies are counted for.
    key: Locked<QuotaKey>,
    /// Whether a reader waits for bytes that have not come.
    waits: AtomicBool,
    fault: AtomicU8,
    reader: AtomicWaker,
    /// Whether the last body may not have been read to its end.
    leaves_rest: AtomicBool,
    /// Wakes the task that reads the connection.
    pub waker: ConnectionWaker,
}

impl Intake {
    /// Until [`Self::count_for`] says otherwise, bodies are counted for `key`.
    #[must_use]
    pub fn new(budget: Arc<BodyBudget>, key: QuotaKey) -> Arc<Self> {
        Arc::new(Self {
            budget,
            key: Locked::new(key),
            waits: AtomicBool::new(false),
            fault: AtomicU8::new(0),
            reader: AtomicWaker::new(),
            leaves_rest: AtomicBool::new(false),
            waker: ConnectionWaker::default(),
        })
    }

    /// Says whom the present body and later ones are counted for.
    pub fn count_for(&self, key: &QuotaKey) {
        let mut counted = self.key.lock();
        if *counted != *key {
            *counted = key.clone();
        }
    }

    /// Whether a reader waits for the client.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    /// Whether the client may still be sending a body that nobody reads.
    #[must_use]
    pub fn leaves_rest(&self) -> bool {
        self.leaves_rest.load(Ordering::Relaxed)
    }

    /// Breaks the present body off, since it does not go on.
    pub fn stall(&self) {
        self.fail(STALLED);
    }

    /// Begins a claim for the present body.
    #[must_use]
    pub fn claim(self: &Arc<Self>) -> Claim {
        let key = self.key.lock().clone();
        self.budget.claim(key, Arc::clone(self) as _)
    }

    fn fail(&self, fault: u8) {
        self.fault.store(fault, Ordering::Release);
        self.reader.wake();
    }

    fn fault(&self) -> Option<IntakeFault> {
        match self.fault.load(Ordering::Acquire) {
            STALLED => Some(IntakeFault::Stalled),
            GAVE_WAY => Some(IntakeFault::GaveWay),
            _ => None,
        }
    }
}

impl GivesWay for Intake {
    fn give_way(&self) {
        self.fail(GAVE_WAY);
    }
}

/// The body of a client's request, as it arrives.
pub struct ClientBody {
    incoming: Incoming,
    intake: Arc<Intake>,
}

impl ClientBody {
    /// The body that hyper reads from the connection of `intake`.
    #[must_use]
    pub fn new(incoming: Incoming, intake: &Arc<Intake>) -> Self {
        // A fault of the body before this one says nothing about this one.
        intake.fault.store(0, Ordering::Relaxed);
        Self { incoming, intake: Arc::clone(intake) }
    }

    pub(super) fn intake(&self) -> &Arc<Intake> {
        &self.intake
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(fault) = self.intake.fault() {
            return Poll::Ready(Some(Err(fault.into())));
        }
        let (polled, is_woken) = taking(|| Pin::new(&mut self.incoming).poll_frame(cx));
        if is_woken && !self.incoming.is_end_stream() {
            self.intake.waker.wake();
        }
        let waits = polled.is_pending();
        if waits {
            self.intake.reader.register(cx.waker());
            // It may have been broken off since the first look.
            if let Some(fault) = self.intake.fault() {
                return Poll::Ready(Some(Err(fault.into())));
            }
        }
        self.intake.waits.store(waits, Ordering::Relaxed);
        polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        self.intake.waits.store(false, Ordering::Relaxed);
        let is_read = self.incoming.is_end_stream();
        self.intake.leaves_rest.store(!is_read, Ordering::Relaxed);
    }
}
