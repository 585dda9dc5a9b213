//! Entries of `mcpServers` for the example servers of this repository.

use serde_json::{Value, json};

#[must_use]
pub fn counter() -> Value {
    json!({"command": "mooring-example-counter"})
}

/// A counter whose `whoami` returns this name.
#[must_use]
pub fn counter_named(name: &str) -> Value {
    json!({"command": "mooring-example-counter", "env": {"MOORING_EXAMPLE_NAME": name}})
}

#[must_use]
pub fn notes() -> Value {
    json!({"command": "mooring-example-notes"})
}

#[must_use]
pub fn clock() -> Value {
    json!({"command": "mooring-example-clock"})
}

/// The server with this `isolation`.
#[must_use]
pub fn isolated(mut server: Value, isolation: &str) -> Value {
    server["isolation"] = isolation.into();
    server
}

/// The server with this many entries on a page of a list.
#[must_use]
pub fn in_pages(mut server: Value, entries: usize) -> Value {
    server["env"]["MOORING_EXAMPLE_PAGE"] = entries.to_string().into();
    server
}

/// A program that starts and never writes anything.
#[must_use]
pub fn silent() -> Value {
    json!({"command": "sleep", "args": ["1000"]})
}

/// A program that does not exist.
#[must_use]
pub fn missing() -> Value {
    json!({"command": "mooring-no-such-program"})
}

/// A counter behind a shell that writes every message to stderr. The server is a child of the
/// started process.
#[must_use]
pub fn talkative() -> Value {
    let script = "echo here I am >&2; tee /dev/stderr | mooring-example-counter";
    json!({"command": "sh", "args": ["-c", script]})
}
