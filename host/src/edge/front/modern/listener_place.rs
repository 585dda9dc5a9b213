//! What clients that listen make the gateway hold is bounded, and divided by quota key.

use crate::edge::access::fair_share::SharePlace;
use crate::edge::client_request::ClientRequest;
use crate::edge::refusal::Refusal;
use crate::edge::worker::Worker;

/// Bytes of what is kept for all clients that listen.
pub const MOST_LISTENED: usize = 128 * 1024 * 1024;
/// What each of them costs beside what it says: its tasks, its connection to a session's feed.
const EACH: usize = 8 * 1024;

impl Worker {
    /// Room for what is kept for as long as a client listens: beside its head these bytes.
    pub(in crate::edge) fn listener_place(
        &self,
        context: &ClientRequest,
        bytes: usize,
    ) -> Result<SharePlace, Refusal> {
        let (edge, whom) = (&self.edge, &context.quota);
        edge.listened.take(whom, EACH + context.head_bytes() + bytes).ok_or_else(|| {
            edge.bindings.met.listened.note_refused(|since| {
                tracing::warn!(
                    since,
                    "clients of {whom} that listen (subscriptions/listen) hold as much as they may: \
                     one more is refused"
                );
            });
            Refusal::HoldsTooMuch("subscriptions/listen; close one of those streams, or name less")
        })
    }
}
