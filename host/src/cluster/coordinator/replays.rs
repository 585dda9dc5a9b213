//! Recognises requests of nodes that are sent a second time. No IO: time is passed in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{SessionId, UnixMillis};
use crate::sync::Locked;

/// How far a node's clock may be from the coordinator's, either way.
pub const WINDOW: Duration = Duration::from_secs(60);
/// The most requests that are remembered of one start of a node.
const MAX_SEEN: usize = 256;

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// Its time is outside of [`WINDOW`], or before all that is remembered.
    Time,
    /// It was here before.
    Seen,
}

/// The requests of one start of a node within the window, by time and nonce. Each start has its
/// own, so that none can have the requests of others forgotten.
#[derive(Debug)]
pub struct Replays {
    seen: BTreeSet<(u64, [u8; 16])>,
    /// Requests up to this time are refused, since some of them were forgotten.
    forgotten: u64,
    max: usize,
}

impl Default for Replays {
    fn default() -> Self {
        Self { seen: BTreeSet::new(), forgotten: 0, max: MAX_SEEN }
    }
}

impl Replays {
    /// Notes a request, which must have been proved.
    ///
    /// # Errors
    /// If it is not a new one of about now.
    pub fn take(
        &mut self,
        time: UnixMillis,
        nonce: SessionId,
        now: UnixMillis,
    ) -> Result<(), Replay> {
        if !is_near(time, now) || time.0 <= self.forgotten {
            return Err(Replay::Time);
        }
        // What is older is refused by its time.
        let oldest = now.minus(WINDOW).0;
        while self.seen.first().is_some_and(|(time, _)| *time < oldest) {
            self.seen.pop_first();
        }
        if !self.seen.insert((time.0, *nonce.as_bytes())) {
            return Err(Replay::Seen);
        }
        while self.seen.len() > self.max {
            if let Some((time, _)) = self.seen.pop_first() {
                self.forgotten = time;
            }
        }
        Ok(())
    }
}

/// The requests of one registered start, shared by all copies of its entry.
pub type OwnReplays = Arc<Locked<Replays>>;

/// Whether a node's clock is near enough to the coordinator's.
#[must_use]
pub fn is_near(time: UnixMillis, now: UnixMillis) -> bool {
    time >= now.minus(WINDOW) && time <= now.plus(WINDOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn nonce(number: u8) -> SessionId {
        SessionId::from_bytes([number; 16])
    }

    #[test]
    fn a_request_is_taken_once() {
        let mut replays = Replays::default();
        assert_eq!(replays.take(NOW, nonce(1), NOW), Ok(()));
        assert_eq!(replays.take(NOW, nonce(1), NOW), Err(Replay::Seen));
        assert_eq!(replays.take(NOW, nonce(2), NOW), Ok(()));
        let later = NOW.plus(WINDOW);
        assert_eq!(replays.take(NOW, nonce(1), later), Err(Replay::Seen), "still in the window");
        assert_eq!(
            replays.take(NOW, nonce(1), later.plus(Duration::from_millis(1))),
            Err(Replay::Time)
        );
    }

    #[test]
    fn clocks_may_differ_a_little_and_not_more() {
        let mut replays = Replays::default();
        let more = WINDOW + Duration::from_millis(1);
        assert_eq!(replays.take(NOW.minus(WINDOW), nonce(1), NOW), Ok(()));
        assert_eq!(replays.take(NOW.plus(WINDOW), nonce(1), NOW), Ok(()));
        assert_eq!(replays.take(NOW.minus(more), nonce(2), NOW), Err(Replay::Time));
        assert_eq!(replays.take(NOW.plus(more), nonce(2), NOW), Err(Replay::Time));
    }

    #[test]
    fn what_is_past_the_window_is_forgotten() {
        let mut replays = Replays::default();
        for step in 0..10 {
            let now = NOW.plus(WINDOW * 2 * step);
            assert_eq!(replays.take(now, nonce(1), now), Ok(()));
            assert_eq!(replays.seen.len(), 1);
        }
    }

    #[test]
    fn where_there_are_too_many_the_oldest_are_refused_and_none_comes_twice() {
        let mut replays = Replays { max: 3, ..Replays::default() };
        let at = |number: u8| NOW.plus(Duration::from_millis(number.into()));
        for number in 0..5 {
            assert_eq!(replays.take(at(number), nonce(number), NOW), Ok(()));
        }
        assert_eq!(replays.seen.len(), 3);
        for number in 0..5 {
            assert!(replays.take(at(number), nonce(number), NOW).is_err(), "{number}");
        }
        assert_eq!(replays.take(at(1), nonce(9), NOW), Err(Replay::Time));
        assert_eq!(replays.take(at(9), nonce(9), NOW), Ok(()));
    }
}
