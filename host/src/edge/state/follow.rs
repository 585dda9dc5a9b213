//! Reads answers as they pass to the client, whose bytes are not changed.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body as _;

use crate::net::{Body, Piece, Through, is_event_stream};
use crate::protocol::sse::EventDecoder;

use super::tracked::Tracked;

/// Bytes of an answer in several pieces that are looked at; of a larger one the outcome is unknown.
const MAX_WHOLE: usize = 4 << 20;

/// The response, of which the answers are read as they pass.
#[must_use]
pub fn follow(response: Response<Body>, mut tracked: Tracked) -> Response<Body> {
    if tracked.is_settled() {
        // The message is under way no more: nothing is answered.
        return response;
    }
    if is_event_stream(&response) {
        let decoder = EventDecoder::new(tracked.largest());
        return through(response, Followed::Events(decoder), tracked);
    }
    match response.body() {
        Body::Full(bytes) | Body::Held(bytes, _) => {
            tracked.hear(bytes);
            response
        }
        _ => through(response, Followed::Whole(Vec::new()), tracked),
    }
}

fn through(response: Response<Body>, followed: Followed, tracked: Tracked) -> Response<Body> {
    let tracked = Some(tracked);
    response.map(|body| Body::Through(Box::new(Following { body, followed, tracked })))
}

enum Followed {
    Events(EventDecoder),
    Whole(Vec<u8>),
}

struct Following {
    body: Body,
    followed: Followed,
    /// `None` once everything is answered.
    tracked: Option<Tracked>,
}

impl Following {
    fn read(&mut self, bytes: &[u8]) {
        let Some(tracked) = &mut self.tracked else { return };
        let is_over = match &mut self.followed {
            Followed::Events(decoder) => {
                let fed = decoder.feed(bytes, |event| {
                    if event.has_message() {
                        tracked.hear(&event.data);
                    }
                });
                fed.is_err()
            }
            Followed::Whole(whole) => {
                whole.extend_from_slice(bytes);
                whole.len() > MAX_WHOLE
            }
        };
        if is_over || tracked.is_settled() {
            self.tracked = None;
        }
    }

    fn end(&mut self) {
        if let (Some(tracked), Followed::Whole(whole)) = (&mut self.tracked, &self.followed) {
            tracked.hear(whole);
        }
        self.tracked = None;
    }
}

impl Through for Following {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        let piece = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &piece {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let data = data.clone();
                    self.read(&data);
                }
                if self.body.is_end_stream() {
                    self.end();
                }
            }
            Some(Err(_)) => {}
            None => self.end(),
        }
        Poll::Ready(piece)
    }
}
