//! What another coordinator tells of a session whose client may listen here.

use std::sync::Arc;

use crate::edge::worker::Edge;
use crate::store::shared::SharedEvent;

use super::get_streams;

impl Edge {
    /// Takes note of it.
    pub fn told(self: &Arc<Self>, event: &SharedEvent) {
        match event {
            // Listeners look where the server is now.
            SharedEvent::Moved(session, ..) => self.opened_servers.opened(*session),
            SharedEvent::Lost(session, server) => {
                let notice = self.loss_notice(*session, server);
                if get_streams::report_loss(&self.streams, *session, notice) {
                    // The client knows it now; the others need not tell it again.
                    drop(self.bindings.take_unreported_losses(*session));
                } else {
                    self.bindings.note_unreported_loss(*session, server);
                    self.opened_servers.opened(*session);
                }
            }
            // The newest stream counts, wherever it is.
            SharedEvent::Listens(session, listening) => self.give_way(*session, *listening),
            SharedEvent::Rest(session, stream) => self.take_over(*session, *stream),
            SharedEvent::Ended(session, _) => {
                self.state.outcomes.forget(*session);
                self.planned_moves.forget(*session);
                let (states, session) = (Arc::clone(&self.state.states), *session);
                tokio::spawn(async move { states.end(session).await });
            }
            SharedEvent::Node(_) | SharedEvent::Heard(_) | SharedEvent::Left(..) => {}
        }
    }
}
