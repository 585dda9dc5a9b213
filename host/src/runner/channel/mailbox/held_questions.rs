//! Questions of a server that wait for a request of the client which can bring them.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use crate::protocol::jsonrpc::Envelope;
use crate::sync::now;

/// Most questions that wait.
const MOST: usize = 64;

/// When each came, the oldest first.
#[derive(Default)]
pub struct HeldQuestions(VecDeque<(Instant, Bytes)>);

impl HeldQuestions {
    /// Keeps a question, of all together at most `bytes`. False if there is no room for it.
    #[must_use]
    pub fn keep(&mut self, question: Bytes, bytes: usize) -> bool {
        let held: usize = self.0.iter().map(|(_, question)| question.len()).sum();
        let has_room = self.0.is_empty() || held.saturating_add(question.len()) <= bytes;
        if self.0.len() >= MOST || !has_room {
            return false;
        }
        self.0.push_back((now(), question));
        true
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes those that have come since then; all of them without a time.
    pub fn take(&mut self, since: Option<Instant>) -> Vec<Bytes> {
        let is_meant = |(at, _): &(Instant, Bytes)| since.is_none_or(|since| *at >= since);
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(is_meant);
        self.0 = left;
        let taken: VecDeque<(Instant, Bytes)> = taken;
        taken.into_iter().map(|(_, question)| question).collect()
    }

    /// Drops those whose ids are not wanted any more.
    pub fn retain(&mut self, is_wanted: impl Fn(&str) -> bool) {
        self.0.retain(|(_, question)| {
            Envelope::parse(question).is_ok_and(|it| it.id_text().is_some_and(&is_wanted))
        });
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(id: usize) -> Bytes {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#).into()
    }

    #[test]
    fn few_wait_and_none_that_was_taken_back() {
        let mut held = HeldQuestions::default();
        assert!(held.keep(question(0), 0), "one may be as large as it is");
        assert!(!held.keep(question(1), 60), "more have to fit");
        for id in 1..MOST {
            assert!(held.keep(question(id), usize::MAX));
        }
        assert!(!held.keep(question(MOST), usize::MAX));
        held.retain(|id| id != "1");
        let since = now();
        assert!(held.take(Some(since + std::time::Duration::from_secs(1))).is_empty());
        assert!(held.keep(question(MOST), usize::MAX));
        assert!(held.take(Some(since)).contains(&question(MOST)));
        assert_eq!(held.take(None).len(), MOST - 1);
        assert!(held.is_empty());
    }
}
