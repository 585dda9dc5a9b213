//! A server's messages as an HTTP response: plain JSON if the answer comes first, an event stream
//! if another message comes before it or it takes long.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use tokio::time::{Instant, Sleep};

use crate::net::Body;
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::methods::List;
use crate::protocol::{headers, splice, sse};

use super::{EventId, Part, Reached, Reader, Tag};

/// How long a call may be silent before its stream is opened. From then on the client has an
/// event id, with which it can come back for the answer.
pub const OPEN_AFTER: Duration = Duration::from_secs(1);
/// Milliseconds after which a client whose stream broke should come back.
const RETRY_MS: u64 = 1000;

/// How the event streams of one instance are written.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// Silence after which a keep-alive comment is sent.
    pub keep_alive: Duration,
    /// Whether a stream begins with an event without data, which clients understand from
    /// 2025-11-25 on.
    pub primes: bool,
}

/// The response to posted requests. The reader must have been attached before they were sent.
/// `None` if the stream ended without a message.
pub async fn respond(
    reader: Reader,
    takes_events: bool,
    way: Way,
    publish: impl FnOnce() -> Tag,
) -> Option<Response<Body>> {
    respond_within(OPEN_AFTER, reader, takes_events, way, publish).await
}

/// Like [`respond`], with another patience than [`OPEN_AFTER`]: for requests whose client has
/// waited already.
pub async fn respond_within(
    patience: Duration,
    mut reader: Reader,
    takes_events: bool,
    way: Way,
    publish: impl FnOnce() -> Tag,
) -> Option<Response<Body>> {
    if !takes_events {
        return answers(reader).await;
    }
    match tokio::time::timeout(patience, reader.only_answer()).await {
        Ok(Some(answer)) => Some(json(answer)),
        Ok(None) if reader.stream().is_spent() => None,
        Ok(None) | Err(_) => {
            let tag = publish();
            Some(event_stream(reader, tag, way))
        }
    }
}

/// The response for a client that does not accept events: the answers alone.
async fn answers(mut reader: Reader) -> Option<Response<Body>> {
    let mut answers = Vec::new();
    while let Some(item) = reader.next().await {
        if item.part == Part::Answer {
            answers.push(item.message);
        }
    }
    match answers.len() {
        0 => None,
        1 => answers.pop().map(json),
        _ => {
            let joined = answers.join(&b","[..]);
            Some(json([&b"["[..], &joined, b"]"].concat().into()))
        }
    }
}

