//! One session between a host and a gateway, and requests of the host that belong to none.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::cli::terminal;
use crate::net::{Body, EventReader, Read, is_event_stream};
use crate::protocol::headers;
use crate::protocol::jsonrpc::code;
use crate::sync::Locked;

use super::answer::{self, MAX_ANSWER, Position};
use super::message::{self, Kind, Request};
use super::open::OpenRequests;
use super::repeated::MarkedTools;
use super::stdio::Output;
use super::upstream::{Lost, Upstream};

/// Longest wait for the end of the session at the gateway.
const GOOD_BYE: Duration = Duration::from_secs(2);

pub struct Bridge {
    pub(super) upstream: Upstream,
    pub(super) output: Output,
    session: Locked<Session>,
    /// Held while a session that has ended is begun again.
    renewing: tokio::sync::Mutex<()>,
    open: Arc<OpenRequests>,
    pub(super) tools: MarkedTools,
}

/// What the messages of a session carry, and what began it.
#[derive(Default, Clone)]
struct Session {
    /// Counts the sessions, so that of several failures only the first one begins a new one.
    number: u64,
    headers: HeaderMap,
    /// The host's own `initialize` and the notification after it.
    initialize: Option<(String, Bytes)>,
    initialized: Option<Bytes>,
}

impl Bridge {
    pub fn new(upstream: Upstream, output: Output) -> Self {
        Self {
            upstream,
            output,
            session: Locked::default(),
            renewing: tokio::sync::Mutex::default(),
            open: Arc::new(OpenRequests::new()),
            tools: MarkedTools::default(),
        }
    }

    /// Sends a line of the host. Requests run side by side; everything else keeps its order.
    pub async fn take(this: &Arc<Self>, line: String) {
        let kind = message::kind(&line);
        let body = Bytes::from(line);
        match &kind {
            Kind::Wrong(error) => this.output.say(error).await,
            Kind::Request(request) if request.method == "initialize" => {
                let _opened = OpenRequests::open(&this.open, request);
                this.initialize(&request.id, body).await;
            }
            Kind::Request(request) => {
                let (this, request) = (Arc::clone(this), request.clone());
                let opened = OpenRequests::open(&this.open, &request);
                tokio::spawn(async move {
                    tokio::select! {
                        () = opened.ended() => {}
                        () = this.request(&request, body) => {}
                    }
                });
            }
            Kind::Notification { cancels: Some(id), .. } if this.open.cancel(id) => {}
            Kind::Notification { method, .. } => {
                this.notify(&kind, &body).await;
                if method == "notifications/initialized" {
                    let number = {
                        let mut session = this.session.lock();
                        session.initialized = Some(body);
                        session.number
                    };
                    tokio::spawn(Arc::clone(this).listening(number));
                }
            }
            Kind::Answer | Kind::Batch => this.notify(&kind, &body).await,
        }
    }

    /// Waits until every request is answered.
    pub async fn answered(&self) {
        self.open.answered().await;
    }

    /// Ends the requests under way, and says so to the host.
    pub async fn give_up(&self) {
        for id in self.open.give_up() {
            let why = "stdin was closed, and no answer has come since; the request may have run";
            self.output.say(&message::error(&id, code::SERVER_LOST, why)).await;
        }
    }

    /// Answers a line that was not sent any more.
    pub async fn refuse(&self, line: &str) {
        if let Kind::Request(Request { id, .. }) = message::kind(line) {
            let why = "stdin was closed before a gateway could be reached; the request has not run";
            self.output.say(&message::error(&id, code::UNAVAILABLE, why)).await;
        }
    }

    /// Ends the session at the gateway, if there is time for it.
    pub async fn end(&self) {
        let headers = self.session.lock().headers.clone();
        self.end_of(&headers).await;
    }

