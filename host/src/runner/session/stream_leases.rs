//! Which starts of gateways are there, as far as they say so. A session of HTTP+SSE ends with the
//! stream that one of them has, and a coordinator that has died says nothing.
//!
//! ```text
//! a sign ──▶ known ── no sign for as long as the last one said ──▶ over: its sessions are closed
//! ```
//!
//! Only what has said a sign is ever over: gateways of earlier versions, and those without other
//! coordinators beside them, end their sessions in other ways.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::model::GatewayStart;
use crate::sync::Locked;

/// Time between two looks.
pub const LOOK: Duration = Duration::from_secs(1);
/// Most starts that are known: a node has a few coordinators.
const MOST: usize = 256;
/// The longest lease that is believed.
const LONGEST: Duration = Duration::from_secs(3600);

#[derive(Debug, Default)]
pub struct StreamLeases(Locked<Leases>);

#[derive(Debug, Default)]
struct Leases {
    /// Until when each counts.
    ends: HashMap<GatewayStart, Instant>,
    looked: Option<Instant>,
}

impl StreamLeases {
    /// Notes that a start has said that it is there, and for how long that counts.
    pub fn heard(&self, start: GatewayStart, lease: Duration, now: Instant) {
        let mut leases = self.0.lock();
        // It may stand still before its first look.
        leases.looked.get_or_insert(now);
        if leases.ends.len() < MOST || leases.ends.contains_key(&start) {
            leases.ends.insert(start, now + lease.min(LONGEST));
        }
    }

    /// The starts that have been silent for too long. Each is told once.
    pub fn over(&self, now: Instant) -> Vec<GatewayStart> {
        let mut leases = self.0.lock();
        let since = leases.looked.replace(now).map_or(LOOK, |looked| now.duration_since(looked));
        // While this process stood still, it could hear nobody.
        let stood_still = since.saturating_sub(LOOK);
        if stood_still > LOOK {
            leases.ends.values_mut().for_each(|end| *end += stood_still);
        }
        leases.ends.extract_if(|_, end| *end <= now).map(|(start, _)| start).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    #[test]
    fn a_start_that_says_nothing_more_is_over_once() {
        let (leases, begin) = (StreamLeases::default(), Instant::now());
        let after = |seconds: u64| begin + Duration::from_secs(seconds);
        let (one, other) = (GatewayStart::random(), GatewayStart::random());
        leases.heard(one, LEASE, begin);
        leases.heard(other, LEASE, begin);
        for second in 1..=9 {
            leases.heard(one, LEASE, after(second));
            assert!(leases.over(after(second)).is_empty());
        }
        assert_eq!(leases.over(after(10)), [other]);
        assert!(leases.over(after(11)).is_empty());
        for second in 12..19 {
            assert!(leases.over(after(second)).is_empty());
        }
        assert_eq!(leases.over(after(19)), [one]);
        // It was cut off, and is back.
        leases.heard(one, LEASE, after(20));
        assert!(leases.over(after(20)).is_empty());
    }

    #[test]
    fn a_process_that_stood_still_judges_nobody_by_that() {
        let (leases, begin) = (StreamLeases::default(), Instant::now());
        let after = |seconds: u64| begin + Duration::from_secs(seconds);
        let start = GatewayStart::random();
        leases.heard(start, LEASE, begin);
        assert!(leases.over(after(1)).is_empty());
        assert!(leases.over(after(500)).is_empty());
        for second in 501..508 {
            assert!(leases.over(after(second)).is_empty(), "{second}");
        }
        assert_eq!(leases.over(after(508)), [start]);
        // Before its first look, too.
        let leases = StreamLeases::default();
        leases.heard(start, LEASE, begin);
        assert!(leases.over(after(500)).is_empty());
    }

    #[test]
    fn the_number_of_starts_is_bounded() {
        let (leases, now) = (StreamLeases::default(), Instant::now());
        for _ in 0..MOST + 10 {
            leases.heard(GatewayStart::random(), LEASE, now);
        }
        assert_eq!(leases.0.lock().ends.len(), MOST);
    }
}