/// An event stream of every message that the reader gets. Once it is silent, it sends keep-alive
/// comments.
pub fn event_stream(reader: Reader, tag: Tag, way: Way) -> Response<Body> {
    let first = if way.primes {
        sse::priming(&tag.id(reader.after()), Some(RETRY_MS))
    } else {
        Bytes::from_static(sse::KEEP_ALIVE)
    };
    let silence = Box::pin(tokio::time::sleep(way.keep_alive));
    let events = EventBody { first: Some(first), reader, tag, silence, keep_alive: way.keep_alive };
    let mut response = Response::new(Body::Stream(Box::pin(events)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(headers::EVENT_STREAM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The response for a client that comes back for an answer that is gone: an error, as an event
/// with the id that the client has named.
pub fn too_late(last_event_id: &str, request: &str) -> Response<Body> {
    let text = "the answer is no longer available: the server's session was lost, or the client \
                came back too late; the call may have run";
    let answer = jsonrpc::error(Some(request), code::SERVER_LOST, text);
    let mut response = Response::new(Body::from(sse::event_with_id(last_event_id, &answer)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(headers::EVENT_STREAM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    response
}

/// The answer to a question of a server that was dropped before the client read it.
#[must_use]
pub fn unread_question(id: &str) -> Bytes {
    jsonrpc::error(Some(id), code::INTERNAL, "the client does not read the server's requests")
}

/// The status of a failure: 200 if it answers a request, since several SDKs close their transport
/// at any other status.
pub fn status_for(envelope: &Envelope<'_>, otherwise: StatusCode) -> StatusCode {
    if envelope.kind() == Kind::Request { StatusCode::OK } else { otherwise }
}

/// A response with one message, or a batch.
pub fn json(message: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(message));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(headers::JSON));
    response
}

struct EventBody {
    first: Option<Bytes>,
    reader: Reader,
    tag: Tag,
    silence: Pin<Box<Sleep>>,
    keep_alive: Duration,
}

impl futures_util::Stream for EventBody {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(first));
        }
        if let Poll::Ready(item) = this.reader.poll_next(cx) {
            this.silence.as_mut().reset(Instant::now() + this.keep_alive);
            let has_missed = this.reader.take_missed();
            return Poll::Ready(item.map(|item| {
                let number = item.number;
                let message = splice::on_one_line(item.message);
                let stream = this.reader.stream();
                let is_refusal =
                    item.part == Part::Answer && stream.instead() == Some(Reached::Refused);
                let event = match is_refusal {
                    true => sse::named_event(
                        headers::seam::TOKEN_REFUSED.as_str(),
                        &this.tag.id(number),
                        &message,
                    ),
                    false => sse::event_with_id(&this.tag.id(number), &message),
                };
                if has_missed && this.reader.stream().number == EventId::GET {
                    [lists_changed(&this.tag.id(number - 1)), event].concat().into()
                } else {
                    event
                }
            }));
        }
        if this.silence.as_mut().poll(cx).is_ready() {
            this.silence.as_mut().reset(Instant::now() + this.keep_alive);
            cx.waker().wake_by_ref();
            return Poll::Ready(Some(Bytes::from_static(sse::KEEP_ALIVE)));
        }
        Poll::Pending
    }
}

/// Events for a client that has missed messages of its session: what it knows of the server's
/// lists may be outdated.
fn lists_changed(id: &str) -> Bytes {
    let changed = List::NOTIFIED.map(|list| jsonrpc::notification(list.changed()));
    changed.map(|message| sse::event_with_id(id, &message)).concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::collect;
    use std::sync::Arc;

    use crate::streams::{Bounds, Stream};

    const BOUNDS: Bounds = Bounds { events: 99, bytes: 9999 };
    const WAY: Way = Way { keep_alive: Duration::from_secs(15), primes: false };

    fn publish(stream: &Arc<Stream>) -> Tag {
        stream.publish();
        Tag::new(1, stream.number, None)
    }

    async fn text(response: Response<Body>) -> String {
        String::from_utf8(collect(response.into_body(), 9999).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_first_is_plain_json() {
        let stream = Stream::new(5, Some(1), BOUNDS);
        stream.put("{}".into(), Part::Answer);
        let response = respond(stream.read_on(), true, WAY, || publish(&stream)).await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(text(response).await, "{}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_before_the_answer_makes_it_a_stream_that_ends_with_the_answer() {
        let stream = Stream::new(5, Some(1), BOUNDS);
        stream.put("1".into(), Part::Notice);
        stream.put("2".into(), Part::Answer);
        let way = Way { primes: true, ..WAY };
        let response = respond(stream.read_on(), true, way, || publish(&stream)).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(
            text(response).await,
            "id: 00000001-5-0\nretry: 1000\ndata: \n\n\
             id: 00000001-5-1\nevent: message\ndata: 1\n\n\
             id: 00000001-5-2\nevent: message\ndata: 2\n\n"
        );
        let again = text(event_stream(stream.read_after(1), Tag::new(1, 5, None), way)).await;
        assert!(again.starts_with("id: 00000001-5-1\nretry"), "{again}");
        assert!(again.ends_with("data: 2\n\n") && !again.contains("data: 1\n"), "{again}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_too_slowly_reads_its_lists_again() {
        let stream = Stream::new(EventId::GET, None, Bounds { events: 2, bytes: 99 });
        stream.publish();
        let reader = stream.read_on();
        assert!(!reader.has_gap);
        for message in ["1", "2", "3", "4"] {
            stream.put(message.into(), Part::Notice);
        }
        stream.end();
        let text = text(event_stream(reader, Tag::new(1, 0, None), WAY)).await;
        assert!(!text.contains("data: 2\n"), "{text}");
        for list in List::NOTIFIED {
            assert_eq!(text.matches(list.changed()).count(), 1, "{text}");
        }
        let told = text.find("list_changed").unwrap();
        assert!(told < text.find("data: 3\n").unwrap(), "{text}");
        assert!(text.ends_with("data: 4\n\n"), "{text}");
        // A reader that attaches later gets these notifications from its caller.
        let mut later = stream.read_after(0);
        assert!(later.has_gap);
        later.next().await.unwrap();
        assert!(!later.take_missed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_without_events_gets_the_answers_alone() {
        let stream = Stream::new(5, Some(2), BOUNDS);
        for (message, part) in [("1", Part::Answer), ("x", Part::Notice), ("2", Part::Answer)] {
            stream.put(message.into(), part);
        }
        let response = respond(stream.read_on(), false, WAY, || publish(&stream)).await.unwrap();
        assert_eq!(text(response).await, "[1,2]");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_ends_without_a_word_is_no_response() {
        let stream = Stream::new(5, Some(1), BOUNDS);
        stream.end();
        assert!(respond(stream.read_on(), true, WAY, || publish(&stream)).await.is_none());
        assert!(respond(stream.read_on(), false, WAY, || publish(&stream)).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_call_is_kept_alive() {
        let stream = Stream::new(5, Some(1), BOUNDS);
        let call = tokio::spawn({
            let stream = Arc::clone(&stream);
            async move {
                text(respond(stream.read_on(), true, WAY, || publish(&stream)).await.unwrap()).await
            }
        });
        tokio::time::sleep(Duration::from_secs(600)).await;
        stream.put("7".into(), Part::Answer);
        let text = call.await.unwrap();
        assert!(text.matches(": keep-alive").count() >= 39, "{text}");
        assert!(text.ends_with("data: 7\n\n"));
    }
}
