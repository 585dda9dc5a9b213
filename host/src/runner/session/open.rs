//! Opens a session at a server: finds the transport, and sends `initialize`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::model::ServerName;
use crate::net::Pool;
use crate::protocol::initialize::{self, ClientSet, InitializeParams, InitializeResult};
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::version::Version;
use crate::protocol::{headers, methods, own_id};
use crate::runner::admission::open_error::OpenError;
use crate::runner::admission::starts::Opener;
use crate::runner::bridge::discover::NotDiscovered;
use crate::runner::bridge::eras::Verdict;
use crate::runner::bridge::setting::EraSetting;
use crate::runner::channel::answer::{self, CallError};
use crate::runner::channel::challenge::WantsToken;
use crate::runner::channel::own_answers::{self, Absent};
use crate::runner::channel::terms::{SessionLimits, SessionTerms};
use crate::runner::process::program::Program;
use crate::runner::remote::http::RemoteHttp;
use crate::runner::remote::sse::RemoteSse;
use crate::runner::remote::upstream::{Came, Upstream, UpstreamClient};
use crate::runner::shared_process::process::{Beginning, SharedProcessKey, Sharers, Sharing};
use crate::seam::Handshake;

use super::instance::{Backend, Instance};
use super::launch::Launch;
use super::modern_opening::ModernOpening;
use super::owner::SessionOwner;
use super::remote_opening::{self, NoResult};
use super::resources::Resources;
use super::revision::{Asking, asked_in, may_be_modern};
use super::served::{Recipe, Served};

/// When a server that refuses a token may take another one.
const REFUSED: Duration = Duration::from_secs(5);
/// Longest wait until a server accepts the answer to a question of its.
const TOLD: Duration = Duration::from_secs(30);

/// What a session is opened with.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// The client's `initialize` parameters.
    pub params: &'a [u8],
    pub handshake: Handshake,
    /// The client's headers that are passed on to the server.
    pub forwarded: &'a HeaderMap,
    /// `None` for a session of the gateway's own.
    pub owner: Option<SessionOwner<'a>>,
}

/// Starts the server and opens its session with the client's parameters. One that may have no
/// sessions is asked whether it serves the revision without them, unless its entry says so.
///
/// # Errors
/// Why the session could not be opened.
pub async fn open(
    server: &ServerName,
    served: &Arc<Served>,
    opening: Opening<'_>,
    pool: &Pool,
    resources: &Resources,
) -> Result<Instance, OpenError> {
    let eras = &resources.eras;
    let start = SessionStart { server, served, opening, pool, resources };
    let is_auto = served.era == EraSetting::Auto;
    let known = if is_auto { eras.known(server, served) } else { None };
    if served.era == EraSetting::Modern || known == Some(Verdict::Modern) {
        match Box::pin(start.modern(false)).await {
            Ok(instance) => return Ok(instance),
            Err(NotDiscovered::Open(error)) => return Err(error),
            // It has been replaced by one that has sessions.
            Err(NotDiscovered::OtherEra(_)) if is_auto => eras.doubt(server),
            Err(NotDiscovered::OtherEra(reason)) => {
                let reason = format!("server/discover: {reason}");
                return Err(OpenError::Start { server: server.clone(), reason });
            }
        }
    }
    let probes = is_auto && known != Some(Verdict::Legacy);
    let looks_modern = AtomicBool::new(false);
    let error = match start.legacy(probes, &looks_modern).await {
        Ok(instance) => return Ok(instance),
        Err(error) => error,
    };
    if !probes || !looks_modern.load(Ordering::Relaxed) {
        return Err(error);
    }
    match Box::pin(start.modern(true)).await {
        Ok(instance) => {
            tracing::info!(server = %server, "the server opens no sessions, and is used without; set its \"era\" to \"modern\" to skip the attempt");
            eras.note(server, served, Verdict::Modern);
            Ok(instance)
        }
        Err(not_discovered) => {
            tracing::debug!(server = %server, "server/discover: {not_discovered}");
            let is_shown = matches!(not_discovered, NotDiscovered::OtherEra(_))
                || matches!(served.recipe, Recipe::Stdio(_));
            if is_shown {
                eras.note(server, served, Verdict::Legacy);
            }
            if matches!(served.recipe, Recipe::Stdio(_)) {
                // The question took a process, too.
                start.resources.starts.probed_in_vain(server, &error.to_string());
            }
            Err(error)
        }
    }
}

/// What is opened, and with what.
#[derive(Clone, Copy)]
struct SessionStart<'a> {
    server: &'a ServerName,
    served: &'a Arc<Served>,
    opening: Opening<'a>,
    pool: &'a Pool,
    resources: &'a Resources,
}

