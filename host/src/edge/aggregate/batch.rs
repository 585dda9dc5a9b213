//! A batch on an aggregate: each message is handled by itself, and the answers come on one stream
//! (2025-03-26, basic/transports, "Sending Messages to the Server").

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, SelectAll};
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

/// Most requests of one batch that wait for their servers at the same time.
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
        let mut answering = stream::iter(requests)
            .map(|message| self.aggregate_one(context, scope, session, message))
            .buffer_unordered(AT_ONCE);
        let limit = self.edge.config.line;
        let mut bodies = SelectAll::new();
        while let Some(answer) = answering.next().await {
            let response = answer.unwrap_or_else(|(refusal, id)| refusal.response(id.as_deref()));
            bodies.push(events_of(response, limit).await);
        }
        let mut response = Response::new(Body::Stream(Box::pin(bodies)));
        content_type(response.headers_mut(), headers::EVENT_STREAM);
        response.headers_mut().insert(
            header::CACHE_CONTROL,
            http::HeaderValue::from_static("no-cache, no-transform"),
        );
        Ok(response)
    }
}

type EventBytes = std::pin::Pin<Box<dyn futures_util::Stream<Item = Bytes> + Send + Sync>>;

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
