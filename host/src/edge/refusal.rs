//! The one table that turns an error into a response.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::edge::absent_server::AbsentServer;
use crate::edge::access::limit_met::{LimitMet, LimitRemedy};
use crate::edge::access::token_refusal::TokenRefusal;
use crate::edge::logins::login_refusal::LoginRefusal;
use crate::model::{QuotaKey, ServerName};
use crate::net::Body;
use crate::protocol::era::fault::EraFault;
use crate::protocol::error_kind::{Emitter, ErrorKind};
use crate::protocol::headers::{self, whole_seconds};
use crate::protocol::jsonrpc::{self, Malformed, code};
use crate::protocol::request_id::RequestId;
use crate::protocol::strict::Unclear;
use crate::store::NoRoom;

/// `Retry-After` of refusals whose cause passes by itself, mostly at once.
const SOON: Duration = Duration::from_secs(1);
/// `Retry-After` when a principal has too many sessions: their clients take longer to end them.
const SESSIONS: Duration = Duration::from_secs(10);
/// `Retry-After` when there is no room for a connection or a body.
const CROWDED: Duration = Duration::from_secs(2);

/// Why a request is not served. The variant says which step refused it, and its text tells the
/// client what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    #[error("Forbidden: the Host {0:?} is not allowed; add it to systemConfig.allowedHosts")]
    ForeignHost(String),
    #[error("Bad Request: one Host header is required, and the request has {0}")]
    Hosts(usize),
    /// Holds the header's name.
    #[error("Bad Request: the request has several {} headers, and may have one", as_written(.0))]
    Several(HeaderName),
    #[error("Bad Request: the target names another authority than the Host header")]
    OtherAuthority,
    #[error("Not Implemented: the only transfer coding is chunked")]
    Coding,
    #[error("Bad Request: the request has both Content-Length and Transfer-Encoding")]
    TwoLengths,
    #[error("Bad Request: a line of the head ends without a carriage return")]
    BareLineFeed,
    #[error("Forbidden: the Origin {0:?} is not allowed; add it to systemConfig.allowedOrigins")]
    ForeignOrigin(String),
    /// Holds the header that carries the key.
    #[error(
        "Unauthorized: send \"{}: Bearer …\" with a key of the gateway (bearerKeys, or systemConfig.routing.bearerAuthKey)", as_written(.0)
    )]
    Unauthorized(HeaderName),
    #[error(
        "Unauthorized: show a client certificate, of an authority that systemConfig.listen.tls.clientCa names (the management API wants a key)"
    )]
    Uncertified,
    #[error(
        "Forbidden: this key opens its own groups and servers alone; the management API wants one with accessType all"
    )]
    RestrictedKey,
    #[error(
        "Forbidden: this credential does not open the management API; a rule of systemConfig.policy with \"management\": true does"
    )]
    NoManagement,
    #[error("{0}")]
    Token(Box<TokenRefusal>),
    #[error("{0}")]
    LimitMet(Box<LimitMet>),
    #[error(
        "Forbidden: this node serves its coordinator only; connect to the coordinator, give the node a key of its own (systemConfig.routing.bearerAuthKey), or open it with systemConfig.cluster.node.public"
    )]
    ClosedNode,
    #[error("Not found: {0}")]
    UnknownPath(String),
    #[error("Not found: no server or group has the name {0:?}; check the path")]
    UnknownScope(String),
    /// Holds the value of the `Allow` header.
    #[error("Method not allowed: this path takes {0}")]
    MethodNotAllowed(&'static str),
    #[error("Unsupported Media Type: Content-Type must be application/json")]
    ContentType,
    #[error(
        "Unsupported Media Type: the body has a Content-Encoding, and only plain bodies are read: send it without one (identity)"
    )]
    ContentEncoding,
    #[error("Not Acceptable: the Accept header must include {0}")]
    Accept(&'static str),
    #[error(
        "Content Too Large: the request body is larger than {0} bytes (systemConfig.limits.requestBody)"
    )]
    TooLarge(usize),
    #[error("Content Too Large: the params of initialize exceed the fixed limit of {0} bytes")]
    ParamsTooLarge(usize),
    /// Holds the limits of the body and of the params.
    #[error(
        "Content Too Large: a request without a session may have {0} bytes, since it has to be initialize, whose params may have {1}"
    )]
    FirstTooLarge(usize, usize),
    #[error(
        "Request Timeout: the request body does not go on; send at least {0} bytes a second (systemConfig.limits.bodyRate, bodyTimeout)"
    )]
    BodyStalled(u64),
    #[error(
        "Service Unavailable: too many request bodies are being received (systemConfig.limits.bodiesInMemory); try again"
    )]
    NoRoomForBody,
    #[error(
        "Service Unavailable: all connections are in use (systemConfig.limits.connections, connectionsPerAddress); try again"
    )]
    Crowded,
    #[error(
        "Request Header Fields Too Large: request line and headers are larger than {0} bytes (systemConfig.limits.headerBlock)"
    )]
    HeadersTooLarge(usize),
    #[error("Bad Request: the request body ended early or is malformed")]
    BodyBroken,
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("Bad Request: Mcp-Session-Id header is required, unless the request is initialize")]
    MissingSession,
    #[error("Session not found")]
    UnknownSession,
    #[error(
        "Bad Request: sessionId is required; post to the address in the endpoint event of the stream"
    )]
    MissingStream,
    #[error(
        "Session not found: this stream has none, or the one that it had is gone; send initialize on a new stream"
    )]
    NotInitialized,
    #[error(
        "Too Many Requests: {0} messages of this session are in progress (systemConfig.limits.inFlightPerSession); read the event stream and try again"
    )]
    Busy(u32),
    #[error(
        "Bad Request: MCP-Protocol-Version {0:?} is not supported; use 2025-11-25, 2025-06-18, 2025-03-26 or 2024-11-05"
    )]
    Version(String),
    #[error(
        "Bad Request: the batch has more than {0} messages (systemConfig.limits.inFlightPerSession); send smaller batches"
    )]
    LongBatch(usize),
    /// `initialize` in a living session. Holds what the client can do instead.
    #[error("this session is initialized already; {0}")]
    Initialized(&'static str),
    #[error("{0}")]
    InvalidParams(String),
    #[error("Method not found: {0}")]
    MethodNotFound(String),
    #[error("Resource not found: {0}")]
    ResourceNotFound(String),
    /// No replica could take the request; it has not run anywhere.
    #[error("server {server} is not available: {why}")]
    Unavailable {
        server: ServerName,
        why: String,
        retry_after: Option<Duration>,
        /// Whether a node has said so.
        by_node: bool,
    },
    /// Every node that has the server is away; the request has not run anywhere.
    #[error("{0}")]
    Absent(Box<AbsentServer>),
    #[error("{0}")]
    TooManySessions(Box<TooManySessions>),
    /// Holds what takes the memory, and what helps.
    #[error(
        "Too Many Requests: what your address or key has under way takes as much memory as it may: {0}"
    )]
    HoldsTooMuch(&'static str),
    /// The request reached a replica, and the connection to it broke.
    #[error("the connection to server {server} broke during the call, which may have run: {why}")]
    Lost { server: ServerName, why: String },
    #[error("the gateway could not make a session id")]
    NoKey,
    /// The server acts for a user who has yet to log in.
    #[error("{0}")]
    LogIn(Box<LoginRefusal>),
    /// Of a request without a session.
    #[error("{0}")]
    Era(Box<EraFault>),
    /// What a server held for a conversation is lost, and `onLost` demands that it ends.
    #[error(
        "this conversation has ended, since what a server held for it is lost (onLost); the next request begins another one"
    )]
    ConversationEnded,
}

