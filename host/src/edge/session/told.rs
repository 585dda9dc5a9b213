//! What another coordinator tells of a session whose client may listen here, and what is told to it.

use std::sync::Arc;
use std::time::Duration;

use crate::edge::worker::Edge;
use crate::model::{ServerName, SessionId};
use crate::store::shared::{SharedEvent, SharedLoss};

use super::get_streams;

/// How long a stream that begins waits before it tells losses of before, where there are several
/// coordinators: its client may have heard of them a moment ago at another one, which says so.
pub const SETTLE: Duration = Duration::from_millis(250);

impl Edge {
    /// The servers whose loss the client has yet to be told of: by the caller, now, and by no other
    /// coordinator.
    #[must_use]
    pub fn take_losses(&self, session: SessionId) -> Vec<ServerName> {
        let losses = self.bindings.take_unreported_losses(session);
        if !losses.is_empty() {
            self.tell_told(session);
        }
        losses
    }

    fn tell_told(&self, session: SessionId) {
        if let Some(sharing) = &self.sharing {
            sharing.tell_told(session);
        }
    }

    /// Takes note of it.
    pub fn told(self: &Arc<Self>, event: &SharedEvent) {
        match event {
            // Listeners look where the server is now.
            SharedEvent::Moved(session, ..) => self.opened_servers.opened(*session),
            SharedEvent::Lost(loss) => {
                let SharedLoss { session, server, .. } = loss;
                let text = self.sharing.as_ref().and_then(|sharing| sharing.text_of_loss(loss));
                self.note_loss_text(*session, server, text.as_deref());
                let notice = self.loss_notice(*session, server);
                if get_streams::report_loss(&self.streams, *session, notice) {
                    drop(self.bindings.take_unreported_losses(*session));
                    self.tell_told(*session);
                } else {
                    self.bindings.learn_loss(*session, server);
                    self.opened_servers.opened(*session);
                }
            }
            SharedEvent::Told(session, _) => {
                drop(self.bindings.take_unreported_losses(*session));
            }
            // The newest stream counts, wherever it is.
            SharedEvent::Listens(session, listening) => self.give_way(*session, *listening),
            SharedEvent::Rest(session, stream) => self.take_over(*session, *stream),
            SharedEvent::Feed(session, _, word) => self.told_of_feed(*session, word),
            SharedEvent::Ended(session, _) => {
                self.state.outcomes.forget(*session);
                self.planned_moves.forget(*session);
                self.streams.end(*session);
                let (states, session) = (Arc::clone(&self.state.states), *session);
                tokio::spawn(async move { states.end(session).await });
            }
            SharedEvent::Node(_) | SharedEvent::Heard(_) | SharedEvent::Left(..) => {}
        }
    }
}
