//! A message on its way to an upstream, until the head of the response has arrived.
//!
//! Usually that takes less than `OPEN_AFTER`, and the session keeps nothing of the request. One
//! that takes longer is adopted into the session's mailbox: it gets a stream that the client can
//! resume, and can be found when it is cancelled. A request whose client leaves is adopted too,
//! since it continues to run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use tokio::runtime::Handle;

use crate::net::{Body, Pool, Unanswered};
use crate::protocol::jsonrpc::Envelope;
use crate::runner::channel::in_flight::Asker;
use crate::runner::channel::mailbox::MailboxRefusal;
use crate::runner::channel::timeout;
use crate::streams::Stream;
use crate::streams::response::OPEN_AFTER;
use crate::sync::now;

use super::answers::{self, AnswerSource};
use super::redirects;
use super::sending::{FirstSecond, LateResponse};
use super::session::UpstreamSession;
use super::upstream::UpstreamClient;
use crate::oauth::source::AccessToken;
use crate::oauth::tokens::NoToken;

/// Longest time for a message whose answer has no receiver.
const STILL_SENT: Duration = Duration::from_secs(60);

/// One POST to an upstream: a message, or a batch.
pub struct HttpCall<'a> {
    session: &'a Arc<UpstreamSession>,
    pool: &'a Pool,
    requests: &'a [&'a Envelope<'a>],
    sent: Posted<'a>,
    asker: Asker,
    began: Instant,
    sending: Option<LateResponse>,
}

/// What is posted.
#[derive(Clone, Copy)]
pub struct Posted<'a> {
    pub body: &'a Bytes,
    /// The client's headers that are passed on.
    pub forwarded: &'a HeaderMap,
}

impl<'a> HttpCall<'a> {
    #[must_use]
    pub fn new(
        session: &'a Arc<UpstreamSession>,
        pool: &'a Pool,
        requests: &'a [&'a Envelope<'a>],
        sent: Posted<'a>,
        asker: Asker,
    ) -> Self {
        let began = now();
        if let (Asker::Client, [first, ..]) = (asker, requests) {
            session.list_changes.note_request(first.method(), began);
        }
        Self { session, pool, requests, sent, asker, began, sending: None }
    }

    /// Sends the message and waits for the response's head: at most `OPEN_AFTER` if it has
    /// requests.
    pub async fn send(&mut self) -> FirstSecond {
        let client = &self.session.client;
        let Posted { body, forwarded } = self.sent;
        let awaits = !self.requests.is_empty();
        let limit = timeout::first(self.session.rules.timeouts, self.began).filter(|_| awaits);
        let (mut token, mut is_renewed) = (None, false);
        if client.fetches_tokens() {
            // Boxed, since few servers need it: every call creates this future.
            match Box::pin(first_token(client, self.pool, limit, forwarded)).await {
                Ok(first) => token = first,
                Err(without) => return *without,
            }
        }
        let mut message = client.message(None, body.clone(), forwarded, token.as_ref());
        let mut moved = None;
        let mut redirects = 0;
        loop {
            // Nothing has been sent yet: if the client leaves now, the call just ends.
            let connecting = self.pool.connection(&client.upstream().target);
            let connected = match &limit {
                None => connecting.await,
                Some((due, expired)) => {
                    match tokio::time::timeout_at((*due).into(), connecting).await {
                        Ok(connected) => connected,
                        Err(_) => return FirstSecond::Expired(*expired),
                    }
                }
            };
            let connection = match connected {
                Ok(connection) => connection,
                Err(failure) => return FirstSecond::Failed(failure),
            };
            let head = connection.send(message);
            let session = Arc::clone(self.session);
            let late = LateResponse { session, head, response: None, token: token.clone() };
            let sending = self.sending.insert(late);
            let came = if awaits {
                let soon = self.began + OPEN_AFTER;
                let due = limit.as_ref().map_or(soon, |(due, _)| soon.min(*due));
                tokio::time::timeout_at(due.into(), sending).await
            } else {
                Ok(sending.await)
            };
            let Ok(came) = came else {
                let over = limit.filter(|(due, _)| *due <= now());
                let Some((_, expired)) = over else { return FirstSecond::Late };
                self.sending = None;
                return FirstSecond::Expired(expired);
            };
            self.sending = None;
            match came {
                Ok(response) => {
                    if !is_renewed && let Some(sent) = &token {
                        if response.status() == StatusCode::UNAUTHORIZED {
                            let next = next_token(self.pool, limit, (sent, response));
                            match Box::pin(next).await {
                                Ok(next) => (token, is_renewed) = (Some(next), true),
                                Err(without) => return *without,
                            }
                            let (to, token) = (moved.as_ref(), token.as_ref());
                            message = client.message(to, body.clone(), forwarded, token);
                            continue;
                        }
                        sent.note_accepted();
                    }
                    if redirects::is_redirect(response.status())
                        && redirects < redirects::MOST
                        && let Some(to) =
                            client.redirected(&Method::POST, moved.as_ref(), &response)
                    {
                        redirects += 1;
                        let token = token.as_ref();
                        message = client.message(Some(&to), body.clone(), forwarded, token);
                        moved = Some(to);
                        continue;
                    }
                    return FirstSecond::Came(response);
                }
                Err(Unanswered::Stale(unsent)) => message = unsent,
                Err(Unanswered::Failed(failure)) => return FirstSecond::Failed(failure),
            }
        }
    }

