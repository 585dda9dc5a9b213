//! Log lines about sessions that could not be opened. Hundreds of clients may retry at
//! once, so the first failure of a kind is logged and later ones are counted.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::time::{Duration, Instant};

use crate::model::ServerName;
use crate::runner::admission::open_error::OpenError;
use crate::sync::Locked;

use super::table::InstanceKey;

/// Shortest time between two lines about one server and one kind of error.
const PAUSE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct Complaints(Locked<HashMap<(ServerName, Discriminant<OpenError>), Last>>);

struct Last {
    said: Instant,
    /// Failures since then.
    unsaid: u64,
}

impl Complaints {
    /// Logs that a session could not be opened. What the log has told already goes to its details.
    pub fn say(&self, (session, server): &InstanceKey, error: &OpenError, is_told: bool) {
        let due = || self.due(server, error, Instant::now());
        let Some(unsaid) = (!is_told).then(due).flatten() else {
            tracing::debug!(session = %session.short(), server = %server, "{error}");
            return;
        };
        match unsaid {
            0 => tracing::warn!(session = %session.short(), server = %server, "{error}"),
            _ => tracing::warn!(
                session = %session.short(), server = %server,
                "{error} ({unsaid} more since this was last logged)"
            ),
        }
    }

    /// How many failures were not logged before this one. `None` if this one is not to be
    /// logged either.
    fn due(&self, server: &ServerName, error: &OpenError, now: Instant) -> Option<u64> {
        let mut all = self.0.lock();
        let Some(last) = all.get_mut(&(server.clone(), discriminant(error))) else {
            all.insert((server.clone(), discriminant(error)), Last { said: now, unsaid: 0 });
            return Some(0);
        };
        if now.duration_since(last.said) < PAUSE {
            last.unsaid += 1;
            return None;
        }
        last.said = now;
        Some(std::mem::take(&mut last.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_is_said_and_the_others_are_counted() {
        let [server, other] = ["s", "t"].map(|name| ServerName::parse(name).unwrap());
        let failed =
            |reason: &str| OpenError::Start { server: server.clone(), reason: reason.into() };
        let silent = OpenError::Silent { server: server.clone(), patience: PAUSE };
        let (complaints, now) = (Complaints::default(), Instant::now());
        assert_eq!(complaints.due(&server, &failed("one"), now), Some(0));
        for reason in ["one", "two", "three"] {
            assert_eq!(complaints.due(&server, &failed(reason), now), None);
        }
        assert_eq!(complaints.due(&server, &silent, now), Some(0));
        assert_eq!(complaints.due(&other, &failed("one"), now), Some(0));
        assert_eq!(complaints.due(&server, &failed("four"), now + PAUSE), Some(3));
        assert_eq!(complaints.due(&server, &failed("five"), now + 2 * PAUSE), Some(0));
    }
}
