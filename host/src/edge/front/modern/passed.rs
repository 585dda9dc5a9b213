//! Requests on a URL of several servers that belong to a server without sessions: they reach it without
//! a session in between, under the names that it knows, and what it asks is its own.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use serde_json::value::RawValue;

use crate::edge::aggregate::reply::rewritten;
use crate::edge::aggregate::requested::Requested;
use crate::edge::aggregate::requests::{AggregateRequest, addressed};
use crate::edge::catalog::merge::ScopeCatalog;
use crate::edge::catalog::part::Owner;
use crate::edge::observed::call::ObservedCall;
use crate::edge::observed::notes::CallOrigin;
use crate::edge::pass_through::stateless::{Passed, StatelessPass};
use crate::edge::refusal::{Refusal, lost_words};
use crate::edge::session::client_session::Session;
use crate::model::ServerName;
use crate::net::Body;
use crate::protocol::era::answered::without;
use crate::protocol::era::methods::{LISTEN, Method};
use crate::protocol::era::{field, meta};
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::methods;
use crate::protocol::splice::{self, RequestTarget};
use crate::protocol::strict::StrictParams;

use super::list_servers::{ListServers, ListsRequest};
use super::request::ModernRequest;
use super::subscribed::Wanted;

/// What a request names, as the client calls it, and whose it is.
struct Named<'a> {
    raw: &'a RawValue,
    shown: String,
    owner: Owner,
}

impl ModernRequest<'_> {
    /// The response of the server that owns what the request names. `None` if that server has sessions,
    /// or is not known.
    ///
    /// # Errors
    /// If the server cannot be reached, or the client is at a limit.
    pub async fn passed_on(&self, session: &Session) -> Result<Option<Response<Body>>, Refusal> {
        let servers = self.worker.stateless_members(self.scope);
        if servers.is_empty() {
            return Ok(None);
        }
        // What is unclear to several readers is refused where it would go on to a session.
        let Ok(envelope) = Envelope::parse_strictly(self.message) else { return Ok(None) };
        let Ok(params) = StrictParams::of(envelope.params) else { return Ok(None) };
        let Some(named) = self.named(session, &params).await else { return Ok(None) };
        let server = &named.owner.server;
        if !servers.contains(server) || self.may_become_task(session, server) {
            return Ok(None);
        }
        let (worker, context, scope) = (self.worker, self.context, self.scope);
        let origin = CallOrigin { context: Some(context), session, scope };
        let call = ObservedCall::begin(worker, origin, self.message);
        let request = AggregateRequest {
            call: &call,
            context,
            scope,
            session,
            message: self.message,
            envelope: &envelope,
            params: &params,
            id: self.id,
        };
        match self.pass_to_owner(&request, named).await {
            Ok(response) => Ok(Some(call.answered(response))),
            Err(refusal) => {
                call.refused(&refusal, Some(self.id));
                Err(refusal)
            }
        }
    }

    async fn named<'p>(&self, session: &Session, params: &StrictParams<'p>) -> Option<Named<'p>> {
        let destination = methods::destination(self.envelope.method());
        let requested = Requested::of(destination, params).ok()?;
        let owner = match self.method {
            // One that no list has may be anybody's.
            Method::Resource => {
                let listed = self.worker.scope_catalog_now(self.scope, self.worker.set_of(session));
                listed.uris.listed(&requested.name)
            }
            Method::Tool | Method::Prompt | Method::Completion => {
                let owner = |merged: &ScopeCatalog| merged.owner(requested.asked, &requested.name);
                self.worker.find(self.scope, session, owner).await
            }
            _ => None,
        };
        Some(Named { raw: requested.raw, shown: requested.name, owner: owner? })
    }

    async fn pass_to_owner(
        &self,
        request: &AggregateRequest<'_>,
        named: Named<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let Self { worker, context, scope, principal, .. } = *self;
        let Named { raw, shown, owner } = named;
        let own = owner.name.clone();
        let addressed = addressed(request.message, raw, &shown, owner);
        let server = addressed.server;
        let message = self.without_conversation(addressed.message);
        request.call.is_for(&server, &message);
        let under_way = worker.call_under_way(request, &server, &message)?;
        let mut rewriter = worker.rewriter(scope, request.session, &server);
        let is_renamed = own != shown;
        if is_renamed && self.method == Method::Resource {
            Arc::make_mut(&mut rewriter.uris).insert(own.clone(), shown);
        }
        // A completion has no such header.
        let has_name =
            matches!(self.method, Method::Tool | Method::Prompt | Method::Resource | Method::Task);
        let pass = StatelessPass {
            worker,
            context,
            scope,
            principal,
            server: &server,
            message: &message,
            method: request.envelope.method(),
            named: (is_renamed && has_name).then(|| field::encoded(&own)).flatten(),
            trace: request.call.trace(),
            read: None,
        };
        let Passed { response, node, token } = pass.pass(&pass.session()).await?;
        request.call.was_at(&node);
        let last_words = |server: &ServerName| lost_words(request.id, server);
        let limit = worker.edge.config.line;
        let mut response = rewritten(response, rewriter, Some(last_words), limit).await;
        worker.edge.write_token(token.as_ref(), response.headers_mut());
        Ok(match under_way {
            Some(under_way) => response.map(|body| body.with_guard(under_way)),
            None => response,
        })
    }

    /// The message without the gateway's name of the conversation, which opens it for whoever has it.
    fn without_conversation(&self, message: Bytes) -> Bytes {
        if self.claim.conversation.is_none() {
            return message;
        }
        let stripped = || {
            let envelope = Envelope::parse(&message).ok()?;
            let said = RequestTarget::of(envelope.params)?.meta?;
            let span = splice::span(&message, said)?;
            let rest = without(said, meta::CONVERSATION)?;
            Some(splice::replace(&message, span, rest.as_bytes()))
        };
        stripped().unwrap_or(message)
    }

    /// Whether the answer may be a task. The gateway makes the id by which its client finds that again,
    /// which leads to the session in which it began.
    fn may_become_task(&self, session: &Session, server: &ServerName) -> bool {
        self.method == Method::Tool
            && self.context.takes_tasks()
            && self.worker.has_modern_tasks(session, server)
    }

    /// `_meta` of a request that the gateway makes of this one.
    fn own_meta(&self) -> String {
        let said = without(self.claim.meta, meta::CONVERSATION);
        said.unwrap_or_else(|| "{}".to_owned())
    }

    /// The servers that have no sessions themselves, to be asked for their lists.
    pub(super) fn list_servers(&self, wanted: &Wanted) -> ListServers {
        let params = || wanted.lists_alone(&self.own_meta());
        let is_wanted = !wanted.lists.is_empty();
        ListServers::of(ListsRequest {
            worker: self.worker.clone(),
            context: self.context.clone(),
            scope: self.scope.clone(),
            principal: self.principal.clone(),
            message: is_wanted.then(|| jsonrpc::request(self.id, LISTEN, &params())),
        })
    }
}
