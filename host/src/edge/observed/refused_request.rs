//! Requests that are refused before they are a call.

use std::net::IpAddr;

use http::StatusCode;

use crate::edge::refusal::Refusal;
use crate::edge::worker::Edge;
use crate::telemetry::{AuditAction, AuditEntry};

/// Counts a refusal, and has it audited if it is one of access.
pub fn note(edge: &Edge, refusal: &Refusal, path: &str, peer: IpAddr) {
    edge.metrics.refusal(refusal);
    let Some(audit) = &edge.telemetry.audit else { return };
    let is_of_access = matches!(
        refusal.status(),
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::TOO_MANY_REQUESTS
    );
    if is_of_access {
        audit.add(AuditEntry {
            address: Some(peer),
            method: Some(path.to_owned()),
            ..AuditEntry::of(AuditAction::Request, false, refusal.to_string())
        });
    }
}
