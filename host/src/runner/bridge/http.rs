//! A server of the revision without sessions behind a URL: each request is an exchange of its own,
//! and closing its response cancels it (2026-07-28, basic/transports/streamable-http).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri, header};

use crate::model::ServerName;
use crate::net::{
    EventReader, Failure, Pool, Read, TooLong, collect, is_event_stream, name_events,
};
use crate::oauth::challenge::WantsToken;
use crate::protocol::jsonrpc::{Envelope, Kind};
use crate::protocol::trace_context;
use crate::runner::channel::judge::{self, ResponseHead};
use crate::runner::remote::errors;
use crate::runner::remote::upstream::{Came, Upstream, UpstreamClient};
use crate::seam::UserTokenRefused;
use crate::sync::Locked;

use super::exchange::{Heard, Outgoing, Unanswered};

/// The server, as one session reaches it.
pub struct HttpServer {
    server: ServerName,
    client: UpstreamClient,
    pool: Pool,
    /// The client's headers that the operator lets through, as they came last.
    passed: Locked<HeaderMap>,
    /// The largest answer or event, in bytes.
    line: usize,
    next: AtomicU64,
}

impl HttpServer {
    #[must_use]
    pub fn new(
        server: &ServerName,
        client: UpstreamClient,
        pool: &Pool,
        forwarded: &HeaderMap,
        line: usize,
    ) -> Self {
        let passed = Locked::new(without_trace(forwarded));
        let (server, pool) = (server.clone(), pool.clone());
        Self { server, client, pool, passed, line, next: 1.into() }
    }

    #[must_use]
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    #[must_use]
    pub fn upstream(&self) -> &Upstream {
        self.client.upstream()
    }

    /// Whether requests carry a token of their client's user now.
    #[must_use]
    pub fn has_user_token(&self) -> bool {
        self.upstream().is_of_users && self.passed.lock().contains_key(header::AUTHORIZATION)
    }

    /// How a response refuses the token of the client's user, if it does.
    #[must_use]
    pub fn refuses_user(&self, head: &ResponseHead) -> Option<UserTokenRefused> {
        self.upstream().refuses_user(head).filter(|_| self.has_user_token())
    }

    /// The token that a response demands. One of a user needs no words about it.
    #[must_use]
    pub fn wanted(&self, head: &ResponseHead) -> Option<WantsToken> {
        let is_of_user = head.status == StatusCode::UNAUTHORIZED && self.upstream().is_of_users;
        let silent = || WantsToken { is_refused: true, ..WantsToken::default() };
        head.wanted.clone().or_else(|| is_of_user.then(silent))
    }

    /// Keeps the client's headers for the requests that follow.
    pub fn pass(&self, forwarded: &HeaderMap) {
        if forwarded.is_empty() {
            return;
        }
        let of_client = without_trace(forwarded);
        if !of_client.is_empty() {
            *self.passed.lock() = of_client;
        }
    }

    #[must_use]
    pub fn send(self: &Arc<Self>, outgoing: Outgoing) -> HttpExchange {
        let id = outgoing.number.to_string();
        let mut headers = self.passed.lock().clone();
        headers.extend(outgoing.headers);
        let (server, message) = (Arc::clone(self), outgoing.message);
        let sending = Box::pin(async move { server.begin(message, headers).await });
        HttpExchange {
            server: Arc::clone(self),
            id,
            head: None,
            moved: None,
            at: At::Sent(sending),
        }
    }

    async fn begin(self: Arc<Self>, message: Bytes, headers: HeaderMap) -> Result<Begun, Failure> {
        let Came { mut response, moved } =
            self.client.post(&self.pool, None, message, &headers).await?;
        let head = self.client.upstream().head_of(&response);
        if head.status.is_success() {
            let begun = name_events(&mut response).await;
            begun.map_err(|error| Failure::Broken(error.to_string()))?;
        }
        let is_stream = head.status.is_success() && is_event_stream(&response);
        let body = response.into_body();
        let came = match is_stream {
            true => Whole::Stream(Box::new(EventReader::new(body, self.line))),
            false if head.status.is_success() => Whole::Body(collect(body, self.line).await),
            false => Whole::Body(Ok(errors::beginning(body).await)),
        };
        Ok(Begun { head, moved, came })
    }
}

