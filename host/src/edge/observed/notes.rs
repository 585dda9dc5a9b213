//! What is known of a call, and where that goes when it ends.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::edge::client_request::ClientRequest;
use crate::edge::refusal::Refusal;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Edge;
use crate::model::{
    NodeId, PolicyRuling, Principal, Rights, Scope, ServerName, SessionId, UnixMillis,
};
use crate::protocol::glance::MethodLabel;
use crate::telemetry::{
    AccessEntry, AccessLine, AuditAction, AuditEntry, AuditLog, BegunSpan, CallEnd, CallOutcome,
    CallSize, SpanKind, call_attributes, span_name,
};

use super::batched::BatchedCall;
use super::ruling::{RuledEntry, kind_of, ruling};

/// What is known of a call.
pub struct CallNotes {
    began: Instant,
    pub method: MethodLabel,
    /// Bytes of the message.
    pub received: u64,
    server: OnceLock<ServerName>,
    /// For the logs alone.
    pub told: Option<Box<ToldCall>>,
}

/// What the logs say of a call.
pub struct ToldCall {
    principal: Principal,
    scope: Scope,
    session: SessionId,
    pub target: Option<String>,
    /// What the target's server calls it, if that is not the same.
    pub own_name: OnceLock<String>,
    pub node: OnceLock<NodeId>,
    /// The rules for its client; `None` where there are none.
    pub ruled: Option<Arc<Rights>>,
    /// What they say, where that was asked before the end.
    pub ruling: OnceLock<PolicyRuling>,
    address: Option<IpAddr>,
    pub arguments: Option<String>,
    /// The messages of a batch.
    pub batched: Vec<BatchedCall>,
    /// The call's span.
    pub trace: Option<BegunSpan>,
}

/// Whose call it is.
#[derive(Clone, Copy)]
pub struct CallOrigin<'a> {
    pub context: Option<&'a ClientRequest>,
    pub session: &'a Session,
    pub scope: &'a Scope,
}

impl CallNotes {
    #[must_use]
    pub fn begin(method: MethodLabel, received: u64, told: Option<Box<ToldCall>>) -> Self {
        Self { began: Instant::now(), method, received, server: OnceLock::new(), told }
    }

    /// Notes the server that the call is for.
    pub fn is_for(&self, server: &ServerName) {
        let _ = self.server.set(server.clone());
    }

    /// Counts the call, and tells the logs of it.
    pub fn end(self, edge: &Edge, worker: usize, end: CallEnd, sent: u64) {
        self.end_with(edge, worker, end, sent, None);
    }

    /// The same, of a call that may have been refused.
    pub fn end_with(
        self,
        edge: &Edge,
        worker: usize,
        end: CallEnd,
        sent: u64,
        refusal: Option<&Refusal>,
    ) {
        let size = CallSize { duration: self.began.elapsed(), received: self.received, sent };
        let server = self.server.get();
        edge.telemetry.calls.note(worker, server, self.method, end.outcome, &size);
        if let Some(told) = self.told {
            told.tell(edge, self.method, self.server.into_inner(), (end, size), refusal);
        }
    }
}

impl ToldCall {
    #[must_use]
    pub fn of(origin: CallOrigin<'_>, trace: Option<BegunSpan>) -> Self {
        let CallOrigin { context, session, scope } = origin;
        Self {
            principal: session.principal.clone(),
            scope: scope.clone(),
            session: session.id,
            target: None,
            own_name: OnceLock::new(),
            node: OnceLock::new(),
            ruled: context.and_then(|client| client.identity.as_ref()?.ruled.clone()),
            ruling: OnceLock::new(),
            address: context.map(|client| client.peer),
            arguments: None,
            batched: Vec::new(),
            trace,
        }
    }

    /// What the operator's rules say about the call. Of one that was refused for another reason they
    /// say nothing.
    fn ruling(
        &self,
        edge: &Edge,
        method: MethodLabel,
        server: Option<&ServerName>,
        allowed: bool,
    ) -> Option<PolicyRuling> {
        if let Some(known) = self.ruling.get() {
            return Some(known.clone());
        }
        let own = self.own_name.get().or(self.target.as_ref());
        self.ruling_about(edge, server.filter(|_| allowed)?, method, own.map(String::as_str))
    }

