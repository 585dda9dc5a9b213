//! The MCP Inspector's command line as a client.

use std::process::{Command, Stdio};

use mooring_tests::{Gateway, servers, settings};
use serde_json::{Value, json};

use mooring_tests::borrowed;

#[test]
fn the_inspector_uses_sse() {
    lists_and_calls("/sse", "sse");
}

#[test]
fn the_inspector_lists_and_calls_tools() {
    lists_and_calls("/mcp", "http");
}

/// Uses a counter behind `root`, with the Inspector's name of the transport: `http`, or `sse` for
/// the root `/sse`.
#[track_caller]
fn lists_and_calls(root: &str, transport: &str) {
    if !borrowed::at_hand(&format!("MCP Inspector over {transport}"), &["node", "inspector"]) {
        return;
    }
    let settings = settings::standalone(json!({"counter": servers::counter()}));
    let gateway = Gateway::start_with(&settings);
    for (scope, prefix) in [("/counter", ""), ("", "counter-")] {
        let inspector = Inspector {
            url: format!("{}{root}{scope}", gateway.url()),
            transport: transport.into(),
        };
        let listed = inspector.ask(&["--method", "tools/list"]);
        let names: Vec<&str> =
            listed["tools"].as_array().unwrap().iter().filter_map(|t| t["name"].as_str()).collect();
        assert_eq!(names, ["count", "whoami", "reset"].map(|name| format!("{prefix}{name}")));
        let count = format!("{prefix}count");
        let call = ["--method", "tools/call", "--tool-name", &count, "--tool-arg", "by=5"];
        assert_eq!(inspector.ask(&call)["structuredContent"]["value"], 5);
    }
}

struct Inspector {
    url: String,
    transport: String,
}

impl Inspector {
    #[track_caller]
    fn ask(&self, what: &[&str]) -> Value {
        // It keeps a list of servers in the home folder.
        let home = tempfile::tempdir().unwrap();
        let output = Command::new(borrowed::starter("inspector"))
            .args(["--cli", &self.url, "--transport", &self.transport])
            .args(what)
            .env("HOME", home.path())
            .current_dir(home.path())
            .stdin(Stdio::null())
            .output()
            .expect("the Inspector runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what:?} at {}: {said}{failed}", self.url);
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("no JSON ({error}): {said}"))
    }
}