/// A trace is of its message alone.
fn without_trace(forwarded: &HeaderMap) -> HeaderMap {
    let mut of_client = forwarded.clone();
    trace_context::remove(&mut of_client);
    of_client
}

struct Begun {
    head: ResponseHead,
    moved: Option<Uri>,
    came: Whole,
}

enum Whole {
    Stream(Box<EventReader>),
    Body(Result<Bytes, TooLong>),
}

enum At {
    Sent(Pin<Box<dyn Future<Output = Result<Begun, Failure>> + Send>>),
    Reads(Box<EventReader>),
    Over,
}

/// One request and its response.
pub struct HttpExchange {
    server: Arc<HttpServer>,
    /// As JSON.
    id: String,
    head: Option<ResponseHead>,
    /// Where redirects have led to.
    pub moved: Option<Uri>,
    at: At,
}

impl HttpExchange {
    #[must_use]
    pub fn head(&self) -> Option<&ResponseHead> {
        self.head.as_ref()
    }

    /// What comes next. May be dropped while it waits.
    pub async fn next(&mut self) -> Heard {
        loop {
            let heard = match &mut self.at {
                At::Over => self.failed("it has said nothing more"),
                At::Reads(events) => {
                    let read = events.next().await;
                    match self.take(read) {
                        Some(heard) => heard,
                        None => continue,
                    }
                }
                At::Sent(sending) => {
                    let begun = sending.await;
                    match self.begun(begun) {
                        Some(heard) => heard,
                        None => continue,
                    }
                }
            };
            if !matches!(heard, Heard::Notice(_)) {
                self.at = At::Over;
            }
            return heard;
        }
    }

    /// The response has begun. `None` if its events are still to be read.
    fn begun(&mut self, begun: Result<Begun, Failure>) -> Option<Heard> {
        let server = &self.server.server;
        let Begun { head, moved, came } = match begun {
            Ok(begun) => begun,
            Err(failure) => {
                let may_have_run = matches!(failure, Failure::Broken(_));
                let why = errors::unreachable(server, &failure);
                return Some(Heard::Failed(Unanswered { may_have_run, is_gone: false, why }));
            }
        };
        let heard = match came {
            Whole::Stream(events) => {
                self.at = At::Reads(events);
                None
            }
            Whole::Body(Ok(body)) => {
                Some(Heard::Answer(judge::judge(server, &self.id, &head, &body).message()))
            }
            Whole::Body(Err(error)) => Some(self.failed(&error.to_string())),
        };
        (self.head, self.moved) = (Some(head), moved);
        heard
    }

    fn take(&self, read: Option<Read>) -> Option<Heard> {
        let event = match read {
            Some(Read::Event(event)) => event,
            Some(Read::Comment) => return None,
            Some(Read::Broken(error)) => return Some(self.failed(&error.to_string())),
            None => return Some(self.failed("its stream ended without an answer")),
        };
        if !event.has_message() {
            return None;
        }
        let message = Bytes::from(event.data);
        match Envelope::parse(&message).ok()?.kind() {
            Kind::Notification => Some(Heard::Notice(message.clone())),
            Kind::Response => judge::answer_in(&self.id, &message).map(Heard::Answer),
            // Servers ask nothing in this revision but in their results.
            Kind::Request => None,
        }
    }

    fn failed(&self, why: &str) -> Heard {
        let why = format!("server {}: {why}; the call may have run", self.server.server);
        Heard::Failed(Unanswered { may_have_run: true, is_gone: false, why })
    }
}
