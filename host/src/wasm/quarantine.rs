//! Bypasses, for a while, a plugin that keeps failing.
//!
//! ```text
//!   trusted ──20 faults in a minute──▶ bypassed ──time is up──▶ on probation
//!      ▲                                  ▲                         │  │
//!      │                                  └──────3 faults───────────┘  │
//!      └────────────────── ten minutes without bypass ─────────────────┘
//! ```
//!
//! Each bypass in a row is twice as long as the one before. A fault costs a worker
//! up to 3 ms; the quarantine limits that to 60 ms a minute.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::sync::Locked;

/// Faults count together while they are within this time.
const WINDOW: Duration = Duration::from_secs(60);
/// Faults within one window that end a plugin's trust.
const FAULTS: u32 = 20;
/// The same soon after a bypass.
const FAULTS_ON_PROBATION: u32 = 3;
const FIRST_BYPASS: Duration = Duration::from_secs(10);
/// Where doubling stops, so that a plugin that is sound again is used again.
const LONGEST_BYPASS: Duration = Duration::from_secs(600);
/// Time after a bypass until the plugin is trusted again.
const PROBATION: Duration = Duration::from_secs(600);

pub(super) struct Quarantine {
    /// All times below are in milliseconds since this.
    origin: Instant,
    /// End of the bypass; 0 if there is none.
    until: AtomicU64,
    record: Locked<FaultRecord>,
}

#[derive(Default)]
struct FaultRecord {
    window_opened: u64,
    faults: u32,
    /// Bypasses without a whole [`PROBATION`] between them.
    check_bypass: u32,
    last_bypass_ended: u64,
}

impl Quarantine {
    pub(super) fn new(now: Instant) -> Self {
        Self { origin: now, until: AtomicU64::new(0), record: Locked::default() }
    }

    /// Checked for every decision, so it reads the clock only during a bypass.
    pub(super) fn check_bypass(&self, now: impl FnOnce() -> Instant) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        if until == 0 {
            return false;
        }
        if self.millis(now()) < until {
            return true;
        }
        let lapsed = self.until.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed);
        if lapsed.is_ok() {
            tracing::info!("the bypass of the routing plugin is over; it decides again");
        }
        false
    }

    /// Records a fault. Returns the length of the bypass that it starts, if any.
    pub(super) fn fault(&self, now: Instant) -> Option<Duration> {
        let now = self.millis(now);
        let mut record = self.record.lock();
        let bypass = record.fault(now)?;
        self.until.store(now + millis(bypass), Ordering::Relaxed);
        Some(bypass)
    }

    fn millis(&self, now: Instant) -> u64 {
        // At least 1, since 0 means "no bypass".
        millis(now.saturating_duration_since(self.origin)) + 1
    }
}

impl FaultRecord {
    fn fault(&mut self, now: u64) -> Option<Duration> {
        if now < self.last_bypass_ended {
            // The call began before the bypass.
            return None;
        }
        if self.check_bypass > 0 && now - self.last_bypass_ended > millis(PROBATION) {
            self.check_bypass = 0;
        }
        if now - self.window_opened > millis(WINDOW) {
            self.window_opened = now;
            self.faults = 0;
        }
        self.faults += 1;
        let allowed = match self.check_bypass {
            0 => FAULTS,
            _ => FAULTS_ON_PROBATION,
        };
        if self.faults < allowed {
            return None;
        }
        let doublings = self.check_bypass.min(16);
        let bypass = (FIRST_BYPASS * 2_u32.pow(doublings)).min(LONGEST_BYPASS);
        *self = Self {
            window_opened: now,
            faults: 0,
            check_bypass: self.check_bypass + 1,
            last_bypass_ended: now + millis(bypass),
        };
        Some(bypass)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn faults_far_apart_never_bypass_a_plugin() {
        let start = Instant::now();
        let quarantine = Quarantine::new(start);
        for n in 0..200 {
            assert_eq!(quarantine.fault(start + SECOND * 4 * n), None);
        }
    }

    #[test]
    fn a_burst_of_faults_bypasses_for_a_while_and_then_for_longer() {
        let start = Instant::now();
        let quarantine = Quarantine::new(start);
        for _ in 1..FAULTS {
            assert_eq!(quarantine.fault(start), None);
        }
        assert!(!quarantine.check_bypass(|| start));
        assert_eq!(quarantine.fault(start), Some(FIRST_BYPASS));
        assert!(quarantine.check_bypass(|| start + SECOND * 9));
        assert_eq!(quarantine.fault(start + SECOND), None, "a late one");

        let again = start + SECOND * 11;
        assert!(!quarantine.check_bypass(|| again));
        assert_eq!(quarantine.fault(again), None);
        assert_eq!(quarantine.fault(again), None);
        assert_eq!(quarantine.fault(again), Some(FIRST_BYPASS * 2));
        assert!(quarantine.check_bypass(|| again + SECOND * 19));
    }

    #[test]
    fn a_long_time_without_faults_restores_trust() {
        let start = Instant::now();
        let quarantine = Quarantine::new(start);
        let burst = |at: Instant| (0..FAULTS).find_map(|_| quarantine.fault(at));
        assert_eq!(burst(start), Some(FIRST_BYPASS));
        let later = start + FIRST_BYPASS + PROBATION + SECOND;
        assert_eq!(burst(later), Some(FIRST_BYPASS));
    }
}
