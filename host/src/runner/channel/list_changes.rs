//! The server's `list_changed` notifications. Some servers send one whenever a list is read: those
//! that come with the gateway's own reading are echoes. They are not passed on, and make the gateway
//! read again only after a while.
//!
//! Where the client has called a tool since the reading began, or just before, the call is as likely the
//! reason. A few such notifications count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::protocol::methods;
use crate::sync::{Locked, now, since};

/// How long after a reading a notification may still be its echo.
const ECHO: Duration = Duration::from_secs(2);
/// How long before a reading a call may have been sent whose notification comes with it.
const JUST_BEFORE: Duration = Duration::from_millis(50);
/// Notifications in a span of time that count although they may be echoes: a server whose lists are
/// read for each of them must not be kept busy by a client that calls it all the time.
const MOST_DOUBTFUL: u32 = 8;
const SPAN: Duration = Duration::from_secs(10);

/// When the gateway reads a server's lists by itself. Sessions at one process share it.
#[derive(Debug, Default)]
pub struct OwnReadings(Locked<Readings>);

#[derive(Debug, Default)]
struct Readings {
    under_way: u32,
    /// When the last one began, and when one ended.
    began: Option<Instant>,
    ended: Option<Instant>,
}

impl OwnReadings {
    /// Marks a reading, until what is returned is dropped.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> OwnReading {
        let mut readings = self.0.lock();
        readings.under_way += 1;
        readings.began = Some(now());
        OwnReading(Arc::clone(self))
    }

    /// When the reading began of which a notification that comes now may be the echo.
    #[must_use]
    pub fn may_echo(&self) -> Option<Instant> {
        let readings = self.0.lock();
        let may = readings.under_way > 0 || readings.ended.is_some_and(|ended| since(ended) < ECHO);
        readings.began.filter(|_| may)
    }
}

/// One reading under way.
#[derive(Debug)]
pub struct OwnReading(Arc<OwnReadings>);

impl Drop for OwnReading {
    fn drop(&mut self) {
        let mut readings = self.0.0.lock();
        readings.under_way = readings.under_way.saturating_sub(1);
        readings.ended = Some(now());
    }
}

/// The notifications of one session.
#[derive(Debug)]
pub struct ListChanges {
    readings: Arc<OwnReadings>,
    changes: watch::Sender<u32>,
    echoes: watch::Sender<u32>,
    /// Whether an echo was kept from the client since the lists were last compared.
    has_held: AtomicBool,
    made: Instant,
    /// When the client last called a tool: microseconds since this was made, 0 for never.
    called: AtomicU64,
    /// The beginning of a span, and the doubtful notifications in it that counted.
    doubtful: Locked<Option<(Instant, u32)>>,
    /// Whether one has counted since the lists were last compared.
    has_doubted: AtomicBool,
}

impl ListChanges {
    #[must_use]
    pub fn new(readings: Arc<OwnReadings>) -> Self {
        Self {
            readings,
            changes: watch::Sender::new(0),
            echoes: watch::Sender::new(0),
            has_held: false.into(),
            made: now(),
            called: AtomicU64::new(0),
            doubtful: Locked::new(None),
            has_doubted: false.into(),
        }
    }

    /// Notes a request that the client sends at this time.
    pub fn note_request(&self, method: &str, at: Instant) {
        if method == methods::CALL {
            self.called.store(self.micros(at).max(1), Ordering::Relaxed);
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.made).as_micros();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }

    /// Counts a notification. Returns whether it is passed on: an echo is not.
    pub fn heard(&self) -> bool {
        let echoed = self.readings.may_echo();
        if echoed.is_none_or(|began| self.may_be_of_a_call(began)) {
            self.changes.send_modify(|count| *count += 1);
            return true;
        }
        self.has_held.store(true, Ordering::Release);
        self.echoes.send_modify(|count| *count += 1);
        false
    }

    /// Whether the client has called a tool since the reading began, and not too many such
    /// notifications have counted.
    fn may_be_of_a_call(&self, began: Instant) -> bool {
        let called = self.called.load(Ordering::Relaxed);
        let from = began.checked_sub(JUST_BEFORE).unwrap_or(began);
        if called == 0 || called < self.micros(from) {
            return false;
        }
        let mut doubtful = self.doubtful.lock();
        let (from, count) = doubtful.filter(|(from, _)| since(*from) < SPAN).unwrap_or((now(), 0));
        if count >= MOST_DOUBTFUL {
            return false;
        }
        *doubtful = Some((from, count + 1));
        self.has_doubted.store(true, Ordering::Release);
        true
    }

    /// Whether a notification that may be an echo has counted since the last call.
    pub fn take_doubted(&self) -> bool {
        self.has_doubted.swap(false, Ordering::AcqRel)
    }

    /// Counts those that are no echoes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u32> {
        self.changes.subscribe()
    }

    /// Has the lists read as if they had changed: those of this session are nobody else's.
    pub fn mark_unknown(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Counts echoes.
    #[must_use]
    pub fn echoes(&self) -> watch::Receiver<u32> {
        self.echoes.subscribe()
    }

    /// Marks a reading of the gateway's own.
    #[must_use]
    pub fn reading(&self) -> OwnReading {
        self.readings.begin()
    }

    /// Whether an echo was kept from the client since the last call.
    pub fn take_held(&self) -> bool {
        self.has_held.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_with_a_reading_is_not_passed_on() {
        let readings = Arc::new(OwnReadings::default());
        let [one, other] = [(); 2].map(|()| ListChanges::new(Arc::clone(&readings)));
        assert!(one.heard() && !one.take_held());
        let reading = other.reading();
        assert!(!one.heard() && !other.heard());
        drop(reading);
        assert!(!one.heard(), "it may be late");
        assert!(one.take_held() && !one.take_held());
        assert_eq!((*one.changes().borrow(), *one.echoes().borrow()), (1, 2));
        tokio::time::advance(ECHO).await;
        assert!(one.heard(), "it is too late for an echo");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_after_a_call_is_passed_on_a_few_times() {
        let readings = Arc::new(OwnReadings::default());
        let changes = ListChanges::new(Arc::clone(&readings));
        tokio::time::advance(SPAN).await;
        changes.note_request(methods::CALL, now());
        tokio::time::advance(JUST_BEFORE * 2).await;
        drop(changes.reading());
        assert!(!changes.heard(), "the call was before");
        changes.note_request("tools/list", now());
        assert!(!changes.heard(), "only a call changes lists");
        changes.note_request(methods::CALL, now());
        let passed = (0..MOST_DOUBTFUL * 2).filter(|_| changes.heard()).count();
        assert_eq!(passed, MOST_DOUBTFUL as usize);
        tokio::time::advance(SPAN).await;
        drop(changes.reading());
        changes.note_request(methods::CALL, now());
        assert!(changes.heard());
    }
}
