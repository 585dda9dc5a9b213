//! Messages of a server as a response: plain JSON if the answer comes first,
//! an event stream if anything comes before it or it takes long.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderValue, Response, StatusCode, header};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use crate::protocol::jsonrpc::{Envelope, Kind};
use crate::protocol::{headers, splice, sse};
use crate::seam::Body;

/// Silence after which a keep-alive comment is sent. Proxies cut idle streams,
/// the shortest common limit being 30 s.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a server sends towards one stream.
#[derive(Debug, Clone)]
pub enum Message {
    /// More will follow.
    Part(Bytes),
    /// The response: the stream ends with it.
    Last(Bytes),
}

/// The response to a posted request. `None` if the sender went without a word.
pub async fn respond(
    mut messages: mpsc::Receiver<Message>,
    events: bool,
) -> Option<Response<Body>> {
    if !events {
        // A client that takes no events gets the response alone.
        loop {
            if let Message::Last(response) = messages.recv().await? {
                return Some(json(response));
            }
        }
    }
    match tokio::time::timeout(KEEP_ALIVE, messages.recv()).await {
        Ok(None) => None,
        Ok(Some(Message::Last(response))) => Some(json(response)),
        Ok(Some(Message::Part(first))) => Some(stream(messages, Some(first))),
        Err(_) => Some(stream(messages, None)),
    }
}

/// An event stream of whatever comes.
pub fn stream(messages: mpsc::Receiver<Message>, first: Option<Bytes>) -> Response<Body> {
    let events = Events {
        first: Some(first.map_or_else(|| Bytes::from_static(sse::KEEP_ALIVE), encode)),
        messages: Some(messages),
        silence: Box::pin(tokio::time::sleep(KEEP_ALIVE)),
    };
    let mut response = Response::new(Body::Stream(Box::pin(events)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(headers::EVENT_STREAM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A failure that answers a request is an answer: several SDKs end their transport
/// at any status but 200.
pub fn status_for(envelope: &Envelope<'_>, otherwise: StatusCode) -> StatusCode {
    if envelope.kind() == Kind::Request { StatusCode::OK } else { otherwise }
}

pub fn json(message: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(message));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(headers::JSON));
    response
}

fn encode(message: Bytes) -> Bytes {
    sse::event(&splice::on_one_line(message))
}

struct Events {
    first: Option<Bytes>,
    /// None when the last message has been given.
    messages: Option<mpsc::Receiver<Message>>,
    silence: Pin<Box<Sleep>>,
}

impl Stream for Events {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(first));
        }
        let Some(messages) = &mut this.messages else { return Poll::Ready(None) };
        if let Poll::Ready(message) = messages.poll_recv(cx) {
            this.silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
            return Poll::Ready(match message {
                Some(Message::Part(message)) => Some(encode(message)),
                Some(Message::Last(message)) => {
                    this.messages = None;
                    Some(encode(message))
                }
                None => None,
            });
        }
        if std::future::Future::poll(this.silence.as_mut(), cx).is_ready() {
            this.silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
            cx.waker().wake_by_ref();
            return Poll::Ready(Some(Bytes::from_static(sse::KEEP_ALIVE)));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::collect;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_first_is_plain_json() {
        let (sender, messages) = mpsc::channel(4);
        sender.send(Message::Last("{}".into())).await.unwrap();
        let response = respond(messages, true).await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(collect(response.into_body(), 99).await.unwrap(), "{}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_before_the_answer_makes_it_a_stream_that_ends_with_the_answer() {
        let (sender, messages) = mpsc::channel(4);
        sender.send(Message::Part("1".into())).await.unwrap();
        sender.send(Message::Last("2".into())).await.unwrap();
        let response = respond(messages, true).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let text = collect(response.into_body(), 999).await.unwrap();
        assert_eq!(text, "event: message\ndata: 1\n\nevent: message\ndata: 2\n\n");
        drop(sender);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_call_is_kept_alive() {
        let (sender, messages) = mpsc::channel(4);
        let call = tokio::spawn(async move {
            collect(respond(messages, true).await.unwrap().into_body(), 9999).await.unwrap()
        });
        tokio::time::sleep(Duration::from_secs(600)).await;
        sender.send(Message::Last("7".into())).await.unwrap();
        let text = String::from_utf8(call.await.unwrap().to_vec()).unwrap();
        assert!(text.matches(": keep-alive").count() >= 39, "{text}");
        assert!(text.ends_with("data: 7\n\n"));
    }
}
