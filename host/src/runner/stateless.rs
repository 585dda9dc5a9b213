//! Requests without a session at servers without sessions: passed on as they came, by any worker.
//!
//! No instance stands for them. Over HTTP each is an exchange of its own, on stdio they go to the
//! process that serves all sessions. Leaving the response cancels the request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tokio::sync::mpsc;

use crate::model::{ServerName, SessionId};
use crate::net::{Body, Failure, collect, collect_request, is_event_stream, name_events};
use crate::protocol::answer::is_answer_to;
use crate::protocol::era::answered::code_of;
use crate::protocol::era::arguments;
use crate::protocol::era::fault::EraFault;
use crate::protocol::era::methods::LISTEN;
use crate::protocol::headers as names;
use crate::protocol::jsonrpc::{self, Envelope, Kind, Malformed, code};
use crate::protocol::request_id::RequestId;
use crate::protocol::splice::{self, RequestTarget};
use crate::protocol::sse;
use crate::seam::Outcome;
use crate::streams::response as events;

use super::bridge::discover::NotDiscovered;
use super::bridge::exchange::{Heard, Outgoing, Unanswered};
use super::bridge::mux::{MuxExchange, Place};
use super::bridge::passing::{OwnNames, wants_logs};
use super::bridge::replaced;
use super::channel::answer::mark_own;
use super::channel::error_counts::code_in;
use super::channel::judge::{self, Judged};
use super::channel::message_ids::check_token;
use super::channel::responses;
use super::endpoint::{Asks, Runner, Sender};
use super::overhearing::Overhearing;
use super::process::program::Program;
use super::remote::errors;
use super::remote::sessionless::Repeated;
use super::remote::upstream::Upstream;
use super::session::modern_opening::{ProcessFor, modern_start};
use super::session::served::{Recipe, Served};
use super::unserved::{malformed, plain, unreadable};

/// Events that wait for a client which reads slowly.
const AHEAD: usize = 64;

impl Runner {
    /// Answers a request without a session.
    pub(super) async fn stateless(
        &self,
        server: &ServerName,
        sender: Sender,
        asks: Asks,
        request: &mut Request<Body>,
    ) -> Response<Body> {
        let served = self.shared.servers.load().get(server).map(Arc::clone);
        let Some(served) = served else { return not_served(server, "is not hosted on this node") };
        let mut body = std::mem::take(request.body_mut());
        let message = match collect_request(&mut body, self.shared.config.message).await {
            Ok(message) => message,
            Err((error, read)) => return unreadable(&error, read.get()),
        };
        // One process serves many clients: all have to see the same message.
        let envelope = match Envelope::parse_strictly(&message) {
            Ok(envelope) => envelope,
            Err(error) => return malformed(&error, RequestId::of(&message).as_deref()),
        };
        let is_request = envelope.kind() == Kind::Request;
        let Some(id) = envelope.id_text().filter(|_| is_request) else {
            let error = Malformed::Message("a request with an id is needed");
            return malformed(&error, None);
        };
        if let Err(error) = check_token(&envelope) {
            return malformed(&error, Some(id));
        }
        if asks.withholds()
            && let Some(response) = self.withheld(server, &envelope)
        {
            return response;
        }
        let passing = Passing { runner: self, server, served: &served, id };
        let sent = request.headers();
        match &served.recipe {
            Recipe::Http(upstream) | Recipe::HttpOrSse(upstream) => {
                let forwarded = match asks.passes_headers() {
                    true => self.forwarded(server, sent),
                    false => HeaderMap::new(),
                };
                let listens = envelope.method() == LISTEN;
                let response = passing
                    .over_http(upstream, message.clone(), forwarded, Repeated::Sent(sent))
                    .await;
                if listens && is_event_stream(&response) {
                    let line = self.shared.config.rules.line;
                    return passing.overhears().overheard(response, line);
                }
                response
            }
            Recipe::Stdio(program) => {
                if let Err(why) = self.check_arguments(server, &served, &envelope, sent) {
                    let text = why.to_string();
                    let mut response = events::json(jsonrpc::error(Some(id), why.code(), &text));
                    *response.status_mut() = why.status();
                    mark_own(&mut response, why.code());
                    return response;
                }
                passing.over_stdio(program, sender, &message, &envelope).await
            }
            Recipe::Sse(_) | Recipe::Broken(_) => not_served(server, "has sessions alone"),
        }
    }

    /// Checks the headers that repeat arguments: a server on stdio sees none.
    fn check_arguments(
        &self,
        server: &ServerName,
        served: &Arc<Served>,
        envelope: &Envelope<'_>,
        headers: &HeaderMap,
    ) -> Result<(), EraFault> {
        if envelope.method() != "tools/call" {
            return Ok(());
        }
        let Some(target) = RequestTarget::of(envelope.params) else { return Ok(()) };
        let name = target.name.and_then(splice::string).unwrap_or_default();
        let known = self.shared.resources.eras.tools(server, served).of(&name);
        let Some(mirrored) = known else { return Ok(()) };
        arguments::check(&mirrored, target.arguments.map(|given| given.get()), headers)
    }
}

