use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Lets a log line through at most once in a period, for events that a stranger can cause as often
/// as it likes. Threads share it without a lock.
#[derive(Debug)]
pub struct Seldom {
    began: Instant,
    period: Duration,
    /// Milliseconds since `began` at which the next line may be written.
    next: AtomicU64,
    left_out: AtomicU64,
}

/// A line a minute.
impl Default for Seldom {
    fn default() -> Self {
        Self::every(Duration::from_secs(60))
    }
}

impl Seldom {
    /// The first line is let through at once.
    #[must_use]
    pub fn every(period: Duration) -> Self {
        Self { began: Instant::now(), period, next: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }

    /// Logs a warning, unless the last one was within the period.
    pub fn warn(&self, text: impl FnOnce() -> String) {
        match self.line() {
            None => {}
            Some(0) => tracing::warn!("{}", text()),
            Some(others) => tracing::warn!("{} ({others} more since the last line)", text()),
        }
    }

    /// `Some` if a line may be written now: the number of events since the last line that had
    /// none of their own.
    pub fn line(&self) -> Option<u64> {
        let now = millis(self.began.elapsed());
        let next = self.next.load(Ordering::Relaxed);
        let after = now + millis(self.period);
        let is_due = now >= next
            && self
                .next
                .compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_due {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_passes_and_the_others_are_counted() {
        let log = Seldom::every(Duration::from_secs(3600));
        assert_eq!(log.line(), Some(0));
        assert_eq!((log.line(), log.line()), (None, None));
        let log = Seldom::every(Duration::from_millis(20));
        assert_eq!((log.line(), log.line()), (Some(0), None));
        std::thread::sleep(Duration::from_millis(25));
        assert_eq!((log.line(), log.line()), (Some(1), None));
    }
}
