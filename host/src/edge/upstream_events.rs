//! Reading a replica's response message by message.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::Body as _;

use crate::net::{Body, BodyError};
use crate::protocol::headers;
use crate::protocol::sse::{Decoder, Event};

/// What was read of an event stream.
pub enum Read {
    Event(Event),
    /// A sign of life.
    Comment,
    /// The connection broke.
    Broken(BodyError),
}

/// An event stream, decoded as it comes.
pub struct Events {
    body: Body,
    decoder: Decoder,
    ready: VecDeque<Event>,
}

impl Events {
    /// `limit` bounds one event, in bytes.
    #[must_use]
    pub fn new(body: Body, limit: usize) -> Self {
        Self { body, decoder: Decoder::new(limit), ready: VecDeque::new() }
    }

    /// None at the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Read>> {
        if let Some(event) = self.ready.pop_front() {
            return Poll::Ready(Some(Read::Event(event)));
        }
        loop {
            let frame = match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Read::Broken(error))),
                Some(Ok(frame)) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            let ready = &mut self.ready;
            if let Err(error) = self.decoder.feed(&data, |event| ready.push_back(event)) {
                return Poll::Ready(Some(Read::Broken(error.into())));
            }
            return Poll::Ready(Some(match self.ready.pop_front() {
                Some(event) => Read::Event(event),
                None => Read::Comment,
            }));
        }
    }

    pub async fn next(&mut self) -> Option<Read> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }
}

/// Whether the response is an event stream.
#[must_use]
pub fn is_stream(response: &Response<Body>) -> bool {
    headers::is_type(response.headers(), headers::EVENT_STREAM)
}

/// Whether the event carries a message.
#[must_use]
pub fn has_message(event: &Event) -> bool {
    (event.name.is_empty() || event.name == "message") && !event.data.is_empty()
}

/// The event's message.
#[must_use]
pub fn message_of(event: Event) -> Bytes {
    event.data.into()
}
