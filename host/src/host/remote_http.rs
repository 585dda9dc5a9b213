//! An MCP server behind a URL: Streamable HTTP, one upstream session for each
//! of ours.
//!
//! Bodies pass as they come. What never passes are the client's credentials:
//! the upstream gets the configured headers and nothing of the client's.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};

use crate::model::ServerName;
use crate::protocol::headers;
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::seam::{Body, Failure, Outcome, Pool, Target, collect};

use super::events;

/// What an upstream may say when it refuses something.
const ERROR_BODY: usize = 64 * 1024;
/// Nobody waits longer for an upstream's good-bye.
const CLOSE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static(headers::JSON);

/// Where the server is and what to send along.
#[derive(Debug, Clone)]
pub struct Upstream {
    pub target: Target,
    pub path: Uri,
    pub headers: HeaderMap,
}

impl Upstream {
    /// None if the URL is not `http` or `https`.
    #[must_use]
    pub fn new(uri: &Uri, pairs: &[(HeaderName, HeaderValue)]) -> Option<Self> {
        let headers = HeaderMap::from_iter(pairs.iter().cloned());
        let path = uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
        Some(Self { target: Target::of(uri)?, path, headers })
    }
}

pub struct RemoteHttp {
    server: ServerName,
    upstream: Upstream,
    /// Whether the upstream has given the session an id; some have none.
    has_session: bool,
    /// What every request carries: the configured headers, and from the answer
    /// to `initialize` on the session's id and revision.
    headers: HeaderMap,
}

impl RemoteHttp {
    /// A client of the upstream before its `initialize` has been answered.
    #[must_use]
    pub fn new(server: ServerName, upstream: Upstream) -> Self {
        let headers = upstream.headers.clone();
        Self { server, upstream, has_session: false, headers }
    }

    /// Takes what the upstream's answer to `initialize` says about the session.
    pub fn opened(&mut self, session: Option<HeaderValue>, version: &str) {
        self.has_session = session.is_some();
        if let Some(session) = session {
            self.headers.insert(headers::SESSION, session);
        }
        if let Ok(version) = HeaderValue::from_str(version) {
            self.headers.insert(headers::PROTOCOL_VERSION, version);
        }
    }

    pub async fn send(&self, pool: &Pool, message: Bytes) -> Result<Response<Body>, Failure> {
        let mut request = self.request(Method::POST, Body::from(message));
        request.headers_mut().insert(header::CONTENT_TYPE, JSON);
        request.headers_mut().insert(header::ACCEPT, BOTH);
        pool.send(&self.upstream.target, request).await
    }

    pub async fn post(
        &self,
        pool: &Pool,
        message: Bytes,
        envelope: &Envelope<'_>,
    ) -> Response<Body> {
        let response = match self.send(pool, message).await {
            Ok(response) => response,
            Err(failure) => return self.unreachable(envelope, &failure),
        };
        let status = response.status();
        if status.is_success() {
            if envelope.kind() == Kind::Request && status != StatusCode::OK {
                return self.refused(envelope, status, b"");
            }
            return relayed(response);
        }
        let text = error_text(response).await;
        if self.has_session && is_lost(status, &text) && !is_answer(&text, envelope) {
            let mut gone = events::json(jsonrpc::error(
                envelope.id_text(),
                code::SESSION,
                &format!("server {} has forgotten the session", self.server),
            ));
            *gone.status_mut() = StatusCode::NOT_FOUND;
            Outcome::UnknownSession.write(gone.headers_mut());
            return gone;
        }
        self.refused(envelope, status, &text)
    }

    /// The GET stream; 405 where the upstream has none.
    pub async fn listen(&self, pool: &Pool, last_event_id: Option<&HeaderValue>) -> Response<Body> {
        let mut request = self.request(Method::GET, Body::Empty);
        request
            .headers_mut()
            .insert(header::ACCEPT, HeaderValue::from_static(headers::EVENT_STREAM));
        if let Some(id) = last_event_id {
            request.headers_mut().insert(headers::LAST_EVENT_ID, id.clone());
        }
        match pool.send(&self.upstream.target, request).await {
            Ok(response) if response.status().is_success() => relayed(response),
            Ok(response) if response.status() == StatusCode::NOT_FOUND && self.has_session => {
                let mut gone = Response::new(Body::Empty);
                *gone.status_mut() = StatusCode::NOT_FOUND;
                Outcome::UnknownSession.write(gone.headers_mut());
                gone
            }
            Ok(response) => {
                let mut refused = Response::new(Body::Empty);
                *refused.status_mut() = match response.status() {
                    status @ (StatusCode::METHOD_NOT_ALLOWED | StatusCode::CONFLICT) => status,
                    _ => StatusCode::METHOD_NOT_ALLOWED,
                };
                refused
            }
            Err(failure) => {
                let envelope = Envelope {
                    jsonrpc: None,
                    id: None,
                    method: None,
                    params: None,
                    result: None,
                    error: None,
                };
                self.unreachable(&envelope, &failure)
            }
        }
    }