impl SessionStart<'_> {
    /// Opens a session of the server's own, in the revision that it takes.
    async fn legacy(&self, probes: bool, looks_modern: &AtomicBool) -> Result<Instance, OpenError> {
        let Self { server, served, opening, pool, resources } = *self;
        let wanted = Bytes::copy_from_slice(opening.params);
        let mut asking = Asking::of(server, wanted, &resources.revisions);
        asking.probes = probes;
        loop {
            let opening = Opening { params: &asking.params, ..opening };
            let asking_now = &asking;
            let start = ServerStart {
                server,
                served,
                opening,
                asking: asking_now,
                looks_modern,
                pool,
                resources,
            };
            let error = match start.run_in_time().await {
                Ok(instance) => {
                    resources.wanting_tokens.lock().remove(server);
                    asking.granted();
                    return Ok(instance);
                }
                Err(error) => error,
            };
            self.note_token(&error);
            let OpenError::Refused { reason, .. } = &error else {
                asking.given_up();
                return Err(error);
            };
            if may_be_modern(reason) {
                looks_modern.store(true, Ordering::Relaxed);
            }
            if !asking.asks_again(reason) {
                return Err(error);
            }
        }
    }

    /// Plays a session at a server that has none.
    async fn modern(&self, is_trial: bool) -> Result<Instance, NotDiscovered> {
        let Self { server, served, opening, pool, resources } = *self;
        let is_remote = !matches!(served.recipe, Recipe::Stdio(_));
        let opener = if opening.owner.is_some() { Opener::Client } else { Opener::Gateway };
        let attempt = match is_remote && !is_trial {
            true => {
                let began = resources.starts.begin_elsewhere(server).await;
                let paused = |pause| OpenError::Paused { server: server.clone(), pause };
                Some(began.map_err(paused)?)
            }
            false => None,
        };
        let revision = asked_in(opening.params).unwrap_or_default();
        let modern = ModernOpening {
            server,
            served,
            params: opening.params,
            revision: &revision,
            forwarded: opening.forwarded,
            owner: opening.owner,
            terms: terms(self),
            pool,
            resources,
            is_trial,
        };
        let bridged = match modern.run().await {
            Ok(bridged) => bridged,
            Err(error) => {
                if let NotDiscovered::Open(error) = &error {
                    self.note_token(error);
                }
                return Err(error);
            }
        };
        match attempt {
            Some(attempt) => attempt.opened_elsewhere(opener),
            // What it has refused before counts no more.
            None if is_remote => resources.starts.lives(server, Duration::MAX, true),
            None => {}
        }
        resources.wanting_tokens.lock().remove(server);
        let params = String::from_utf8_lossy(opening.params);
        let message = jsonrpc::request(own_id::OPENING, methods::INITIALIZE, &params);
        let failed = |reason: String| OpenError::Start { server: server.clone(), reason };
        let envelope = Envelope::parse(&message).map_err(|error| failed(error.to_string()))?;
        let response = bridged.pipe().post(message.clone(), &envelope, true).await;
        let result =
            answer::result_of(response).await.map_err(|error| failed(error.to_string()))?;
        bridged.pipe().may_prime(primes(&result));
        Ok(self.instance(Backend::Bridged(bridged), result).await)
    }

    fn note_token(&self, error: &OpenError) {
        if matches!(error, OpenError::NeedsOauth { .. } | OpenError::NoToken { .. }) {
            let said = error.to_string().into();
            self.resources.wanting_tokens.lock().insert(self.server.clone(), said);
        }
    }

    /// The instance, whose server has answered `initialize`.
    async fn instance(&self, transport: Backend, result: Bytes) -> Instance {
        let client_set = serde_json::from_slice::<InitializeParams<'_>>(self.opening.params)
            .ok()
            // A shared process is initialized without client capabilities.
            .filter(|_| !matches!(transport, Backend::Seat(_)))
            .map(|params| ClientSet::of(params.capabilities))
            .unwrap_or_default();
        let version = Version::parse(&version_of(&result));
        let instance =
            Instance::new(transport, result, client_set, version, Arc::clone(self.served));
        if self.opening.handshake == Handshake::Runner {
            let message = jsonrpc::notification(methods::INITIALIZED);
            if let Ok(envelope) = Envelope::parse(&message) {
                let forwarded = self.opening.forwarded;
                instance.post(message.clone(), &envelope, true, self.pool, forwarded).await;
            }
        }
        instance
    }
}

