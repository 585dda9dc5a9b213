//! What a server has asked its client: only answers to that reach it.

use std::collections::VecDeque;

use crate::protocol::jsonrpc::Envelope;
use crate::protocol::methods;

use super::message_ids::{LONGEST_ID, cancelled_request, key};

/// Questions of a server that wait for an answer at the same time.
const KEPT: usize = 1024;

/// Ids of open questions, the oldest first.
#[derive(Default)]
pub struct Questions(VecDeque<String>);

impl Questions {
    /// The server asks something: an answer to it is the server's from now on.
    pub fn ask(&mut self, question: &Envelope<'_>) {
        let id = question.id_text().filter(|id| id.len() <= LONGEST_ID).map(key);
        let Some(id) = id.filter(|id| !self.0.contains(id)) else { return };
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(id);
    }

    /// Whether the server waits for this answer; it does so no more. One to an
    /// earlier process would be taken for the answer to another question.
    pub fn is_answered_by(&mut self, answer: &Envelope<'_>) -> bool {
        answer.id_text().is_some_and(|id| self.forget(id))
    }

    /// Says whether it was open.
    pub fn forget(&mut self, id: &str) -> bool {
        let id = key(id);
        let found = self.0.iter().position(|asked| *asked == id);
        found.and_then(|index| self.0.remove(index)).is_some()
    }

    /// The server takes a question back, if it is that what it says.
    pub fn take_back(&mut self, notification: &Envelope<'_>) {
        if notification.method() == methods::CANCELLED
            && let Some(id) = cancelled_request(notification)
        {
            self.forget(id);
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
