//! An MCP server behind a URL, over HTTP+SSE, the transport of 2024-11-05: the server sends its
//! messages on one event stream, on which it first names the endpoint for the gateway's POSTs
//! (2024-11-05, basic/transports, "HTTP with SSE").

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, Uri, header};

use crate::model::{SUBJECT_TOKEN, ServerName};
use crate::net::{Body, EventReader, Pool, collect, is_event_stream};
use crate::oauth::challenge::WantsToken;
use crate::protocol::jsonrpc::{Envelope, Kind, code};
use crate::protocol::own_id;
use crate::runner::channel::judge::{self, Judged};
use crate::runner::channel::pipe::Pipe;
use crate::runner::channel::queue::Unwritten;
use crate::runner::channel::sink::MessageSink;
use crate::runner::channel::terms::SessionTerms;
use crate::sync::{Signal, Watcher};

use super::errors;
use super::upstream::{Came, Upstream, UpstreamClient, path_of};

/// Longest wait for the stream and its endpoint, which servers name at once.
const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for the response to a POST. Servers accept a message before they process it; a
/// common one never responds for a session that it has lost.
const POST_TIMEOUT: Duration = Duration::from_secs(30);

pub struct RemoteSse {
    pipe: Arc<Pipe>,
    closing: Signal,
}

/// Why no stream was opened, and when the server wants to be asked again.
pub struct StreamRefusal {
    pub why: String,
    pub retry_after: Option<Duration>,
    /// The token that it wants, with the status by which it says so.
    pub wanted: Option<(StatusCode, WantsToken)>,
}

impl From<String> for StreamRefusal {
    fn from(why: String) -> Self {
        Self { why, retry_after: None, wanted: None }
    }
}

impl From<&str> for StreamRefusal {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

impl RemoteSse {
    /// Opens the stream and waits for the endpoint.
    ///
    /// # Errors
    /// If the stream does not open, or names no valid endpoint in time.
    pub async fn start(
        server: &ServerName,
        upstream: &Upstream,
        terms: SessionTerms,
        pool: &Pool,
        forwarded: HeaderMap,
    ) -> Result<Self, StreamRefusal> {
        let client = Arc::new(UpstreamClient::new(upstream.clone()));
        let opening = open(&client, pool, &forwarded, terms.limits.line);
        let opened = tokio::time::timeout(ENDPOINT_TIMEOUT, opening).await;
        let (events, endpoint) =
            opened.map_err(|_| StreamRefusal::from("it did not name its endpoint in time"))??;
        let (pipe, outbox) = Pipe::new(server, terms);
        let closing = Signal::default();
        tokio::spawn(read(Arc::clone(&pipe), events, closing.watch()));
        let posting = Posting { pipe: Arc::clone(&pipe), client, endpoint, pool: pool.clone() };
        tokio::spawn(posting.write(outbox, forwarded, closing.watch()));
        Ok(Self { pipe, closing })
    }

    #[must_use]
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    /// Closes the stream, which ends the session at the server.
    pub fn close(&self) {
        self.closing.raise();
    }
}

async fn open(
    client: &UpstreamClient,
    pool: &Pool,
    forwarded: &HeaderMap,
    limit: usize,
) -> Result<(EventReader, Uri), StreamRefusal> {
    let came = client.get(pool, None, forwarded).await.map_err(|failure| failure.to_string())?;
    let Came { response, moved } = came;
    let head = client.upstream().head_of(&response);
    if let Some(wanted) = head.wanted.clone() {
        let why = judge::complaint(&head, b"");
        let wanted = Some((head.status, wanted));
        return Err(StreamRefusal { why, retry_after: None, wanted });
    }
    if !head.status.is_success() {
        let text = errors::beginning(response.into_body()).await;
        let why = format!("to GET it {}", judge::complaint(&head, &text));
        return Err(StreamRefusal { why, retry_after: head.retry_after, wanted: None });
    }
    if !is_event_stream(&response) {
        return Err(format!("GET answers {} without an event stream", head.status).into());
    }
    let mut events = EventReader::new(response.into_body(), limit);
    while let Some(event) = events.next_event().await {
        if event.name == "endpoint" {
            let text = String::from_utf8_lossy(&event.data);
            let endpoint = endpoint(&client.upstream().uri, moved.as_ref(), text.trim())?;
            return Ok((events, endpoint));
        }
    }
    Err("its stream ended before it named an endpoint".into())
}

/// The endpoint's path and query. It must be at the stream's origin: one server must not direct
/// the gateway's credentials to another. `moved` is the path that redirects have led to.
fn endpoint(base: &Uri, moved: Option<&Uri>, text: &str) -> Result<Uri, String> {
    let mut base = url::Url::parse(&base.to_string()).map_err(|error| error.to_string())?;
    if let Some(moved) = moved {
        base = base.join(&moved.to_string()).map_err(|error| error.to_string())?;
    }
    let joined = base.join(text).map_err(|error| format!("its endpoint is invalid: {error}"))?;
    if joined.origin() != base.origin() {
        return Err(format!(
            "its endpoint is at another origin, {}",
            joined.origin().ascii_serialization()
        ));
    }
    let uri: Uri = joined.as_str().parse().map_err(|_| "its endpoint is invalid".to_owned())?;
    Ok(path_of(&uri))
}

async fn read(pipe: Arc<Pipe>, mut events: EventReader, mut closing: Watcher) {
    let how = loop {
        let event = tokio::select! {
            event = events.next_event() => event,
            () = closing.raised() => break "closed",
        };
        match event {
            Some(event) if event.has_message() => pipe.take(event.data.into()).await,
            Some(_) => {}
            None => break "its stream ended",
        }
    };
    pipe.end();
    pipe.mark_lost(how);
}

struct Posting {
    pipe: Arc<Pipe>,
    client: Arc<UpstreamClient>,
    endpoint: Uri,
    pool: Pool,
}

impl Posting {
    /// Posts the messages one after the other, so that they stay in order.
    async fn write(self, mut outbox: Unwritten, mut forwarded: HeaderMap, mut closing: Watcher) {
        let mut lost = self.pipe.lost_signal();
        loop {
            let message = tokio::select! {
                message = outbox.recv() => message,
                () = closing.raised() => return,
                _ = lost.wait_for(Option::is_some) => return,
            };
            let Some((message, place)) = message else { return };
            // What the gateway sends by itself has the token of the client that was there last.
            if let Some(subject) = place.subject() {
                let is_of_users = self.client.upstream().is_of_users;
                let name = match is_of_users {
                    true => header::AUTHORIZATION,
                    false => HeaderName::from_static(SUBJECT_TOKEN),
                };
                forwarded.insert(name, subject.clone());
            }
            let envelope = Envelope::parse(&message).ok();
            let request = envelope.filter(|envelope| envelope.kind() == Kind::Request);
            let id = request.as_ref().and_then(Envelope::id_text);
            if let Err(why) = self.post(message.clone(), id, &forwarded, &closing).await {
                tracing::debug!(server = %self.pipe.server, "{why}");
                if let Some(id) = id {
                    let text = format!("server {} {why}", self.pipe.server);
                    self.pipe.answer_for_server(id, code::SERVER_LOST, &text);
                }
            }
        }
    }

