//! A running MCP server for one session, whatever its transport.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response};

use crate::model::ServerName;
use crate::protocol::jsonrpc::{self, Envelope, Kind};
use crate::protocol::{headers, initialize, methods};
use crate::seam::{Body, Handshake, Pool};

use super::caller::{self, CallError};
use super::child::Program;
use super::remote_http::{RemoteHttp, Upstream};
use super::stdio::{LostSignal, Means, Stdio};

/// npx and uvx may install the server first.
const INITIALIZE_TIMEOUT: Duration = Duration::from_secs(180);
/// The id of the gateway's own requests; no client counts like that.
pub const OWN_ID: &str = "\"mooring-open\"";

/// How to start a server.
#[derive(Debug, Clone)]
pub enum Recipe {
    Stdio(Program),
    Http(Upstream),
    /// Its configuration is wrong; the reason.
    Broken(String),
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    #[error("server {server} is misconfigured: {reason}")]
    Misconfigured { server: ServerName, reason: String },
    #[error("server {server}: {reason}")]
    Start { server: ServerName, reason: String },
    #[error("server {server} did not answer initialize within {} s", INITIALIZE_TIMEOUT.as_secs())]
    Silent { server: ServerName },
    #[error("server {server} refused initialize: {reason}")]
    Refused { server: ServerName, reason: String },
}

enum Transport {
    Stdio(Stdio),
    Http(Box<RemoteHttp>),
}

pub struct Instance {
    transport: Transport,
    /// The `InitializeResult`, as the server wrote it.
    pub result: Bytes,
    /// Whether the server has been told `notifications/initialized`.
    told_initialized: std::sync::atomic::AtomicBool,
}

impl Instance {
    /// Starts the server and opens its session with the client's parameters.
    pub async fn open(
        server: &ServerName,
        recipe: &Recipe,
        params: &[u8],
        handshake: Handshake,
        pool: &Pool,
        means: &Means,
    ) -> Result<Self, OpenError> {
        let open = Self::start(server, recipe, params, handshake, pool, means);
        match tokio::time::timeout(INITIALIZE_TIMEOUT, open).await {
            Ok(opened) => opened,
            Err(_) => Err(OpenError::Silent { server: server.clone() }),
        }
    }

    async fn start(
        server: &ServerName,
        recipe: &Recipe,
        params: &[u8],
        handshake: Handshake,
        pool: &Pool,
        means: &Means,
    ) -> Result<Self, OpenError> {
        let failed = |reason: String| OpenError::Start { server: server.clone(), reason };
        let refused = |error: CallError| match error {
            CallError::Refused(reason) => OpenError::Refused { server: server.clone(), reason },
            other => OpenError::Start { server: server.clone(), reason: other.to_string() },
        };
        let params = String::from_utf8_lossy(params);
        let message = jsonrpc::request(OWN_ID, methods::INITIALIZE, &params);
        let (transport, result) = match recipe {
            Recipe::Broken(reason) => {
                let (server, reason) = (server.clone(), reason.clone());
                return Err(OpenError::Misconfigured { server, reason });
            }
            Recipe::Stdio(program) => {
                let stdio = Stdio::start(server, program, means)
                    .await
                    .map_err(|e| failed(e.to_string()))?;
                let envelope = Envelope::parse(&message).map_err(|e| failed(e.to_string()))?;
                let response = stdio.post(message.clone(), &envelope, true).await;
                let result =
                    caller::result_of(response).await.map_err(|error| match stdio.lost() {
                        Some(why) => failed(why.to_string()),
                        None => refused(error),
                    })?;
                (Transport::Stdio(stdio), result)
            }
            Recipe::Http(upstream) => {
                let mut remote = RemoteHttp::new(server.clone(), upstream.clone());
                let response =
                    remote.send(pool, message).await.map_err(|e| failed(e.to_string()))?;
                let session: Option<HeaderValue> =
                    response.headers().get(headers::SESSION).cloned();
                let result = caller::result_of(response).await.map_err(refused)?;
                let version = version_of(&result);
                remote.opened(session, &version);
                (Transport::Http(Box::new(remote)), result)
            }
        };
        let instance = Self { transport, result, told_initialized: false.into() };
        if handshake == Handshake::Host {
            let message = jsonrpc::notification(methods::INITIALIZED);
            if let Ok(envelope) = Envelope::parse(&message) {
                instance.post(message.clone(), &envelope, true, pool).await;
            }
        }
        Ok(instance)
    }

    /// Sends one message of the session.
    pub async fn post(
        &self,
        message: Bytes,
        envelope: &Envelope<'_>,
        events: bool,
        pool: &Pool,
    ) -> Response<Body> {
        if envelope.kind() == Kind::Notification
            && envelope.method() == methods::INITIALIZED
            && self.told_initialized.swap(true, std::sync::atomic::Ordering::AcqRel)
        {
            // A server must hear it once, and a repeated open has said it.
            return super::stdio::accepted();
        }
        match &self.transport {
            Transport::Stdio(stdio) => stdio.post(message, envelope, events).await,
            Transport::Http(remote) => remote.post(pool, message, envelope).await,
        }
    }

    pub async fn listen(&self, last_event_id: Option<&HeaderValue>, pool: &Pool) -> Response<Body> {
        match &self.transport {
            Transport::Stdio(stdio) => stdio.listen(),
            Transport::Http(remote) => remote.listen(pool, last_event_id).await,
        }
    }

    /// Ends the session at the server, calls in flight included.
    pub async fn close(&self, pool: &Pool) {
        match &self.transport {
            Transport::Stdio(stdio) => stdio.close(),
            Transport::Http(remote) => remote.close(pool).await,
        }
    }

    /// Whether a call is under way or somebody listens.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        match &self.transport {
            Transport::Stdio(stdio) => stdio.is_busy(),
            Transport::Http(_) => false,
        }
    }

    /// Whether the server has gone by itself.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        match &self.transport {
            Transport::Stdio(stdio) => stdio.lost().is_some(),
            Transport::Http(_) => false,
        }
    }

    /// Tells when the server has gone by itself; a remote one does not say.
    #[must_use]
    pub fn lost_signal(&self) -> Option<LostSignal> {
        match &self.transport {
            Transport::Stdio(stdio) => Some(stdio.lost_signal()),
            Transport::Http(_) => None,
        }
    }

    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match &self.transport {
            Transport::Stdio(stdio) => Some(stdio.pid()),
            Transport::Http(_) => None,
        }
    }
}

fn version_of(result: &[u8]) -> String {
    serde_json::from_slice::<initialize::Outcome<'_>>(result)
        .map(|outcome| outcome.protocol_version.into_owned())
        .unwrap_or_default()
}
