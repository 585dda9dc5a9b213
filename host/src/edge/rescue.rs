//! The one table that turns an error into a response.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::model::ServerName;
use crate::net::Body;
use crate::protocol::headers::{self, whole_seconds};
use crate::protocol::jsonrpc::{self, Malformed, code};

/// What passes by itself, mostly at once.
const SOON: Duration = Duration::from_secs(1);
/// Sessions end when their clients are done, which takes longer.
const SESSIONS: Duration = Duration::from_secs(10);

/// Why a request is not served. Says stage and blame by its name, and to the
/// client what it can do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    #[error(
        "Forbidden: the Host {0:?} is not one of this gateway's; add it to systemConfig.allowedHosts"
    )]
    ForeignHost(String),
    #[error("Forbidden: the Origin {0:?} is not allowed; add it to systemConfig.allowedOrigins")]
    ForeignOrigin(String),
    #[error(
        "Unauthorized: send \"Authorization: Bearer …\" with the key of systemConfig.routing.bearerAuthKey"
    )]
    Unauthorized,
    #[error(
        "Forbidden: this node serves its coordinator only; connect to the coordinator, or set cluster.node.public"
    )]
    ClosedNode,
    #[error("Not found: {0}")]
    UnknownPath(String),
    #[error("Not found: there is no server or group {0:?} here")]
    UnknownScope(String),
    /// Holds what the `Allow` header is to say.
    #[error("Method not allowed: {0} can be used here")]
    MethodNotAllowed(&'static str),
    #[error("Unsupported Media Type: Content-Type must be application/json")]
    ContentType,
    #[error("Not Acceptable: Accept must have {0}")]
    Accept(&'static str),
    #[error(
        "Content Too Large: the request body is larger than {0} bytes (systemConfig.limits.requestBody)"
    )]
    TooLarge(usize),
    #[error("Content Too Large: the parameters of initialize are larger than {0} bytes")]
    ParamsTooLarge(usize),
    #[error(
        "Request Header Fields Too Large: more than {0} bytes (systemConfig.limits.headerBlock)"
    )]
    HeadersTooLarge(usize),
    #[error("Bad Request: the request body broke off")]
    BodyBroken,
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("Bad Request: Mcp-Session-Id header is required, unless the request is initialize")]
    MissingSession,
    #[error("Conflict: another GET stream of this session is open")]
    AlreadyListening,
    #[error("Session not found")]
    UnknownSession,
    #[error(
        "Bad Request: sessionId is required; post to the address that the stream's endpoint event names"
    )]
    MissingStream,
    #[error("Invalid Request: the session is not initialized; send initialize first")]
    NotInitialized,
    #[error(
        "Too Many Requests: {0} requests of this session are under way, or wait until the client reads its event stream (systemConfig.limits.inFlightPerSession)"
    )]
    Busy(u32),
    #[error(
        "Bad Request: protocol version {0:?} is not supported here; sessions have 2025-11-25, 2025-06-18, 2025-03-26 or 2024-11-05"
    )]
    Version(String),
    #[error(
        "Bad Request: a batch has at most {0} messages here (systemConfig.limits.inFlightPerSession)"
    )]
    LongBatch(usize),
    #[error("{0}")]
    InvalidParams(String),
    #[error("Method not found: {0}")]
    MethodNotFound(String),
    #[error("Resource not found: {0}")]
    ResourceNotFound(String),
    /// No replica could take it; it has not run anywhere.
    #[error("server {server} is not available: {why}")]
    Unavailable { server: ServerName, why: String, retry_after: Option<Duration> },
    #[error(
        "Too Many Requests: {0} sessions of yours are open (systemConfig.limits.sessionsPerPrincipal); end one with DELETE"
    )]
    TooManySessions(usize),
    /// It reached a replica, which then went away.
    #[error(
        "the connection to server {server} broke while the call was under way; it may have run: {why}"
    )]
    Lost { server: ServerName, why: String },
    #[error("the gateway could not make a session id")]
    NoKey,
}

