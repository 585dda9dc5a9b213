//! When an instance is ended to make way for a new one: servers leak, and what
//! leaks is best started again before it hurts.
//!
//! It happens at a quiet point, so that no call is lost; only a server that takes
//! twice what it may is ended whatever it does. The session's next message opens
//! it again.

use std::fmt;
use std::time::Duration;

/// Beyond so many times its limit nothing is waited for.
const TOO_MUCH: u64 = 2;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recycling {
    pub max_lifetime: Option<Duration>,
    /// Bytes of resident memory of the server and everything below it.
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
                write!(f, "it uses {used} bytes of memory, and may use {limit} (maxMemory)")
            }
        }
    }
}

impl Recycling {
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.max_lifetime.is_some() || self.max_memory.is_some()
    }

    /// What an instance has exceeded, if it may be ended for it now.
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