/// One request on its way.
pub(super) struct Passing<'a> {
    pub runner: &'a Runner,
    pub server: &'a ServerName,
    pub served: &'a Arc<Served>,
    /// The request's, as JSON.
    pub id: &'a str,
}

impl Passing<'_> {
    pub(super) async fn over_http(
        &self,
        upstream: &Upstream,
        message: Bytes,
        forwarded: HeaderMap,
        repeated: Repeated<'_>,
    ) -> Response<Body> {
        let (client, pool) = (self.served.sessionless.of(upstream), &self.runner.pool);
        let limit = self.served.timeouts.total.or(self.served.timeouts.silence);
        let came = match limit {
            Some(limit) => {
                // Boxed, since a future has room for all that its branches wait for.
                let sending = Box::pin(client.post(pool, message, forwarded, repeated));
                match tokio::time::timeout(limit, sending).await {
                    Ok(came) => came,
                    Err(_) => return self.timed_out(limit),
                }
            }
            None => client.post(pool, message, forwarded, repeated).await,
        };
        let response = match came {
            Ok(response) => response,
            Err(failure) => return self.unsent(&failure),
        };
        // The usual answer goes on as it is, and nothing else of the response is looked at.
        if response.status() == StatusCode::OK
            && let Body::Full(body) = response.body()
            && is_answer_to(body, self.id)
        {
            return responses::passed_on(response);
        }
        Box::pin(self.judged(upstream, response)).await
    }

    /// What goes on of a response that is not the usual answer.
    async fn judged(&self, upstream: &Upstream, mut response: Response<Body>) -> Response<Body> {
        let head = upstream.head_of(&response);
        if head.status.is_success()
            && let Err(error) = name_events(&mut response).await
        {
            let text = format!("server {}: {error}; the call may have run", self.server);
            return self.error(code::SERVER_LOST, &text, Some(Outcome::Sent));
        }
        if head.status.is_success() && is_event_stream(&response) {
            return relayed(response);
        }
        let limit = self.runner.shared.config.rules.line;
        let body = match head.status.is_success() {
            true => collect(response.into_body(), limit).await,
            false => Ok(errors::beginning(response.into_body()).await),
        };
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                let text = format!("server {}: {error}; the call may have run", self.server);
                return self.error(code::SERVER_LOST, &text, Some(Outcome::Sent));
            }
        };
        if replaced::may_be(Some(&head), &body) {
            // Sessions are needed by now, perhaps: its next reading tells.
            self.runner.shared.discovery.doubt(self.server);
        }
        match judge::judge(self.server, self.id, &head, &body) {
            Judged::Answer(answer) => {
                let mut response = events::json(answer);
                // The statuses that the revision gives its errors.
                if matches!(head.status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND) {
                    *response.status_mut() = head.status;
                }
                response
            }
            Judged::Error(error) => {
                let code = code_in(&error);
                let mut response = events::json(error);
                mark_own(&mut response, code);
                response
            }
        }
    }

    async fn over_stdio(
        &self,
        program: &Program,
        sender: Sender,
        message: &Bytes,
        envelope: &Envelope<'_>,
    ) -> Response<Body> {
        let Some(own) = OwnNames::of(envelope) else {
            return malformed(&Malformed::long_token(), Some(self.id));
        };
        let place = match self.place(program, sender).await {
            Ok(place) => place,
            Err(error) => {
                let mut response = plain(StatusCode::BAD_GATEWAY, &error.to_string());
                Outcome::NotSent.write(response.headers_mut());
                return response;
            }
        };
        let number = place.mux().number();
        let Some(numbered) = own.numbered(message, envelope, number) else {
            return malformed(&Malformed::ambiguous(), Some(self.id));
        };
        let outgoing = Outgoing {
            number,
            message: numbered,
            headers: HeaderMap::new(),
            takes_logs: wants_logs(envelope),
        };
        let mut exchange = place.mux().send(outgoing).await;
        let keep_alive = self.runner.shared.config.rules.keep_alive;
        let first = match tokio::time::timeout(keep_alive, exchange.next()).await {
            Ok(Heard::Answer(answer)) => return answered(own.restored(&answer)),
            Ok(Heard::Failed(why)) => return self.unanswered(&why),
            Ok(Heard::Notice(notice)) => sse::event(&one_line(own.restored(&notice))),
            Err(_) => Bytes::from_static(sse::KEEP_ALIVE),
        };
        let (sayer, said) = mpsc::channel(AHEAD);
        let overhears = (envelope.method() == LISTEN).then(|| self.overhears());
        let telling = Telling { own, exchange, _place: place, keep_alive, overhears };
        tokio::spawn(telling.run(first, sayer));
        let mut response = Response::new(Body::Channel(said));
        let kind = HeaderValue::from_static(names::EVENT_STREAM);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }

    fn overhears(&self) -> Overhearing {
        let discovery = Arc::clone(&self.runner.shared.discovery);
        Overhearing { discovery, server: self.server.clone() }
    }

    async fn place(&self, program: &Program, sender: Sender) -> Result<Arc<Place>, NotDiscovered> {
        let resources = &self.runner.shared.resources;
        let who = ProcessFor {
            server: self.server,
            served: self.served,
            principal: Some(&sender.principal),
            session: SessionId::mint(),
            quota: sender.quota.as_ref(),
        };
        let (key, with) = modern_start(&who, program, resources, self.served.start_timeout, false);
        Ok(resources.modern_processes.place(&key, with).await?.0)
    }

    fn unsent(&self, failure: &Failure) -> Response<Body> {
        if let Some(errors) = self.runner.shared.errors().get(self.server) {
            errors.note_unreached();
        }
        let text = errors::unreachable(self.server, failure);
        match failure {
            Failure::Broken(_) => self.error(code::SERVER_LOST, &text, Some(Outcome::Sent)),
            Failure::NotSent(_) | Failure::Short(_) => {
                let mut response = plain(StatusCode::BAD_GATEWAY, &text);
                Outcome::NotSent.write(response.headers_mut());
                response
            }
        }
    }

    fn unanswered(&self, why: &Unanswered) -> Response<Body> {
        if why.may_have_run {
            return self.error(code::SERVER_LOST, &why.why, Some(Outcome::Sent));
        }
        let mut response = plain(StatusCode::BAD_GATEWAY, &why.why);
        Outcome::NotSent.write(response.headers_mut());
        response
    }

    fn timed_out(&self, limit: Duration) -> Response<Body> {
        let ms = limit.as_millis();
        let text =
            format!("server {}: no answer within {ms} ms; the call may have run", self.server);
        self.error(code::TIMED_OUT, &text, None)
    }

    fn error(&self, code: i64, text: &str, outcome: Option<Outcome>) -> Response<Body> {
        let mut response = events::json(jsonrpc::error(Some(self.id), code, text));
        mark_own(&mut response, code);
        if let Some(outcome) = outcome {
            outcome.write(response.headers_mut());
        }
        response
    }
}

