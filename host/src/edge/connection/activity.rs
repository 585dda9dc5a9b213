//! A worker's connections, and which of them are in use. A connection is closed if its client
//! sends no request, or never completes a request's head; a drain is signalled to all of them.
//!
//! hyper could do that with a timer that it resets for every request. A periodic check of all
//! connections costs the data path nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::{Instant, MissedTickBehavior};

use crate::sync::Locked;

/// Time between two checks.
const LOOK: Duration = Duration::from_secs(30);
/// Checks in a row without activity after which a connection is closed. The first check of a
/// connection counts as activity, so that it is closed after 90 s at the earliest and 120 s at
/// the latest.
const QUIET_LOOKS: u32 = 3;

/// What a connection has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionOrder {
    /// Finish the request in progress, then close.
    Drain,
    /// Close now: nothing has been in progress for a long time.
    End,
}

/// The bits of [`Activity::orders`].
const DRAIN: u8 = 1;
const END: u8 = 2;

/// What is in progress on one connection.
#[derive(Default)]
pub struct Activity {
    /// Counts requests, and writes to the client.
    moves: AtomicU64,
    /// Requests that are not answered completely.
    open: AtomicU64,
    orders: AtomicU8,
    /// The value of `moves` at the check that ordered the end.
    silent_since: AtomicU64,
    waker: AtomicWaker,
}

/// Held until the last byte of a request's response was sent.
pub struct ActiveRequest(Arc<Activity>);

impl Activity {
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> ActiveRequest {
        self.moved();
        self.open.fetch_add(1, Ordering::Relaxed);
        ActiveRequest(Arc::clone(self))
    }

    /// Notes that the client takes what it is sent, however slowly.
    pub fn moved(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// Resolves when there is an order. Only the connection's own task may poll it.
    pub fn poll_order(&self, cx: &Context<'_>) -> Poll<ConnectionOrder> {
        self.waker.register(cx.waker());
        let orders = self.orders.load(Ordering::Acquire);
        if orders & END != 0 {
            // A request may have arrived since the check.
            let moves = self.moves.load(Ordering::Relaxed);
            let is_silent = self.open.load(Ordering::Relaxed) == 0
                && moves == self.silent_since.load(Ordering::Relaxed);
            if is_silent {
                return Poll::Ready(ConnectionOrder::End);
            }
            self.orders.fetch_and(!END, Ordering::Relaxed);
        }
        if orders & DRAIN != 0 { Poll::Ready(ConnectionOrder::Drain) } else { Poll::Pending }
    }

    fn order(&self, order: u8) {
        self.orders.fetch_or(order, Ordering::Release);
        self.waker.wake();
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All connections of a worker. Clones share them.
#[derive(Clone, Default)]
pub struct Connections(Arc<Locked<All>>);

#[derive(Default)]
struct All {
    seats: HashMap<u64, TrackedConnection>,
    next: u64,
    is_draining: bool,
}

struct TrackedConnection {
    activity: Arc<Activity>,
    /// The value of `moves` at the last check; `None` before the first.
    seen: Option<u64>,
    /// Checks in a row without activity.
    quiet: u32,
}

impl TrackedConnection {
    /// Orders the connection to end if it is silent.
    fn look(&mut self) {
        let moves = self.activity.moves.load(Ordering::Relaxed);
        let is_used = self.activity.open.load(Ordering::Relaxed) > 0 || self.seen != Some(moves);
        self.quiet = if is_used { 0 } else { self.quiet + 1 };
        self.seen = Some(moves);
        if self.quiet >= QUIET_LOOKS {
            self.activity.silent_since.store(moves, Ordering::Relaxed);
            self.activity.order(END);
        }
    }
}

/// One connection. It leaves the table when this is dropped.
pub struct Connected {
    pub activity: Arc<Activity>,
    number: u64,
    all: Connections,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock()
    }

    #[must_use]
    pub fn enter(&self) -> Connected {
        let activity = Arc::new(Activity::default());
        let mut all = self.lock();
        if all.is_draining {
            activity.order(DRAIN);
        }
        let number = all.next;
        all.next += 1;
        let seat = TrackedConnection { activity: Arc::clone(&activity), seen: None, quiet: 0 };
        all.seats.insert(number, seat);
        Connected { activity, number, all: self.clone() }
    }

    /// Orders all connections, present and future, to drain.
    pub fn drain(&self) {
        let mut all = self.lock();
        all.is_draining = true;
        all.seats.values().for_each(|seat| seat.activity.order(DRAIN));
    }

    /// Checks periodically for silent connections. Never returns.
    pub async fn look(&self) {
        let mut looks = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.lock().seats.values_mut().for_each(TrackedConnection::look);
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.all.lock().seats.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn ordered(connected: &Connected) -> ConnectionOrder {
        poll_fn(|cx| connected.activity.poll_order(cx)).await
    }

    /// A worker's connections, with the task that checks them.
    fn connections() -> Connections {
        let connections = Connections::default();
        let looked_at = connections.clone();
        tokio::spawn(async move { looked_at.look().await });
        connections
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_silent_after_a_while() {
        let connections = connections();
        // Between two checks.
        tokio::time::sleep(LOOK / 3).await;
        let connected = connections.enter();
        let began = Instant::now();
        assert_eq!(ordered(&connected).await, ConnectionOrder::End);
        let lasted = began.elapsed();
        assert!(lasted >= LOOK * QUIET_LOOKS && lasted < LOOK * (QUIET_LOOKS + 1), "{lasted:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_is_waited_for_however_long_it_takes() {
        let connected = connections().enter();
        let began = Instant::now();
        let call = connected.activity.begin();
        let hour = Duration::from_secs(3600);
        tokio::spawn(async move {
            tokio::time::sleep(hour).await;
            drop(call);
        });
        assert_eq!(ordered(&connected).await, ConnectionOrder::End);
        assert!(began.elapsed() >= hour + LOOK * (QUIET_LOOKS - 1), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn each_request_begins_the_time_anew() {
        let connected = connections().enter();
        let began = Instant::now();
        let activity = Arc::clone(&connected.activity);
        let calls = tokio::spawn(async move {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(80)).await;
                drop(activity.begin());
            }
        });
        assert_eq!(ordered(&connected).await, ConnectionOrder::End);
        assert!(calls.is_finished());
        assert!(began.elapsed() < Duration::from_secs(800 + 121), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_request_that_comes_after_the_look_is_served() {
        let connected = Connections::default().enter();
        let look = |times| {
            let mut all = connected.all.lock();
            let seat = all.seats.get_mut(&connected.number).unwrap();
            (0..times).for_each(|_| seat.look());
        };
        let ordered = || poll_fn(|cx| Poll::Ready(connected.activity.poll_order(cx)));
        look(QUIET_LOOKS + 1);
        drop(connected.activity.begin());
        assert_eq!(ordered().await, Poll::Pending);
        look(QUIET_LOOKS);
        assert_eq!(ordered().await, Poll::Pending);
        look(1);
        assert_eq!(ordered().await, Poll::Ready(ConnectionOrder::End));
        connected.activity.moved();
        assert_eq!(ordered().await, Poll::Pending, "the client takes what it was sent");
    }

    #[tokio::test]
    async fn a_drain_reaches_who_is_there_and_who_comes() {
        let connections = connections();
        let (early, other) = (connections.enter(), connections.enter());
        drop(other);
        assert_eq!(connections.lock().seats.len(), 1);
        connections.drain();
        assert_eq!(ordered(&early).await, ConnectionOrder::Drain);
        assert_eq!(ordered(&connections.enter()).await, ConnectionOrder::Drain);
    }
}
