//! A call that a server refuses, with the token of its client's user, only after the client has got a
//! stream for the answer. It has not run: it is sent once more, with another token, and the answer goes to
//! the same stream.

use bytes::Bytes;
use http::HeaderValue;
use tokio::task::JoinHandle;

use crate::edge::client_request::ClientRequest;
use crate::edge::delivery::call::Call;
use crate::edge::delivery::outgoing::Outgoing;
use crate::edge::refusal::lost_words;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::ServerName;
use crate::net::{Body, collect, is_event_stream};
use crate::protocol::headers::seam;
use crate::protocol::sse::Event;
use crate::seam::UserTokenRefused;

/// What the call takes to be sent again.
pub struct LateRefusal {
    worker: Worker,
    context: ClientRequest,
    session: Session,
    server: ServerName,
    outgoing: Outgoing,
    /// The token that was sent.
    used: HeaderValue,
    /// The request's id, as JSON.
    id: String,
}

/// What comes of sending it again.
pub enum SentAgain {
    /// The answer, or the error that stands for it.
    Message(Bytes),
    /// The stream on which it comes.
    Events(Body),
}

impl LateRefusal {
    /// For a call of a client that was sent with this token.
    #[must_use]
    pub fn of(
        call: &Call<'_>,
        context: &ClientRequest,
        outgoing: Outgoing,
        (used, id): (HeaderValue, &str),
    ) -> Box<Self> {
        Box::new(Self {
            worker: call.worker.clone(),
            context: context.clone(),
            session: call.session.clone(),
            server: call.server.clone(),
            outgoing,
            used,
            id: id.to_owned(),
        })
    }

    /// Whether the runner marks this event so.
    #[must_use]
    pub fn is_told_by(event: &Event) -> bool {
        event.name == seam::TOKEN_REFUSED.as_str()
    }

    fn call(&self) -> Call<'_> {
        Call::of_client(&self.worker, &self.context, &self.session, &self.server)
    }

    /// The server has taken the token: it has answered.
    pub fn note_accepted(&self) {
        self.call().token_was_accepted(&self.used);
    }

    /// Sends it again, if another token helps, on a task. Messages have at most `limit` bytes.
    #[must_use]
    pub fn send_again(
        self: Box<Self>,
        refused: UserTokenRefused,
        limit: usize,
    ) -> JoinHandle<SentAgain> {
        tokio::spawn(async move {
            let call = self.call();
            let sent = match call.token_was_refused(Some(&self.used), &refused).await {
                Ok(()) => call.deliver(&self.outgoing).await,
                Err(refusal) => Err(refusal),
            };
            let response = match sent {
                Ok(delivered) => delivered.response,
                Err(refusal) => return SentAgain::Message(refusal.message(Some(&self.id))),
            };
            if is_event_stream(&response) {
                return SentAgain::Events(response.into_body());
            }
            match collect(response.into_body(), limit).await {
                Ok(message) => SentAgain::Message(message),
                Err(error) => {
                    tracing::debug!(server = %self.server, "the answer cannot be read: {error}");
                    SentAgain::Message(lost_words(&self.id, &self.server))
                }
            }
        })
    }
}
