//! A running MCP server for one session, whatever its transport.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio::sync::watch;

use crate::model::{Principal, ServerName};
use crate::protocol::initialize::{ClientSet, Outcome, Params};
use crate::protocol::jsonrpc::{self, Envelope, Kind};
use crate::protocol::version::Version;
use crate::protocol::{headers, methods};
use crate::seam::{Body, Handshake, Note, Pool};

use super::caller::{self, CallError};
use super::child::{Children, Program};
use super::discovery::Discovered;
use super::journal::Journal;
use super::launch::Launch;
use super::open_error::OpenError;
use super::pipe::{self, LostSignal, Rules};
use super::recycle::Recycling;
use super::remote_http::RemoteHttp;
use super::remote_sse::RemoteSse;
use super::spares::Spares;
use super::starts::Starts;
use super::stdio::Stdio;
use super::tail::Line;
use super::timeout::Timeouts;
use super::upstream::{Caller, Upstream};

/// npx and uvx may install the server first.
pub const START_TIMEOUT: Duration = Duration::from_secs(180);
/// The id of the gateway's own requests; no client counts like that.
pub const OWN_ID: &str = "\"mooring-open\"";
/// Subscriptions of one session that a coordinator is told of.
const MAX_SUBSCRIPTIONS: usize = 1000;

/// How to start a server.
#[derive(Debug, Clone)]
pub enum Recipe {
    Stdio(Program),
    Http(Upstream),
    /// HTTP+SSE, the transport of 2024-11-05.
    Sse(Upstream),
    /// The first that works, Streamable HTTP before HTTP+SSE.
    HttpOrSse(Upstream),
    /// Its configuration is wrong; the reason.
    Broken(String),
}

/// One server, as it is run here.
#[derive(Debug, Clone)]
pub struct Served {
    pub recipe: Recipe,
    pub timeouts: Timeouts,
    /// Headers of the client that reach a remote server.
    pub passthrough: Vec<HeaderName>,
    /// Longest time from its start to its answer to `initialize`.
    pub start_timeout: Duration,
    /// An instance that is not used for so long is ended, whoever listens; else
    /// the host's default holds.
    pub idle: Option<Duration>,
    /// When an instance is ended at a quiet point.
    pub recycling: Recycling,
    /// Processes kept ahead of their first session.
    pub warm: usize,
    /// Sessions end when what the server held for them is lost.
    pub ends_when_lost: bool,
}

/// What every server of a host is run with.
#[derive(Debug, Clone)]
pub struct Means {
    /// But for the timeouts, which are the server's.
    pub rules: Rules,
    pub children: Children,
    pub starts: Arc<Starts>,
    pub spares: Arc<Spares>,
    /// What children write to stderr.
    pub journal: Journal,
    /// Servers of unknown transport that have been found to speak HTTP+SSE.
    pub old_transport: Arc<Mutex<HashSet<ServerName>>>,
}

/// How a session begins at a server.
pub struct Opening<'a> {
    /// The client's `initialize` parameters.
    pub params: &'a [u8],
    pub handshake: Handshake,
    pub forwarded: &'a HeaderMap,
    /// Whose session it is; none for the gateway's own questions.
    pub principal: Option<&'a Principal>,
}

enum Transport {
    Stdio(Stdio),
    Http(Box<RemoteHttp>),
    Sse(RemoteSse),
}

pub struct Instance {
    transport: Transport,
    /// The `InitializeResult`, as the server wrote it.
    pub result: Bytes,
    /// What the client can do, by which the server may choose what it offers.
    pub client_set: ClientSet,
    version: Option<Version>,
    /// Whether the server has been told `notifications/initialized`.
    told_initialized: std::sync::atomic::AtomicBool,
    /// Its own lists where they differ from the catalogue, and after how many
    /// changes they were read.
    lists: watch::Sender<(u32, Option<Arc<Discovered>>)>,
    settings: Mutex<Settings>,
}

/// What the client has set: a new instance would have to be told.
#[derive(Default)]
struct Settings {
    level: Option<String>,
    subscriptions: BTreeSet<String>,
}

impl Instance {
    /// Starts the server and opens its session with the client's parameters.
    pub async fn open(
        server: &ServerName,
        served: &Served,
        opening: Opening<'_>,
        pool: &Pool,
        means: &Means,
    ) -> Result<Self, OpenError> {
        let open = Start { server, served, opening, pool, means }.run();
        if let Recipe::Stdio(_) = served.recipe {
            // Its patience begins with its turn.
            return open.await;
        }
        let patience = served.start_timeout;
        match tokio::time::timeout(patience, open).await {
            Ok(opened) => opened,
            Err(_) => Err(OpenError::Silent { server: server.clone(), patience }),
        }
    }

