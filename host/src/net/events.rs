//! Reads an event stream out of a body, event by event.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use http_body::Body as _;

use crate::protocol::sse::{Event, EventDecoder, TooLarge};
use crate::protocol::{answer, headers};

use super::body::{Body, BodyError};

/// What was read of an event stream.
pub enum Read {
    /// A whole event.
    Event(Event),
    /// Bytes that complete no event, such as a keep-alive comment: the sender is alive.
    Comment,
    /// The connection broke, or an event was larger than the limit. Nothing comes after it.
    Broken(BodyError),
}

/// An event stream, decoded as its bytes arrive. A body that is JSON under the type of an event
/// stream, as some servers send it, is one event with all of it.
pub struct EventReader {
    body: Body,
    decoder: EventDecoder,
    ready: VecDeque<Event>,
    /// Why nothing comes after the events that are ready.
    broken: Option<BodyError>,
    form: Form,
    limit: usize,
}

/// What the body really is.
enum Form {
    /// Nothing has come but blanks.
    Unknown,
    Events,
    /// So far.
    Json(Vec<u8>),
    Ended,
}

impl EventReader {
    /// `limit` is the largest event, in bytes; see [`EventDecoder::new`].
    #[must_use]
    pub fn new(body: Body, limit: usize) -> Self {
        let decoder = EventDecoder::new(limit);
        Self { body, decoder, ready: VecDeque::new(), broken: None, form: Form::Unknown, limit }
    }

    /// See [`Body::set_aside`].
    pub fn set_aside(&mut self) {
        self.body.set_aside();
    }

    /// The next piece of the stream; `None` at its end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Read>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(Read::Event(event)));
            }
            if let Some(error) = self.broken.take() {
                return Poll::Ready(Some(Read::Broken(error)));
            }
            if matches!(self.form, Form::Ended) {
                return Poll::Ready(None);
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => match std::mem::replace(&mut self.form, Form::Ended) {
                    Form::Json(mut data) => {
                        let mark = data.len() - answer::without_mark(&data).len();
                        data.drain(..mark);
                        let event = Event { data, ..Event::default() };
                        return Poll::Ready(Some(Read::Event(event)));
                    }
                    _ => return Poll::Ready(None),
                },
                Some(Err(error)) => return Poll::Ready(Some(Read::Broken(error))),
                Some(Ok(frame)) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            if matches!(self.form, Form::Unknown) {
                self.form = form_of(&data);
            }
            if let Form::Json(text) = &mut self.form {
                if text.len() + data.len() > self.limit {
                    self.broken = Some(TooLarge(self.limit).into());
                    continue;
                }
                text.extend_from_slice(&data);
                return Poll::Ready(Some(Read::Comment));
            }
            let ready = &mut self.ready;
            // Events that came before one that is too large still count.
            if let Err(error) = self.decoder.feed(&data, |event| ready.push_back(event)) {
                self.broken = Some(error.into());
            }
            if self.ready.is_empty() && self.broken.is_none() {
                return Poll::Ready(Some(Read::Comment));
            }
        }
    }

    /// Waits for the next piece, as [`Self::poll_next`] gives it.
    pub async fn next(&mut self) -> Option<Read> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next event; `None` at the end of the stream and after a break alike.
    pub async fn next_event(&mut self) -> Option<Event> {
        loop {
            match self.next().await? {
                Read::Event(event) => return Some(event),
                Read::Comment => {}
                Read::Broken(_) => return None,
            }
        }
    }
}

/// What a body is that begins so: no field of an event has such a name.
fn form_of(beginning: &[u8]) -> Form {
    match answer::without_mark(beginning).trim_ascii_start().first() {
        None => Form::Unknown,
        Some(b'{' | b'[') => Form::Json(Vec::new()),
        Some(_) => Form::Events,
    }
}

/// Whether the response's body is an event stream.
#[must_use]
pub fn is_event_stream(response: &Response<Body>) -> bool {
    headers::is_type(response.headers(), headers::EVENT_STREAM)
}

/// Whether the body is an event stream, by what has come of it.
#[must_use]
pub fn is_like_events(body: &Body) -> bool {
    let beginning = answer::without_mark(body.beginning()).trim_ascii_start();
    [&b"event:"[..], b"data:", b"id:", b"retry:", b":"].iter().any(|f| beginning.starts_with(f))
}

/// Waits for the beginning of a response that has another type, or none, and gives it that of an event
/// stream if it is one. An event stream is not waited for; if JSON has come under its type, that goes.
///
/// # Errors
/// If the body breaks off before.
pub async fn name_events(response: &mut Response<Body>) -> Result<(), BodyError> {
    if is_event_stream(response) {
        if matches!(form_of(response.body().beginning()), Form::Json(_)) {
            let kind = HeaderValue::from_static(headers::JSON);
            response.headers_mut().insert(CONTENT_TYPE, kind);
        }
        return Ok(());
    }
    poll_fn(|cx| response.body_mut().poll_begun(cx)).await?;
    if is_like_events(response.body()) {
        let kind = HeaderValue::from_static(headers::EVENT_STREAM);
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    Ok(())
}

/// Whether the response is an event stream whose events are still to come. Asked of each answer;
/// most are whole, so that no header need be looked for.
#[must_use]
pub fn is_open_stream(response: &Response<Body>) -> bool {
    !matches!(response.body(), Body::Full(_) | Body::Held(..)) && is_event_stream(response)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test]
    async fn events_before_one_that_is_too_large_are_read() {
        let text = format!("data: one\n\n: alive\n\ndata: {}\n\n", "x".repeat(100));
        let mut events = EventReader::new(Body::Full(Bytes::from(text)), 50);
        let Some(Read::Event(first)) = events.next().await else { panic!("an event") };
        assert_eq!(first.data, b"one");
        assert!(matches!(events.next().await, Some(Read::Broken(_))));
        assert!(events.next().await.is_none());
    }

    #[tokio::test]
    async fn json_under_the_type_of_events_is_one_event() {
        for text in ["{\"id\": 1,\n\n\"data\": 2}", " \n[1]\n", "{"] {
            let mut events = EventReader::new(Body::Full(format!("\u{feff}{text}").into()), 50);
            assert_eq!(events.next_event().await.unwrap().data, text.as_bytes());
            assert!(events.next_event().await.is_none());
        }
        let mut events = EventReader::new(Body::Full(Bytes::from("{".repeat(51))), 50);
        assert!(matches!(events.next().await, Some(Read::Broken(_))));
    }
}
