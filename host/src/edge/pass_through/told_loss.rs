//! What the client of a lasting stream knows of losses: each is told once, by whichever of the stream
//! and the noted loss comes first.
//!
//! A loss is noted by the request that opens the server again, and the end of the stream comes over a
//! connection of its own: neither waits for the other.

use std::time::{Duration, Instant};

/// Longest time between a loss that is noted and the end of the stream of the instance that was lost,
/// where both are on their way.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// What is told of a loss that is noted while a stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LateNotice {
    /// The instance is new to a client that had another one before: its lists may differ.
    WithLists,
    /// The stream is about to end. The one that follows says that the lists may differ.
    Alone,
}

/// What a client knows of the instance whose stream it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Nothing was said: it is the first one, as far as was known.
    Nothing,
    /// It was told of a loss that nobody had noted, since the stream came from another instance.
    Guessed,
    /// It was told of the loss.
    Told,
}

/// What a client knows of the stream that it has and of the one that follows.
#[derive(Debug)]
pub struct ToldLoss {
    known: Known,
    /// Whether it was told of the loss because of which the next stream comes from another instance.
    is_told: bool,
    /// When it was told of a loss that may have been of this stream's instance, or of the one before.
    told_late: Option<Instant>,
}

impl ToldLoss {
    /// A client's first stream; `is_told` if it is told of a loss with it.
    #[must_use]
    pub fn begin(is_told: bool) -> Self {
        let known = if is_told { Known::Told } else { Known::Nothing };
        Self { known, is_told: false, told_late: None }
    }

    /// Whether a loss that is noted now may be of this stream's instance: what is noted once the
    /// client knows of it is about the next one.
    #[must_use]
    pub fn looks(&self) -> bool {
        self.known != Known::Told
    }

    /// A loss was noted while the stream goes on. `has_left` if the session is at another node.
    pub fn late(&mut self, has_left: bool, now: Instant) -> Option<LateNotice> {
        match self.known {
            Known::Told => None,
            // The guess was right; a client that has left is told by the stream that follows.
            Known::Guessed => {
                self.known = Known::Told;
                None
            }
            Known::Nothing if has_left => {
                self.is_told = true;
                Some(LateNotice::Alone)
            }
            Known::Nothing => {
                self.known = Known::Told;
                self.told_late = Some(now);
                Some(LateNotice::WithLists)
            }
        }
    }

    /// The stream has ended. Whether the client is told now, where a loss `is_noted`.
    pub fn ended(&mut self, is_noted: bool, now: Instant) -> bool {
        // If there is another loss already, the next stream comes from another instance, and tells it.
        let tells = is_noted && self.known != Known::Guessed;
        let told_late = self.told_late.take();
        let was_late = told_late.is_some_and(|at| now.duration_since(at) < ON_ITS_WAY);
        self.is_told |= tells || was_late;
        tells
    }

    /// The next stream has begun. Whether the client is told now; `is_noted` if a loss is, and
    /// `is_renewal` if nothing is lost.
    pub fn follows(&mut self, is_noted: bool, is_renewal: bool) -> bool {
        let is_told = std::mem::take(&mut self.is_told) || is_renewal;
        self.known = if is_noted || is_told { Known::Told } else { Known::Guessed };
        is_noted || !is_told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    #[test]
    fn a_loss_is_told_once_whichever_comes_first() {
        let now = Instant::now();
        // The end of the stream, then the loss.
        let mut told = ToldLoss::begin(false);
        assert!(!told.ended(false, now));
        assert!(told.follows(true, false));
        // The next stream, then the loss.
        let mut told = ToldLoss::begin(false);
        assert!(!told.ended(false, now));
        assert!(told.follows(false, false));
        assert!(told.looks());
        assert_eq!(told.late(false, now), None);
        // The loss, then the end.
        let mut told = ToldLoss::begin(false);
        assert!(told.ended(true, now));
        assert!(!told.follows(false, false));
    }

    #[test]
    fn a_loss_that_is_noted_just_before_the_stream_ends_is_not_told_again() {
        let now = Instant::now();
        for (has_left, notice) in [(true, LateNotice::Alone), (false, LateNotice::WithLists)] {
            let mut told = ToldLoss::begin(false);
            assert!(told.looks());
            assert_eq!(told.late(has_left, now), Some(notice));
            assert!(!told.ended(false, now + SOON), "{notice:?}");
            assert!(!told.follows(false, false), "{notice:?}");
            // The next one is another.
            assert!(!told.ended(false, now + ON_ITS_WAY));
            assert!(told.follows(false, false), "{notice:?}");
        }
    }

    #[test]
    fn a_second_loss_is_told_as_the_first_was() {
        let now = Instant::now();
        let late = || {
            let mut told = ToldLoss::begin(false);
            assert_eq!(told.late(false, now), Some(LateNotice::WithLists));
            told
        };
        let mut told = late();
        assert!(!told.ended(false, now + ON_ITS_WAY));
        assert!(told.follows(false, false), "nobody has noted it");
        // Others note it, before or after the stream's end.
        let mut told = late();
        assert!(told.ended(true, now + SOON));
        assert!(!told.follows(false, false));
        let mut told = late();
        assert!(!told.ended(false, now + SOON));
        assert!(told.follows(true, false));
    }

    #[test]
    fn what_the_client_was_told_at_first_and_what_is_renewed_is_no_loss() {
        let now = Instant::now();
        let mut told = ToldLoss::begin(true);
        assert!(!told.looks());
        assert!(!told.ended(false, now));
        assert!(!told.follows(false, true));
        assert!(!told.looks());
    }
}
