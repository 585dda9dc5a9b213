//! Settings files: those of the repository, and small ones for tests.

use std::path::PathBuf;

use serde_json::{Value, json};

/// The repository's root.
#[must_use]
pub fn repository() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the workspace's root").to_owned()
}

/// The text of an example file, by its path below `examples/`.
#[must_use]
pub fn example(path: &str) -> String {
    let path = repository().join("examples").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The value of a settings file of `examples/` or of a page, whose comments are lines of their own, and
/// whose trailing commas end their lines.
#[must_use]
pub fn value_of(text: &str) -> Value {
    let mut plain = String::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        if line.trim_start().starts_with(['}', ']']) && plain.trim_end().ends_with(',') {
            plain.truncate(plain.trim_end().len() - 1);
        }
        plain.push_str(line);
        plain.push('\n');
    }
    serde_json::from_str(&plain).expect("settings")
}

#[must_use]
pub fn standalone(servers: Value) -> Value {
    json!({"mcpServers": servers})
}

/// A coordinator without servers; `cluster` is merged into its cluster section.
#[must_use]
pub fn coordinator(cluster: Value) -> Value {
    let base = json!({"enabled": true, "mode": "coordinator"});
    json!({"systemConfig": {"cluster": merged(base, cluster)}})
}

/// A node; `node` is merged into its node section.
#[must_use]
pub fn node(coordinator: u16, node: Value, servers: Value) -> Value {
    let base = json!({
        "coordinatorUrl": format!("http://127.0.0.1:{coordinator}"),
        "heartbeatInterval": 300,
    });
    json!({
        "mcpServers": servers,
        "systemConfig": {
            // Sessions with state hold a node up for so long.
            "cluster": {
                "enabled": true, "mode": "node", "drainDeadline": 2000, "node": merged(base, node),
            },
        },
    })
}

/// The settings, for a test whose one address stands for many clients.
#[must_use]
pub fn roomy(settings: Value) -> Value {
    merged(settings, json!({"systemConfig": {"limits": {"childrenPerPrincipal": 500}}}))
}

/// `base` with the members of `over` added or replaced, object by object.
#[must_use]
pub fn merged(mut base: Value, over: Value) -> Value {
    match (base.as_object_mut(), over) {
        (Some(members), Value::Object(over)) => {
            for (key, value) in over {
                let below = members.remove(&key).unwrap_or(Value::Null);
                members.insert(key, merged(below, value));
            }
            base
        }
        (_, over) => over,
    }
}

/// The path of a prebuilt plugin.
#[must_use]
pub fn prebuilt(plugin: &str) -> String {
    let path = repository().join("plugins/prebuilt").join(plugin);
    path.to_str().expect("a path in UTF-8").to_owned()
}