    /// Posts a message; `id` is that of a request. What the response says goes to the session like
    /// what comes on the stream: the answer to a request should come there, and some servers write
    /// it here.
    async fn post(
        &self,
        message: Bytes,
        id: Option<&str>,
        forwarded: &HeaderMap,
        closing: &Watcher,
    ) -> Result<(), String> {
        if let Err(why) = self.client.token(&self.pool, forwarded).await {
            if let Some(id) = id {
                let text = format!("server {}: {why}; the request has not run", self.pipe.server);
                self.pipe.answer_for_server(id, code::UNAVAILABLE, &text);
            }
            return Ok(());
        }
        let post = self.client.post(&self.pool, Some(&self.endpoint), message, forwarded);
        let came = tokio::time::timeout(POST_TIMEOUT, post)
            .await
            .map_err(|_| "did not accept the message in time; it may have run".to_owned())?
            .map_err(|failure| format!("cannot be reached: {failure}"))?;
        let head = self.client.upstream().head_of(&came.response);
        let body = came.response.into_body();
        if head.status.is_success() {
            if let Some(id) = id {
                // Later messages do not wait for it: it may come with the answer, or never.
                let hearing = hear(Arc::clone(&self.pipe), id.to_owned(), body, closing.clone());
                tokio::spawn(hearing);
            }
            return Ok(());
        }
        let has_token = forwarded.contains_key(header::AUTHORIZATION);
        if let Some(refused) = self.client.upstream().refuses_user(&head)
            && let Some(id) = id.filter(|id| has_token || *id == own_id::OPENING)
        {
            self.pipe.note_refused(id, &refused);
            return Ok(());
        }
        let text = match id {
            Some(_) => errors::beginning_or_answer(body, self.pipe.rules.line).await,
            None => errors::beginning(body).await,
        };
        if head.status == StatusCode::NOT_FOUND && !errors::is_answer(&text, id) {
            if let Some(id) = id {
                // It has not run, and may be sent again in another session.
                self.pipe.note_unsent(id);
            }
            self.pipe.end();
            self.pipe.mark_lost("it has forgotten the session");
        }
        let Some(id) = id else { return Err(judge::complaint(&head, &text)) };
        match judge::judge(&self.pipe.server, id, &head, &text) {
            Judged::Answer(answer) => self.pipe.take(answer).await,
            Judged::Error(error) if head.retry_after.is_some() => {
                self.pipe.answer_instead(id, error);
            }
            Judged::Error(_) => return Err(judge::complaint(&head, &text)),
        }
        Ok(())
    }
}

/// Takes the answer to a request from the response to its POST, if it is there.
async fn hear(pipe: Arc<Pipe>, id: String, mut body: Body, mut closing: Watcher) {
    let mut lost = pipe.lost_signal();
    let hearing = async {
        if poll_fn(|cx| body.poll_begun(cx)).await.is_ok()
            && matches!(body.beginning().trim_ascii_start().first(), Some(b'{' | b'['))
            && let Ok(text) = collect(body, pipe.rules.line).await
            && let Some(answer) = judge::answer_in(&id, &text)
        {
            pipe.take(answer).await;
        }
    };
    tokio::select! {
        () = hearing => {}
        () = closing.raised() => {}
        _ = lost.wait_for(Option::is_some) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_place_at_the_streams_own_origin() {
        let base: Uri = "http://example.com:81/a/sse?x=1".parse().unwrap();
        let at = |text: &str| endpoint(&base, None, text).map(|uri| uri.to_string());
        assert_eq!(at("/messages?sessionId=1").unwrap(), "/messages?sessionId=1");
        assert_eq!(at("messages/?session_id=ab").unwrap(), "/a/messages/?session_id=ab");
        assert_eq!(at("http://example.com:81/m?s=2").unwrap(), "/m?s=2");
        assert!(at("http://example.org:81/m").is_err());
        assert!(at("http://example.com/m").is_err());
        assert!(at("//example.org/m").is_err());
        let moved = Uri::from_static("/b/sse/?x=2");
        let at = endpoint(&base, Some(&moved), "messages").unwrap();
        assert_eq!(at.to_string(), "/b/sse/messages");
    }
}
