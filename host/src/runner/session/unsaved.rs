//! Whether a client's message may have changed something that is yet to be saved. The edge saves it;
//! until then a drain keeps the instance.

use std::sync::atomic::{AtomicU64, Ordering};

/// Messages that may have changed something, and how many of them a saving has covered. One that
/// has failed covers them too: the edge has learned what it can.
#[derive(Debug, Default)]
pub struct Unsaved {
    changes: AtomicU64,
    covered: AtomicU64,
}

impl Unsaved {
    /// Notes a message that may change something.
    pub fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// The messages until now, for a saving that begins.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Notes that a saving is over which began at this mark.
    pub fn cover(&self, mark: u64) {
        self.covered.fetch_max(mark, Ordering::AcqRel);
    }

    #[must_use]
    pub fn is_any(&self) -> bool {
        self.mark() > self.covered.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saving_covers_what_came_before_it_alone() {
        let unsaved = Unsaved::default();
        assert!(!unsaved.is_any());
        unsaved.note_change();
        let mark = unsaved.mark();
        unsaved.note_change();
        unsaved.cover(mark);
        assert!(unsaved.is_any());
        unsaved.cover(unsaved.mark());
        assert!(!unsaved.is_any());
    }
}
