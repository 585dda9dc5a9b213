//! A batch on an aggregate: each message is handled by itself, and the answers come on one stream
//! (2025-03-26, basic/transports, "Sending Messages to the Server").
//!
//! A request of the batch begins when the client has read what the ones before it have answered:
//! a few bytes can ask for a large list hundreds of times.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesUnordered, SelectAll};
use http::{Response, header};
use serde_json::value::RawValue;

use crate::edge::client_request::ClientRequest;
use crate::edge::refusal::{Refusal, Refused};
use crate::edge::relay::{accepted, content_type};
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::Scope;
use crate::net::{Body, collect, is_event_stream};
use crate::protocol::jsonrpc::{Envelope, Kind, Malformed};
use crate::protocol::{headers, methods, splice, sse};
use crate::sync::Locked;

/// Most requests of one batch that wait for their servers, or whose answers are read, at the same
/// time.
const AT_ONCE: usize = 32;

impl Worker {
    pub(in crate::edge) async fn aggregate_batch(
        &self,
        context: &ClientRequest,
        scope: &Scope,
        session: &Session,
        body: &Bytes,
        parts: &[&RawValue],
    ) -> Result<Response<Body>, Refused> {
        let malformed = |error| (Refusal::Malformed(error), None);
        if parts.len() > self.edge.config.in_flight {
            return Err((Refusal::LongBatch(self.edge.config.in_flight), None));
        }
        let mut requests = Vec::new();
        let mut others = Vec::new();
        for part in parts {
            let message = body.slice_ref(part.get().as_bytes());
            let envelope = Envelope::parse_strictly(&message).map_err(malformed)?;
            if envelope.method() == methods::INITIALIZE {
                let text = "initialize is never part of a batch";
                return Err(malformed(Malformed::Message(text)));
            }
            let is_request = envelope.kind() == Kind::Request;
            if is_request { requests.push(message) } else { others.push(message) }
        }
        for message in others {
            self.aggregate_one(context, scope, session, message).await?;
        }
        if requests.is_empty() {
            return Ok(accepted());
        }
        let sender = BatchSender {
            worker: self.clone(),
            context: context.clone(),
            scope: scope.clone(),
            session: session.clone(),
        };
        let mut response = Response::new(BatchAnswers::body(sender, requests));
        content_type(response.headers_mut(), headers::EVENT_STREAM);
        response.headers_mut().insert(
            header::CACHE_CONTROL,
            http::HeaderValue::from_static("no-cache, no-transform"),
        );
        Ok(response)
    }
}

type EventBytes = Pin<Box<dyn futures_util::Stream<Item = Bytes> + Send + Sync>>;

/// The client of a batch, and what it sends the batch to.
struct BatchSender {
    worker: Worker,
    context: ClientRequest,
    scope: Scope,
    session: Session,
}

impl BatchSender {
    /// The answer to one request, as events.
    async fn answer(self: Arc<Self>, message: Bytes) -> EventBytes {
        let Self { worker, context, scope, session } = &*self;
        let answer = worker.aggregate_one(context, scope, session, message).await;
        let response = answer.unwrap_or_else(|(refusal, id)| {
            worker.edge.metrics.refusal(&refusal);
            refusal.response(id.as_deref())
        });
        events_of(response, worker.edge.config.line).await
    }
}

/// The answers to a batch, made as they are read.
struct BatchAnswers {
    sender: Arc<BatchSender>,
    /// Requests that have not begun.
    waiting: std::vec::IntoIter<Bytes>,
    running: FuturesUnordered<BoxFuture<'static, EventBytes>>,
    answering: SelectAll<EventBytes>,
}

impl BatchAnswers {
    fn body(sender: BatchSender, requests: Vec<Bytes>) -> Body {
        let unread = Arc::clone(&sender.worker.edge.connections.unread);
        // Only for `Sync`, which a future is not and a body is.
        let mut answers = Locked::new(Self {
            sender: Arc::new(sender),
            waiting: requests.into_iter(),
            running: FuturesUnordered::new(),
            answering: SelectAll::new(),
        });
        Body::Stream(Box::pin(stream::poll_fn(move |cx| {
            let piece = answers.get_mut().poll_next(cx);
            piece.map(|piece| piece.map(|piece| unread.counted(piece)))
        })))
    }

    /// The next piece of an answer. Another request begins only if no piece is there.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Poll::Ready(Some(piece)) = self.answering.poll_next_unpin(cx) {
                return Poll::Ready(Some(piece));
            }
            if let Poll::Ready(Some(events)) = self.running.poll_next_unpin(cx) {
                self.answering.push(events);
                continue;
            }
            let at_work = self.running.len() + self.answering.len();
            if at_work < AT_ONCE
                && let Some(message) = self.waiting.next()
            {
                self.running.push(Box::pin(Arc::clone(&self.sender).answer(message)));
                continue;
            }
            return if at_work == 0 { Poll::Ready(None) } else { Poll::Pending };
        }
    }
}

/// The response as events, passed on as they arrive.
async fn events_of(response: Response<Body>, limit: usize) -> EventBytes {
    if is_event_stream(&response) {
        let mut body = response.into_body();
        return Box::pin(stream::poll_fn(move |cx| {
            loop {
                let frame = http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx);
                return match std::task::ready!(frame) {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => std::task::Poll::Ready(Some(data)),
                        Err(_) => continue,
                    },
                    Some(Err(_)) | None => std::task::Poll::Ready(None),
                };
            }
        }));
    }
    let message = collect(response.into_body(), limit).await.unwrap_or_default();
    let event = (!message.is_empty()).then(|| sse::event(&splice::on_one_line(message)));
    Box::pin(stream::iter(event))
}
