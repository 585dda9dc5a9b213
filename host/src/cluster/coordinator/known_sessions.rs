//! What a coordinator knows of the sessions that nodes report.

use std::sync::Arc;

use crate::model::{GatewayStart, SessionId};
use crate::store::{Bindings, Records};

/// Whether the stream of a session of HTTP+SSE is open in this process.
pub type HasStream = dyn Fn(SessionId) -> bool + Send + Sync;

/// Where a coordinator looks reported sessions up.
pub struct KnownSessions {
    pub bindings: Arc<Bindings>,
    pub records: Arc<Records>,
    pub start: GatewayStart,
    pub has_stream: Box<HasStream>,
}

/// What a reported session is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It goes on, as far as is known.
    Alive,
    /// Its client has ended it, or has left its stream.
    Ended,
    /// Its stream was open in another process. Its client may come back to this one.
    Awaited,
}

impl KnownSessions {
    /// What a session is whose stream, if it has one, was opened by that start of a gateway.
    #[must_use]
    pub fn find(&self, session: SessionId, stream: Option<GatewayStart>) -> Found {
        if self.records.is_ended(session) {
            return Found::Ended;
        }
        match stream {
            None => Found::Alive,
            Some(_) if (self.has_stream)(session) => Found::Alive,
            Some(start) if start == self.start => Found::Ended,
            Some(_) => Found::Awaited,
        }
    }
}
