//! Progress that comes before its request is in flight: over HTTP, a request is entered after its
//! first second, and a server may report progress on another stream meanwhile.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::runner::channel::message_ids::{LONGEST_ID, other_forms};

/// Messages held at once; then the oldest is dropped.
const MOST: usize = 64;
/// Bytes of the longest one that is held.
const LONGEST: usize = 4096;
/// How long each is held: no request takes longer to be in flight.
const HELD_FOR: Duration = Duration::from_secs(5);

/// When each came, its token and the message; the oldest first.
#[derive(Default)]
pub struct EarlyProgress(VecDeque<(Instant, String, Bytes)>);

impl EarlyProgress {
    /// Holds a notification under its token.
    pub fn hold(&mut self, token: String, message: Bytes) {
        if token.len() > LONGEST_ID || message.len() > LONGEST {
            return;
        }
        let is_old = |(at, ..): &(Instant, String, Bytes)| at.elapsed() > HELD_FOR;
        while self.0.len() >= MOST || self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
        self.0.push_back((Instant::now(), token, message));
    }

    /// Takes those that came since `began` under this token.
    pub fn take(&mut self, token: &str, began: Instant) -> Vec<Bytes> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let mut taken = Vec::new();
        self.0.retain(|(at, of, message)| {
            let is_meant = *at >= began && (of == token || other_forms(of).any(|own| own == token));
            if is_meant {
                taken.push(message.clone());
            }
            !is_meant
        });
        taken
    }
}
