//! The requests that a server has sent to its client. Only answers to these reach the
//! server.

use std::collections::VecDeque;

use crate::protocol::jsonrpc::Envelope;
use crate::protocol::methods;
use crate::runner::channel::message_ids::{LONGEST_ID, cancelled_request, key, other_forms};

/// Open questions kept of one server; the oldest make room for new ones.
const KEPT: usize = 1024;

/// Ids of open questions, the oldest first.
#[derive(Default)]
pub struct Questions(VecDeque<String>);

impl Questions {
    /// Adds a request of the server: an answer to it is let through once.
    pub fn ask(&mut self, question: &Envelope<'_>) {
        let id = question.id_text().filter(|id| id.len() <= LONGEST_ID).map(key);
        let Some(id) = id.filter(|id| !self.0.contains(id)) else { return };
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(id);
    }

    /// Whether this answers an open question, which is then closed. Other answers must
    /// not be sent: the server might take one for the answer to a different question.
    pub fn close_with(&mut self, answer: &Envelope<'_>) -> bool {
        answer.id_text().is_some_and(|id| self.forget(id))
    }

    /// Closes a question; returns whether it was open.
    pub fn forget(&mut self, id: &str) -> bool {
        let id = key(id);
        let found = self.0.iter().position(|asked| *asked == id);
        found.and_then(|index| self.0.remove(index)).is_some()
    }

    /// Closes the question that the server cancels, if this notification does so. The text is the
    /// question's own id, if the server names it in another form: the client knows no other.
    pub fn take_back(&mut self, notification: &Envelope<'_>) -> Option<String> {
        if notification.method() != methods::CANCELLED || self.0.is_empty() {
            return None;
        }
        let id = cancelled_request(notification)?;
        if self.forget(id) {
            return None;
        }
        other_forms(id).find(|own| self.forget(own))
    }

    /// Whether this one is open.
    pub fn has(&self, id: &str) -> bool {
        self.0.contains(&key(id))
    }

    /// Whether any is open.
    pub fn are_open(&self) -> bool {
        !self.0.is_empty()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
