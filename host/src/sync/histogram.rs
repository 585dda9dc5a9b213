use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in nanoseconds: from a call within the process to one that a person
/// has to answer. What is longer is in the last bucket.
pub const BOUNDS: [u64; 16] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    60_000_000_000,
    300_000_000_000,
];

/// Counts durations by buckets. Threads share it without a lock.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    /// Nanoseconds.
    sum: AtomicU64,
}

/// The counts at one moment, or the sum of several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistogramCounts {
    /// How many were in each bucket alone, the last without a bound.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// All durations together.
    pub sum: Duration,
}

impl Histogram {
    /// Counts one duration.
    pub fn note(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| nanos <= *bound).unwrap_or(BOUNDS.len());
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Adds its counts to others.
    pub fn add_to(&self, counts: &mut HistogramCounts) {
        for (sum, bucket) in counts.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        counts.sum += Duration::from_nanos(self.sum.load(Ordering::Relaxed));
    }
}

impl HistogramCounts {
    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// These counts and others.
    #[must_use]
    pub fn plus(&self, more: &Self) -> Self {
        let mut buckets = self.buckets;
        buckets.iter_mut().zip(more.buckets).for_each(|(bucket, more)| *bucket += more);
        Self { buckets, sum: self.sum + more.sum }
    }

    /// What was counted since these were `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut buckets = self.buckets;
        let pairs = buckets.iter_mut().zip(before.buckets);
        pairs.for_each(|(bucket, before)| *bucket = bucket.saturating_sub(before));
        Self { buckets, sum: self.sum.saturating_sub(before.sum) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for millis in [0, 1, 2, 600_000] {
            histogram.note(Duration::from_millis(millis));
        }
        histogram.note(Duration::from_nanos(500_001));
        let mut counts = HistogramCounts::default();
        histogram.add_to(&mut counts);
        histogram.add_to(&mut counts);
        assert_eq!(counts.count(), 10);
        assert_eq!(counts.buckets[..3], [2, 4, 2]);
        assert_eq!(counts.buckets[BOUNDS.len()], 2);
        assert_eq!(counts.sum, Duration::from_nanos(2 * 600_003_500_001));
    }

    #[test]
    fn bounds_rise() {
        assert!(BOUNDS.is_sorted());
    }
}
