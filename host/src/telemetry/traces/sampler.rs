//! Which traces are recorded, and the ids of new spans.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::protocol::trace_context::TraceContext;

/// Decides by the caller's own decision, and for a trace that begins here by a ratio.
#[derive(Debug)]
pub struct Sampler {
    /// Of `u64::MAX`.
    below: u64,
    seed: u64,
    count: AtomicU64,
}

impl Sampler {
    /// `ratio` is from 0 to 1; `seed` is random.
    #[must_use]
    pub fn new(ratio: f64, seed: u64) -> Self {
        let below = (ratio.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
        Self { below, seed, count: AtomicU64::new(0) }
    }

    /// The context of a message's span. `None` if nothing is recorded, and there is nothing to pass
    /// on either.
    #[must_use]
    pub fn span_of(&self, caller: Option<&TraceContext>) -> Option<TraceContext> {
        if let Some(caller) = caller {
            return Some(caller.child(self.id()));
        }
        let trace = u128::from(self.id()) << 64 | u128::from(self.id());
        // The lower half is random, as other samplers by ratio expect it.
        ((trace as u64) < self.below).then(|| TraceContext {
            trace,
            span: self.id(),
            is_sampled: true,
            is_random: false,
            state: None,
        })
    }

    /// A number that is not zero, and that nobody else has.
    #[must_use]
    pub fn id(&self) -> u64 {
        loop {
            let count = self.count.fetch_add(1, Ordering::Relaxed);
            // SplitMix64: each count gives another number.
            let mut mixed = self.seed.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            if mixed != 0 {
                return mixed;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_counts_where_a_trace_begins() {
        for (ratio, least, most) in [(0.0, 0, 0), (0.1, 800, 1200), (1.0, 10_000, 10_000)] {
            let sampler = Sampler::new(ratio, 42);
            let sampled = (0..10_000).filter(|_| sampler.span_of(None).is_some()).count();
            assert!((least..=most).contains(&sampled), "{ratio}: {sampled}");
        }
    }

    #[test]
    fn a_callers_decision_is_kept() {
        let sampler = Sampler::new(0.0, 1);
        for flags in ["00", "01"] {
            let parent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
            let caller = TraceContext::parse(&parent, None).unwrap();
            let span = sampler.span_of(Some(&caller)).unwrap();
            assert_eq!((span.trace, span.is_sampled), (caller.trace, caller.is_sampled));
            assert_ne!(span.span, caller.span);
        }
    }
}
