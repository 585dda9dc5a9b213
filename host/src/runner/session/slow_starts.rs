//! Servers that take long to start, whose sessions would begin sooner with a spare.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::ServerName;
use crate::sync::Locked;

/// A start that takes longer is one that a client waits for.
const SLOW: Duration = Duration::from_secs(1);

/// How long the slowest start of each such server took.
#[derive(Debug, Default)]
pub struct SlowStarts(Locked<BTreeMap<ServerName, Duration>>);

impl SlowStarts {
    /// Notes how long a start took. The first slow one of a server is told.
    pub fn note(&self, server: &ServerName, took: Duration) {
        if took <= SLOW {
            return;
        }
        let mut slow = self.0.lock();
        let slowest = slow.get(server).copied().unwrap_or_default();
        slow.insert(server.clone(), took.max(slowest));
        drop(slow);
        if slowest.is_zero() {
            let seconds = took.as_secs_f32();
            tracing::info!(
                server = %server,
                "took {seconds:.1} s to start, which each new session waits for: \"warm\": 1 keeps \
                 a process ready"
            );
        }
    }

    /// Its settings are new: what it took before says nothing about it.
    pub fn forget(&self, server: &ServerName) {
        self.0.lock().remove(server);
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeMap<ServerName, Duration> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_start_is_kept_and_a_quick_one_is_none() {
        let (slow, server) = (SlowStarts::default(), ServerName::parse("s").unwrap());
        slow.note(&server, SLOW);
        assert!(slow.all().is_empty());
        for seconds in [2, 3, 2] {
            slow.note(&server, Duration::from_secs(seconds));
        }
        assert_eq!(slow.all(), [(server, Duration::from_secs(3))].into());
    }
}
