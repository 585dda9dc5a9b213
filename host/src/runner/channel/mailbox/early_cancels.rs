//! Cancellations that arrive before their requests are in flight: over HTTP, a request that is
//! answered soon never is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::runner::channel::message_ids::{LONGEST_ID, key, other_forms};

/// Cancellations remembered at once; then the oldest is dropped.
const MOST: usize = 64;
/// How long each is remembered: no request takes longer to be in flight.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// Oldest first.
#[derive(Default)]
pub struct EarlyCancels(VecDeque<(Instant, String)>);

impl EarlyCancels {
    /// Remembers that the request with this id was cancelled, unless the id is too long to be
    /// kept.
    pub fn remember(&mut self, id: &str) {
        if id.len() > LONGEST_ID {
            return;
        }
        while self.0.len() >= MOST || self.0.front().is_some_and(|(at, _)| at.elapsed() > KEPT_FOR)
        {
            self.0.pop_front();
        }
        self.0.push_back((Instant::now(), key(id)));
    }

    /// Whether a request that has been running since `began` was cancelled.
    #[must_use]
    pub fn has(&self, key: &str, began: Instant) -> bool {
        let is_meant =
            |cancelled: &str| cancelled == key || other_forms(cancelled).any(|form| form == key);
        self.0.iter().any(|(at, cancelled)| *at >= began && is_meant(cancelled))
    }
}