    /// Ends the session, if there is one, whose messages carry this.
    async fn end_of(&self, headers: &HeaderMap) {
        if headers.contains_key(headers::SESSION) {
            let nothing = Bytes::new();
            let ending = self.upstream.send(&Method::DELETE, &nothing, headers, false);
            let _ = tokio::time::timeout(GOOD_BYE, ending).await;
        }
    }

    /// Begins the host's session. One that it has had before ends with that.
    async fn initialize(self: &Arc<Self>, id: &str, body: Bytes) {
        let before = self.session.lock().headers.clone();
        match self.begin(id, &body).await {
            Ok(answer) => {
                {
                    let mut session = self.session.lock();
                    session.initialize = Some((id.to_owned(), body));
                    session.initialized = None;
                }
                let this = Arc::clone(self);
                tokio::spawn(async move { this.end_of(&before).await });
                self.output.say(&answer).await;
            }
            Err(error) => self.output.say(&error).await,
        }
    }

    /// Begins a session. Returns the answer to its `initialize`, or the error in place of it.
    async fn begin(&self, id: &str, body: &Bytes) -> Result<Vec<u8>, Vec<u8>> {
        let sent = self.upstream.send(&Method::POST, body, &HeaderMap::new(), true).await;
        let response = sent.map_err(|lost| self.lost(id, &lost))?;
        if !response.status().is_success() {
            return Err(answer::refused(id, response).await);
        }
        let session = response.headers().get(headers::SESSION).cloned();
        let answer = answer::of(id, response).await.ok_or_else(|| {
            message::error(id, code::TRANSPORT, "the gateway did not answer initialize")
        })?;
        let mut headers = HeaderMap::new();
        if let Some(mut id) = session {
            id.set_sensitive(true);
            headers.insert(headers::SESSION, id);
        }
        let revision = message::revision(&answer).and_then(|text| text.parse().ok());
        if let Some(revision) = revision {
            headers.insert(headers::PROTOCOL_VERSION, revision);
        }
        let mut own = self.session.lock();
        own.number += 1;
        own.headers = headers;
        Ok(answer)
    }

    /// Begins the session again that has ended with this number. False if it cannot be.
    async fn renew(self: &Arc<Self>, number: u64) -> bool {
        let _turn = self.renewing.lock().await;
        let before = self.session.lock().clone();
        if before.number != number {
            return true;
        }
        let Some((id, body)) = before.initialize else { return false };
        if self.begin(&id, &body).await.is_err() {
            return false;
        }
        terminal::warn(
            "mooring: the session has ended at the gateway and was begun again: what servers kept \
             for it is gone",
        );
        if let Some(initialized) = before.initialized {
            let headers = self.session.lock().headers.clone();
            let _ = self.upstream.send(&Method::POST, &initialized, &headers, true).await;
            let now = self.session.lock().number;
            tokio::spawn(Arc::clone(self).listening(now));
        }
        true
    }

    async fn notify(self: &Arc<Self>, kind: &Kind, body: &Bytes) {
        match self.post(body, kind.may_repeat()).await {
            Ok(response) if response.status().is_success() => self.batch(response).await,
            Ok(response) => {
                let status = response.status();
                let refusal = answer::refusal(response).await;
                self.complain(&format!("{status}: {}", refusal.why));
                // Nothing else would answer what is in it.
                if *kind == Kind::Batch {
                    self.output.say(&refusal.answer("null", "")).await;
                }
            }
            Err(lost) => {
                self.complain(lost.why());
                if *kind == Kind::Batch {
                    self.output.say(&self.lost("null", &lost)).await;
                }
            }
        }
    }

    /// Passes on what answers a batch; other messages have no answer.
    async fn batch(&self, response: Response<Body>) {
        if response.status() == StatusCode::ACCEPTED {
            return;
        }
        if is_event_stream(&response) {
            let mut events = EventReader::new(response.into_body(), MAX_ANSWER);
            while let Some(event) = events.next_event().await {
                self.output.say(&event.data).await;
            }
        } else if let Some(body) = answer::body(response).await {
            self.output.say(&body).await;
        }
    }

