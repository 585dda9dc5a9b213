//! A message on its way to an upstream, until the head of the response is here.
//!
//! Mostly that is soon, and costs the session nothing but the exchange. A request
//! that takes longer becomes one of the session's: with a stream that the client
//! can come back to, and to be found by whoever cancels it. So does one whose
//! client leaves, since it runs on.

use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;

use crate::net::{Message, Pool, Unanswered};
use crate::protocol::jsonrpc::Envelope;
use crate::runner::channel::mailbox::{Asker, MailboxRefusal};
use crate::runner::channel::timeout;
use crate::streams::Stream;
use crate::streams::response::OPEN_AFTER;

use super::reader::{self, AnswerSource};
use super::sending::{FirstSecond, LateResponse};
use super::session::UpstreamSession;

/// One message, or several that came together.
pub struct HttpCall<'a> {
    session: &'a Arc<UpstreamSession>,
    pool: &'a Pool,
    requests: &'a [&'a Envelope<'a>],
    asker: Asker,
    began: Instant,
    sending: Option<LateResponse>,
}

impl<'a> HttpCall<'a> {
    #[must_use]
    pub fn new(
        session: &'a Arc<UpstreamSession>,
        pool: &'a Pool,
        requests: &'a [&'a Envelope<'a>],
        asker: Asker,
    ) -> Self {
        Self { session, pool, requests, asker, began: Instant::now(), sending: None }
    }

    /// Sends it and waits for the head; for answers to requests not long.
    pub async fn send(&mut self, mut message: Message) -> FirstSecond {
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
                        Err(_) => return FirstSecond::Expired(*expired),
                    }
                }
            };
            let connection = match connected {
                Ok(connection) => connection,
                Err(failure) => return FirstSecond::Failed(failure),
            };
            let head = connection.send(message);
            let sending = self.sending.insert(LateResponse { head, response: None });
            let came = if awaits {
                let soon = self.began + OPEN_AFTER;
                let due = limit.as_ref().map_or(soon, |(due, _)| soon.min(*due));
                tokio::time::timeout_at(due.into(), sending).await
            } else {
                Ok(sending.await)
            };
            let Ok(came) = came else {
                let over = limit.filter(|(due, _)| *due <= Instant::now());
                let Some((_, expired)) = over else { return FirstSecond::Late };
                self.sending = None;
                return FirstSecond::Expired(expired);
            };
            self.sending = None;
            match came {
                Ok(response) => {
                    caller.received(&response);
                    return FirstSecond::Came(response);
                }
                Err(Unanswered::Stale(unsent)) => message = unsent,
                Err(Unanswered::Failed(failure)) => return FirstSecond::Failed(failure),
            }
        }
    }

    /// The stream of the requests, which run already.
    pub fn adopt(&self) -> Result<Arc<Stream>, MailboxRefusal> {
        self.session.mailbox().adopt(self.requests, self.began, self.asker)
    }

    /// Lets the exchange go on by itself, into the stream of its requests.
    pub fn go_on(&mut self, stream: &Arc<Stream>) {
        if let Some(sending) = self.sending.take() {
            self.read(AnswerSource::Late(Box::new(sending)), stream);
        }
    }

    /// Reads answers into the stream of these requests.
    pub fn read(&self, source: AnswerSource, stream: &Arc<Stream>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let ids = self.requests.iter().filter_map(|request| request.id_text().map(str::to_owned));
        runtime.spawn(reader::answer(
            Arc::clone(self.session),
            self.pool.clone(),
            source,
            Arc::clone(stream),
            ids.collect(),
            self.began,
        ));
    }
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
        // Nobody is to be told what comes, but it must arrive whole.
        if let (Ok(runtime), Some(sending)) = (Handle::try_current(), self.sending.take()) {
            runtime.spawn(async move { drop(sending.await) });
        }
    }
}