    /// Sends one message of the session.
    pub async fn post(
        &self,
        message: Bytes,
        envelope: &Envelope<'_>,
        takes_events: bool,
        pool: &Pool,
        forwarded: &HeaderMap,
    ) -> Response<Body> {
        if envelope.kind() == Kind::Notification
            && envelope.method() == methods::INITIALIZED
            && self.told_initialized.swap(true, std::sync::atomic::Ordering::AcqRel)
        {
            // A server must hear it once, and a repeated open has said it.
            return pipe::accepted();
        }
        match &self.transport {
            Transport::Stdio(stdio) => stdio.post(message, envelope, takes_events).await,
            Transport::Sse(remote) => remote.post(message, envelope, takes_events).await,
            Transport::Http(remote) => {
                remote.post(pool, message, &[envelope], forwarded, takes_events).await
            }
        }
    }

    /// Sends messages that came together; `body` is all of them.
    pub async fn post_all(
        &self,
        body: Bytes,
        messages: &[(Bytes, &Envelope<'_>)],
        takes_events: bool,
        pool: &Pool,
        forwarded: &HeaderMap,
    ) -> Response<Body> {
        match &self.transport {
            Transport::Stdio(stdio) => stdio.pipe().post_all(messages, takes_events).await,
            Transport::Sse(remote) => remote.pipe().post_all(messages, takes_events).await,
            Transport::Http(remote) => {
                let envelopes: Vec<&Envelope<'_>> = messages.iter().map(|(_, e)| *e).collect();
                remote.post(pool, body, &envelopes, forwarded, takes_events).await
            }
        }
    }

    pub async fn listen(
        &self,
        last_event_id: Option<&HeaderValue>,
        pool: &Pool,
        forwarded: &HeaderMap,
    ) -> Response<Body> {
        match &self.transport {
            Transport::Stdio(stdio) => stdio.listen(last_event_id),
            Transport::Sse(remote) => remote.listen(last_event_id),
            Transport::Http(remote) => remote.listen(pool, last_event_id, forwarded).await,
        }
    }

    /// Ends the session at the server, calls in flight included.
    pub async fn close(&self, pool: &Pool) {
        match &self.transport {
            Transport::Stdio(stdio) => stdio.close(),
            Transport::Sse(remote) => remote.close(),
            Transport::Http(remote) => remote.close(pool).await,
        }
    }

    /// Whether batches may be sent (2025-03-26 alone has them).
    #[must_use]
    pub fn takes_batches(&self) -> bool {
        self.version == Some(Version::V2025_03_26)
    }

    /// Whether a call is under way or somebody listens.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        match &self.transport {
            Transport::Stdio(stdio) => stdio.pipe().is_busy(),
            Transport::Sse(remote) => remote.pipe().is_busy(),
            Transport::Http(remote) => remote.is_busy(),
        }
    }

    /// Whether a call is under way.
    #[must_use]
    pub fn is_working(&self) -> bool {
        match &self.transport {
            Transport::Stdio(stdio) => stdio.pipe().is_working(),
            Transport::Sse(remote) => remote.pipe().is_working(),
            Transport::Http(remote) => remote.is_working(),
        }
    }

    /// Whether the client waits for updates of resources.
    #[must_use]
    pub fn is_subscribed(&self) -> bool {
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        !settings.subscriptions.is_empty()
    }

    /// The child process behind it, if there is one.
    #[must_use]
    pub fn stdio(&self) -> Option<&Stdio> {
        match &self.transport {
            Transport::Stdio(stdio) => Some(stdio),
            Transport::Http(_) | Transport::Sse(_) => None,
        }
    }

    /// The last lines of its process on stderr.
    #[must_use]
    pub fn stderr_tail(&self) -> Vec<String> {
        self.stdio().map(Stdio::stderr_tail).unwrap_or_default()
    }