    fn complain(&self, why: &str) {
        let place = self.upstream.shown();
        terminal::warn(format!("mooring: {place}: a message was not taken: {why}"));
    }

    /// A POST in the session, which is begun again if it has ended: the message has then not run.
    pub(super) async fn post(
        self: &Arc<Self>,
        body: &Bytes,
        may_repeat: bool,
    ) -> Result<Response<Body>, Lost> {
        let Session { number, headers, .. } = self.session.lock().clone();
        let response = self.upstream.send(&Method::POST, body, &headers, may_repeat).await?;
        let has_session = headers.contains_key(headers::SESSION);
        if response.status() != StatusCode::NOT_FOUND || !has_session || !self.renew(number).await {
            return Ok(response);
        }
        let headers = self.session.lock().headers.clone();
        self.upstream.send(&Method::POST, body, &headers, may_repeat).await
    }

    /// [`Self::listen`], whose type would else contain itself: it begins its session anew.
    fn listening(self: Arc<Self>, number: u64) -> BoxFuture<'static, ()> {
        Box::pin(self.listen(number))
    }

    /// The session's own stream, as long as the session is this one. Some gateways have none.
    async fn listen(self: Arc<Self>, number: u64) {
        let mut position = Position::default();
        loop {
            if self.session.lock().number != number {
                return;
            }
            match self.resumed(&position).await {
                Ok(response) if response.status().is_success() && is_event_stream(&response) => {
                    self.pass_on(response, &mut position, None).await;
                }
                Ok(response) if response.status() == StatusCode::NOT_FOUND => {
                    // Begins this anew for the next session.
                    self.renew(number).await;
                    return;
                }
                // Another one listens already, or the place of before is not known any more.
                Ok(response) if response.status() == StatusCode::CONFLICT => {}
                Ok(response) if response.status() == StatusCode::BAD_REQUEST => {
                    if position.last_id.take().is_none() {
                        return;
                    }
                }
                // What stands in front of a gateway that is away.
                Ok(response) if response.status().is_server_error() => {}
                Ok(_) => return,
                Err(_) => {}
            }
            position.pause().await;
        }
    }

    /// The stream from this position on.
    pub(super) async fn resumed(&self, position: &Position) -> Result<Response<Body>, Lost> {
        let mut headers = self.session.lock().headers.clone();
        if let Some(id) = &position.last_id
            && let Ok(id) = HeaderValue::from_str(id)
        {
            headers.insert(headers::LAST_EVENT_ID, id);
        }
        self.upstream.send(&Method::GET, &Bytes::new(), &headers, true).await
    }

    /// Passes messages on until the stream ends; true once the answer to this request was among
    /// them.
    pub(super) async fn pass_on(
        &self,
        response: Response<Body>,
        position: &mut Position,
        request: Option<&Request>,
    ) -> bool {
        position.has_moved = false;
        let mut events = EventReader::new(response.into_body(), MAX_ANSWER);
        loop {
            let event = match events.next().await {
                Some(Read::Event(event)) => event,
                Some(Read::Comment) => continue,
                Some(Read::Broken(_)) | None => return false,
            };
            position.note(&event);
            if event.data.is_empty() {
                continue;
            }
            let answered = request.filter(|request| message::answers(&event.data, &request.id));
            if let Some(request) = answered {
                self.note(request, &event.data);
            }
            self.output.say(&event.data).await;
            if answered.is_some() {
                return true;
            }
        }
    }

    pub(super) fn lost(&self, id: &str, lost: &Lost) -> Vec<u8> {
        let place = self.upstream.shown();
        match lost {
            Lost::NotSent(why) => {
                let why = format!("no gateway answers at {place}; the request has not run: {why}");
                message::error(id, code::UNAVAILABLE, &why)
            }
            Lost::Broken(why) => {
                let why = format!("{place} did not answer, and the call may have run: {why}");
                message::error(id, code::SERVER_LOST, &why)
            }
        }
    }
}
