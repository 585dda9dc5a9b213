//! A message as it goes out to a replica.

use bytes::Bytes;
use http::Method;
use http::header::HeaderValue;

use crate::protocol::jsonrpc::{Envelope, Kind};
use crate::protocol::trace_context::TraceContext;
use crate::seam::StateStep;

/// A message that can be sent again, since all of it is kept.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub method: Method,
    pub body: Bytes,
    pub last_event_id: Option<HeaderValue>,
    /// Whether the answer is to come alone, without what the server sends before it.
    pub answer_alone: bool,
    /// Set where state is brought back to a new instance.
    pub state: Option<StateStep>,
    /// The span that the message belongs to, if it is traced.
    pub trace: Option<Box<TraceContext>>,
}

impl Outgoing {
    /// A JSON-RPC message, or a batch of them.
    #[must_use]
    pub fn post(body: Bytes) -> Self {
        Self {
            method: Method::POST,
            body,
            last_event_id: None,
            answer_alone: false,
            state: None,
            trace: None,
        }
    }

    /// The same, within a trace.
    #[must_use]
    pub fn within(self, trace: Option<Box<TraceContext>>) -> Self {
        Self { trace, ..self }
    }

    /// The same, of whose answer alone is read.
    #[must_use]
    pub fn asking(body: Bytes) -> Self {
        Self { answer_alone: true, ..Self::post(body) }
    }

    /// Opens an event stream, or what is left of one after the given event.
    #[must_use]
    pub fn get(last_event_id: Option<HeaderValue>) -> Self {
        Self { method: Method::GET, last_event_id, ..Self::post(Bytes::new()) }
    }

    /// Whether it is an answer or a notification, which is accepted and never answered.
    #[must_use]
    pub fn expects_nothing(&self) -> bool {
        let envelope = Envelope::parse(&self.body);
        let kind = envelope.as_ref().map(Envelope::kind);
        self.method == Method::POST && matches!(kind, Ok(Kind::Response | Kind::Notification))
    }

    /// Ends the session at the server.
    #[must_use]
    pub fn delete() -> Self {
        Self { method: Method::DELETE, ..Self::post(Bytes::new()) }
    }
}
