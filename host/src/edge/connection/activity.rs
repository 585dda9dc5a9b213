//! What is in progress on one connection, and the orders that it is given. The looks at all
//! connections, which are in the table, judge by it.
//!
//! hyper could watch over heads and silence with a timer that it sets anew for every request. A few
//! counts and a look once a second cost the data path next to nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use crate::net::Intake;

use super::raw_head::RawHead;

/// What a connection has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionOrder {
    /// Finish the request in progress, then close.
    Drain,
    /// Close now.
    End,
    /// Say that the head of the request came too late, and close.
    Late,
}

/// The bits of [`Activity::orders`].
const DRAIN: u8 = 1;
const END_IF_SILENT: u8 = 2;
const END: u8 = 4;
const LATE: u8 = 8;

/// What is in progress on one connection. Only its own task counts requests and bytes, so that no
/// count needs a locked instruction.
pub struct Activity {
    requests: AtomicU64,
    /// Requests that are not answered completely.
    open: AtomicU64,
    /// Bytes that came from the client.
    received: AtomicU64,
    /// `received` when the last request had been answered: later bytes begin another.
    settled: AtomicU64,
    /// Bytes that went to the client.
    sent: AtomicU64,
    /// Whether bytes for the client wait until it reads.
    is_blocked: AtomicBool,
    orders: AtomicU8,
    /// Whether clients are asked to close their connections after the next answer.
    is_leaving: AtomicBool,
    /// The value of [`Self::moves`] at the look that ordered the end.
    silent_since: AtomicU64,
    waker: AtomicWaker,
    /// Whether the connection came when there was no room, and may only ask for the health or
    /// speak for the cluster.
    pub is_reserved: bool,
    pub intake: Arc<Intake>,
    pub raw_head: RawHead,
}

/// Held until a request's response is on its way.
pub struct ActiveRequest(Arc<Activity>);

/// Adds to a count that only the connection's own task changes.
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

impl Activity {
    #[must_use]
    pub fn new(intake: Arc<Intake>, is_reserved: bool) -> Arc<Self> {
        Arc::new(Self {
            requests: AtomicU64::new(0),
            open: AtomicU64::new(0),
            received: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            is_blocked: AtomicBool::new(false),
            orders: AtomicU8::new(0),
            is_leaving: AtomicBool::new(false),
            silent_since: AtomicU64::new(0),
            waker: AtomicWaker::new(),
            is_reserved,
            intake,
            raw_head: RawHead::default(),
        })
    }

    #[must_use]
    pub fn begin(self: &Arc<Self>) -> ActiveRequest {
        add(&self.requests, 1);
        self.open.fetch_add(1, Ordering::Relaxed);
        ActiveRequest(Arc::clone(self))
    }

    /// Notes bytes that came from the client.
    pub fn received(&self, bytes: u64) {
        add(&self.received, bytes);
    }

    /// Looks at bytes that came from the client.
    pub fn read(&self, bytes: &[u8]) {
        self.received(bytes.len() as u64);
        if !self.is_in_use() {
            self.raw_head.read(bytes);
        }
    }

    /// Notes bytes that the client has taken, however slowly.
    pub fn sent(&self, bytes: u64) {
        add(&self.sent, bytes);
        self.is_blocked.store(false, Ordering::Relaxed);
    }

    /// Notes that the client takes no bytes now.
    pub fn blocked(&self) {
        self.is_blocked.store(true, Ordering::Relaxed);
    }

    /// The requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// A number that changes with each request and each write.
    #[must_use]
    pub fn moves(&self) -> u64 {
        self.requests().wrapping_add(self.bytes_sent())
    }

    #[must_use]
    pub fn bytes_received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether a request is in progress.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Whether the client owes the rest of a request's head.
    #[must_use]
    pub fn owes_head(&self) -> bool {
        !self.is_in_use() && self.bytes_received() > self.settled.load(Ordering::Relaxed)
    }

    /// Whether the client owes the rest of a request's body, which somebody waits for.
    #[must_use]
    pub fn owes_body(&self) -> bool {
        self.is_in_use() && self.intake.waits()
    }

    /// Whether bytes for the client wait until it reads.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Relaxed)
    }

    /// Resolves when there is an order. Only the connection's own task may poll it.
    pub fn poll_order(&self, cx: &Context<'_>) -> Poll<ConnectionOrder> {
        self.waker.register(cx.waker());
        let orders = self.orders.load(Ordering::Acquire);
        if orders == 0 {
            return Poll::Pending;
        }
        if orders & END != 0 {
            return Poll::Ready(ConnectionOrder::End);
        }
        // What the order is about may have come since the look.
        if orders & LATE != 0 && self.owes_head() {
            return Poll::Ready(ConnectionOrder::Late);
        }
        let silent_since = self.silent_since.load(Ordering::Relaxed);
        if orders & END_IF_SILENT != 0 && !self.is_in_use() && self.moves() == silent_since {
            return Poll::Ready(ConnectionOrder::End);
        }
        self.orders.fetch_and(!(LATE | END_IF_SILENT), Ordering::Relaxed);
        if orders & DRAIN != 0 { Poll::Ready(ConnectionOrder::Drain) } else { Poll::Pending }
    }

    /// Whether the client is asked to close the connection after the next answer.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    /// From the next answer on, asks the client to close the connection.
    pub fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Orders the connection to finish the request in progress.
    pub fn drain(&self) {
        self.order(DRAIN);
    }

    /// Orders the connection to close, whatever is in progress.
    pub fn end(&self) {
        self.order(END);
    }

    /// Orders the connection to close, unless a request comes before it does.
    pub fn end_if_silent(&self) {
        self.silent_since.store(self.moves(), Ordering::Relaxed);
        self.order(END_IF_SILENT);
    }

    /// Orders the connection to close, unless the head is complete before it does.
    pub fn late(&self) {
        self.order(LATE);
    }

    fn order(&self, order: u8) {
        self.orders.fetch_or(order, Ordering::Release);
        self.waker.wake();
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.settled.store(self.0.bytes_received(), Ordering::Relaxed);
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
