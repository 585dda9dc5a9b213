//! What coordinators say to each other about conversations that clients listen to at more than one of
//! them.

use std::sync::Arc;

use crate::model::SessionId;
use crate::store::shared::{FeedWord, SharedEvent};

use super::Sharing;

/// What is sealed in the store.
const SAID: &str = "said";

impl Sharing {
    /// Tells the others. Nobody waits for it.
    pub fn tell_feed(self: &Arc<Self>, session: SessionId, word: FeedWord) {
        self.tell_in_turn(SharedEvent::Feed(session, self.teller, word));
    }

    /// A text that only coordinators of this cluster can read.
    #[must_use]
    pub fn seal_said(&self, session: SessionId, text: &[u8]) -> Option<String> {
        self.keys.seal_shared(SAID, session, text)
    }

    /// The text of another coordinator.
    #[must_use]
    pub fn open_said(&self, session: SessionId, sealed: &str) -> Option<Vec<u8>> {
        self.keys.open_shared(SAID, session, sealed.as_bytes())
    }
}
