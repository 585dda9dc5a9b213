//! Third-party servers behind the gateway, used by an official SDK.

use std::collections::BTreeSet;
use std::process::Command;

use mooring_tests::{Cluster, Gateway, eventually, settings};
use serde_json::{Value, json};

use crate::witnesses::sdk::{Sdk, texts};
use mooring_tests::borrowed;
use mooring_tests::running::Running;

#[test]
fn a_cluster_serves_everything_memory_and_time() {
    are_served_by_a_cluster(Sdk::at_hand("real servers in a cluster").into_iter().take(1));
}

#[test]
#[ignore = "long: one SDK is served at every run"]
fn a_cluster_serves_everything_memory_and_time_to_every_sdk() {
    are_served_by_a_cluster(Sdk::at_hand("real servers in a cluster"));
}

#[track_caller]
fn are_served_by_a_cluster(sdks: impl IntoIterator<Item = Sdk>) {
    if !borrowed::at_hand("real servers in a cluster", &["everything", "memory", "time"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let memory = json!({
        "command": borrowed::starter("server-memory"),
        "env": {"MEMORY_FILE_PATH": folder.path().join("memory.jsonl")},
    });
    let everything = json!({"command": borrowed::starter("server-everything")});
    let time = json!({"command": borrowed::starter("server-time")});
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("a", json!({"everything": everything, "memory": memory}));
    cluster.add("b", json!({"everything": everything, "time": time}));
    cluster.wait_for_active(2);

    let url = format!("{}/mcp", cluster.coordinator.url());
    for sdk in sdks {
        wait_for_all(sdk, &url, &["everything", "memory", "time"]);
        assert_eq!(told(sdk, &url, "everything-echo", json!({"message": "hello"})), "Echo: hello");
        let entity = json!({"name": format!("{sdk:?}"), "entityType": "SDK", "observations": []});
        let created = json!({"entities": [entity]});
        let created = told(sdk, &url, "memory-create_entities", created);
        assert!(created.contains(&format!("{sdk:?}")), "{created}");
        let graph = told(sdk, &url, "memory-read_graph", json!({}));
        assert!(graph.contains(&format!("{sdk:?}")), "{graph}");
        let timezone = json!({"timezone": "Europe/Berlin"});
        let time = told(sdk, &url, "time-get_current_time", timezone);
        assert!(time.contains("Europe/Berlin"), "{time}");
    }
}

/// A server's requests reach the client through node and coordinator.
#[test]
fn everything_asks_the_client_through_a_cluster() {
    if !borrowed::at_hand("questions of a real server", &["everything"]) {
        return;
    }
    let everything = json!({"everything": {"command": borrowed::starter("server-everything")}});
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("a", everything.clone());
    cluster.add("b", everything);
    cluster.wait_for_active(2);
    let url = format!("{}/mcp/everything", cluster.coordinator.url());
    for sdk in Sdk::at_hand("questions of a real server") {
        let said = told(sdk, &url, "trigger-sampling-request", json!({"prompt": "anything"}));
        assert!(said.contains("witness heard"), "{sdk:?}: {said}");
        let said = told(sdk, &url, "trigger-elicitation-request", json!({}));
        assert!(said.contains("witness@example.com"), "{sdk:?}: {said}");
    }
}

#[test]
fn standalone_serves_a_folder() {
    if !borrowed::at_hand("server-filesystem", &["filesystem"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server =
        json!({"command": borrowed::starter("server-filesystem"), "args": [folder.path()]});
    let gateway = Gateway::start_with(&settings::standalone(json!({"filesystem": server})));
    let url = format!("{}/mcp", gateway.url());
    for sdk in Sdk::at_hand("server-filesystem") {
        wait_for_all(sdk, &url, &["filesystem"]);
        let path = folder.path().join(format!("{sdk:?}.txt"));
        let written = json!({"path": path, "content": "kept"});
        told(sdk, &url, "filesystem-write_file", written);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
        let read = told(sdk, &url, "filesystem-read_text_file", json!({"path": path}));
        assert_eq!(read, "kept");
    }
}

#[test]
fn standalone_serves_a_real_http_server() {
    if !borrowed::at_hand("server-everything over HTTP", &["everything"]) {
        return;
    }
    let server = HttpServer::start();
    let servers = json!({"remote": {"url": server.url()}});
    let gateway = Gateway::start_with(&settings::standalone(servers));
    let url = format!("{}/mcp", gateway.url());
    for sdk in Sdk::at_hand("server-everything over HTTP") {
        wait_for_all(sdk, &url, &["remote"]);
        let said = told(sdk, &url, "remote-get-sum", json!({"a": 19, "b": 23}));
        assert!(said.contains("42"), "{sdk:?}: {said}");
    }
}

/// Waits until the tools of all these servers are listed: a list does not wait for slow servers.
#[track_caller]
fn wait_for_all(sdk: Sdk, url: &str, servers: &[&str]) {
    eventually(&format!("{sdk:?} lists the tools of {servers:?}"), || {
        let listed = sdk.run("list", url, &json!({}));
        let prefixes: BTreeSet<String> = texts(&listed["tools"])
            .into_iter()
            .filter_map(|tool| Some(tool.split_once('-')?.0.to_owned()))
            .collect();
        servers.iter().all(|server| prefixes.contains(*server)).then_some(())
    });
}

/// The text in a tool's result.
#[track_caller]
fn told(sdk: Sdk, url: &str, tool: &str, arguments: Value) -> String {
    let options = json!({"tool": tool, "arguments": arguments, "times": 1});
    let told = sdk.run("state", url, &options);
    let result = &told["results"][0];
    assert_eq!(result["isError"], false, "{sdk:?} {tool}: {told}");
    result["text"].as_str().expect("a text").trim_end().to_owned()
}

/// `server-everything`, serving Streamable HTTP.
struct HttpServer {
    port: u16,
    _process: Running,
}

impl HttpServer {
    fn start() -> Self {
        let mut command = Command::new(borrowed::starter("server-everything"));
        let mut process = Running::start(command.arg("streamableHttp").env("PORT", "0"));
        let port = process.port();
        process.discard_output();
        Self { port, _process: process }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }
}
