//! Passes messages and streams to the one server behind the URL.

use std::pin::Pin;

use bytes::Bytes;
use http::Response;
use http_body::Body as _;

use crate::edge::catalog::prefixed::may_be_prefixed;
use crate::edge::client_request::ClientRequest;
use crate::edge::delivery::call::Call;
use crate::edge::delivery::deliver::Delivered;
use crate::edge::delivery::outgoing::Outgoing;
use crate::edge::front::whole::{asks_first, count_for, id_of_rest};
use crate::edge::observed::call::ObservedCall;
use crate::edge::observed::notes::CallOrigin;
use crate::edge::refusal::{Refusal, Refused, lost_words};
use crate::edge::relay::relay;
use crate::edge::worker::Worker;
use crate::model::{Scope, ServerName};
use crate::net::{Body, Cut, Kept, TooLong, is_open_stream};
use crate::protocol::jsonrpc::{Envelope, Kind, Malformed};
use crate::protocol::version::Version;
use crate::protocol::{headers, sse};
use crate::streams::EventId;

/// A request body, kept if it is small enough.
pub enum KeptBody {
    Whole(Bytes),
    /// Passed on as it arrives; the [`Cut`] says whether it broke off.
    Larger(Body, Cut),
}

/// The place at which the client resumes the stream of a request. `None` for the GET stream.
pub fn resumption(outgoing: &Outgoing) -> Option<EventId> {
    let last = outgoing.last_event_id.as_ref().and_then(|id| id.to_str().ok());
    last.and_then(EventId::parse).filter(|place| place.stream != EventId::GET)
}

/// The same, but an event stream that breaks off ends with an error that answers the request.
pub fn to_the_end(
    mut delivered: Delivered,
    server: &ServerName,
    id: impl FnOnce() -> Option<String>,
) -> Delivered {
    if is_open_stream(&delivered.response)
        && let Some(id) = id()
    {
        let words = sse::event(&lost_words(&id, server));
        delivered.response = delivered.response.map(|body| body.or_last_words(words));
    }
    delivered
}

/// The id of a kept message, as JSON. `None` if it is no request.
pub fn request_id(message: &[u8]) -> Option<String> {
    match Envelope::parse(message) {
        Ok(envelope) if envelope.kind() == Kind::Request => envelope.id_text().map(str::to_owned),
        Ok(_) | Err(Malformed::Json(_) | Malformed::Message(_)) => None,
    }
}