impl Refusal {
    fn table(&self) -> (StatusCode, i64) {
        match self {
            Self::ForeignHost(_) | Self::ForeignOrigin(_) | Self::ClosedNode => {
                (StatusCode::FORBIDDEN, code::TRANSPORT)
            }
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, code::TRANSPORT),
            Self::UnknownPath(_) | Self::UnknownScope(_) => {
                (StatusCode::NOT_FOUND, code::TRANSPORT)
            }
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, code::TRANSPORT),
            Self::ContentType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, code::TRANSPORT),
            Self::Accept(_) => (StatusCode::NOT_ACCEPTABLE, code::TRANSPORT),
            Self::TooLarge(_) | Self::ParamsTooLarge(_) => {
                (StatusCode::PAYLOAD_TOO_LARGE, code::TRANSPORT)
            }
            Self::HeadersTooLarge(_) => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, code::TRANSPORT)
            }
            Self::BodyBroken | Self::MissingSession | Self::MissingStream | Self::Version(_) => {
                (StatusCode::BAD_REQUEST, code::TRANSPORT)
            }
            Self::NotInitialized | Self::LongBatch(_) => {
                (StatusCode::BAD_REQUEST, code::INVALID_REQUEST)
            }
            Self::Busy(_) | Self::TooManySessions(_) => {
                (StatusCode::TOO_MANY_REQUESTS, code::TRANSPORT)
            }
            Self::Malformed(malformed) => (StatusCode::BAD_REQUEST, malformed.code()),
            Self::AlreadyListening => (StatusCode::CONFLICT, code::TRANSPORT),
            Self::UnknownSession => (StatusCode::NOT_FOUND, code::SESSION),
            Self::InvalidParams(_) => (StatusCode::OK, code::INVALID_PARAMS),
            Self::MethodNotFound(_) => (StatusCode::OK, code::METHOD_NOT_FOUND),
            Self::ResourceNotFound(_) => (StatusCode::OK, code::RESOURCE),
            Self::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE),
            Self::Lost { .. } => (StatusCode::BAD_GATEWAY, code::SERVER_LOST),
            Self::NoKey => (StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL),
        }
    }

    /// Whether it answers one request of a session that goes on: then it is a
    /// JSON-RPC error inside a 200, which clients hand to whoever called. Any
    /// other status ends the transport of several SDKs.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::InvalidParams(_)
                | Self::MethodNotFound(_)
                | Self::ResourceNotFound(_)
                | Self::Unavailable { .. }
                | Self::Lost { .. }
        )
    }

    /// The response; `id` is the request's, as it stands in the message.
    #[must_use]
    pub fn response(&self, id: Option<&str>) -> Response<Body> {
        let (status, code) = self.table();
        let answers = self.is_answer() && id.is_some();
        let mut response = Response::new(Body::from(jsonrpc::error(id, code, &self.to_string())));
        *response.status_mut() = if answers { StatusCode::OK } else { status };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(headers::JSON));
        match self {
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::MethodNotAllowed(allowed) => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
            }
            Self::Unavailable { retry_after, .. } => {
                let after = retry_after.unwrap_or(SOON);
                headers.insert(header::RETRY_AFTER, whole_seconds(after));
            }
            Self::Busy(_) => {
                headers.insert(header::RETRY_AFTER, whole_seconds(SOON));
            }
            Self::TooManySessions(_) => {
                headers.insert(header::RETRY_AFTER, whole_seconds(SESSIONS));
            }
            // What is left of the body is not read: the connection is of no use.
            Self::TooLarge(_) | Self::HeadersTooLarge(_) | Self::BodyBroken => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// The answer to a request whose server went away while it was answered.
pub fn lost_words(id: &str, server: &ServerName) -> Bytes {
    let text = format!(
        "the connection to server {server} broke while the call was under way; it may have run"
    );
    jsonrpc::error(Some(id), code::SERVER_LOST, &text)
}

/// A refusal, and the id of the request it answers if that is known.
pub type Refused = (Refusal, Option<String>);
