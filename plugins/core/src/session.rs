//! The session's id, the only input of the built-in strategies.

use crate::rendezvous::Key;
use crate::settings::Settings;
use crate::vocabulary::{Carrier, Input, Plan, Request};

/// Where [`plan`] puts the session's id among the inputs.
const SESSION_ID: usize = 0;

pub fn plan(settings: &Settings, carrier: Carrier) -> Plan {
    Plan {
        inputs: vec![Input::SessionId],
        carrier,
        affinity_ttl_seconds: settings.affinity_ttl_seconds,
        wants_loads: false,
    }
}

/// Without a session, as in the stateless revisions of MCP, any node is as good
/// as another.
pub fn key(request: &Request<'_>) -> Key {
    match request.input(SESSION_ID) {
        Some(id) => Key::sticky(id),
        None => Key::fleeting(request.seed),
    }
}
