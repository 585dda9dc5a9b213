//! Whether an instance waits for its state to be brought back.

use std::sync::atomic::{AtomicBool, Ordering};

/// From the opening until the end of the restoration. One that was left in its middle is never
/// taken up by another: what it has done already would be done twice.
#[derive(Debug, Default)]
pub struct Hold {
    is_held: AtomicBool,
    has_begun: AtomicBool,
}

impl Hold {
    pub fn set(&self, is_held: bool) {
        self.is_held.store(is_held, Ordering::Release);
    }

    #[must_use]
    pub fn is_set(&self) -> bool {
        self.is_held.load(Ordering::Acquire)
    }

    /// Notes that a restoration begins. Returns whether none has before.
    pub fn begin(&self) -> bool {
        !self.has_begun.swap(true, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_restoration_alone_begins() {
        let hold = Hold::default();
        assert!(!hold.is_set());
        hold.set(true);
        assert!(hold.is_set() && hold.begin() && !hold.begin());
    }
}
