//! Requests that are refused before they are a call.

use std::net::IpAddr;
use std::sync::Arc;

use http::Request;

use crate::edge::access::admit::Caller;
use crate::edge::refusal::Refusal;
use crate::edge::scope;
use crate::edge::worker::Edge;
use crate::model::{Principal, Rights};
use crate::net::Body;
use crate::telemetry::{AuditAction, AuditEntry};

/// What the audit log says of a request that is refused after its sender was let in. It is put aside
/// with the request, of which nothing else may be left by then.
#[derive(Clone)]
struct AuditedRequest {
    path: String,
    principal: Principal,
    ruled: Option<Arc<Rights>>,
}

/// Puts aside what is audited of a caller's request, if anything is.
pub fn put_aside(edge: &Edge, request: &mut Request<Body>, caller: &Caller) {
    if edge.telemetry.audit.is_some() {
        let (path, principal) = (request.uri().path().to_owned(), caller.principal.clone());
        let ruled = caller.identity.as_ref().and_then(|identity| identity.ruled.clone());
        request.extensions_mut().insert(AuditedRequest { path, principal, ruled });
    }
}

/// Counts a refusal, and has it audited if it is one of access. What answers one message of a session was
/// audited as a call.
pub fn note(edge: &Edge, refusal: &Refusal, request: &mut Request<Body>, peer: IpAddr) {
    edge.metrics.refusal(refusal);
    let Some(audit) = &edge.telemetry.audit else { return };
    if !refusal.is_of_access() || refusal.is_answer() {
        return;
    }
    let aside = request.extensions_mut().remove::<AuditedRequest>();
    let path =
        aside.as_ref().map_or_else(|| request.uri().path(), |aside| aside.path.as_str()).to_owned();
    let is_hidden = matches!(refusal, Refusal::UnknownScope(_));
    let ruled = aside.as_ref().and_then(|aside| aside.ruled.as_ref()).filter(|_| is_hidden);
    let ruling = ruled.and_then(|rights| scope::hiding_rule(edge, &path, rights));
    let principal = aside.map(|aside| aside.principal);
    audit.add(AuditEntry {
        principal,
        address: Some(peer),
        method: Some(path),
        ruling,
        limit: refusal.limit().map(str::to_owned),
        ..AuditEntry::of(AuditAction::Request, false, refusal.to_string())
    });
}