/// One opening of a session at a server.
struct ServerStart<'a> {
    server: &'a ServerName,
    served: &'a Arc<Served>,
    opening: Opening<'a>,
    asking: &'a Asking<'a>,
    /// Set if the server has answered `initialize` as one without sessions may.
    looks_modern: &'a AtomicBool,
    pool: &'a Pool,
    resources: &'a Resources,
}

impl ServerStart<'_> {
    async fn run_in_time(self) -> Result<Instance, OpenError> {
        if matches!(self.served.recipe, Recipe::Stdio(_) | Recipe::Broken(_)) {
            // Its timeout begins when its turn has come.
            return self.run().await;
        }
        let (server, patience) = (self.server, self.served.start_timeout);
        let asking = self.asking;
        let opener = if self.opening.owner.is_some() { Opener::Client } else { Opener::Gateway };
        let attempt = self.resources.starts.begin_elsewhere(server).await;
        let attempt =
            attempt.map_err(|pause| OpenError::Paused { server: server.clone(), pause })?;
        let opened = tokio::time::timeout(patience, self.run()).await;
        let opened =
            opened.unwrap_or_else(|_| Err(OpenError::Silent { server: server.clone(), patience }));
        match &opened {
            Ok(_) => attempt.opened_elsewhere(opener),
            Err(OpenError::Refused { reason, .. }) if !asking.may_ask_again(reason) => {
                attempt.refused(opener, &format!("it refused initialize: {reason}"));
            }
            // What cannot be reached is asked again with the next message.
            Err(_) => {}
        }
        opened
    }

    async fn run(self) -> Result<Instance, OpenError> {
        let params = String::from_utf8_lossy(self.opening.params);
        let message = jsonrpc::request(own_id::OPENING, methods::INITIALIZE, &params);
        let (transport, result) = match &self.served.recipe {
            Recipe::Broken(reason) => {
                let (server, reason) = (self.server.clone(), reason.clone());
                return Err(OpenError::Misconfigured { server, reason });
            }
            Recipe::Stdio(program) => match self.seat(program).await? {
                Some(opened) => opened,
                None => self.stdio(program, message).await?,
            },
            Recipe::Sse(upstream) => self.sse(upstream, message).await?,
            Recipe::Http(upstream) => match self.http(upstream, message).await? {
                Ok(opened) => opened,
                Err(no_result) => return Err(self.without_result(no_result)),
            },
            Recipe::HttpOrSse(upstream) => self.either(upstream, message).await?,
        };
        Ok(self.of_session().instance(transport, result).await)
    }

    fn of_session(&self) -> SessionStart<'_> {
        let Self { server, served, opening, pool, resources, .. } = *self;
        SessionStart { server, served, opening, pool, resources }
    }

    /// Takes a seat at a shared process. `None` if this session gets its own process. A
    /// session of the gateway's own does so unless the shared process is running
    /// already: the worker that starts a process also serves its pipes.
    async fn seat(&self, program: &Program) -> Result<Option<(Backend, Bytes)>, OpenError> {
        let Sharing { by, idle } = self.served.sharing;
        let of = match (by, self.opening.owner) {
            (Sharers::All, _) => None,
            (Sharers::Principal, Some(owner)) => Some(owner.principal.clone()),
            (Sharers::Nobody, _) | (Sharers::Principal, None) => return Ok(None),
        };
        let key: SharedProcessKey = (self.server.clone(), of);
        let shared_processes = &self.resources.shared_processes;
        let (seat, result) = match self.opening.owner {
            Some(SessionOwner { session, quota, .. }) => {
                let Resources { children, starts, journal, .. } = self.resources;
                let with = Beginning {
                    program: program.clone(),
                    terms: self.resources.terms(None),
                    children: children.clone(),
                    starts: Arc::clone(starts),
                    journal: journal.clone(),
                    revisions: Arc::clone(&self.resources.revisions),
                    probes: self.asking.probes,
                    quota: Some(quota.clone()),
                    patience: self.served.start_timeout,
                    idle,
                };
                shared_processes.seat(&key, session, self.terms(), with).await?
            }
            None => match shared_processes.seat_if_running(&key, self.terms()) {
                Some(taken) => taken,
                None => return Ok(None),
            },
        };
        let params = serde_json::from_slice::<InitializeParams<'_>>(self.opening.params);
        let requested = params.map(|params| params.protocol_version).unwrap_or_default();
        let result = initialize::result_for(&result, &requested);
        seat.pipe().may_prime(primes(&result));
        Ok(Some((Backend::Seat(seat), result)))
    }

    async fn stdio(
        &self,
        program: &Program,
        message: Bytes,
    ) -> Result<(Backend, Bytes), OpenError> {
        let launch = Launch {
            server: self.server,
            served: self.served,
            program,
            terms: self.terms(),
            resources: self.resources,
            quota: self.opening.owner.map(|owner| owner.quota),
            asking: self.asking,
        };
        let (stdio, result) = launch.run(&message).await?;
        stdio.pipe().may_prime(primes(&result));
        Ok((Backend::Stdio(stdio), result))
    }

    async fn sse(
        &self,
        upstream: &Upstream,
        message: Bytes,
    ) -> Result<(Backend, Bytes), OpenError> {
        remote_opening::wait_for_token(self.server, upstream, self.opening.forwarded, self.pool)
            .await?;
        let forwarded = self.opening.forwarded.clone();
        let remote = RemoteSse::start(self.server, upstream, self.terms(), self.pool, forwarded)
            .await
            .map_err(|not_opened| match (not_opened.wanted, not_opened.retry_after) {
                (Some((status, wanted)), _) => self.needs_oauth(upstream, status, &wanted),
                (None, Some(after)) => {
                    let (server, reason) = (self.server.clone(), not_opened.why);
                    OpenError::Busy { server, reason, after }
                }
                (None, None) => self.failed(not_opened.why),
            })?;
        let envelope = Envelope::parse(&message).map_err(|e| self.failed(e.to_string()))?;
        let response = remote.pipe().post(message.clone(), &envelope, true).await;
        let result = answer::result_of(response).await.map_err(|error| self.refused(error))?;
        remote.pipe().may_prime(primes(&result));
        Ok((Backend::Sse(remote), result))
    }

    /// Opens the session over Streamable HTTP. The inner error may mean that the server
    /// does not speak this transport.
    async fn http(
        &self,
        upstream: &Upstream,
        message: Bytes,
    ) -> Result<Result<(Backend, Bytes), NoResult>, OpenError> {
        remote_opening::wait_for_token(self.server, upstream, self.opening.forwarded, self.pool)
            .await?;
        let mut client = UpstreamClient::new(upstream.clone());
        if self.served.passes_headers() {
            client.passes_headers();
        }
        // The gateway's own sessions come back by themselves.
        let waits = self.opening.owner.is_some();
        let forwarded = self.opening.forwarded;
        let sent = remote_opening::post(&client, self.pool, &message, forwarded, waits).await;
        let Came { response, moved } = sent.map_err(|failure| self.failed(failure.to_string()))?;
        if let Some(path) = moved {
            client.move_to(path);
        }
        let status = response.status();
        if let Some(wanted) = WantsToken::of(&response) {
            return Err(self.needs_oauth(upstream, status, &wanted));
        }
        let session: Option<HeaderValue> = response.headers().get(headers::SESSION).cloned();
        let absent = match self.opening.owner {
            Some(_) => Absent::NotYet,
            None => Absent::NoClient,
        };
        let mut asked = client.clone();
        if let Some(session) = &session {
            asked.set(headers::SESSION, session.clone());
        }
        // It may answer only once it has an answer itself.
        let hear = |question: &Envelope<'_>| {
            let answer = own_answers::answer_to(question, absent);
            let (asked, pool) = (asked.clone(), self.pool.clone());
            tokio::spawn(async move {
                let none = HeaderMap::new();
                drop(tokio::time::timeout(TOLD, asked.post(&pool, None, answer, &none)).await);
            });
        };
        let proxy = upstream.target.forwarder();
        let result =
            match remote_opening::result(self.server, own_id::OPENING, response, proxy, hear).await
            {
                Ok(result) => result,
                Err(no_result) => {
                    if no_result.is_refusal || is_another_transport(status) {
                        self.looks_modern.store(true, Ordering::Relaxed);
                    }
                    if let Some(session) = session {
                        // Some servers keep a session whose `initialize` they have refused.
                        client.set(headers::SESSION, session);
                        let (server, pool) = (self.server.clone(), self.pool.clone());
                        tokio::spawn(async move { client.leave(&server, &pool).await });
                    }
                    // An error page may name any version of anything.
                    let is_about = no_result.is_refusal || status == StatusCode::BAD_REQUEST;
                    if is_about && self.asking.next(&no_result.why).is_some() {
                        let (server, reason) = (self.server.clone(), no_result.why);
                        return Err(OpenError::Refused { server, reason });
                    }
                    if is_another_transport(status) {
                        return Ok(Err(no_result));
                    }
                    return Err(self.without_result(no_result));
                }
            };
        let version = version_of(&result);
        let (server, terms) = (self.server.clone(), self.terms());
        let primes = primes(&result);
        let remote =
            RemoteHttp::opened(server, client, self.pool, terms, session, &version, primes);
        Ok(Ok((Backend::Http(Box::new(remote)), result)))
    }

    /// Opens the session over Streamable HTTP, or over HTTP+SSE if the server does not
    /// speak that (2025-11-25, basic/transports, "Backwards Compatibility").
    async fn either(
        &self,
        upstream: &Upstream,
        message: Bytes,
    ) -> Result<(Backend, Bytes), OpenError> {
        let known = &self.resources.old_transport;
        let is_old = known.lock().contains(self.server);
        if is_old && let Ok(opened) = self.sse(upstream, message.clone()).await {
            return Ok(opened);
        }
        let http = match self.http(upstream, message.clone()).await? {
            Ok(opened) => return Ok(opened),
            Err(no_result) => no_result,
        };
        let opened = self.sse(upstream, message).await.map_err(|error| match error {
            OpenError::Start { reason, .. } => self.neither(http, &reason),
            // It speaks HTTP+SSE, and what it says there counts.
            other => other,
        })?;
        tracing::info!(server = %self.server, "the server speaks HTTP+SSE; set its \"type\" to \"sse\" to skip the attempt with Streamable HTTP");
        known.lock().insert(self.server.clone());
        Ok(opened)
    }

    /// The error if neither transport could open the session. The one that came closest is named
    /// first: a JSON-RPC error comes from a server that speaks the protocol.
    fn neither(&self, http: NoResult, over_sse: &str) -> OpenError {
        if http.is_refusal {
            let reason = format!(
                "{} (over Streamable HTTP, with {}; HTTP+SSE does not work either: {over_sse})",
                http.why, http.status
            );
            return OpenError::Refused { server: self.server.clone(), reason };
        }
        self.failed(format!(
            "it speaks neither Streamable HTTP (to initialize it {}) nor HTTP+SSE ({over_sse})",
            http.why
        ))
    }

    fn without_result(&self, came: NoResult) -> OpenError {
        let server = self.server.clone();
        match (came.retry_after, came.is_refusal) {
            (Some(after), _) => {
                OpenError::Busy { server, reason: format!("it {}", came.why), after }
            }
            (None, true) => OpenError::Refused { server, reason: came.why },
            (None, false) => self.failed(format!("it {}", came.why)),
        }
    }

    fn terms(&self) -> SessionTerms {
        terms(&self.of_session())
    }

    fn failed(&self, reason: String) -> OpenError {
        OpenError::Start { server: self.server.clone(), reason }
    }

    fn needs_oauth(
        &self,
        upstream: &Upstream,
        status: StatusCode,
        wanted: &WantsToken,
    ) -> OpenError {
        if upstream.tokens.is_some() {
            let reason = format!(
                "it refuses the access token that was fetched ({status}); check scope, resource and \
                 audience in its \"oauth\""
            );
            return OpenError::NoToken { server: self.server.clone(), reason, after: REFUSED };
        }
        let reason = format!("({status}): {}", wanted.advice());
        OpenError::NeedsOauth { server: self.server.clone(), reason }
    }

    fn refused(&self, error: CallError) -> OpenError {
        match error {
            CallError::Refused(reason, _) => {
                OpenError::Refused { server: self.server.clone(), reason }
            }
            other => self.failed(other.to_string()),
        }
    }
}

fn terms(start: &SessionStart<'_>) -> SessionTerms {
    let terms = start.resources.terms(start.opening.owner.map(|owner| owner.quota));
    let limits = SessionLimits { timeouts: start.served.timeouts, ..terms.limits };
    // The gateway asks in its own sessions for what a server may not have.
    let counted = start.resources.errors.load();
    let counted = counted.get(start.server).filter(|_| terms.has_client);
    let errors = counted.map_or_else(|| Arc::clone(&terms.errors), Arc::clone);
    SessionTerms { limits, errors, ..terms }
}

/// Whether a server that speaks only HTTP+SSE may answer a POST with this status.
fn is_another_transport(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
    )
}

/// Whether the session's revision has events without data, from 2025-11-25 on: older
/// clients fail at them.
fn primes(result: &[u8]) -> bool {
    Version::parse(&version_of(result)).is_some_and(|version| version >= Version::V2025_11_25)
}

fn version_of(result: &[u8]) -> String {
    InitializeResult::of(result).protocol_version.unwrap_or_default()
}
