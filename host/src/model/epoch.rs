//! Which opening of a session's server an instance comes from.

use std::fmt;
use std::num::NonZeroU64;

/// The largest epoch: a whole number that every reader of JSON takes for what it is.
const MOST: u64 = (1 << 53) - 1;

/// A number that rises whenever a session's server is bound anew. Of two instances of one session,
/// the one with the lower epoch has been left. An instance that a process of an earlier version has
/// opened has none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(NonZeroU64);

impl Epoch {
    /// `None` for 0, and for what is above 2^53 - 1.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).filter(|number| number.get() <= MOST).map(Self)
    }

    /// The nearest epoch to a number.
    #[must_use]
    pub fn nearest(number: u64) -> Self {
        Self(NonZeroU64::new(number.min(MOST)).unwrap_or(NonZeroU64::MIN))
    }

    /// The epoch after this one; the largest has no other after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self::nearest(self.get() + 1)
    }

    /// Reads what [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse().ok())?
            .and_then(Self::new)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What the edge says of a binding when it has the server opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Epochs {
    /// The epoch of the binding, which a new instance gets.
    pub given: Option<Epoch>,
    /// The epoch of the instance that the session is known to have had open last. What is lower has
    /// been left. `None` if the edge does not know.
    pub opened: Option<Epoch>,
}

/// What an instance is to an edge that asks for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may hold the session's state.
    Current,
    /// The session has been open elsewhere since: it must not be used any more.
    Left,
    /// It was opened by a binding that the edge does not know of.
    Newer(Epoch),
}

impl Epochs {
    /// What an instance with this epoch is.
    #[must_use]
    pub fn standing_of(self, instance: Option<Epoch>) -> Standing {
        let Some(opened) = self.opened else { return Standing::Current };
        match instance {
            Some(epoch) if Some(epoch) > self.given => Standing::Newer(epoch),
            Some(epoch) if epoch >= opened => Standing::Current,
            Some(_) | None => Standing::Left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_read_as_it_is_written_and_nothing_else_is() {
        for number in [1, 1_764_380_000_000_000, MOST] {
            let epoch = Epoch::new(number).unwrap();
            assert_eq!(Epoch::parse(&epoch.to_string()), Some(epoch));
        }
        for odd in ["", "0", "-1", "+1", " 1", "1.0", "9007199254740992", "99999999999999999999"] {
            assert_eq!(Epoch::parse(odd), None, "{odd}");
        }
        let last = Epoch::nearest(u64::MAX);
        assert_eq!((last.next(), Epoch::nearest(0).get()), (last, 1));
    }

    #[test]
    fn only_what_was_open_last_or_was_opened_since_is_current() {
        let epoch = Epoch::new;
        let asked = Epochs { given: epoch(9), opened: epoch(5) };
        for (instance, standing) in [
            (None, Standing::Left),
            (epoch(1), Standing::Left),
            (epoch(4), Standing::Left),
            (epoch(5), Standing::Current),
            (epoch(9), Standing::Current),
            (epoch(10), Standing::Newer(epoch(10).unwrap())),
        ] {
            assert_eq!(asked.standing_of(instance), standing, "{instance:?}");
        }
        let knows_nothing = Epochs { given: epoch(9), opened: None };
        for instance in [None, epoch(1), epoch(10)] {
            assert_eq!(knows_nothing.standing_of(instance), Standing::Current);
        }
    }
}
