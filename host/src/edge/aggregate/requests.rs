//! Requests to several servers behind one URL. The edge answers some itself, and sends the others
//! to their owner, with the names that the owner knows.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::edge::access::rates::{CountedRequests, LimitedRequest};
use crate::edge::catalog::merge::ScopeCatalog;
use crate::edge::catalog::part::Owner;
use crate::edge::client_request::ClientRequest;
use crate::edge::delivery::call::Call;
use crate::edge::delivery::deliver::Delivered;
use crate::edge::delivery::outgoing::Outgoing;
use crate::edge::logins::late_refusal::LateRefusal;
use crate::edge::observed::call::ObservedCall;
use crate::edge::observed::notes::CallOrigin;
use crate::edge::refusal::{Refusal, Refused, lost_words, malformed};
use crate::edge::relay::{accepted, json};
use crate::edge::scope;
use crate::edge::session::client_session::{Origin, Session};
use crate::edge::worker::Worker;
use crate::model::{Scope, ServerName, ServerRights};
use crate::net::{Body, is_event_stream};
use crate::protocol::jsonrpc::{self, Envelope, Kind};
use crate::protocol::log_level::LogLevel;
use crate::protocol::methods::{self, Destination, Notice};
use crate::protocol::splice::{self, RequestTarget};
use crate::protocol::strict::StrictParams;
use crate::protocol::trace_context::TraceContext;
use crate::protocol::version::Version;

use super::addressed::{self, Addressed};
use super::event_mark::EventMark;
use super::reply::rewritten_unless;
use super::requested::Requested;
use super::rewrite::Rewriter;
use super::server_ids;
use super::tasks::{AnsweredBy, taking_tasks};

/// Right after a start, the longest wait for what nodes of before it report, of a message that means
/// nothing to servers that the session does not have open.
const REPORTS: Duration = Duration::from_secs(3);

impl Worker {
    /// Takes what a client of an aggregate has posted: one message, or in 2025-03-26 a batch.
    pub(in crate::edge) async fn aggregate(
        &self,
        context: &ClientRequest,
        scope: &Scope,
        session: &Session,
        body: Bytes,
    ) -> Result<Response<Body>, Refused> {
        if session.version == Version::V2025_03_26
            && let Some(parts) = jsonrpc::batch(&body).map_err(|e| (Refusal::Malformed(e), None))?
        {
            return self.aggregate_batch(context, scope, session, &body, &parts).await;
        }
        self.aggregate_one(context, scope, session, body).await
    }

    /// Takes one message of a session on an aggregate. What goes on to a server is what was judged
    /// here: every reader of JSON reads the same message.
    pub(in crate::edge) async fn aggregate_one(
        &self,
        context: &ClientRequest,
        scope: &Scope,
        session: &Session,
        message: Bytes,
    ) -> Result<Response<Body>, Refused> {
        let read = Envelope::parse_strictly(&message);
        let envelope = read.map_err(|e| malformed(e, &message))?;
        let origin = CallOrigin { context: Some(context), session, scope };
        let call = ObservedCall::begin(self, origin, &message);
        match envelope.kind() {
            Kind::Request => {
                let id = envelope.id_text().unwrap_or("null");
                let params = match StrictParams::of(envelope.params) {
                    Ok(params) => params,
                    Err(unclear) => {
                        let refusal = Refusal::from(unclear);
                        call.refused(&refusal, Some(id));
                        return Err((refusal, Some(id.to_owned())));
                    }
                };
                let request = AggregateRequest {
                    call: &call,
                    context,
                    scope,
                    session,
                    message: &message,
                    envelope: &envelope,
                    params: &params,
                    id,
                };
                match self.request(&request).await {
                    Ok(answer) => Ok(call.answered(answer)),
                    Err(refusal) => {
                        self.note_hiding_rule(&request, &refusal);
                        call.refused(&refusal, Some(id));
                        Err((refusal, Some(id.to_owned())))
                    }
                }
            }
            Kind::Notification => {
                self.notification((context, &call), scope, session, &message, &envelope).await;
                Ok(call.answered(accepted()))
            }
            Kind::Response => {
                match addressed::answer_of_client(&message, &envelope) {
                    Some(addressed) if scope::has(self, scope, &addressed.server) => {
                        call.is_for(&addressed.server, &addressed.message);
                        self.tell_one(Some(context), session, addressed, call.trace()).await;
                    }
                    _ => tracing::debug!(
                        session = %session.id.short(),
                        "dropped a response that answers no server's request"
                    ),
                }
                Ok(call.answered(accepted()))
            }
        }
    }

