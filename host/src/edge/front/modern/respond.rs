//! The response to a request without a session: JSON, or an event stream as soon as something is to
//! be said before the answer (2026-07-28, basic/transports/streamable-http).
//!
//! Events have no ids: nobody comes back to such a stream. A client that closes it cancels.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderValue, Response, StatusCode, header};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use crate::edge::bridge::call::CallOutput;
use crate::edge::refusal::Refusal;
use crate::edge::relay::{content_type, json};
use crate::net::Body;
use crate::protocol::jsonrpc::{self, code};
use crate::protocol::{headers, splice, sse};

use super::request::for_modern;

/// The response with what is said. After so much silence it becomes a stream, so that no proxy takes
/// the connection for dead.
///
/// # Errors
/// If the gateway refuses the request before anything else was said.
pub async fn respond(
    mut said: mpsc::Receiver<CallOutput>,
    id: &str,
    keep_alive: Duration,
) -> Result<Response<Body>, Refusal> {
    let first = match tokio::time::timeout(keep_alive, said.recv()).await {
        Ok(Some(CallOutput::Answer(status, answer))) => return Ok(json(status, answer)),
        Ok(Some(CallOutput::Refused(refusal))) => return Err(refusal),
        Ok(Some(CallOutput::Note(note))) => sse::event(&splice::on_one_line(note)),
        Ok(None) => return Ok(json(StatusCode::OK, vanished(id))),
        Err(_) => Bytes::from_static(sse::KEEP_ALIVE),
    };
    let silence = Box::pin(tokio::time::sleep(keep_alive));
    let id = id.to_owned();
    let events = Saying { first: Some(first), said, silence, keep_alive, id, is_over: false };
    Ok(event_stream(Body::Stream(Box::pin(events))))
}

/// A response that is an event stream.
#[must_use]
pub fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    content_type(headers, headers::EVENT_STREAM);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The answer where the task of the call has ended without one.
fn vanished(id: &str) -> Bytes {
    jsonrpc::error(Some(id), code::INTERNAL, "the gateway has lost the request; it may have run")
}

/// What is said, as events.
struct Saying {
    first: Option<Bytes>,
    said: mpsc::Receiver<CallOutput>,
    silence: Pin<Box<Sleep>>,
    keep_alive: Duration,
    id: String,
    is_over: bool,
}

impl Stream for Saying {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(first));
        }
        if this.is_over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(said) = this.said.poll_recv(cx) {
            this.silence.as_mut().reset(Instant::now() + this.keep_alive);
            let message = match said {
                Some(CallOutput::Note(note)) => note,
                Some(CallOutput::Answer(_, answer)) => {
                    this.is_over = true;
                    answer
                }
                Some(CallOutput::Refused(refusal)) => {
                    this.is_over = true;
                    for_modern(refusal).message(Some(&this.id))
                }
                None => {
                    this.is_over = true;
                    vanished(&this.id)
                }
            };
            return Poll::Ready(Some(sse::event(&splice::on_one_line(message))));
        }
        if this.silence.as_mut().poll(cx).is_ready() {
            this.silence.as_mut().reset(Instant::now() + this.keep_alive);
            cx.waker().wake_by_ref();
            return Poll::Ready(Some(Bytes::from_static(sse::KEEP_ALIVE)));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::collect;

    const ALIVE: Duration = Duration::from_secs(15);

    async fn text(response: Response<Body>) -> (String, String) {
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        let body = collect(response.into_body(), 9999).await.unwrap();
        (kind, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_alone_is_json_with_its_status() {
        let (sender, said) = mpsc::channel(4);
        let answer = CallOutput::Answer(StatusCode::BAD_REQUEST, "{}".into());
        sender.send(answer).await.unwrap();
        let response = respond(said, "1", ALIVE).await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(text(response).await, ("application/json".into(), "{}".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_before_the_answer_makes_it_a_stream_without_ids() {
        let (sender, said) = mpsc::channel(4);
        sender.send(CallOutput::Note("{\n}".into())).await.unwrap();
        sender.send(CallOutput::Answer(StatusCode::OK, "{}".into())).await.unwrap();
        let (kind, body) = text(respond(said, "1", ALIVE).await.unwrap()).await;
        assert_eq!(kind, "text/event-stream");
        assert_eq!(body, "event: message\ndata: { }\n\nevent: message\ndata: {}\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_makes_it_a_stream_and_a_refusal_its_last_event() {
        let (sender, said) = mpsc::channel(4);
        tokio::spawn(async move {
            tokio::time::sleep(ALIVE * 5 / 2).await;
            let refusal = Refusal::InvalidParams("no".into());
            sender.send(CallOutput::Refused(refusal)).await.unwrap();
        });
        let (_, body) = text(respond(said, "\"a\"", ALIVE).await.unwrap()).await;
        assert!(body.starts_with(": keep-alive\n\n: keep-alive\n\n"), "{body}");
        assert!(body.contains(r#""id":"a","error":{"code":-32602"#), "{body}");
    }
}