impl From<EraFault> for Refusal {
    fn from(fault: EraFault) -> Self {
        Self::Era(Box::new(fault))
    }
}

/// Why a session cannot begin, for its client.
#[derive(Debug, Clone)]
pub struct TooManySessions {
    pub why: NoRoom,
    /// Whom the session would count for.
    pub whom: QuotaKey,
    /// Whether that is a proxy, as which all of its clients count.
    pub by_proxy: bool,
}

impl std::fmt::Display for TooManySessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { why, whom, by_proxy } = self;
        match why {
            NoRoom::OfKey(limit) => write!(
                f,
                "Too Many Requests: {limit} sessions of {whom} are open already (systemConfig.limits.sessionsPerPrincipal); end one with DELETE"
            )?,
            NoRoom::InAll(limit) => write!(
                f,
                "Too Many Requests: {limit} sessions are open already, all of them with an open stream (systemConfig.limits.sessions); {whom} has to wait until one ends"
            )?,
        }
        if *by_proxy {
            f.write_str(
                ". The address is that of a proxy: its operator can name it in systemConfig.trustedProxies, so that its clients count one by one",
            )?;
        }
        Ok(())
    }
}

impl Refusal {
    /// This process is short of something that a connection to the server's node takes.
    #[must_use]
    pub fn short(server: &ServerName, why: String) -> Self {
        let server = server.clone();
        Self::Unavailable { server, why, retry_after: Some(SOON), by_node: false }
    }