    /// What they say about an entry of a server, by the name that the server has for it.
    fn ruling_about(
        &self,
        edge: &Edge,
        server: &ServerName,
        method: MethodLabel,
        own: Option<&str>,
    ) -> Option<PolicyRuling> {
        let rights = self.ruled.as_ref()?;
        let entry = kind_of(method.as_str()).zip(own);
        Some(ruling(edge, &self.scope, rights, RuledEntry { server, entry }))
    }

    fn tell(
        self,
        edge: &Edge,
        method: MethodLabel,
        server: Option<ServerName>,
        (end, size): (CallEnd, CallSize),
        refusal: Option<&Refusal>,
    ) {
        let allowed = end.outcome != CallOutcome::Refused;
        // Of a batch each message is audited.
        let action = audited(method, allowed).filter(|_| self.batched.is_empty());
        let audited = edge.telemetry.audit.as_ref().zip(action);
        let about = server.as_ref().or(match self.scope.of_url() {
            Scope::Server(server) => Some(server),
            _ => None,
        });
        let ruling = audited.and_then(|_| self.ruling(edge, method, about, allowed));
        if let (Some(audit), false) = (&edge.telemetry.audit, self.batched.is_empty()) {
            let why = || refusal.map_or_else(|| why(end), ToString::to_string);
            self.audit_batch(edge, audit, about, (allowed, &why()));
        }
        let Self { principal, scope, session, target, node, address, arguments, trace, .. } = self;
        let (at, node) = (UnixMillis::now(), node.into_inner());
        if let (Some(traces), Some(trace)) = (&edge.telemetry.traces, trace) {
            let mut said = call_attributes(method, target.as_deref(), server.as_ref(), end);
            said.text("mooring.session", session.short());
            if let Some(node) = &node {
                said.text("mooring.node", node.as_str());
            }
            said.number("mooring.received_bytes", size.received);
            said.number("mooring.sent_bytes", size.sent);
            traces.end(trace, span_name(method, target.as_deref()), SpanKind::Server, said);
        }
        if let Some((audit, action)) = audited {
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
                ruling,
                limit: refusal.and_then(Refusal::limit).map(str::to_owned),
                ..AuditEntry::of(action, allowed, why)
            });
        }
        if let Some(access) = &edge.telemetry.access {
            access.add(AccessLine::Call(AccessEntry {
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
            }));
        }
    }
}

impl ToldCall {
    /// A line for each message of a batch by which something is done or read, and for each that was refused.
    fn audit_batch(
        &self,
        edge: &Edge,
        audit: &AuditLog,
        server: Option<&ServerName>,
        (allowed, why): (bool, &str),
    ) {
        for one in &self.batched {
            let Some(action) = audited(one.method, allowed) else { continue };
            let asked = server.filter(|_| allowed);
            let own = one.own_name.as_deref();
            audit.add(AuditEntry {
                principal: Some(self.principal.clone()),
                address: self.address,
                scope: Some(self.scope.clone()),
                server: server.cloned(),
                method: Some(one.method.as_str().to_owned()),
                target: one.target.clone(),
                session: Some(self.session),
                node: self.node.get().cloned(),
                arguments: one.arguments.clone(),
                ruling: asked.and_then(|server| self.ruling_about(edge, server, one.method, own)),
                ..AuditEntry::of(action, allowed, why.to_owned())
            });
        }
    }
}

/// Calls by which something is done or read are audited, and every refusal; lists and notifications
/// are not.
fn audited(method: MethodLabel, allowed: bool) -> Option<AuditAction> {
    match method.as_str() {
        "initialize" => Some(AuditAction::Session),
        "tools/call" | "prompts/get" | "resources/read" | "resources/subscribe" => {
            Some(AuditAction::Call)
        }
        _ => (!allowed).then_some(AuditAction::Call),
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
