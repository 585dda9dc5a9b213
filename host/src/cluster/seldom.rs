//! A warning that strangers can cause: it is logged once in a while, and says how many there were.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::Locked;

/// Least time between two lines.
const PAUSE: Duration = Duration::from_secs(60);

/// One kind of warning. Clones share its pause.
#[derive(Clone, Default)]
pub struct Seldom(Arc<Locked<Said>>);

#[derive(Default)]
struct Said {
    last: Option<Instant>,
    /// Since the last line.
    unsaid: u64,
}

impl Seldom {
    /// Logs the text, unless one of this kind was logged within the last minute.
    pub fn warn(&self, text: impl FnOnce() -> String) {
        if let Some(unsaid) = self.next(Instant::now()) {
            match unsaid {
                0 => tracing::warn!("{}", text()),
                unsaid => tracing::warn!("{} ({unsaid} more since the last line)", text()),
            }
        }
    }

    /// How many were not said, if one may be said now.
    fn next(&self, now: Instant) -> Option<u64> {
        let mut said = self.0.lock();
        if said.last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
            said.unsaid += 1;
            return None;
        }
        said.last = Some(now);
        Some(std::mem::take(&mut said.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_too_soon_is_counted() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.next(start), Some(0));
        assert_eq!(seldom.next(start + PAUSE / 2), None);
        assert_eq!(seldom.next(start + PAUSE / 2), None);
        assert_eq!(seldom.next(start + PAUSE), Some(2));
        assert_eq!(seldom.next(start + PAUSE * 2), Some(0));
    }
}
