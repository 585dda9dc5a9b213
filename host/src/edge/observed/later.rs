//! The answer to a call that comes in pieces: the call ends with it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body::{Body as _, SizeHint};

use crate::edge::worker::Edge;
use crate::net::{Body, Piece, Through};
use crate::telemetry::{CallEnd, CallOutcome};

use super::answer_watch::AnswerWatch;
use super::notes::CallNotes;

/// A body, the call that it answers, and the worker that counts it.
pub struct LaterCall {
    body: Body,
    watch: AnswerWatch,
    noted: Option<CallNotes>,
    edge: Arc<Edge>,
    worker: usize,
    sent: u64,
}

impl LaterCall {
    #[must_use]
    pub fn new(
        body: Body,
        watch: AnswerWatch,
        noted: CallNotes,
        (edge, worker): (Arc<Edge>, usize),
    ) -> Self {
        Self { body, watch, noted: Some(noted), edge, worker, sent: 0 }
    }

    fn end(&mut self, end: CallEnd) {
        if let Some(noted) = self.noted.take() {
            noted.end(&self.edge, self.worker, end, self.sent);
        }
    }
}

impl Through for LaterCall {
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

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for LaterCall {
    fn drop(&mut self) {
        // Whoever writes a body of known length does not ask for more than that.
        let end = if self.body.is_end_stream() { self.watch.end() } else { CallEnd::LEFT };
        self.end(end);
    }
}
