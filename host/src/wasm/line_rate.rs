//! A limit on log lines that somebody else can cause.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Enough to see what is wrong, too few to fill a disk.
const LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);

pub(super) struct LineRate(Mutex<Window>);

struct Window {
    opened: Instant,
    lines: u32,
    dropped: u64,
}

impl LineRate {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Window { opened: now, lines: 0, dropped: 0 }))
    }

    /// Whether a line may pass, and then how many did not since the last one.
    pub(super) fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(window.opened) >= WINDOW {
            window.opened = now;
            window.lines = 0;
        }
        if window.lines == LINES {
            window.dropped += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_silenced_until_the_window_ends_and_then_told_on() {
        let start = Instant::now();
        let rate = LineRate::new(start);
        for _ in 0..LINES {
            assert_eq!(rate.admit(start), Some(0));
        }
        assert_eq!(rate.admit(start), None);
        assert_eq!(rate.admit(start), None);
        assert_eq!(rate.admit(start + WINDOW), Some(2));
        assert_eq!(rate.admit(start + WINDOW), Some(0));
    }
}
