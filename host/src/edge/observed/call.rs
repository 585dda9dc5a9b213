//! One call, from its message until its answer has passed. Nothing here waits, and without logs
//! nothing is allocated for an answer that comes whole.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Instant;

use http::Response;

use crate::edge::client_request::ClientRequest;
use crate::edge::refusal::Refusal;
use crate::edge::session::client_session::Session;
use crate::edge::worker::{Edge, Worker};
use crate::model::{NodeId, Principal, Scope, ServerName, SessionId, UnixMillis};
use crate::net::{Body, Cut, is_event_stream};
use crate::protocol::glance::{MethodLabel, target};
use crate::protocol::jsonrpc::code;
use crate::telemetry::{AccessEntry, AuditAction, AuditEntry, CallEnd, CallOutcome, CallSize};

use super::answer_watch::AnswerWatch;
use super::later::LaterCall;

/// A call under way. One that is dropped without an answer counts as left by its client.
pub struct ObservedCall<'a> {
    worker: &'a Worker,
    noted: Option<CallNotes>,
}

/// What is known of a call.
pub struct CallNotes {
    began: Instant,
    method: MethodLabel,
    received: u64,
    server: OnceLock<ServerName>,
    /// For the logs alone.
    told: Option<Box<ToldCall>>,
}

/// What the logs say of a call.
struct ToldCall {
    principal: Principal,
    scope: Scope,
    session: SessionId,
    target: Option<String>,
    node: OnceLock<NodeId>,
    address: Option<IpAddr>,
    arguments: Option<String>,
}

/// Whose call it is.
#[derive(Clone, Copy)]
pub struct CallOrigin<'a> {
    pub context: Option<&'a ClientRequest>,
    pub session: &'a Session,
    pub scope: &'a Scope,
}

impl<'a> ObservedCall<'a> {
    /// Begins with a whole message.
    pub fn begin(worker: &'a Worker, origin: CallOrigin<'_>, message: &[u8]) -> Self {
        let telemetry = &worker.edge.telemetry;
        let method = MethodLabel::of(message);
        let told = telemetry.tells_calls().then(|| {
            let audit = telemetry.audit.as_ref();
            let arguments = || audit.and_then(|audit| audit.arguments(message));
            let arguments = method.is_tool_call().then(arguments).flatten();
            Box::new(ToldCall { target: target(message), arguments, ..ToldCall::of(origin) })
        });
        Self::with(worker, method, message.len() as u64, told)
    }

    /// Begins with a message that passes as it arrives.
    pub fn begin_streamed(worker: &'a Worker, origin: CallOrigin<'_>) -> Self {
        let told = worker.edge.telemetry.tells_calls();
        let told = told.then(|| Box::new(ToldCall::of(origin)));
        Self::with(worker, MethodLabel::of(b""), 0, told)
    }

    fn with(
        worker: &'a Worker,
        method: MethodLabel,
        received: u64,
        told: Option<Box<ToldCall>>,
    ) -> Self {
        let (began, server) = (Instant::now(), OnceLock::new());
        Self { worker, noted: Some(CallNotes { began, method, received, server, told }) }
    }

    /// Notes the server that the call is for.
    pub fn is_for(&self, server: &ServerName) {
        if let Some(noted) = &self.noted {
            let _ = noted.server.set(server.clone());
        }
    }

    /// Notes the node that has answered.
    pub fn was_at(&self, node: &NodeId) {
        if let Some(told) = self.noted.as_ref().and_then(|noted| noted.told.as_ref()) {
            let _ = told.node.set(node.clone());
        }
    }

    /// Notes what has passed of a message since [`Self::begin_streamed`].
    pub fn passed(&mut self, cut: &Cut) {
        if let Some(noted) = &mut self.noted {
            (noted.method, noted.received) = (cut.method(), cut.bytes());
        }
    }

