use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Seldom;

/// Shortest time between two log lines about one limit: a client that is refused a thousand times
/// a second must not fill the disk.
const BETWEEN: Duration = Duration::from_secs(30);

/// What has happened at one limit: counted for the metrics, and said in the log once in a while.
#[derive(Debug)]
pub struct LimitCounts {
    name: &'static str,
    refused: AtomicU64,
    gave_way: AtomicU64,
    lines: Seldom,
}

impl LimitCounts {
    /// `name` is the limit's key in the settings file.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            refused: AtomicU64::new(0),
            gave_way: AtomicU64::new(0),
            lines: Seldom::every(BETWEEN),
        }
    }

    /// The limit's key in the settings file.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How often the limit has refused something.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How often something has made room because of the limit.
    #[must_use]
    pub fn gave_way(&self) -> u64 {
        self.gave_way.load(Ordering::Relaxed)
    }

    /// Counts a refusal. `say` logs it, if there was no line about this limit for 30 s; its
    /// argument is how often the limit was met since that line.
    pub fn note_refused(&self, say: impl FnOnce(u64)) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.say(say);
    }

    /// The same for something that makes room.
    pub fn note_gave_way(&self, say: impl FnOnce(u64)) {
        self.gave_way.fetch_add(1, Ordering::Relaxed);
        self.say(say);
    }

    fn say(&self, say: impl FnOnce(u64)) {
        if let Some(since) = self.lines.line() {
            say(since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_counted_always_and_said_seldom() {
        let limit = LimitCounts::new("few");
        let mut lines = Vec::new();
        for _ in 0..5 {
            limit.note_refused(|since| lines.push(since));
        }
        limit.note_gave_way(|since| lines.push(since));
        assert_eq!((limit.refused(), limit.gave_way(), lines.as_slice()), (5, 1, [0].as_slice()));
    }
}
