//! Whether something that should go on does: a body that a client sends, or an answer that it
//! reads. Judged from counts of bytes, once a look.

/// What is asked of a transfer. Times are numbers of looks.
#[derive(Debug, Clone, Copy)]
pub struct Required {
    /// Looks without a byte that are too many, and looks for which the rate is taken together.
    pub looks: u32,
    /// Least bytes in each look, on average.
    pub rate: u64,
}

/// The pace of one transfer so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    /// Looks in a row without a byte.
    still: u32,
    /// Looks since `since` was taken.
    looks: u32,
    /// Bytes at the begin of the present interval.
    since: u64,
    /// Bytes at the last look.
    seen: u64,
}

impl Pace {
    /// A transfer that begins now, when so many bytes have passed.
    #[must_use]
    pub fn from(bytes: u64) -> Self {
        Self { since: bytes, seen: bytes, ..Self::default() }
    }

    /// Counts a look at which the other side is waited for. True if it is too slow.
    pub fn look(&mut self, bytes: u64, required: Required) -> bool {
        self.still = if bytes == self.seen { self.still + 1 } else { 0 };
        self.seen = bytes;
        self.looks += 1;
        if self.still >= required.looks {
            return true;
        }
        if self.looks < required.looks {
            return false;
        }
        let passed = bytes - self.since;
        let least = required.rate.saturating_mul(self.looks.into());
        *self = Self { still: self.still, ..Self::from(bytes) };
        passed < least
    }

    /// Looks in a row without a byte.
    #[must_use]
    pub fn still(&self) -> u32 {
        self.still
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Required = Required { looks: 30, rate: 1024 };

    /// The look at which the transfer is too slow, if `step` bytes pass before each.
    fn cut_at(step: impl Fn(u32) -> u64) -> Option<u32> {
        let (mut pace, mut bytes) = (Pace::from(7), 7);
        (1..10_000).find(|look| {
            bytes += step(*look);
            pace.look(bytes, RULE)
        })
    }

    #[test]
    fn nothing_for_thirty_looks_is_too_slow() {
        assert_eq!(cut_at(|_| 0), Some(30));
        assert_eq!(cut_at(|look| if look < 100 { 1 << 20 } else { 0 }), Some(129));
    }

    #[test]
    fn a_trickle_is_too_slow_whatever_came_before_it() {
        assert_eq!(cut_at(|_| 1), Some(30));
        assert_eq!(cut_at(|_| 1023), Some(30));
        assert_eq!(cut_at(|look| if look == 1 { 1 << 40 } else { 1 }), Some(60));
    }

    #[test]
    fn slow_but_living_goes_on() {
        assert_eq!(cut_at(|_| 1024), None);
        assert_eq!(cut_at(|look| if look % 29 == 0 { 40 << 10 } else { 0 }), None);
    }
}