    /// Ends the upstream's session; its answer does not matter.
    pub async fn close(&self, pool: &Pool) {
        if !self.has_session {
            return;
        }
        let request = self.request(Method::DELETE, Body::Empty);
        let sent = pool.send(&self.upstream.target, request);
        match tokio::time::timeout(CLOSE_TIMEOUT, sent).await {
            Ok(Ok(_)) => {}
            Ok(Err(failure)) => {
                tracing::debug!(server = %self.server, "DELETE upstream: {failure}")
            }
            Err(_) => tracing::debug!(server = %self.server, "DELETE upstream: no answer"),
        }
    }

    fn request(&self, method: Method, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = self.upstream.path.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    fn unreachable(&self, envelope: &Envelope<'_>, failure: &Failure) -> Response<Body> {
        let (outcome, text) = match failure {
            Failure::NotSent(why) => {
                (Outcome::NotSent, format!("server {} cannot be reached: {why}", self.server))
            }
            Failure::Broken(why) => (
                Outcome::Sent,
                format!(
                    "the connection to server {} broke while the call was under way; it may have \
                     run: {why}",
                    self.server
                ),
            ),
        };
        let mut response =
            events::json(jsonrpc::error(envelope.id_text(), code::SERVER_LOST, &text));
        *response.status_mut() = events::status_for(envelope, StatusCode::BAD_GATEWAY);
        outcome.write(response.headers_mut());
        response
    }

    /// An upstream's own error: as it stands if it is a JSON-RPC answer to this
    /// request, else in our words. A 401 or 403 is between gateway and upstream.
    fn refused(&self, envelope: &Envelope<'_>, status: StatusCode, text: &[u8]) -> Response<Body> {
        if is_answer(text, envelope)
            && !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        {
            return events::json(Bytes::copy_from_slice(text));
        }
        let why = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                format!(
                    "server {} refuses the gateway's credentials ({status}); check its \"headers\"",
                    self.server
                )
            }
            _ => format!("server {} answers {status}", self.server),
        };
        let mut response = events::json(jsonrpc::error(envelope.id_text(), code::INTERNAL, &why));
        *response.status_mut() = events::status_for(envelope, StatusCode::BAD_GATEWAY);
        response
    }
}

/// The response with nothing but what a client of ours should see.
fn relayed(response: Response<Body>) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let mut relayed = Response::new(body);
    *relayed.status_mut() = parts.status;
    for name in [header::CONTENT_TYPE, header::CACHE_CONTROL] {
        if let Some(value) = parts.headers.get(&name) {
            relayed.headers_mut().insert(name, value.clone());
        }
    }
    relayed
}

/// Whether the body answers this very request: then the server has seen it, and
/// only says "session not found" for a session that is lost.
fn is_answer(text: &[u8], request: &Envelope<'_>) -> bool {
    #[derive(serde::Deserialize)]
    struct Error {
        code: i64,
    }
    Envelope::parse(text).is_ok_and(|answer| {
        let error = answer.error.and_then(|error| serde_json::from_str::<Error>(error.get()).ok());
        answer.kind() == Kind::Response
            && request.id.is_some()
            && answer.id_text() == request.id_text()
            && error.is_none_or(|error| error.code != code::SESSION)
    })
}

/// The specification says 404; several servers say 400 with a word about it.
fn is_lost(status: StatusCode, text: &[u8]) -> bool {
    match status {
        StatusCode::NOT_FOUND => true,
        StatusCode::BAD_REQUEST => {
            let text = String::from_utf8_lossy(text).to_ascii_lowercase();
            text.contains("session") || text.contains("not initialized")
        }
        _ => false,
    }
}

async fn error_text(response: Response<Body>) -> Bytes {
    collect(response.into_body(), ERROR_BODY).await.unwrap_or_default()
}
