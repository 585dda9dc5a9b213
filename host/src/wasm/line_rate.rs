//! A rate limit for log lines that a plugin can cause.

use std::time::{Duration, Instant};

use crate::sync::Locked;

/// Lines in one window: enough to see what is wrong, too few to fill a disk.
const LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);

pub(super) struct LineRate(Locked<Window>);

struct Window {
    opened: Instant,
    lines: u32,
    dropped: u64,
}

impl LineRate {
    pub(super) fn new(now: Instant) -> Self {
        Self(Locked::new(Window { opened: now, lines: 0, dropped: 0 }))
    }

    /// `Some` if the line may be written, with the number of lines that were dropped
    /// since the last one.
    pub(super) fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock();
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
