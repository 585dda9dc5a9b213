//! One request of a client without a session.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::value::RawValue;

use crate::edge::bridge::conversation::{Conversation, Speaker};
use crate::edge::client_request::ClientRequest;
use crate::edge::observed::call::ObservedCall;
use crate::edge::observed::notes::CallOrigin;
use crate::edge::refusal::Refusal;
use crate::edge::relay::json;
use crate::edge::scope;
use crate::edge::session::client_session::Session;
use crate::edge::session::recent_session::RecentSession;
use crate::edge::worker::Worker;
use crate::model::{Principal, Scope, ServerName, SessionId};
use crate::net::Body;
use crate::protocol::era::claim::EraClaim;
use crate::protocol::era::fault::EraFault;
use crate::protocol::era::meta;
use crate::protocol::era::methods::Method;
use crate::protocol::era::result::Additions;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::lenient::Members;
use crate::protocol::splice;

/// A request, read and found to be one that is served.
pub struct ModernRequest<'a> {
    pub worker: &'a Worker,
    pub context: &'a ClientRequest,
    pub scope: &'a Scope,
    pub principal: &'a Principal,
    pub recent: &'a RecentSession,
    pub message: &'a Bytes,
    pub envelope: &'a Envelope<'a>,
    pub claim: &'a EraClaim<'a>,
    pub method: Method,
    /// As JSON.
    pub id: &'a str,
}

impl ModernRequest<'_> {
    /// Its conversation.
    ///
    /// # Errors
    /// If it names one that this client does not have.
    pub fn conversation(&self) -> Result<Option<Conversation>, Refusal> {
        self.worker.conversation(&self.speaker())
    }

    /// What its conversation is told by.
    #[must_use]
    pub fn speaker(&self) -> Speaker<'_> {
        let Self { context, scope, principal, envelope, claim, recent, .. } = *self;
        Speaker { context, scope, principal, envelope, message: self.message, claim, recent }
    }

    /// The conversation that it names by the gateway's own name.
    #[must_use]
    pub fn handle(&self) -> Option<SessionId> {
        let keys = &self.worker.edge.keys;
        let named = self.claim.conversation.as_deref()?;
        keys.open_conversation(named, self.scope, self.principal).map(|(id, _)| id)
    }

    /// Its session with servers, of which nothing is open yet.
    ///
    /// # Errors
    /// As [`Self::conversation`], and if what it says of its client is too large.
    pub fn session(&self) -> Result<Session, Refusal> {
        let Self { scope, principal, claim, .. } = *self;
        self.worker.edge.inner_session(scope, principal, claim, self.conversation()?)
    }

    /// The answer of the gateway's own to this request, which is noted as a call.
    ///
    /// # Errors
    /// If there is none.
    pub async fn observed(
        &self,
        session: &Session,
        answer: impl Future<Output = Result<Response<Body>, Refusal>>,
    ) -> Result<Response<Body>, Refusal> {
        self.observed_at(None, session, answer).await
    }

    /// The same, of an answer that a server may make.
    ///
    /// # Errors
    /// As [`Self::observed`].
    pub async fn observed_at(
        &self,
        server: Option<&ServerName>,
        session: &Session,
        answer: impl Future<Output = Result<Response<Body>, Refusal>>,
    ) -> Result<Response<Body>, Refusal> {
        let origin = CallOrigin { context: Some(self.context), session, scope: self.scope };
        let call = ObservedCall::begin(self.worker, origin, self.message);
        if let Some(server) = server {
            call.is_for(server, b"");
        }
        match answer.await {
            Ok(response) => Ok(call.answered(response)),
            Err(refusal) => {
                call.refused(&refusal, Some(self.id));
                Err(refusal)
            }
        }
    }

    /// Refuses a method for which the one server of the scope is known to lack the capability.
    ///
    /// # Errors
    /// If it lacks it.
    pub fn check_capability(&self, session: &Session) -> Result<(), Refusal> {
        let (Scope::Server(server), Some(needed)) = (self.scope, self.method.capability()) else {
            return Ok(());
        };
        // A completion for a server without any is answered in its place, with no values.
        let set = self.worker.set_of(session);
        if self.method == Method::Completion || self.worker.capability(server, set, needed) {
            return Ok(());
        }
        Err(EraFault::Method(self.envelope.method().to_owned()).into())
    }

    /// What its result gets that results of servers with sessions do not have.
    #[must_use]
    pub fn additions(&self, session: &Session) -> Additions {
        let mut meta = vec![(meta::SERVER, self.server_info(session))];
        // A client that keeps its conversation in `_meta` finds it in each result.
        if let Some(conversation) = &self.claim.conversation {
            meta.push((meta::CONVERSATION, splice::quoted(conversation)));
        }
        Additions { is_kept: self.method.is_kept(), is_task: false, meta }
    }

    /// Who answers: the scope's server if it is one that is shown whole, else the gateway.
    fn server_info(&self, session: &Session) -> String {
        let worker = self.worker;
        let of_server = || {
            let server = scope::pass_through_server(&worker.edge, self.scope)?;
            let topology = worker.edge.topology.load();
            let catalog = worker.edge.catalogs.known(&topology, server, worker.set_of(session))?;
            let said = Members::of(catalog.initialize.get())?;
            let info = said.get("serverInfo").filter(|info| info.get().starts_with('{'))?;
            Some(info.get().to_owned())
        };
        of_server().unwrap_or_else(|| {
            format!(r#"{{"name":"mooring","version":"{}"}}"#, env!("CARGO_PKG_VERSION"))
        })
    }

    /// The response with a result of the gateway's own, which is JSON.
    #[must_use]
    pub fn answer(&self, result: &[u8], additions: &Additions) -> Response<Body> {
        let raw: Option<&RawValue> = serde_json::from_slice(result).ok();
        let whole = raw.and_then(|raw| additions.to(raw)).unwrap_or_else(|| "{}".to_owned());
        json(StatusCode::OK, jsonrpc::result(self.id, whole.as_bytes()))
    }
}

/// A refusal of the parts that sessions have too, as a client without one understands it.
#[must_use]
pub fn for_modern(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::MethodNotFound(method) => EraFault::Method(method).into(),
        Refusal::ResourceNotFound(what) => {
            Refusal::InvalidParams(format!("Resource not found: {what}"))
        }
        Refusal::UnknownSession => Refusal::ConversationEnded,
        other => other,
    }
}
