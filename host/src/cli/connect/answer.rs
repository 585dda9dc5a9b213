//! Answers of the gateway: their bodies, their refusals, and where their event streams have ended.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::net::{Body, EventReader, collect, is_event_stream};
use crate::protocol::sse::Event;

use super::message::{self, Refusal};

/// Bytes of an answer, and of one event.
pub const MAX_ANSWER: usize = 64 << 20;
/// Pause before a stream is resumed, if the gateway says nothing else.
const RESUME_AFTER: Duration = Duration::from_millis(500);
/// Longest pause that an event may ask for.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Where an event stream has ended.
#[derive(Default)]
pub struct Position {
    pub last_id: Option<String>,
    retry: Option<Duration>,
    /// Whether a message has come since the stream was opened.
    pub has_moved: bool,
}

impl Position {
    pub fn note(&mut self, event: &Event) {
        if let Some(retry) = event.retry {
            self.retry = Some(Duration::from_millis(retry).min(LONGEST_RETRY));
        }
        if event.id.is_some() {
            self.last_id.clone_from(&event.id);
        }
        self.has_moved |= !event.data.is_empty();
    }

    /// Waits before the stream is opened again.
    pub async fn pause(&self) {
        tokio::time::sleep(self.retry.unwrap_or(RESUME_AFTER)).await;
    }
}

/// A body as a whole. `None` if it breaks, or is too large.
pub async fn body(response: Response<Body>) -> Option<Bytes> {
    collect(response.into_body(), MAX_ANSWER).await.ok()
}

/// The answer to a request, out of a body of either kind.
pub async fn of(id: &str, response: Response<Body>) -> Option<Vec<u8>> {
    if !is_event_stream(&response) {
        return body(response).await.map(|body| body.to_vec());
    }
    let mut events = EventReader::new(response.into_body(), MAX_ANSWER);
    loop {
        let event = events.next_event().await?;
        if message::answers(&event.data, id) {
            return Some(event.data);
        }
    }
}

pub async fn refusal(response: Response<Body>) -> Refusal {
    let status = response.status();
    let body = body(response).await.unwrap_or_default();
    Refusal::of(&body, &status.to_string())
}

/// The error that answers a request which the gateway has refused.
pub async fn refused(id: &str, response: Response<Body>) -> Vec<u8> {
    let hint = hint(response.status());
    refusal(response).await.answer(id, hint)
}

/// What its user can do about a refusal.
pub fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => " (set MOORING_KEY to the gateway's key)",
        _ => "",
    }
}