    async fn notification(
        &self,
        (context, call): (&ClientRequest, &ObservedCall<'_>),
        scope: &Scope,
        session: &Session,
        message: &Bytes,
        envelope: &Envelope<'_>,
    ) {
        let dropped = |why: &dyn std::fmt::Display| {
            tracing::debug!(session = %session.id.short(), "dropped a notification: {why}");
        };
        let params = match StrictParams::of(envelope.params) {
            Ok(params) => params,
            Err(unclear) => return dropped(&unclear),
        };
        match methods::notice(envelope.method(), session.version) {
            Notice::Initialized => {}
            Notice::Progress => {
                if let Some(addressed) = addressed::progress_of_client(message, &params)
                    && scope::has(self, scope, &addressed.server)
                {
                    call.is_for(&addressed.server, &addressed.message);
                    self.tell_one(Some(context), session, addressed, call.trace()).await;
                }
            }
            Notice::All => self.tell_all((context, call), scope, session, message).await,
            Notice::Dropped => dropped(&"none of a client has this method"),
        }
    }

    async fn request(&self, request: &AggregateRequest<'_>) -> Result<Response<Body>, Refusal> {
        let AggregateRequest { context, scope, session, envelope, id, .. } = *request;
        let local = |result: &[u8]| Ok(json(StatusCode::OK, jsonrpc::result(id, result)));
        match methods::destination(envelope.method()) {
            Destination::Ping => {
                self.edge.bindings.goes_on(session.id, &context.quota);
                local(b"{}")
            }
            Destination::List(list) => {
                self.edge.bindings.goes_on(session.id, &context.quota);
                local(&self.list(scope, session, list, request.params).await?)
            }
            Destination::LogLevel => {
                self.set_level(request).await?;
                local(b"{}")
            }
            Destination::Tool | Destination::Prompt => {
                let addressed = self.owner(request).await?;
                self.send_to(request, addressed).await
            }
            Destination::Resource => {
                let requested =
                    Requested::of(methods::destination(envelope.method()), request.params)?;
                match self.lister(request, &requested.name).await {
                    Some(owner) => {
                        let raw = requested.raw;
                        let addressed = addressed(request.message, raw, &requested.name, owner);
                        self.send_to(request, addressed).await
                    }
                    None => Box::pin(self.ask_for_unlisted(request, requested)).await,
                }
            }
            Destination::Completion => {
                let addressed = self.owner(request).await?;
                // A server without the capability is not asked.
                if self.capability(&addressed.server, self.set_of(session), "completions") {
                    self.send_to(request, addressed).await
                } else {
                    local(br#"{"completion":{"values":[]}}"#)
                }
            }
            Destination::TaskUpdate if session.origin == Origin::Client => {
                Err(Refusal::MethodNotFound(envelope.method().to_owned()))
            }
            Destination::Task | Destination::TaskUpdate => {
                let addressed = self.task_owner(scope, request.message, request.params)?;
                self.send_to(request, addressed).await
            }
            Destination::TaskList => local(&self.list_tasks(scope, session).await),
            Destination::Skills => local(&Box::pin(self.list_skills(request)).await?),
            Destination::Skill => Box::pin(self.skill(request)).await,
            Destination::Initialize => {
                Err(Refusal::Initialized("leave out the session header to start another"))
            }
            Destination::Unknown => Err(Refusal::MethodNotFound(envelope.method().to_owned())),
        }
    }

    pub(in crate::edge) async fn send_to(
        &self,
        request: &AggregateRequest<'_>,
        addressed: Addressed,
    ) -> Result<Response<Body>, Refusal> {
        let AggregateRequest { context, scope, session, .. } = *request;
        let Addressed { server, message } = addressed;
        request.call.is_for(&server, &message);
        let under_way = self.call_under_way(request, &server, &message)?;
        let mut rewriter = self.rewriter(scope, session, &server);
        rewriter.tasks = names_tasks(request);
        if let Some((own, shown)) = renamed_uri(request, &message) {
            std::sync::Arc::make_mut(&mut rewriter.uris).insert(own, shown);
        }
        let call = Call::of_client(self, context, session, &server);
        if let Some(result) = self.log_in_result(&call, &message).await? {
            return Ok(json(StatusCode::OK, jsonrpc::result(request.id, &result)));
        }
        let is_inner = session.origin != Origin::Client;
        let takes_tasks = is_inner && context.takes_tasks();
        let message = match takes_tasks && self.has_modern_tasks(session, &server) {
            true => taking_tasks(message),
            false => message,
        };
        let outgoing = Outgoing::post(message).within(request.call.trace());
        let delivered = call.deliver(&outgoing).await?;
        request.call.was_at(&delivered.node.id);
        let last_words = |server: &ServerName| lost_words(request.id, server);
        let limit = self.edge.config.line;
        let Delivered { response, token, user, .. } = delivered;
        let user = user.filter(|_| is_event_stream(&response));
        let late = user.map(|used| LateRefusal::of(&call, context, outgoing, (used, request.id)));
        let mut response =
            rewritten_unless(late, response, rewriter, Some(last_words), limit).await;
        self.edge.write_token(token.as_ref(), response.headers_mut());
        if is_inner {
            response.extensions_mut().insert(AnsweredBy(server));
        }
        Ok(match under_way {
            Some(under_way) => response.map(|body| body.with_guard(under_way)),
            None => response,
        })
    }

    /// Counts what goes to a server, where the operator limits that.
    pub(in crate::edge) fn call_under_way(
        &self,
        request: &AggregateRequest<'_>,
        server: &ServerName,
        message: &Bytes,
    ) -> Result<Option<CountedRequests>, Refusal> {
        let (Some(rates), Some(identity)) = (&self.edge.config.rates, &request.context.identity)
        else {
            return Ok(None);
        };
        let is_tool = methods::destination(request.envelope.method()) == Destination::Tool;
        let tool = is_tool.then(|| named_tool(message)).flatten();
        let (quota, key) = (&request.context.quota, identity.key.as_deref());
        let call = Some((server, tool.as_deref()));
        let asking = LimitedRequest { quota, key, limits: &identity.limits, call };
        rates.admit(asking).map_err(|met| Refusal::LimitMet(Box::new(met)))
    }

    /// The rewriter of a server's messages to this session.
    pub(in crate::edge) fn rewriter(
        &self,
        scope: &Scope,
        session: &Session,
        server: &ServerName,
    ) -> Rewriter {
        let merged = self.scope_catalog_now(scope, self.set_of(session));
        let uris = merged.uris.shared(server);
        let judge = self.judge_of_session(scope, session, server, &merged);
        let mark = self.event_mark(scope, session, server);
        Rewriter { server: server.clone(), uris, judge, tasks: false, mark }
    }

    /// What marks the events of a server's streams on this scope; `None` if all of the server may be
    /// used.
    fn event_mark(
        &self,
        scope: &Scope,
        session: &Session,
        server: &ServerName,
    ) -> Option<EventMark> {
        let rights = scope.rights()?;
        let is_part = matches!(rights.of(server), ServerRights::Part(_));
        let key = &self.edge.signing_key;
        is_part.then(|| EventMark::new(key, session.id, server, rights.digest()))
    }

    /// Whether a stream may be resumed on this scope: by who might have begun it.
    pub(in crate::edge) fn may_resume(
        &self,
        scope: &Scope,
        session: &Session,
        server: &ServerName,
        event: &str,
    ) -> bool {
        let Some((_, own)) = server_ids::of_event(event) else { return false };
        let mark = self.event_mark(scope, session, server);
        mark.is_none_or(|mark| mark.is_on(own, server_ids::mark_of(event)))
    }

    /// The owner of what the request names, and the message as the owner knows it.
    async fn owner(&self, request: &AggregateRequest<'_>) -> Result<Addressed, Refusal> {
        let AggregateRequest { scope, session, message, envelope, params, .. } = *request;
        let requested = Requested::of(methods::destination(envelope.method()), params)?;
        let find = |merged: &ScopeCatalog| merged.owner(requested.asked, &requested.name);
        match self.find(scope, session, find).await {
            Some(owner) => Ok(addressed(message, requested.raw, &requested.name, owner)),
            None => {
                let owner = self.prefixed_owner(scope, session, requested.asked, &requested.name);
                match Box::pin(owner).await {
                    Some(owner) => Ok(addressed(message, requested.raw, &requested.name, owner)),
                    None => {
                        let (asked, name) = (requested.asked, &requested.name);
                        let absent = self.not_listed_yet(scope, session, asked, name);
                        Err(absent.unwrap_or_else(|| requested.unknown()))
                    }
                }
            }
        }
    }

    /// Looks something up in the scope's catalog, then in what is offered to this session alone,
    /// and then in the catalogs that are still being fetched. Right after a restart of the gateway it
    /// waits for the nodes of before.
    pub(in crate::edge) async fn find<T>(
        &self,
        scope: &Scope,
        session: &Session,
        look: impl Fn(&ScopeCatalog) -> Option<T>,
    ) -> Option<T> {
        let set = self.set_of(session);
        if let Some(found) = look(&self.scope_catalog_now(scope, set)) {
            return Some(found);
        }
        // After a restart the session has none of them open.
        Box::pin(self.open_logged_in(scope, session)).await;
        if let Some(found) = self.own_scope_catalog(scope, session).await.as_ref().and_then(&look) {
            return Some(found);
        }
        if let Some(found) = self.log_in_tools(scope).as_ref().and_then(&look) {
            return Some(found);
        }
        if let Some(found) = Box::pin(self.find_returning(scope, session, &look)).await {
            return Some(found);
        }
        self.await_silent(scope, set, look).await
    }

    /// The server that lists a resource. One that has it by a template is not waited for.
    async fn lister(&self, request: &AggregateRequest<'_>, uri: &str) -> Option<Owner> {
        let AggregateRequest { scope, session, .. } = *request;
        let merged = self.scope_catalog_now(scope, self.set_of(session));
        if let Some(owner) = merged.uris.listed(uri) {
            return Some(owner);
        }
        if merged.uris.has_template_of(uri) || self.edge.found_owners.get(session.id, uri).is_some()
        {
            return None;
        }
        self.find(scope, session, |merged| merged.uris.listed(uri)).await
    }

    async fn set_level(&self, request: &AggregateRequest<'_>) -> Result<(), Refusal> {
        let AggregateRequest { call, context, scope, session, message, params, .. } = *request;
        let level = params
            .target
            .level
            .and_then(splice::string)
            .and_then(|level| LogLevel::parse(&level))
            .ok_or_else(|| {
                let names = LogLevel::NAMES;
                Refusal::InvalidParams(format!("params.level must be one of {names:?}"))
            })?;
        self.edge.bindings.goes_on(session.id, &context.quota);
        self.edge.bindings.set_log_level(session.id, level);
        self.tell_all((context, call), scope, session, message).await;
        Ok(())
    }

    /// Sends a message to the one server that it is meant for, if the session has it open.
    pub(in crate::edge) async fn tell_one(
        &self,
        context: Option<&ClientRequest>,
        session: &Session,
        addressed: Addressed,
        trace: Option<Box<TraceContext>>,
    ) {
        let call = Call { worker: self, context, session, server: &addressed.server };
        if !call.tell_holder(&Outgoing::post(addressed.message).within(trace)).await {
            tracing::debug!(
                session = %session.id.short(), server = %addressed.server,
                "dropped a message: the session does not have the server open"
            );
        }
    }

    /// Sends a message to every server of the scope that the session has open. A lost one is not
    /// opened for it: the message would mean nothing there.
    async fn tell_all(
        &self,
        (context, observed): (&ClientRequest, &ObservedCall<'_>),
        scope: &Scope,
        session: &Session,
        message: &Bytes,
    ) {
        let look = || self.edge.bindings.record(session.id);
        if self.edge.cold_start.concerns(session.minted_at) {
            // Nodes of before the start have yet to say which servers the session has open.
            let is_open = || look().filter(|record| !record.servers.is_empty());
            let known = self.edge.cold_start.until(is_open);
            let _ = tokio::time::timeout(REPORTS, known).await;
        }
        let Some(record) = look() else { return };
        let outgoing = Outgoing::post(message.clone()).within(observed.trace());
        let told = record.servers.iter().filter(|(server, _)| scope::has(self, scope, server));
        let telling = told.map(|(server, _)| {
            let call = Call::of_client(self, context, session, server);
            let outgoing = &outgoing;
            async move { call.tell_holder(outgoing).await }
        });
        futures_util::future::join_all(telling).await;
    }

    /// The gateway's own `InitializeResult`. It does not wait for servers, but for those of nodes
    /// that were there before a restart; entries that come later are announced by `list_changed`.
    pub(in crate::edge) async fn own_result(
        &self,
        scope: &Scope,
        session: &Session,
        version: Version,
    ) -> Bytes {
        let set = self.set_of(session);
        let merged = if self.edge.cold_start.had_nodes() {
            self.await_lists(scope, session).await;
            self.scope_catalog(scope, set).await
        } else {
            self.scope_catalog_now(scope, set)
        };
        let mut result = serde_json::json!({
            "protocolVersion": version.as_str(),
            "capabilities": {
                "tools": {"listChanged": true},
                "prompts": {"listChanged": true},
                "resources": {"listChanged": true, "subscribe": true},
                "logging": {},
                "completions": {},
            },
            "serverInfo": {"name": "mooring", "version": env!("CARGO_PKG_VERSION")},
        });
        if let Some(skills) = self.skills_offered(scope, session)
            && let Ok(extensions) = serde_json::from_str::<serde_json::Value>(&skills)
        {
            result["capabilities"]["extensions"] = extensions;
        }
        if self.has_tasks(scope, session) {
            result["capabilities"]["tasks"] = serde_json::json!({
                "list": {}, "cancel": {}, "requests": {"tools": {"call": {}}},
            });
        }
        if let Some(text) = &merged.instructions {
            result["instructions"] = text.clone().into();
        }
        Bytes::from(result.to_string())
    }
}

/// One request of a session on an aggregate.
#[derive(Clone, Copy)]
pub struct AggregateRequest<'a> {
    pub call: &'a ObservedCall<'a>,
    pub context: &'a ClientRequest,
    pub scope: &'a Scope,
    pub session: &'a Session,
    pub message: &'a Bytes,
    pub envelope: &'a Envelope<'a>,
    pub params: &'a StrictParams<'a>,
    /// The request's id, as JSON.
    pub id: &'a str,
}

/// The message for the owner, with the owner's name in place of `raw`.
pub fn addressed(
    message: &Bytes,
    raw: &serde_json::value::RawValue,
    shown: &str,
    owner: Owner,
) -> Addressed {
    let message = match splice::span(message, raw).filter(|_| owner.name != shown) {
        Some(span) => splice::replace(message, span, splice::quoted(&owner.name).as_bytes()),
        None => message.clone(),
    };
    Addressed { server: owner.server, message }
}

/// The tool that a message calls, as its server knows it.
fn named_tool(message: &Bytes) -> Option<String> {
    let sent = Envelope::parse(message).ok()?;
    splice::string(RequestTarget::of(sent.params)?.name?)
}

/// The owner's URI for the requested resource, and the client's, if they differ: the answer repeats
/// the URI.
fn renamed_uri(request: &AggregateRequest<'_>, sent: &Bytes) -> Option<(String, String)> {
    if methods::destination(request.envelope.method()) != Destination::Resource {
        return None;
    }
    let shown = splice::string(request.params.target.uri?)?;
    let sent = Envelope::parse(sent).ok()?;
    let own = splice::string(RequestTarget::of(sent.params)?.uri?)?;
    (own != shown).then_some((own, shown))
}

/// Whether the answer may have task ids in it: the request is about tasks, or asks to become one.
fn names_tasks(request: &AggregateRequest<'_>) -> bool {
    matches!(
        methods::destination(request.envelope.method()),
        Destination::Task | Destination::TaskUpdate
    ) || request.params.target.task.is_some_and(|task| task.get() != "null")
}