    fn table(&self) -> (StatusCode, i64) {
        match self {
            Self::ForeignHost(_)
            | Self::ForeignOrigin(_)
            | Self::ClosedNode
            | Self::RestrictedKey
            | Self::NoManagement => (StatusCode::FORBIDDEN, code::TRANSPORT),
            Self::Unauthorized(_) | Self::Uncertified => {
                (StatusCode::UNAUTHORIZED, code::TRANSPORT)
            }
            Self::Token(token) => (token.status(), code::TRANSPORT),
            Self::LimitMet(met) => match met.remedy {
                LimitRemedy::Wait(_) => (StatusCode::TOO_MANY_REQUESTS, code::LIMITED),
                LimitRemedy::SmallerBatch { .. } => {
                    (StatusCode::BAD_REQUEST, code::INVALID_REQUEST)
                }
            },
            Self::UnknownPath(_) | Self::UnknownScope(_) => {
                (StatusCode::NOT_FOUND, code::TRANSPORT)
            }
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, code::TRANSPORT),
            Self::ContentType | Self::ContentEncoding => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, code::TRANSPORT)
            }
            Self::Accept(_) => (StatusCode::NOT_ACCEPTABLE, code::TRANSPORT),
            Self::TooLarge(_) | Self::ParamsTooLarge(_) | Self::FirstTooLarge(..) => {
                (StatusCode::PAYLOAD_TOO_LARGE, code::TRANSPORT)
            }
            Self::BodyStalled(_) => (StatusCode::REQUEST_TIMEOUT, code::TRANSPORT),
            Self::NoRoomForBody | Self::Crowded => {
                (StatusCode::SERVICE_UNAVAILABLE, code::TRANSPORT)
            }
            Self::HeadersTooLarge(_) => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, code::TRANSPORT)
            }
            Self::Hosts(_)
            | Self::Several(_)
            | Self::OtherAuthority
            | Self::TwoLengths
            | Self::BareLineFeed => (StatusCode::BAD_REQUEST, code::TRANSPORT),
            Self::Coding => (StatusCode::NOT_IMPLEMENTED, code::TRANSPORT),
            Self::BodyBroken | Self::MissingSession | Self::MissingStream | Self::Version(_) => {
                (StatusCode::BAD_REQUEST, code::TRANSPORT)
            }
            Self::LongBatch(_) | Self::Initialized(_) => {
                (StatusCode::BAD_REQUEST, code::INVALID_REQUEST)
            }
            Self::Busy(_) | Self::TooManySessions(_) | Self::HoldsTooMuch(_) => {
                (StatusCode::TOO_MANY_REQUESTS, code::TRANSPORT)
            }
            Self::Malformed(malformed) => (StatusCode::BAD_REQUEST, malformed.code()),
            // What clients take as the order to begin another session.
            Self::UnknownSession | Self::NotInitialized => (StatusCode::NOT_FOUND, code::SESSION),
            Self::InvalidParams(_) => (StatusCode::OK, code::INVALID_PARAMS),
            Self::MethodNotFound(_) => (StatusCode::OK, code::METHOD_NOT_FOUND),
            Self::ResourceNotFound(_) => (StatusCode::OK, code::RESOURCE),
            Self::Unavailable { .. } | Self::Absent(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE)
            }
            Self::Lost { .. } => (StatusCode::BAD_GATEWAY, code::SERVER_LOST),
            Self::NoKey => (StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL),
            Self::LogIn(login) => (StatusCode::OK, login.code()),
            Self::Era(fault) => (fault.status(), fault.code()),
            Self::ConversationEnded => (StatusCode::OK, code::SERVER_LOST),
        }
    }

    /// The status, where it does not answer one request of a session.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.table().0
    }

    /// What is counted of it: about which server, who has made it, and its kind.
    #[must_use]
    pub fn counted(&self) -> (Option<&ServerName>, Emitter, ErrorKind) {
        let (server, emitter) = match self {
            Self::Unavailable { server, by_node: true, .. } => (Some(server), Emitter::Node),
            Self::Unavailable { server, .. } | Self::Lost { server, .. } => {
                (Some(server), Emitter::Gateway)
            }
            Self::Absent(absent) => (Some(absent.server()), Emitter::Gateway),
            Self::LogIn(login) => (Some(login.server()), Emitter::Gateway),
            _ => (None, Emitter::Gateway),
        };
        (server, emitter, ErrorKind::of(self.table().1))
    }

    /// Whether the refusal concerns one request of a session that goes on. It is then a JSON-RPC
    /// error inside a 200, which SDKs hand to the caller; any other status makes several of them
    /// close their transport.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::InvalidParams(_)
                | Self::MethodNotFound(_)
                | Self::ResourceNotFound(_)
                | Self::Unavailable { .. }
                | Self::Absent(_)
                | Self::Lost { .. }
                | Self::LogIn(_)
                | Self::ConversationEnded
        ) || matches!(self, Self::LimitMet(met) if !met.is_whole)
    }

    /// Whether the rest of the request is not read, so that its connection cannot be used again.
    fn leaves_the_rest(&self) -> bool {
        matches!(
            self,
            Self::TooLarge(_)
                | Self::FirstTooLarge(..)
                | Self::HeadersTooLarge(_)
                | Self::BodyBroken
                | Self::BodyStalled(_)
                | Self::NoRoomForBody
                | Self::Crowded
                | Self::Hosts(_)
                | Self::Several(_)
                | Self::OtherAuthority
                | Self::Coding
                | Self::TwoLengths
                | Self::BareLineFeed
        )
    }

    /// The JSON-RPC error. `id` is the request's, as JSON.
    #[must_use]
    pub fn message(&self, id: Option<&str>) -> Bytes {
        let (code, text) = (self.table().1, self.to_string());
        match self {
            Self::Absent(absent) => jsonrpc::error_with(id, code, &text, &absent.data()),
            Self::LimitMet(met) => jsonrpc::error_with(id, code, &text, &met.data()),
            Self::LogIn(login) => match login.data() {
                Some(data) => jsonrpc::error_with(id, code, &text, &data),
                None => jsonrpc::error(id, code, &text),
            },
            Self::Era(fault) => match fault.data() {
                Some(data) => jsonrpc::error_with(id, code, &text, &data),
                None => jsonrpc::error(id, code, &text),
            },
            _ => jsonrpc::error(id, code, &text),
        }
    }

    /// The response. `id` is the request's, as JSON.
    #[must_use]
    pub fn response(&self, id: Option<&str>) -> Response<Body> {
        let status = self.table().0;
        let answers = self.is_answer() && id.is_some();
        let mut response = Response::new(Body::from(self.message(id)));
        *response.status_mut() = if answers { StatusCode::OK } else { status };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(headers::JSON));
        match self {
            Self::Unauthorized(_) => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Token(token) => {
                if let Some(challenge) = token.challenge() {
                    headers.insert(header::WWW_AUTHENTICATE, challenge);
                }
                if let Some(after) = token.retry_after() {
                    headers.insert(header::RETRY_AFTER, whole_seconds(after));
                }
            }
            Self::ContentEncoding => {
                // What would have been taken (RFC 9110, section 15.5.16).
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            }
            Self::MethodNotAllowed(allowed) => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
            }
            Self::Unavailable { retry_after, .. } => {
                let after = retry_after.unwrap_or(SOON);
                headers.insert(header::RETRY_AFTER, whole_seconds(after));
            }
            Self::Absent(absent) => {
                headers.insert(header::RETRY_AFTER, whole_seconds(absent.retry_after));
            }
            Self::LimitMet(met) => {
                if let Some(after) = met.retry_after() {
                    headers.insert(header::RETRY_AFTER, whole_seconds(after));
                }
            }
            Self::Busy(_) => {
                headers.insert(header::RETRY_AFTER, whole_seconds(SOON));
            }
            Self::TooManySessions(_) | Self::HoldsTooMuch(_) => {
                headers.insert(header::RETRY_AFTER, whole_seconds(SESSIONS));
            }
            Self::NoRoomForBody | Self::Crowded => {
                headers.insert(header::RETRY_AFTER, whole_seconds(CROWDED));
            }
            _ => {}
        }
        if self.leaves_the_rest() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Unclear> for Refusal {
    fn from(unclear: Unclear) -> Self {
        match unclear {
            Unclear::Long(_) => Self::Malformed(Malformed::long_token()),
            _ => Self::InvalidParams(unclear.to_string()),
        }
    }
}

/// The name of a header as people write it: the parser keeps lower case.
fn as_written(name: &HeaderName) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        format!("{}{rest}", first.to_ascii_uppercase())
    };
    name.as_str().split('-').map(word).collect::<Vec<_>>().join("-")
}

/// The answer to a request whose server went away during the call.
pub fn lost_words(id: &str, server: &ServerName) -> Bytes {
    let text =
        format!("the connection to server {server} broke during the call, which may have run");
    jsonrpc::error(Some(id), code::SERVER_LOST, &text)
}

/// A refusal, and the id of the request that it answers, if that is known. For a request whose body
/// was not read it is looked for once the refusal is written; `None` beside a body that was read
/// stands for `null`.
pub type Refused = (Refusal, Option<String>);

/// The refusal of a body that is no valid message, under the id of the request that it may have
/// been meant to be.
pub fn malformed(why: Malformed, message: &[u8]) -> Refused {
    (Refusal::Malformed(why), RequestId::of(message))
}
