//! A request of the host, until it is answered.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response};

use crate::net::{Body, collect, is_event_stream};
use crate::protocol::jsonrpc::code;

use super::answer::{self, MAX_ANSWER, Position};
use super::bridge::Bridge;
use super::message::{self, Request};
use super::repeated::{OWN_ID, list_of_tools};
use super::upstream::Lost;

/// Times that a stream is opened again without a further message.
const MAX_RESUMED: u32 = 100;
/// Pages of a list of tools that the bridge asks for itself.
const MAX_PAGES: usize = 100;
const LOST: &str = "its stream ended before the answer, and the call may have run";

impl Bridge {
    /// Sends a request and passes its answer on, or says why there is none.
    pub(super) async fn request(self: &Arc<Self>, request: &Request, body: Bytes) {
        let id = &request.id;
        let mut sent = self.post_of(request, &body).await;
        let mut has_learned = false;
        loop {
            let response = match sent {
                Ok(response) => response,
                Err(lost) => return self.output.say(&self.lost(id, &lost)).await,
            };
            let status = response.status();
            if status.is_success() && is_event_stream(&response) {
                return self.stream_of(request, &body, response).await;
            }
            if status.is_success() {
                return self.single(request, response).await;
            }
            let refusal = answer::refusal(response).await;
            // A request whose headers do not say what its body says has not run.
            let is_unmarked = request.revision.is_some()
                && request.method == "tools/call"
                && refusal.code() == Some(code::HEADER_MISMATCH);
            if has_learned || !is_unmarked {
                return self.output.say(&refusal.answer(id, answer::hint(status))).await;
            }
            self.learn_tools(request, &body).await;
            has_learned = true;
            sent = self.post_of(request, &body).await;
        }
    }

    /// A POST of the session, or of a request that belongs to none.
    async fn post_of(
        self: &Arc<Self>,
        request: &Request,
        body: &Bytes,
    ) -> Result<Response<Body>, Lost> {
        if request.revision.is_none() {
            return self.post(body, request.may_repeat()).await;
        }
        let headers = self.tools.headers(request, body);
        self.upstream.send(&Method::POST, body, &headers, request.may_repeat()).await
    }

    /// Reads which arguments of tools stand in headers.
    async fn learn_tools(&self, of: &Request, body: &Bytes) {
        let request = Request { method: "tools/list".to_owned(), ..of.clone() };
        let mut cursor = None;
        for _ in 0..MAX_PAGES {
            let asked = list_of_tools(body, cursor.as_deref());
            let headers = self.tools.headers(&request, &asked);
            let sent = self.upstream.send(&Method::POST, &asked, &headers, true).await;
            let Ok(response) = sent else { return };
            if !response.status().is_success() {
                return;
            }
            let Some(page) = answer::of(OWN_ID, response).await else { return };
            cursor = self.tools.learn(&page);
            if cursor.is_none() {
                return;
            }
        }
    }

    /// Reads what later requests need of an answer.
    pub(super) fn note(&self, request: &Request, answer: &[u8]) {
        if request.revision.is_some() && request.method == "tools/list" {
            self.tools.learn(answer);
        }
    }

    /// Passes an answer on that is one message.
    async fn single(&self, request: &Request, response: Response<Body>) {
        let id = &request.id;
        match collect(response.into_body(), MAX_ANSWER).await {
            Ok(body) if !body.is_empty() => {
                self.note(request, &body);
                self.output.say(&body).await;
            }
            Ok(_) => {
                let why = "the gateway has taken the request and does not answer it";
                self.output.say(&message::error(id, code::TRANSPORT, why)).await;
            }
            Err(error) => {
                let lost = Lost::Broken(error.to_string());
                self.output.say(&self.lost(id, &lost)).await;
            }
        }
    }

    /// Passes the messages of a request's stream on until its answer has come. A stream that breaks
    /// is resumed where it was; one that cannot be is begun anew if that does no harm.
    async fn stream_of(
        self: &Arc<Self>,
        request: &Request,
        body: &Bytes,
        response: Response<Body>,
    ) {
        let id = &request.id;
        let mut position = Position::default();
        let mut response = Some(response);
        let mut idle = 0;
        loop {
            if let Some(response) = response.take()
                && self.pass_on(response, &mut position, Some(request)).await
            {
                return;
            }
            idle = if position.has_moved { 0 } else { idle + 1 };
            let is_resumed = position.last_id.is_some();
            if idle > MAX_RESUMED || !(is_resumed || request.may_repeat()) {
                return self.output.say(&message::error(id, code::SERVER_LOST, LOST)).await;
            }
            position.pause().await;
            let next = match is_resumed {
                true => self.resumed(&position).await,
                false => self.post_of(request, body).await,
            };
            match next {
                Ok(next) if next.status().is_success() && is_event_stream(&next) => {
                    response = Some(next);
                }
                Ok(next) if next.status().is_success() && !is_resumed => {
                    return self.single(request, next).await;
                }
                Ok(next) => {
                    let why = format!("{LOST}: {}", answer::refusal(next).await.why);
                    return self.output.say(&message::error(id, code::SERVER_LOST, &why)).await;
                }
                Err(error) => {
                    let why = format!("{LOST}: {}", error.why());
                    return self.output.say(&message::error(id, code::SERVER_LOST, &why)).await;
                }
            }
        }
    }
}
