//! Where epochs come from.
//!
//! Epochs begin at the time of day, in microseconds, and rise with each binding. So those of a
//! coordinator that has lost its memory are higher than all that it has given before, also than
//! those that a frozen node holds, which has not reported yet. If the clock was set back meanwhile,
//! a runner that holds a higher one says so, and the next is higher than that.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{Epoch, since_1970};

/// Gives epochs, each once.
#[derive(Default)]
pub struct EpochClock(AtomicU64);

impl EpochClock {
    /// An epoch that is higher than all that were given before, and than `known`.
    pub fn after(&self, known: Option<Epoch>) -> Epoch {
        self.after_at(known, u64::try_from(since_1970().as_micros()).unwrap_or(u64::MAX))
    }

    fn after_at(&self, known: Option<Epoch>, now: u64) -> Epoch {
        let next = |last: u64| last.saturating_add(1).max(now);
        let last =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        let fresh = Epoch::nearest(next(last.unwrap_or_else(|last| last)));
        // What others report raises the epochs of that session alone.
        known.map_or(fresh, |known| known.next().max(fresh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_higher_than_every_known_one_whatever_the_clock_says() {
        let clock = EpochClock::default();
        let first = clock.after_at(None, 1000);
        let second = clock.after_at(None, 1000);
        let back = clock.after_at(None, 10);
        assert!(first.get() == 1000 && first < second && second < back);
        let known = Epoch::new(5000).unwrap();
        assert!(clock.after_at(Some(known), 10) > known);
        assert!(clock.after_at(None, 10).get() < 5000, "a report raises no other session's epochs");
        assert!(EpochClock::default().after(None).get() > 1_700_000_000_000_000);
    }
}
