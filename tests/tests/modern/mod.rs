//! Clients of the revision without sessions, 2026-07-28.

mod affinity;
mod apps;
mod asked_aside;
mod conversations;
mod crossing;
mod endurance;
mod handover;
mod input;
mod listeners;
mod listening;
mod passed_on;
mod plugins;
mod replaced;
mod requests;
mod skills;
mod tasks;
mod unread;
mod upstreams;

use mooring_tests::{Gateway, Stateless, settings};
use serde_json::{Value, json};

/// `systemConfig` of a gateway that serves both eras.
fn both(conversations: &Value) -> Value {
    json!({"eras": ["legacy", "modern"], "conversations": conversations})
}

/// A gateway that serves both eras, with the default conversations.
#[track_caller]
fn gateway(servers: Value) -> Gateway {
    let system = json!({"systemConfig": {"eras": ["legacy", "modern"]}});
    Gateway::start_with(&settings::merged(settings::standalone(servers), system))
}

fn stateless(gateway: &Gateway, path: &str) -> Stateless {
    Stateless::new(gateway.address(), path)
}

/// The fixture of the conformance suite, which asks its client many things.
fn asking() -> Value {
    json!({"command": "mooring-conformance-server", "args": ["stdio"]})
}