    #[must_use]
    pub fn pool(&self) -> &Pool {
        self.pool
    }

    /// Adopts the requests, which run already, into the mailbox; returns their stream.
    pub fn adopt(&self) -> Result<Arc<Stream>, MailboxRefusal> {
        self.session.mailbox().adopt(self.requests, self.began, self.asker)
    }

    /// Continues the exchange on its own task, which reads the answers into this stream.
    pub fn go_on(&mut self, stream: &Arc<Stream>) {
        if let Some(sending) = self.sending.take() {
            let Posted { body, forwarded } = self.sent;
            let (body, forwarded) = (body.clone(), forwarded.clone());
            self.read(AnswerSource::Late(Box::new((sending, body, forwarded))), stream);
        }
    }

    /// Reads the answers into the requests' stream, on a task.
    pub fn read(&self, source: AnswerSource, stream: &Arc<Stream>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let ids = self.requests.iter().filter_map(|request| request.id_text().map(str::to_owned));
        runtime.spawn(answers::answer(
            Arc::clone(self.session),
            self.pool.clone(),
            source,
            Arc::clone(stream),
            ids.collect(),
            self.began,
        ));
    }
}

/// The token of the first attempt, or what becomes of the call.
async fn first_token(
    client: &UpstreamClient,
    pool: &Pool,
    limit: Option<(Instant, timeout::Expired)>,
    forwarded: &HeaderMap,
) -> Result<Option<AccessToken>, Box<FirstSecond>> {
    in_time(limit, client.token(pool, forwarded)).await
}

/// Another token after one was refused, or what becomes of the call: there may be no other.
async fn next_token(
    pool: &Pool,
    limit: Option<(Instant, timeout::Expired)>,
    (sent, refusal): (&AccessToken, Response<Body>),
) -> Result<AccessToken, Box<FirstSecond>> {
    let next = in_time(limit, sent.another(pool)).await?;
    next.ok_or_else(|| Box::new(FirstSecond::Came(refusal)))
}

async fn in_time<T>(
    limit: Option<(Instant, timeout::Expired)>,
    getting: impl Future<Output = Result<T, NoToken>>,
) -> Result<T, Box<FirstSecond>> {
    let got = match limit {
        None => getting.await,
        Some((due, expired)) => match tokio::time::timeout_at(due.into(), getting).await {
            Ok(got) => got,
            Err(_) => return Err(Box::new(FirstSecond::Expired(expired))),
        },
    };
    got.map_err(|why| Box::new(FirstSecond::NoToken(why)))
}

impl Drop for HttpCall<'_> {
    fn drop(&mut self) {
        if self.sending.is_none() {
            return;
        }
        if !self.requests.is_empty()
            && let Ok(stream) = self.adopt()
        {
            return self.go_on(&stream);
        }
        // The answer has no receiver, but the message must still be sent whole.
        if let (Ok(runtime), Some(sending)) = (Handle::try_current(), self.sending.take()) {
            let mut place = self.session.left.note();
            runtime.spawn(async move {
                tokio::select! {
                    _ = tokio::time::timeout(STILL_SENT, sending) => {}
                    () = place.given_up() => {}
                }
            });
        }
    }
}
