//! The answer to a call, watched until it has passed: the call ends with it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::{Body as _, SizeHint};

use crate::net::{Body, Piece, Through, is_event_stream};
use crate::protocol::error_kind::{Emitter, ErrorKind};

use super::answer_watch::AnswerWatch;
use super::outcome::{CallEnd, CallOutcome};

/// Marks an answer that a runner has made in its server's place. What it says does not show that.
#[derive(Debug, Clone, Copy)]
pub struct NodeAnswer;

/// The response, of which `ended` is told how the call has ended and how many bytes have passed: at
/// once if the answer is whole, else when its body ends.
pub fn watched<F>(response: Response<Body>, is_tool_call: bool, ended: F) -> Response<Body>
where
    F: FnOnce(CallEnd, u64) + Send + Sync + 'static,
{
    let is_nodes = response.extensions().get::<NodeAnswer>().is_some();
    let ended = move |end: CallEnd, sent| ended(if is_nodes { end.by_node() } else { end }, sent);
    // What begins with a brace is a message, whatever its head says: most answers are not asked further.
    let is_message = response.body().beginning().starts_with(b"{");
    let is_events = !is_message && is_event_stream(&response);
    match response.body() {
        Body::Empty if response.status().as_u16() >= 400 => {
            ended(CallEnd::refused(Emitter::Gateway, ErrorKind::Transport), 0);
        }
        Body::Empty => ended(CallEnd::OK, 0),
        Body::Full(bytes) | Body::Held(bytes, _) if !is_events => {
            let end = CallEnd::said(bytes, is_tool_call).unwrap_or(CallEnd::OK);
            ended(end, bytes.len() as u64);
        }
        _ => {
            let watch = AnswerWatch::new(is_tool_call, is_events);
            return response.map(|body| {
                let ended = Some(ended);
                Body::Through(Box::new(WatchedAnswer { body, watch, ended, sent: 0 }))
            });
        }
    }
    response
}

/// A body that comes in pieces, and who is told of its end.
struct WatchedAnswer<F: FnOnce(CallEnd, u64)> {
    body: Body,
    watch: AnswerWatch,
    ended: Option<F>,
    sent: u64,
}

impl<F: FnOnce(CallEnd, u64)> WatchedAnswer<F> {
    fn end(&mut self, end: CallEnd) {
        if let Some(ended) = self.ended.take() {
            ended(end, self.sent);
        }
    }
}

impl<F: FnOnce(CallEnd, u64) + Send + Sync> Through for WatchedAnswer<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.sent += data.len() as u64;
                    self.watch.read(data);
                }
            }
            Some(Err(_)) => self.end(CallEnd { outcome: CallOutcome::Lost, error: None }),
            None => self.end(self.watch.end()),
        }
        Poll::Ready(polled)
    }

    /// What has come was an answer to the client, who comes back for the rest.
    fn set_aside(&mut self) {
        self.end(CallEnd::OK);
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<F: FnOnce(CallEnd, u64)> Drop for WatchedAnswer<F> {
    fn drop(&mut self) {
        // Whoever writes a body of known length does not ask for more than that.
        let end = if self.body.is_end_stream() { self.watch.end() } else { CallEnd::LEFT };
        self.end(end);
    }
}
