//! The messages of a batch that passes to one server as it came: the audit log has a line for each.

use crate::protocol::glance::{MethodLabel, shown_target, target};
use crate::protocol::jsonrpc;
use crate::telemetry::AuditLog;

/// A message of a batch, as the audit log tells of it.
pub struct BatchedCall {
    pub method: MethodLabel,
    pub target: Option<String>,
    /// What the server calls the target.
    pub own_name: Option<String>,
    pub arguments: Option<String>,
}

impl BatchedCall {
    /// Those of a body; none if it is no batch.
    #[must_use]
    pub fn all(audit: &AuditLog, body: &[u8]) -> Vec<Self> {
        let Ok(Some(parts)) = jsonrpc::batch(body) else { return Vec::new() };
        let parts = parts.into_iter().map(|part| Self::of(audit, part.get().as_bytes()));
        parts.collect()
    }

    fn of(audit: &AuditLog, message: &[u8]) -> Self {
        let method = MethodLabel::of(message);
        let own_name = target(method, message);
        let arguments = method.is_tool_call().then(|| audit.arguments(message)).flatten();
        Self { method, target: own_name.clone().map(shown_target), own_name, arguments }
    }
}
