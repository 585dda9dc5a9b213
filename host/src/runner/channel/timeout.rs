//! How long a server may take for one request, as its `options` say. Without them
//! there is no limit.

use std::fmt;
use std::time::{Duration, Instant};

use crate::sync::now;

/// The limits of one server's requests. `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Longest time without an answer.
    pub silence: Option<Duration>,
    /// Whether progress restarts that time.
    pub reset_on_progress: bool,
    /// Longest time in total, progress or not.
    pub total: Option<Duration>,
}

impl Timeouts {
    #[must_use]
    pub fn are_set(&self) -> bool {
        self.silence.is_some() || self.total.is_some()
    }

    fn due(&self, began: Instant, last_progress: Instant) -> Option<(Instant, Expired)> {
        let since = if self.reset_on_progress { last_progress } else { began };
        let silence = self.silence.map(|limit| (since + limit, Expired::Silence(limit)));
        let total = self.total.map(|limit| (began + limit, Expired::Total(limit)));
        silence.into_iter().chain(total).min_by_key(|(due, _)| *due)
    }
}

/// The limit that a request without any progress meets first, and when.
#[must_use]
pub fn first(timeouts: Timeouts, began: Instant) -> Option<(Instant, Expired)> {
    timeouts.due(began, began)
}

/// The limit that a request has exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    Silence(Duration),
    Total(Duration),
}

impl fmt::Display for Expired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, key) = match self {
            Self::Silence(limit) => (limit, "options.timeout"),
            Self::Total(limit) => (limit, "options.maxTotalTimeout"),
        };
        write!(f, "no answer within {} ms ({key}); the call may have run", limit.as_millis())
    }
}

/// Waits until a request's time is over. `None` if it was answered before, which
/// `last_progress` shows by returning `None`.
pub async fn expired(
    timeouts: Timeouts,
    began: Instant,
    last_progress: impl Fn() -> Option<Instant>,
) -> Option<Expired> {
    loop {
        let (due, expired) = timeouts.due(began, last_progress()?)?;
        if due <= now() {
            return Some(expired);
        }
        tokio::time::sleep_until(due.into()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_nearer_limit_counts_and_progress_moves_only_the_one() {
        let began = Instant::now();
        let timeouts =
            Timeouts { silence: Some(ms(10)), reset_on_progress: true, total: Some(ms(50)) };
        let due = |at: u64| timeouts.due(began, began + ms(at)).unwrap();
        assert_eq!(due(0), (began + ms(10), Expired::Silence(ms(10))));
        assert_eq!(due(30), (began + ms(40), Expired::Silence(ms(10))));
        assert_eq!(due(45), (began + ms(50), Expired::Total(ms(50))));
        let fixed = Timeouts { reset_on_progress: false, ..timeouts };
        assert_eq!(fixed.due(began, began + ms(30)).unwrap().0, began + ms(10));
        assert_eq!(Timeouts::default().due(began, began), None);
    }
}
