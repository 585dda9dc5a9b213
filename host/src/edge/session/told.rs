//! What another coordinator tells of a session whose client may listen here.

use crate::edge::worker::Edge;
use crate::store::shared::SharedEvent;

use super::get_streams;

impl Edge {
    /// Takes note of it.
    pub fn told(&self, event: &SharedEvent) {
        match event {
            // Listeners look where the server is now.
            SharedEvent::Moved(session, ..) => self.opened_servers.opened(*session),
            SharedEvent::Lost(session, server) => {
                if get_streams::report_loss(&self.streams, *session, server) {
                    // The client knows it now; the others need not tell it again.
                    drop(self.bindings.take_unreported_losses(*session));
                } else {
                    self.bindings.note_unreported_loss(*session, server);
                    self.opened_servers.opened(*session);
                }
            }
            SharedEvent::Ended(..)
            | SharedEvent::Node(_)
            | SharedEvent::Heard(_)
            | SharedEvent::Left(_) => {}
        }
    }
}
