//! One session between a host and a gateway.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use tokio::sync::watch;

use crate::cli::terminal;
use crate::net::{Body, EventReader, Read, collect, is_event_stream};
use crate::protocol::headers;
use crate::protocol::jsonrpc::code;
use crate::sync::Locked;

use super::message::{self, Kind};
use super::stdio::Output;
use super::upstream::{Lost, Upstream};

/// Bytes of an answer, and of one event.
const MAX_ANSWER: usize = 64 << 20;
/// Pause before a stream is resumed, if the gateway says nothing else.
const RESUME_AFTER: Duration = Duration::from_millis(500);
/// Longest pause that an event may ask for.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// Times that a stream is resumed without a further message.
const MAX_RESUMED: u32 = 100;
/// Longest wait for the end of the session at the gateway.
const GOOD_BYE: Duration = Duration::from_secs(2);

pub struct Bridge {
    upstream: Upstream,
    output: Output,
    session: Locked<Session>,
    /// Held while a session that has ended is begun again.
    renewing: tokio::sync::Mutex<()>,
    /// Requests whose answers are awaited.
    open: watch::Sender<usize>,
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

/// Where an event stream has ended.
#[derive(Default)]
struct Position {
    last_id: Option<String>,
    retry: Option<Duration>,
    /// Whether a message has come since the stream was opened.
    has_moved: bool,
}

impl Bridge {
    pub fn new(upstream: Upstream, output: Output) -> Self {
        let (open, _) = watch::channel(0);
        Self {
            upstream,
            output,
            session: Locked::default(),
            renewing: tokio::sync::Mutex::default(),
            open,
        }
    }

    /// Sends a line of the host. Requests run side by side; everything else keeps its order.
    pub async fn take(this: &Arc<Self>, line: String) {
        let kind = message::kind(&line);
        let body = Bytes::from(line);
        match &kind {
            Kind::NoJson => {
                let why = "the line is not a message in JSON";
                this.output.say(&message::error("null", code::PARSE, why)).await;
            }
            Kind::Request { id, method } if method == "initialize" => {
                this.initialize(id, body).await;
            }
            Kind::Request { .. } => {
                let this = Arc::clone(this);
                this.open.send_modify(|open| *open += 1);
                tokio::spawn(async move {
                    this.request(&kind, body).await;
                    this.open.send_modify(|open| *open -= 1);
                });
            }
            Kind::Other { method } => {
                this.notify(&kind, &body).await;
                if method.as_deref() == Some("notifications/initialized") {
                    let number = {
                        let mut session = this.session.lock();
                        session.initialized = Some(body);
                        session.number
                    };
                    tokio::spawn(Arc::clone(this).listening(number));
                }
            }
        }
    }

    /// Waits until every request is answered.
    pub async fn answered(&self) {
        let mut open = self.open.subscribe();
        let _ = open.wait_for(|open| *open == 0).await;
    }

    /// Ends the session at the gateway, if there is time for it.
    pub async fn end(&self) {
        let headers = self.session.lock().headers.clone();
        if headers.contains_key(headers::SESSION) {
            let nothing = Bytes::new();
            let ending = self.upstream.send(&Method::DELETE, &nothing, &headers, false);
            let _ = tokio::time::timeout(GOOD_BYE, ending).await;
        }
    }

