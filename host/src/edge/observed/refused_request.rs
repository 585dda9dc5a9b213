//! Requests that are refused before they are a call.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, Request, Response};
use http_body::Body as _;

use crate::edge::access::admit::Caller;
use crate::edge::client_request::ToldAsCall;
use crate::edge::refusal::Refusal;
use crate::edge::scope::{self, Entrance};
use crate::edge::worker::Edge;
use crate::model::{Principal, Rights, UnixMillis};
use crate::net::Body;
use crate::telemetry::{AccessLine, AuditAction, AuditEntry, CallEnd, RefusedEntry};

/// What the logs say of a request that is refused after its sender was let in. It is kept beside the
/// request, of which nothing else may be left by then.
#[derive(Clone)]
pub struct AdmittedRequest {
    /// `None` if the request has it.
    path: Option<String>,
    principal: Principal,
    ruled: Option<Arc<Rights>>,
    began: Instant,
}

impl AdmittedRequest {
    /// `None` if there are no logs.
    #[must_use]
    pub fn of(
        edge: &Edge,
        request: &Request<Body>,
        (caller, entrance): (&Caller, Entrance),
    ) -> Option<Self> {
        edge.telemetry.tells_calls().then(|| Self {
            // Over Streamable HTTP a refused request is given back what was taken of it.
            path: (entrance != Entrance::Streamable).then(|| request.uri().path().to_owned()),
            principal: caller.principal.clone(),
            ruled: caller.identity.as_ref().and_then(|identity| identity.ruled.clone()),
            began: Instant::now(),
        })
    }
}

/// The access log's line of a refused request, which ends with its answer.
pub struct BegunLine(RefusedEntry, Instant);

impl BegunLine {
    pub fn end(self, edge: &Edge, answer: &Response<Body>) {
        let Self(mut entry, began) = self;
        entry.sent = answer.body().size_hint().lower();
        entry.duration = began.elapsed();
        if let Some(access) = &edge.telemetry.access {
            access.add(AccessLine::Refused(entry));
        }
    }
}

/// Counts a refusal, and has it audited if it is one of access, or of a message that no session's call was
/// made of. What answers one message of a session was audited as a call. Returns the line of the access log, unless the call has one.
pub fn note(
    edge: &Edge,
    refusal: &Refusal,
    request: &mut Request<Body>,
    peer: IpAddr,
) -> Option<BegunLine> {
    edge.metrics.refusal(refusal);
    if !edge.telemetry.tells_calls() {
        return None;
    }
    let aside = request.extensions_mut().remove::<AdmittedRequest>();
    let was_told = request.extensions_mut().remove::<ToldAsCall>().is_some();
    let kept = aside.as_ref().and_then(|aside| aside.path.as_deref());
    let path = kept.unwrap_or_else(|| request.uri().path());
    // Over HTTP+SSE what answers a message of a session has been told as a call.
    let is_streamable = aside.as_ref().is_some_and(|aside| aside.path.is_none());
    let is_message = !was_told && is_streamable && request.method() == Method::POST;
    if refusal.is_audited(is_message) {
        audit(edge, refusal, aside.as_ref(), (path, peer));
    }
    if was_told || edge.telemetry.access.is_none() {
        return None;
    }
    let (_, emitter, kind) = refusal.counted();
    let entry = RefusedEntry {
        at: UnixMillis::now(),
        principal: aside.as_ref().map(|aside| aside.principal.clone()),
        path: path.to_owned(),
        end: CallEnd::refused(emitter, kind),
        sent: 0,
        duration: std::time::Duration::ZERO,
    };
    Some(BegunLine(entry, aside.map_or_else(Instant::now, |aside| aside.began)))
}

fn audit(
    edge: &Edge,
    refusal: &Refusal,
    aside: Option<&AdmittedRequest>,
    (path, peer): (&str, IpAddr),
) {
    let Some(audit) = &edge.telemetry.audit else { return };
    let is_hidden = matches!(refusal, Refusal::UnknownScope(_));
    let ruled = aside.and_then(|aside| aside.ruled.as_ref()).filter(|_| is_hidden);
    audit.add(AuditEntry {
        principal: aside.map(|aside| aside.principal.clone()),
        address: Some(peer),
        method: Some(path.to_owned()),
        ruling: ruled.and_then(|rights| scope::hiding_rule(edge, path, rights)),
        limit: refusal.limit().map(str::to_owned),
        ..AuditEntry::of(AuditAction::Request, false, refusal.to_string())
    });
}
