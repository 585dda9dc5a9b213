//! The server's `list_changed` notifications. Some servers send one whenever a list is read: those
//! that come with the gateway's own reading are echoes. They are not passed on, and make the gateway
//! read again only after a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::sync::Locked;

/// How long after a reading a notification may still be its echo.
const ECHO: Duration = Duration::from_secs(2);

/// When the gateway reads a server's lists by itself. Sessions at one process share it.
#[derive(Debug, Default)]
pub struct OwnReadings(Locked<(u32, Option<Instant>)>);

impl OwnReadings {
    /// Marks a reading, until what is returned is dropped.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> OwnReading {
        self.0.lock().0 += 1;
        OwnReading(Arc::clone(self))
    }

    /// Whether a notification that comes now may be the echo of a reading.
    #[must_use]
    pub fn may_echo(&self) -> bool {
        let readings = self.0.lock();
        readings.0 > 0 || readings.1.is_some_and(|ended| ended.elapsed() < ECHO)
    }
}

/// One reading under way.
#[derive(Debug)]
pub struct OwnReading(Arc<OwnReadings>);

impl Drop for OwnReading {
    fn drop(&mut self) {
        let mut readings = self.0.0.lock();
        readings.0 = readings.0.saturating_sub(1);
        readings.1 = Some(Instant::now());
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
}

impl ListChanges {
    #[must_use]
    pub fn new(readings: Arc<OwnReadings>) -> Self {
        Self {
            readings,
            changes: watch::Sender::new(0),
            echoes: watch::Sender::new(0),
            has_held: false.into(),
        }
    }

    /// Counts a notification. Returns whether it is passed on: an echo is not.
    pub fn heard(&self) -> bool {
        if !self.readings.may_echo() {
            self.changes.send_modify(|count| *count += 1);
            return true;
        }
        self.has_held.store(true, Ordering::Release);
        self.echoes.send_modify(|count| *count += 1);
        false
    }

    /// Counts those that are no echoes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u32> {
        self.changes.subscribe()
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

    #[test]
    fn what_comes_with_a_reading_is_not_passed_on() {
        let readings = Arc::new(OwnReadings::default());
        let [one, other] = [(); 2].map(|()| ListChanges::new(Arc::clone(&readings)));
        assert!(one.heard() && !one.take_held());
        let reading = other.reading();
        assert!(!one.heard() && !other.heard());
        drop(reading);
        assert!(!one.heard(), "it may be late");
        assert!(one.take_held() && !one.take_held());
        assert_eq!((*one.changes().borrow(), *one.echoes().borrow()), (1, 2));
    }
}