impl Call<'_> {
    /// Passes a message to the one server behind the URL; its bytes stay as they are, except for a
    /// name that has the server's name in front.
    pub async fn pass(&self, body: Body) -> Result<Response<Body>, Refused> {
        let (worker, server) = (self.worker, self.server);
        let scope = Scope::Server(server.clone());
        let origin = CallOrigin { context: self.context, session: self.session, scope: &scope };
        if let Some(client) = self.context {
            count_for(&body, client);
        }
        // What sets state is read, if it is to be kept.
        let limit = worker.edge.config.kept_body;
        let plan = self.state_plan();
        let limit = plan.as_ref().map_or(limit, |plan| plan.most_bytes.max(limit));
        let counts = worker.pass_counts(self.context, server);
        // Logs and traces tell what is in a message, wherever it stands there.
        let is_told = worker.edge.telemetry.reads_messages();
        let is_large = body.size_hint().upper().is_none_or(|most| most > limit as u64);
        let told = self.context.filter(|_| is_told && is_large);
        let kept = match counts.as_ref().map(|counts| counts.context()).or(told) {
            Some(context) => KeptBody::Whole(Box::pin(worker.whole(body, context)).await?),
            None => worker.keep(body, self.context, limit).await?,
        };
        let mut under_way = None;
        let (delivered, call) = match kept {
            KeptBody::Whole(message) => {
                let separator = &worker.edge.config.separator;
                let message = match may_be_prefixed(&message, server, separator) {
                    true => Box::pin(self.by_own_names(message)).await,
                    false => message,
                };
                let call = ObservedCall::begin(worker, origin, &message);
                call.is_for(server, &message);
                if let Some(counts) = &counts {
                    let takes_batches = self.session.version == Version::V2025_03_26;
                    match counts.count(&message, takes_batches) {
                        Ok(counted) => under_way = counted,
                        Err(mut not_counted) => {
                            let id = not_counted.ids.last().map(String::as_str);
                            call.refused(&not_counted.refusal, id);
                            if let Some(response) = not_counted.of_batch() {
                                worker.edge.metrics.refusal(&not_counted.refusal);
                                return Ok(response);
                            }
                            let id = not_counted.ids.pop();
                            return Err((not_counted.refusal, id));
                        }
                    }
                }
                let outgoing = Outgoing::post(message).within(call.trace());
                match self.deliver_with(plan, &outgoing).await {
                    Ok(delivered) => {
                        (to_the_end(delivered, server, || request_id(&outgoing.body)), call)
                    }
                    Err(refusal) => {
                        let id = request_id(&outgoing.body);
                        call.refused(&refusal, id.as_deref());
                        return Err((refusal, id));
                    }
                }
            }
            KeptBody::Larger(body, cut) => {
                let mut call = ObservedCall::begin_streamed(worker);
                let outgoing = Outgoing::post(Bytes::new());
                call.is_for(server, b"");
                let sent = self.deliver_streamed(&outgoing, body, &cut);
                let sent = Box::pin(sent).await;
                call.passed(&cut);
                match sent {
                    Ok(delivered) => (to_the_end(delivered, server, || cut.request_id()), call),
                    Err(refusal) => {
                        let id = cut.request_id();
                        call.refused(&refusal, id.as_deref());
                        return Err((refusal, id));
                    }
                }
            }
        };
        call.was_at(&delivered.node.id);
        let mut response = call.answered(relay(delivered.response));
        worker.edge.write_token(delivered.token.as_ref(), response.headers_mut());
        Ok(match under_way {
            Some(under_way) => response.map(|body| body.with_guard(under_way)),
            None => response,
        })
    }

    /// The GET stream of the one server behind the URL, or what is left of a request's stream.
    pub async fn get_stream(&self) -> Result<Response<Body>, Refusal> {
        let headers = self.context.map(|client| &client.headers);
        let last_event_id = headers.and_then(|headers| headers.get(headers::LAST_EVENT_ID));
        let outgoing = Outgoing::get(last_event_id.cloned());
        // The stream of a request ends with its answer; the GET stream does not end.
        if let Some(place) = resumption(&outgoing) {
            let resumed = self.resume(&outgoing, place).await;
            return resumed.map(relay);
        }
        self.lasting_stream(&outgoing).await
    }
}

impl Worker {
    fn larger(&self, head: Bytes, rest: Body) -> KeptBody {
        let cut = Cut::default();
        let body = Body::chained(head, rest, self.edge.config.request_body, cut.clone());
        KeptBody::Larger(body, cut)
    }

    /// Reads the body if it is small enough to be kept for a repeat.
    async fn keep(
        &self,
        mut body: Body,
        context: Option<&ClientRequest>,
        limit: usize,
    ) -> Result<KeptBody, Refused> {
        let asks_first = || context.is_some_and(asks_first);
        let config = &self.edge.config;
        let declared = body.size_hint().lower();
        if declared > config.request_body as u64 {
            let why = TooLong::Limit(config.request_body);
            let id = Box::pin(id_of_rest(&mut body, &why, Box::default(), asks_first())).await;
            return Err((self.unreadable(&why), id));
        }
        if declared > limit as u64 {
            return Ok(self.larger(Bytes::new(), body));
        }
        let mut read = Kept::default();
        match self.read_small(&mut read, &mut body, limit).await {
            Err(why) => {
                let id =
                    Box::pin(id_of_rest(&mut body, &why, read.request(&[]), asks_first())).await;
                Err((self.unreadable(&why), id))
            }
            Ok(()) => {
                let is_larger = read.len() > limit;
                let request = |read: &Kept| read.request(&[]).get().map(str::to_owned);
                if let Err(why) = read.settle() {
                    return Err((self.unreadable(&why), request(&read)));
                }
                let read = read.into_bytes();
                Ok(if is_larger { self.larger(read, body) } else { KeptBody::Whole(read) })
            }
        }
    }

    /// Reads to the end, or until it is clear that the body is too large to be kept.
    async fn read_small(
        &self,
        read: &mut Kept,
        body: &mut Body,
        limit: usize,
    ) -> Result<(), TooLong> {
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
        {
            let Ok(data) = frame?.into_data() else { continue };
            read.add(data, body.intake(), limit)?;
            if read.len() > limit || body.is_end_stream() {
                break;
            }
        }
        Ok(())
    }
}
