//! Connections that are refused, or ended, for the certificate of the other side.

use std::net::IpAddr;

use crate::edge::worker::Edge;
use crate::model::Principal;
use crate::telemetry::{AuditAction, AuditEntry};

/// Has it audited. The principal is known if the certificate was right before.
pub fn note(edge: &Edge, principal: Option<&Principal>, peer: IpAddr, why: String) {
    let Some(audit) = &edge.telemetry.audit else { return };
    audit.add(AuditEntry {
        principal: principal.cloned(),
        address: Some(peer),
        ..AuditEntry::of(AuditAction::Connection, false, why)
    });
}