    /// Whether the server has gone by itself.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        match &self.transport {
            Transport::Stdio(stdio) => stdio.pipe().lost().is_some(),
            Transport::Sse(remote) => remote.pipe().lost().is_some(),
            Transport::Http(remote) => remote.lost().is_some(),
        }
    }

    /// Tells when the server has gone by itself.
    #[must_use]
    pub fn lost_signal(&self) -> LostSignal {
        match &self.transport {
            Transport::Stdio(stdio) => stdio.lost_signal(),
            Transport::Sse(remote) => remote.lost_signal(),
            Transport::Http(remote) => remote.lost_signal(),
        }
    }

    /// Counts the server's list_changed notifications.
    #[must_use]
    pub fn list_changes(&self) -> watch::Receiver<u32> {
        match &self.transport {
            Transport::Stdio(stdio) => stdio.pipe().list_changes(),
            Transport::Sse(remote) => remote.pipe().list_changes(),
            Transport::Http(remote) => remote.list_changes(),
        }
    }

    /// The instance's lists have been read; none if they are the catalogue's.
    pub fn lists_are(&self, changes: u32, own: Option<Arc<Discovered>>) {
        self.lists.send_replace((changes, own));
    }

    /// Its own lists where they differ from the catalogue; waits a moment for
    /// lists that have just changed.
    pub async fn own_lists(&self) -> Option<Arc<Discovered>> {
        const PATIENCE: Duration = Duration::from_secs(2);
        let changes = *self.list_changes().borrow();
        let mut lists = self.lists.subscribe();
        let read = lists.wait_for(|(read, _)| *read >= changes);
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(lists)) => lists.1.clone(),
            // Whatever is known will do; the change is announced again.
            Ok(Err(_)) | Err(_) => self.lists.borrow().1.clone(),
        }
    }

    pub fn remember(&self, note: &Note) {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        match note {
            Note::Level(level) => settings.level = Some(level.clone()),
            Note::Subscribed(uri) if settings.subscriptions.len() < MAX_SUBSCRIPTIONS => {
                settings.subscriptions.insert(uri.clone());
            }
            Note::Subscribed(_) => {}
            Note::Unsubscribed(uri) => {
                settings.subscriptions.remove(uri);
            }
        }
    }

    /// The log level as JSON, and the resources subscribed to.
    #[must_use]
    pub fn settings(&self) -> (Option<String>, Vec<String>) {
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        (settings.level.clone(), settings.subscriptions.iter().cloned().collect())
    }

    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.stdio().map(Stdio::pid)
    }

    #[must_use]
    pub fn transport(&self) -> &'static str {
        match &self.transport {
            Transport::Stdio(_) => "stdio",
            Transport::Http(_) => "http",
            Transport::Sse(_) => "sse",
        }
    }

    /// What a child wrote to stderr last, oldest first.
    #[must_use]
    pub fn stderr(&self) -> Vec<Line> {
        match &self.transport {
            Transport::Stdio(stdio) => stdio.tail().lines(),
            Transport::Http(_) | Transport::Sse(_) => Vec::new(),
        }
    }
}

/// One start of one server.
struct Start<'a> {
    server: &'a ServerName,
    served: &'a Served,
    opening: Opening<'a>,
    pool: &'a Pool,
    means: &'a Means,
}

