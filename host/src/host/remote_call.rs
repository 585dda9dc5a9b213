//! A message on its way to an upstream, until the head of the response is here.
//!
//! Mostly that is soon, and costs the session nothing but the exchange. A request
//! that takes longer becomes one of the session's: with a stream that the client
//! can come back to, and to be found by whoever cancels it. So does one whose
//! client leaves, since it runs on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::Response;
use tokio::runtime::Handle;

use crate::protocol::headers;
use crate::protocol::jsonrpc::Envelope;
use crate::seam::{self, Body, Failure, Message, Pool, Unanswered};
use crate::streams::Stream;
use crate::streams::response::OPEN_AFTER;

use super::mailbox::{Asker, Refused};
use super::pump::{self, Source};
use super::remote_http::Session;
use super::timeout::{self, Expired};

/// The wait for a response's head, and where it is JSON for the beginning of the
/// body too: some send their head before they have anything to say.
pub struct Sending {
    head: seam::Sending,
    /// The head has come.
    response: Option<Response<Body>>,
}

/// What became of the first second.
pub enum Head {
    Came(Response<Body>),
    Failed(Failure),
    /// The server's time for the answer is over.
    Expired(Expired),
    /// It is still awaited: [`Call::go_on`].
    Late,
}

/// One message, or several that came together.
pub struct Call<'a> {
    session: &'a Arc<Session>,
    pool: &'a Pool,
    requests: &'a [&'a Envelope<'a>],
    asker: Asker,
    began: Instant,
    sending: Option<Sending>,
}

impl<'a> Call<'a> {
    #[must_use]
    pub fn new(
        session: &'a Arc<Session>,
        pool: &'a Pool,
        requests: &'a [&'a Envelope<'a>],
        asker: Asker,
    ) -> Self {
        Self { session, pool, requests, asker, began: Instant::now(), sending: None }
    }

    /// Sends it and waits for the head; for answers to requests not long.
    pub async fn send(&mut self, mut message: Message) -> Head {
        let caller = &self.session.caller;
        let awaits = !self.requests.is_empty();
        let limit = timeout::first(self.session.rules.timeouts, self.began).filter(|_| awaits);
        loop {
            // A client that leaves now leaves nothing behind.
            let connecting = self.pool.connection(&caller.upstream().target);
            let connected = match &limit {
                None => connecting.await,
                Some((due, expired)) => {
                    match tokio::time::timeout_at((*due).into(), connecting).await {
                        Ok(connected) => connected,
                        Err(_) => return Head::Expired(*expired),
                    }
                }
            };
            let connection = match connected {
                Ok(connection) => connection,
                Err(failure) => return Head::Failed(failure),
            };
            let head = connection.send(message);
            let sending = self.sending.insert(Sending { head, response: None });
            let came = if awaits {
                let soon = self.began + OPEN_AFTER;
                let due = limit.as_ref().map_or(soon, |(due, _)| soon.min(*due));
                tokio::time::timeout_at(due.into(), sending).await
            } else {
                Ok(sending.await)
            };
            let Ok(came) = came else {
                let over = limit.filter(|(due, _)| *due <= Instant::now());
                let Some((_, expired)) = over else { return Head::Late };
                self.sending = None;
                return Head::Expired(expired);
            };
            self.sending = None;
            match came {
                Ok(response) => {
                    caller.has_come(&response);
                    return Head::Came(response);
                }
                Err(Unanswered::Stale(unsent)) => message = unsent,
                Err(Unanswered::Failed(failure)) => return Head::Failed(failure),
            }
        }
    }

    /// The stream of the requests, which run already.
    pub fn adopt(&self) -> Result<Arc<Stream>, Refused> {
        self.session.mailbox().adopt(self.requests, self.began, self.asker)
    }

    /// Lets the exchange go on by itself, into the stream of its requests.
    pub fn go_on(&mut self, stream: &Arc<Stream>) {
        if let Some(sending) = self.sending.take() {
            self.read(Source::Late(Box::new(sending)), stream);
        }
    }

    /// Reads answers into the stream of these requests.
    pub fn read(&self, source: Source, stream: &Arc<Stream>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let ids = self.requests.iter().filter_map(|request| request.id_text().map(str::to_owned));
        runtime.spawn(pump::answer(
            Arc::clone(self.session),
            self.pool.clone(),
            source,
            Arc::clone(stream),
            ids.collect(),
            self.began,
        ));
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.sending.is_none() {
            return;
        }
        if !self.requests.is_empty()
            && let Ok(stream) = self.adopt()
        {
            return self.go_on(&stream);
        }
        // Nobody is to be told what comes, but it must arrive whole.
        if let (Ok(runtime), Some(sending)) = (Handle::try_current(), self.sending.take()) {
            runtime.spawn(async move { drop(sending.await) });
        }
    }
}

impl Future for Sending {
    type Output = Result<Response<Body>, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = match self.response.take() {
            Some(response) => response,
            None => ready!(Pin::new(&mut self.head).poll(cx))?,
        };
        if headers::is_type(response.headers(), headers::JSON) {
            match response.body_mut().poll_begun(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    let failure = Failure::Broken(error.to_string());
                    return Poll::Ready(Err(Unanswered::Failed(failure)));
                }
                Poll::Pending => {
                    self.response = Some(response);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(response))
    }
}