/// What a process says to one request, as events of its response.
struct Telling {
    own: OwnNames,
    exchange: MuxExchange,
    /// Keeps the process.
    _place: Arc<Place>,
    keep_alive: Duration,
    overhears: Option<Overhearing>,
}

impl Telling {
    async fn run(mut self, first: Bytes, sayer: mpsc::Sender<Bytes>) {
        if sayer.send(first).await.is_err() {
            return;
        }
        loop {
            let heard = tokio::select! {
                biased;
                // Dropping the exchange cancels the request.
                () = sayer.closed() => return,
                heard = tokio::time::timeout(self.keep_alive, self.exchange.next()) => heard,
            };
            let (event, is_last) = match heard {
                Err(_) => (Bytes::from_static(sse::KEEP_ALIVE), false),
                Ok(Heard::Notice(notice)) => {
                    if let Some(overhears) = &self.overhears {
                        overhears.hear(&notice);
                    }
                    (self.event(&notice), false)
                }
                Ok(Heard::Answer(answer)) => (self.event(&answer), true),
                Ok(Heard::Failed(why)) => {
                    let id = Some(&*self.own.id);
                    let error = jsonrpc::error(id, code::SERVER_LOST, &why.why);
                    (sse::event(&error), true)
                }
            };
            if sayer.send(event).await.is_err() || is_last {
                return;
            }
        }
    }

    fn event(&self, message: &Bytes) -> Bytes {
        sse::event(&one_line(self.own.restored(message)))
    }
}

/// An answer with the status that the revision gives its error.
fn answered(answer: Bytes) -> Response<Body> {
    let error = Envelope::parse(&answer).ok().and_then(|answer| code_of(answer.error?));
    let status = match error {
        Some(code::METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        Some(code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::UNSUPPORTED_VERSION) => {
            StatusCode::BAD_REQUEST
        }
        Some(_) | None => StatusCode::OK,
    };
    let mut response = events::json(answer);
    *response.status_mut() = status;
    response
}

fn one_line(message: Bytes) -> Bytes {
    splice::on_one_line(message)
}

/// An event stream of the server, whose bytes pass as they come.
fn relayed(response: Response<Body>) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let mut response = Response::new(body);
    for name in [header::CONTENT_TYPE, header::CACHE_CONTROL] {
        if let Some(value) = parts.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

fn not_served(server: &ServerName, why: &str) -> Response<Body> {
    let mut response = plain(StatusCode::NOT_FOUND, &format!("server {server} {why}"));
    Outcome::NotSent.write(response.headers_mut());
    response
}
