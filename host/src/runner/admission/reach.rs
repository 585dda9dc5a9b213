//! Whether a server elsewhere could be reached when it was last tried, and what the log has told.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// After this time the same reason is told again.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// Of one server.
#[derive(Debug, Default)]
pub struct Reach {
    /// Why the gateway's own last attempt was in vain; `None` since any has succeeded.
    pub in_vain: Option<Arc<str>>,
    said: Option<(Arc<str>, Instant)>,
}

impl Reach {
    /// Whether the log has not told this reason within the last minute. It counts as told then.
    pub fn is_news(&mut self, reason: &str, now: Instant) -> bool {
        let is_known = |(said, at): &(Arc<str>, Instant)| {
            **said == *reason && now.saturating_duration_since(*at) < SAID_AGAIN
        };
        if self.said.as_ref().is_some_and(is_known) {
            return false;
        }
        self.said = Some((reason.into(), now));
        true
    }

    /// The server was reached. Returns what was wrong before.
    pub fn reached(&mut self) -> Before {
        let (was_told, in_vain) = (self.said.take().is_some(), self.in_vain.take());
        match (in_vain, was_told) {
            (Some(_), _) => Before::InVain,
            (None, true) => Before::Refused,
            (None, false) => Before::Well,
        }
    }
}

/// What was known of a server before it was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Well,
    /// It had not opened a session, for a reason that the log has told.
    Refused,
    InVain,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_news_once_a_minute_and_when_it_is_another_one() {
        let (mut reach, began) = (Reach::default(), Instant::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        assert!(reach.is_news("refused", began));
        assert!(!reach.is_news("refused", after(59)));
        assert!(reach.is_news("no such host", after(59)));
        assert!(reach.is_news("refused", after(60)));
        assert!(reach.is_news("refused", after(120)));
        assert_eq!((reach.reached(), reach.reached()), (Before::Refused, Before::Well));
        reach.in_vain = Some("refused".into());
        assert_eq!((reach.reached(), reach.reached()), (Before::InVain, Before::Well));
        assert!(reach.is_news("refused", after(121)), "it is another outage");
    }
}
