//! Why a node is not registered, in its log.

use std::time::{Duration, Instant};

/// Time after which the log says again why the node is not registered.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// Why a node is not registered: said once, and again only if it is another reason or has gone on
/// for long.
#[derive(Default)]
pub struct Complaint {
    said: String,
    since: Option<Instant>,
}

impl Complaint {
    fn is_new(&mut self, why: &str) -> bool {
        let is_new = self.said != why || self.since.is_none_or(|at| at.elapsed() > SAID_AGAIN);
        if is_new {
            (self.said, self.since) = (why.to_owned(), Some(Instant::now()));
        }
        is_new
    }

    pub fn say(&mut self, coordinator: &str, why: &str) {
        if self.is_new(why) {
            tracing::warn!("not registered with {coordinator}: {why}");
        } else {
            tracing::debug!("not registered with {coordinator}: {why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_once_until_it_changes_or_has_gone_on_for_long() {
        let mut complaint = Complaint::default();
        assert!(complaint.is_new("refused"));
        assert!(!complaint.is_new("refused"));
        assert!(complaint.is_new("silent"));
        complaint.since = Instant::now().checked_sub(SAID_AGAIN * 2);
        assert!(complaint.is_new("silent"));
    }
}