impl Start<'_> {
    async fn run(self) -> Result<Instance, OpenError> {
        let params = String::from_utf8_lossy(self.opening.params);
        let message = jsonrpc::request(OWN_ID, methods::INITIALIZE, &params);
        let (transport, result) = match &self.served.recipe {
            Recipe::Broken(reason) => {
                let (server, reason) = (self.server.clone(), reason.clone());
                return Err(OpenError::Misconfigured { server, reason });
            }
            Recipe::Stdio(program) => self.stdio(program, message).await?,
            Recipe::Sse(upstream) => self.sse(upstream, message).await?,
            Recipe::Http(upstream) => match self.http(upstream, message).await? {
                Ok(opened) => opened,
                Err((_, error)) => return Err(self.refused(error)),
            },
            Recipe::HttpOrSse(upstream) => self.either(upstream, message).await?,
        };
        let client_set = serde_json::from_slice::<Params<'_>>(self.opening.params)
            .map(|params| ClientSet::of(params.capabilities))
            .unwrap_or_default();
        let instance = Instance {
            transport,
            client_set,
            version: Version::parse(&version_of(&result)),
            result,
            told_initialized: false.into(),
            lists: watch::Sender::new((0, None)),
            settings: Mutex::default(),
        };
        if self.opening.handshake == Handshake::Host {
            let message = jsonrpc::notification(methods::INITIALIZED);
            if let Ok(envelope) = Envelope::parse(&message) {
                let forwarded = self.opening.forwarded;
                instance.post(message.clone(), &envelope, true, self.pool, forwarded).await;
            }
        }
        Ok(instance)
    }

    async fn stdio(
        &self,
        program: &Program,
        message: Bytes,
    ) -> Result<(Transport, Bytes), OpenError> {
        let launch = Launch {
            server: self.server,
            served: self.served,
            program,
            rules: self.rules(),
            means: self.means,
            principal: self.opening.principal,
        };
        let (stdio, result) = launch.run(&message).await?;
        stdio.pipe().may_prime(primes(&result));
        Ok((Transport::Stdio(stdio), result))
    }

    async fn sse(
        &self,
        upstream: &Upstream,
        message: Bytes,
    ) -> Result<(Transport, Bytes), OpenError> {
        let forwarded = self.opening.forwarded.clone();
        let remote = RemoteSse::start(self.server, upstream, self.rules(), self.pool, forwarded)
            .await
            .map_err(|why| self.failed(why))?;
        let envelope = Envelope::parse(&message).map_err(|e| self.failed(e.to_string()))?;
        let response = remote.post(message.clone(), &envelope, true).await;
        let result = caller::result_of(response).await.map_err(|error| self.refused(error))?;
        remote.pipe().may_prime(primes(&result));
        Ok((Transport::Sse(remote), result))
    }

    /// The inner error is one by which the server perhaps says that it does not
    /// speak this transport.
    async fn http(
        &self,
        upstream: &Upstream,
        message: Bytes,
    ) -> Result<Result<(Transport, Bytes), (StatusCode, CallError)>, OpenError> {
        let caller = Caller::new(upstream.clone());
        let sent = caller.post(self.pool, None, message, self.opening.forwarded).await;
        let response = sent.map_err(|failure| self.failed(failure.to_string()))?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let why = format!("it refuses the gateway's credentials ({status}); check \"headers\"");
            return Err(self.failed(why));
        }
        let session: Option<HeaderValue> = response.headers().get(headers::SESSION).cloned();
        let result = match caller::result_of(response).await {
            Ok(result) => result,
            Err(error) if is_another_transport(status) => return Ok(Err((status, error))),
            Err(error) => return Err(self.refused(error)),
        };
        let version = version_of(&result);
        let (server, rules) = (self.server.clone(), self.rules());
        let remote = RemoteHttp::opened(server, caller, rules, session, &version, primes(&result));
        Ok(Ok((Transport::Http(Box::new(remote)), result)))
    }

    /// Streamable HTTP, and where the server does not speak it, HTTP+SSE
    /// (2025-11-25, basic/transports, "Backwards Compatibility").
    async fn either(
        &self,
        upstream: &Upstream,
        message: Bytes,
    ) -> Result<(Transport, Bytes), OpenError> {
        let known = &self.means.old_transport;
        let is_old = known.lock().unwrap_or_else(PoisonError::into_inner).contains(self.server);
        if is_old && let Ok(opened) = self.sse(upstream, message.clone()).await {
            return Ok(opened);
        }
        let status = match self.http(upstream, message.clone()).await? {
            Ok(opened) => return Ok(opened),
            Err((status, _)) => status,
        };
        let opened = self.sse(upstream, message).await.map_err(|error| match error {
            OpenError::Start { reason, .. } => self.failed(format!(
                "it speaks neither Streamable HTTP (initialize answers {status}) nor HTTP+SSE \
                 ({reason})"
            )),
            other => other,
        })?;
        tracing::info!(server = %self.server, "speaks HTTP+SSE; set its \"type\" to \"sse\" to save the first try");
        known.lock().unwrap_or_else(PoisonError::into_inner).insert(self.server.clone());
        Ok(opened)
    }

    fn rules(&self) -> Rules {
        Rules { timeouts: self.served.timeouts, ..self.means.rules }
    }

    fn failed(&self, reason: String) -> OpenError {
        OpenError::Start { server: self.server.clone(), reason }
    }

    fn refused(&self, error: CallError) -> OpenError {
        match error {
            CallError::Refused(reason) => {
                OpenError::Refused { server: self.server.clone(), reason }
            }
            other => self.failed(other.to_string()),
        }
    }
}

/// What servers of the older transport answer to a POST where they have a stream.
fn is_another_transport(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
    )
}

/// Events without data are understood from 2025-11-25 on; older clients choke.
fn primes(result: &[u8]) -> bool {
    Version::parse(&version_of(result)).is_some_and(|version| version >= Version::V2025_11_25)
}

fn version_of(result: &[u8]) -> String {
    serde_json::from_slice::<Outcome<'_>>(result)
        .map(|outcome| outcome.protocol_version.into_owned())
        .unwrap_or_default()
}