    /// Notes the answer, whose body may still have to come.
    pub fn answered(mut self, response: Response<Body>) -> Response<Body> {
        let Some(noted) = self.noted.take() else { return response };
        let edge = &self.worker.edge;
        match response.body() {
            Body::Empty if response.status().as_u16() >= 400 => {
                noted.end(edge, self.worker.index, CallEnd::refused(code::TRANSPORT), 0);
            }
            Body::Empty => noted.end(edge, self.worker.index, CallEnd::OK, 0),
            Body::Full(bytes) | Body::Held(bytes, _) if !is_event_stream(&response) => {
                let end = CallEnd::said(bytes, noted.method.is_tool_call()).unwrap_or(CallEnd::OK);
                noted.end(edge, self.worker.index, end, bytes.len() as u64);
            }
            _ => {
                let is_tool_call = noted.method.is_tool_call();
                let watch = AnswerWatch::new(is_tool_call, is_event_stream(&response));
                let worker = (std::sync::Arc::clone(edge), self.worker.index);
                return response.map(|body| {
                    Body::Through(Box::new(LaterCall::new(body, watch, noted, worker)))
                });
            }
        }
        response
    }

    /// Notes that the gateway has refused it.
    pub fn refused(mut self, refusal: &Refusal) {
        if let Some(noted) = self.noted.take() {
            let end = CallEnd::refused(refusal.code());
            noted.end_with(&self.worker.edge, self.worker.index, end, 0, Some(refusal));
        }
    }
}

impl Drop for ObservedCall<'_> {
    fn drop(&mut self) {
        if let Some(noted) = self.noted.take() {
            noted.end(&self.worker.edge, self.worker.index, CallEnd::LEFT, 0);
        }
    }
}

impl CallNotes {
    /// Counts the call, and tells the logs of it.
    pub fn end(self, edge: &Edge, worker: usize, end: CallEnd, sent: u64) {
        self.end_with(edge, worker, end, sent, None);
    }

    fn end_with(
        self,
        edge: &Edge,
        worker: usize,
        end: CallEnd,
        sent: u64,
        refusal: Option<&Refusal>,
    ) {
        let size = CallSize { duration: self.began.elapsed(), received: self.received, sent };
        let server = self.server.get();
        edge.telemetry.calls.note(worker, server, self.method, end, &size);
        if let Some(told) = self.told {
            told.tell(edge, self.method, server.cloned(), (end, size), refusal);
        }
    }
}

impl ToldCall {
    fn of(origin: CallOrigin<'_>) -> Self {
        let CallOrigin { context, session, scope } = origin;
        Self {
            principal: session.principal.clone(),
            scope: scope.clone(),
            session: session.id,
            target: None,
            node: OnceLock::new(),
            address: context.map(|client| client.peer),
            arguments: None,
        }
    }

    fn tell(
        self: Box<Self>,
        edge: &Edge,
        method: MethodLabel,
        server: Option<ServerName>,
        (end, size): (CallEnd, CallSize),
        refusal: Option<&Refusal>,
    ) {
        let Self { principal, scope, session, target, node, address, arguments } = *self;
        let (at, node) = (UnixMillis::now(), node.into_inner());
        if let Some(audit) = &edge.telemetry.audit
            && let Some(action) = audited(method)
        {
            let allowed = end.outcome != CallOutcome::Refused;
            let why = refusal.map_or_else(|| why(end), ToString::to_string);
            audit.add(AuditEntry {
                at,
                principal: Some(principal.clone()),
                address,
                scope: Some(scope.clone()),
                server: server.clone(),
                method: Some(method.as_str().to_owned()),
                target: target.clone(),
                session: Some(session),
                node: node.clone(),
                arguments,
                ..AuditEntry::of(action, allowed, why)
            });
        }
        if let Some(access) = &edge.telemetry.access {
            access.add(AccessEntry {
                at,
                principal,
                scope,
                server,
                method,
                target,
                session,
                node,
                end,
                size,
            });
        }
    }
}

/// Calls by which something is done or read are audited; lists and notifications are not.
fn audited(method: MethodLabel) -> Option<AuditAction> {
    match method.as_str() {
        "initialize" => Some(AuditAction::Session),
        "tools/call" | "prompts/get" | "resources/read" | "resources/subscribe" => {
            Some(AuditAction::Call)
        }
        _ => None,
    }
}

fn why(end: CallEnd) -> String {
    match end.error {
        None => end.outcome.as_str().to_owned(),
        Some((emitter, kind)) => {
            format!("{}: {} said {}", end.outcome.as_str(), emitter.as_str(), kind.as_str())
        }
    }
}