    async fn initialize(&self, id: &str, body: Bytes) {
        let began = self.begin(id, &body).await;
        match began {
            Ok(answer) => {
                self.session.lock().initialize = Some((id.to_owned(), body));
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
            return Err(refused(id, response).await);
        }
        let session = response.headers().get(headers::SESSION).cloned();
        let answer = answer(id, response).await.ok_or_else(|| {
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
        match self.post(kind, body).await {
            Ok(response) if response.status().is_success() => self.batch(response).await,
            Ok(response) => {
                let status = response.status();
                let (_, why) = refusal(response).await;
                self.complain(&format!("{status}: {why}"));
            }
            Err(lost) => self.complain(lost.why()),
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
        } else if let Ok(body) = collect(response.into_body(), MAX_ANSWER).await {
            self.output.say(&body).await;
        }
    }

    fn complain(&self, why: &str) {
        let place = self.upstream.shown();
        terminal::warn(format!("mooring: {place}: a message was not taken: {why}"));
    }

    /// Sends a request and passes its answer on, or says why there is none.
    async fn request(self: &Arc<Self>, kind: &Kind, body: Bytes) {
        let Kind::Request { id, .. } = kind else { return };
        let response = match self.post(kind, &body).await {
            Ok(response) => response,
            Err(lost) => return self.output.say(&self.lost(id, &lost)).await,
        };
        if !response.status().is_success() {
            return self.output.say(&refused(id, response).await).await;
        }
        if is_event_stream(&response) {
            return self.stream_of(id, response).await;
        }
        match collect(response.into_body(), MAX_ANSWER).await {
            Ok(body) if !body.is_empty() => self.output.say(&body).await,
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

    /// A POST in the session, which is begun again if it has ended: the message has then not run.
    async fn post(self: &Arc<Self>, kind: &Kind, body: &Bytes) -> Result<Response<Body>, Lost> {
        let may_repeat = message::may_repeat(kind);
        let Session { number, headers, .. } = self.session.lock().clone();
        let response = self.upstream.send(&Method::POST, body, &headers, may_repeat).await?;
        let has_session = headers.contains_key(headers::SESSION);
        if response.status() != StatusCode::NOT_FOUND || !has_session || !self.renew(number).await {
            return Ok(response);
        }
        let headers = self.session.lock().headers.clone();
        self.upstream.send(&Method::POST, body, &headers, may_repeat).await
    }

    /// Passes the messages of a request's stream on until its answer has come. A stream that breaks
    /// is resumed where it was.
    async fn stream_of(self: &Arc<Self>, id: &str, response: Response<Body>) {
        let mut position = Position::default();
        let mut response = Some(response);
        let mut idle = 0;
        loop {
            if let Some(response) = response.take()
                && self.pass_on(response, &mut position, Some(id)).await
            {
                return;
            }
            idle = if position.has_moved { 0 } else { idle + 1 };
            let lost = "its stream ended before the answer, and the call may have run";
            if position.last_id.is_none() || idle > MAX_RESUMED {
                return self.output.say(&message::error(id, code::SERVER_LOST, lost)).await;
            }
            tokio::time::sleep(position.retry.unwrap_or(RESUME_AFTER)).await;
            match self.resumed(&position).await {
                Ok(next) if next.status().is_success() && is_event_stream(&next) => {
                    response = Some(next);
                }
                Ok(next) => {
                    let (_, why) = refusal(next).await;
                    let why = format!("{lost}: {why}");
                    return self.output.say(&message::error(id, code::SERVER_LOST, &why)).await;
                }
                Err(error) => {
                    let why = format!("{lost}: {}", error.why());
                    return self.output.say(&message::error(id, code::SERVER_LOST, &why)).await;
                }
            }
        }
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
                Ok(_) => return,
                Err(_) => {}
            }
            tokio::time::sleep(position.retry.unwrap_or(RESUME_AFTER)).await;
        }
    }

    /// The stream from this position on.
    async fn resumed(&self, position: &Position) -> Result<Response<Body>, Lost> {
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
    async fn pass_on(
        &self,
        response: Response<Body>,
        position: &mut Position,
        id: Option<&str>,
    ) -> bool {
        position.has_moved = false;
        let mut events = EventReader::new(response.into_body(), MAX_ANSWER);
        loop {
            let event = match events.next().await {
                Some(Read::Event(event)) => event,
                Some(Read::Comment) => continue,
                Some(Read::Broken(_)) | None => return false,
            };
            if let Some(retry) = event.retry {
                position.retry = Some(Duration::from_millis(retry).min(LONGEST_RETRY));
            }
            if event.id.is_some() {
                position.last_id = event.id;
            }
            if event.data.is_empty() {
                continue;
            }
            position.has_moved = true;
            self.output.say(&event.data).await;
            if id.is_some_and(|id| message::answers(&event.data, id)) {
                return true;
            }
        }
    }

    fn lost(&self, id: &str, lost: &Lost) -> Vec<u8> {
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

/// The answer to a request, out of a body of either kind.
async fn answer(id: &str, response: Response<Body>) -> Option<Vec<u8>> {
    if !is_event_stream(&response) {
        return collect(response.into_body(), MAX_ANSWER).await.ok().map(|body| body.to_vec());
    }
    let mut events = EventReader::new(response.into_body(), MAX_ANSWER);
    loop {
        let event = events.next_event().await?;
        if message::answers(&event.data, id) {
            return Some(event.data);
        }
    }
}

async fn refusal(response: Response<Body>) -> (Option<i64>, String) {
    let status = response.status();
    let body = collect(response.into_body(), MAX_ANSWER).await.unwrap_or_default();
    let (code, why) = message::refusal(&body);
    (code, if why.is_empty() { status.to_string() } else { why })
}

/// The error that answers a request which the gateway has refused.
async fn refused(id: &str, response: Response<Body>) -> Vec<u8> {
    let status = response.status();
    let (number, why) = refusal(response).await;
    let why = match status {
        StatusCode::UNAUTHORIZED => format!("{why} (set MOORING_KEY to the gateway's key)"),
        _ => why,
    };
    message::error(id, number.unwrap_or(code::TRANSPORT), &why)
}
