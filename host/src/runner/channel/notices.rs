//! Notifications that were sent to a server. None is ever answered (JSON-RPC 2.0, 4.1), but some
//! servers answer those that they do not know with an error without an id.

use std::collections::VecDeque;

/// Notifications that are remembered.
const MOST: usize = 64;

/// Their places in the order of what was sent. One is over once a request is answered that was sent
/// after it.
#[derive(Default)]
pub struct SentNotices(VecDeque<u64>);

impl SentNotices {
    /// Notes a notification. `next` is the place of the next request.
    pub fn sent(&mut self, next: u64) {
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(next);
    }

    /// Notes that the request with this place was answered.
    pub fn answered(&mut self, order: u64) {
        while self.0.front().is_some_and(|notice| *notice <= order) {
            self.0.pop_front();
        }
    }

    /// Whether an error without an id may be about a notification, which is then over.
    pub fn take_one(&mut self) -> bool {
        self.0.pop_front().is_some()
    }
}
