//! One opening of a session at a server: finds the transport, and sends `initialize`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::model::ServerName;
use crate::net::{Body, Pool};
use crate::oauth::challenge::WantsToken;
use crate::protocol::initialize::{self, InitializeParams};
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::{headers, methods, own_id};
use crate::runner::admission::open_error::OpenError;
use crate::runner::admission::starts::Opener;
use crate::runner::channel::answer::{self, CallError};
use crate::runner::channel::own_answers::{self, Absent};
use crate::runner::channel::terms::SessionTerms;
use crate::runner::process::program::Program;
use crate::runner::remote::http::RemoteHttp;
use crate::runner::remote::redirects;
use crate::runner::remote::sse::RemoteSse;
use crate::runner::remote::upstream::{Came, Upstream, UpstreamClient};
use crate::runner::shared_process::process::{Beginning, SharedProcessKey, Sharers, Sharing};
use crate::seam::{UserTokenRefused, is_token_refused};

use super::instance::{Backend, Instance};
use super::launch::Launch;
use super::opening::{Opening, SessionStart, primes, version_of};
use super::owner::SessionOwner;
use super::remote_opening::{self, NoResult};
use super::resources::Resources;
use super::revision::Asking;
use super::served::{Recipe, Served};

/// Longest wait until a server accepts the answer to a question of its.
const TOLD: Duration = Duration::from_secs(30);

/// One opening of a session at a server.
pub(super) struct ServerStart<'a> {
    pub server: &'a ServerName,
    pub served: &'a Arc<Served>,
    pub opening: Opening<'a>,
    pub asking: &'a Asking<'a>,
    /// Set if the server has answered `initialize` as one without sessions may.
    pub looks_modern: &'a AtomicBool,
    pub pool: &'a Pool,
    pub resources: &'a Resources,
}

impl ServerStart<'_> {
    pub async fn run_in_time(self) -> Result<Instance, OpenError> {
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
        let errors = self.terms().errors;
        let opened = tokio::time::timeout(patience, self.run()).await;
        let opened =
            opened.unwrap_or_else(|_| Err(OpenError::Silent { server: server.clone(), patience }));
        match &opened {
            Ok(_) => attempt.opened_elsewhere(opener),
            Err(OpenError::Refused { reason, .. }) if !asking.may_ask_again(reason) => {
                attempt.refused(opener, &format!("it refused initialize: {reason}"));
            }
            // What cannot be reached is asked again with the next message.
            Err(error) => {
                if error.is_failed_start() {
                    errors.note_unreached();
                }
            }
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
        seat.pipe().opened();
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
        if is_token_refused(response.headers()) {
            let scopes = match response.body() {
                Body::Full(error) => UserTokenRefused::read(error).scopes,
                _ => Vec::new(),
            };
            let (is_refused, lacks_scope) = (true, !scopes.is_empty());
            let wanted = WantsToken { is_refused, lacks_scope, scopes, ..WantsToken::default() };
            return Err(self.needs_oauth(upstream, StatusCode::UNAUTHORIZED, &wanted));
        }
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
        let wanted = WantsToken::of(&response);
        if let Some(wanted) = wanted.or_else(|| self.refused_user(upstream, status)) {
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
                    if is_another_transport(status) || redirects::becomes_get(status) {
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
        self.of_session().terms()
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
        let has_token = self.opening.forwarded.contains_key(header::AUTHORIZATION);
        remote_opening::wants_token(self.server, (upstream, has_token), status, wanted)
    }

    /// What a server wants that refuses a user's token, or lacks one, without a word about it.
    fn refused_user(&self, upstream: &Upstream, status: StatusCode) -> Option<WantsToken> {
        let is_refused = upstream.is_of_users && status == StatusCode::UNAUTHORIZED;
        is_refused.then_some(WantsToken { is_refused: true, ..WantsToken::default() })
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

/// Whether a server that speaks only HTTP+SSE may answer a POST with this status.
fn is_another_transport(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
    )
}
