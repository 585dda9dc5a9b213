//! When an instance is replaced for its age or memory, since servers leak.
//!
//! This happens at a quiet point, so that no call is lost. Only a server that uses more
//! than twice its `maxMemory` is ended at any time. The session's next message opens a
//! new instance.

use std::fmt;
use std::time::Duration;

/// A server that uses more than this many times its limit is ended at once.
const TOO_MUCH: u64 = 2;

/// One server's limits. `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recycling {
    pub max_lifetime: Option<Duration>,
    /// Bytes of resident memory of the server and all processes below it.
    pub max_memory: Option<u64>,
}

/// What an instance has exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Lifetime(Duration),
    Memory { used: u64, limit: u64 },
}

impl fmt::Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lifetime(limit) => {
                write!(f, "it is older than {} ms (maxLifetimeMs)", limit.as_millis())
            }
            Self::Memory { used, limit } => {
                write!(f, "it uses {used} bytes of memory, more than {limit} (maxMemory)")
            }
        }
    }
}

impl Recycling {
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.max_lifetime.is_some() || self.max_memory.is_some()
    }

    /// The limit that an instance has exceeded, if it may be ended for it now.
    #[must_use]
    pub fn due(&self, age: Duration, memory: Option<u64>, is_quiet: bool) -> Option<Due> {
        if let (Some(limit), Some(used)) = (self.max_memory, memory)
            && used > limit
            && (is_quiet || used > limit.saturating_mul(TOO_MUCH))
        {
            return Some(Due::Memory { used, limit });
        }
        let limit = self.max_lifetime.filter(|limit| is_quiet && age > *limit)?;
        Some(Due::Lifetime(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Recycling =
        Recycling { max_lifetime: Some(Duration::from_secs(60)), max_memory: Some(1000) };

    #[test]
    fn age_and_memory_count_at_a_quiet_point_only() {
        let (young, old) = (Duration::from_secs(60), Duration::from_secs(61));
        assert_eq!(RULES.due(young, Some(1000), true), None);
        assert_eq!(RULES.due(old, None, true), Some(Due::Lifetime(young)));
        assert_eq!(RULES.due(old, Some(2000), false), None);
        let memory = Due::Memory { used: 1001, limit: 1000 };
        assert_eq!(RULES.due(young, Some(1001), true), Some(memory));
        assert_eq!(Recycling::default().due(old, Some(u64::MAX), true), None);
    }

    #[test]
    fn twice_the_memory_is_not_waited_for() {
        let memory = Due::Memory { used: 2001, limit: 1000 };
        assert_eq!(RULES.due(Duration::ZERO, Some(2001), false), Some(memory));
    }
}
