//! The TypeScript SDK's own examples: its servers behind the gateway, its clients in front of it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use mooring_tests::{Cluster, Gateway, eventually, settings};
use serde_json::{Value, json};

use crate::witnesses::sdk::{Sdk, texts};
use mooring_tests::borrowed;
use mooring_tests::running::Running;

#[test]
fn every_sdk_uses_the_streamable_http_example() {
    let Some(server) = Example::start("simpleStreamableHttp") else { return };
    let gateway = gateway(&server);
    for (sdk, url, prefix) in uses(&gateway, "the example simpleStreamableHttp") {
        let listed = listed(sdk, &url, &format!("{prefix}greet"));
        for tool in ["multi-greet", "collect-user-info", "start-notification-stream", "delay"] {
            let tool = format!("{prefix}{tool}");
            assert!(texts(&listed["tools"]).contains(&&*tool), "{sdk:?} {url}: {listed}");
        }
        assert_eq!(texts(&listed["prompts"]), [format!("{prefix}greeting-template")]);
        let resources = texts(&listed["resources"]);
        assert!(resources.contains(&"https://example.com/greetings/default"), "{resources:?}");

        let mut session = sdk.hold(&url);
        let mut told = |tool: &str, arguments: Value| {
            let said = session.call_with(&format!("{prefix}{tool}"), arguments);
            assert_eq!(said["isError"], false, "{sdk:?} {url}, {tool}: {said}");
            said["text"].as_str().expect("a text").to_owned()
        };
        assert_eq!(told("greet", json!({"name": "Mooring"})), "Hello, Mooring!");
        // The server sends the client a request on the call's stream.
        let collected = told("collect-user-info", json!({"infoType": "contact"}));
        assert!(collected.contains("witness@example.com"), "{sdk:?} {url}: {collected}");
        let notified = told("start-notification-stream", json!({"interval": 10, "count": 5}));
        assert!(notified.contains("every 10ms"), "{sdk:?} {url}: {notified}");
    }
}

#[test]
#[ignore = "long: one more example server"]
fn every_sdk_uses_the_example_that_answers_in_json() {
    let Some(server) = Example::start("jsonResponseStreamableHttp") else { return };
    let gateway = gateway(&server);
    for (sdk, url, prefix) in uses(&gateway, "the example jsonResponseStreamableHttp") {
        listed(sdk, &url, &format!("{prefix}greet"));
        let greeted = told(sdk, &url, &format!("{prefix}greet"), json!({"name": "Mooring"}));
        assert_eq!(greeted["results"][0]["text"], "Hello, Mooring!", "{sdk:?} {url}");
    }
}

#[test]
#[ignore = "long: one more example server"]
fn every_sdk_uses_the_example_for_old_and_new_clients() {
    let Some(server) = Example::start("sseAndStreamableHttpCompatibleServer") else { return };
    let gateway = gateway(&server);
    for (sdk, url, prefix) in uses(&gateway, "the example sseAndStreamableHttpCompatibleServer") {
        let tool = format!("{prefix}start-notification-stream");
        listed(sdk, &url, &tool);
        let notified = told(sdk, &url, &tool, json!({"interval": 10, "count": 3}));
        let text = notified["results"][0]["text"].as_str().unwrap_or("");
        assert!(text.contains("every 10ms"), "{sdk:?} {url}: {notified}");
    }
}

#[test]
fn every_sdk_uses_the_example_without_sessions() {
    let Some(server) = Example::start("simpleStatelessStreamableHttp") else { return };
    let gateway = gateway(&server);
    for (sdk, url, prefix) in uses(&gateway, "the example simpleStatelessStreamableHttp") {
        let tool = format!("{prefix}start-notification-stream");
        let listed = listed(sdk, &url, &tool);
        assert_eq!(texts(&listed["prompts"]), [format!("{prefix}greeting-template")]);
        told(sdk, &url, &tool, json!({"interval": 10, "count": 3}));
    }
}

/// The server closes the stream of a call on purpose; the client resumes it.
#[test]
fn every_sdk_uses_the_example_that_is_polled() {
    let Some(server) = Example::start("ssePollingExample") else { return };
    let gateway = gateway(&server);
    for sdk in Sdk::at_hand("the example ssePollingExample") {
        let url = format!("{}/mcp/example", gateway.url());
        let told = told(sdk, &url, "long-task", json!({}));
        assert_eq!(told["results"][0]["text"], "Long task completed successfully!", "{sdk:?}");
    }
}

#[test]
fn what_an_example_says_on_its_get_stream_arrives() {
    let Some(server) = Example::start("standaloneSseWithGetStreamableHttp") else { return };
    let gateway = gateway(&server);
    for (sdk, url, _) in uses(&gateway, "the example standaloneSseWithGetStreamableHttp") {
        let listed = eventually("its resource is listed", || {
            let listed = sdk.run("list", &url, &json!({}));
            (!texts(&listed["resources"]).is_empty()).then_some(listed)
        });
        let resources = texts(&listed["resources"]);
        let first = "https://mcp-example.com/dynamic/example-resource";
        assert!(resources.contains(&first), "{sdk:?} {url}: {resources:?}");
    }
    let session = gateway.client("/mcp/example").initialize();
    let read = json!({"uri": "https://mcp-example.com/dynamic/example-resource"});
    let contents = session.request("resources/read", read);
    assert_eq!(contents["contents"][0]["text"], "Initial content for example-resource");
    // The server adds a resource every few seconds.
    let mut stream = session.listen();
    assert_eq!(stream.event().json()["method"], "notifications/resources/list_changed");
}

/// Tasks of 2025-11-25 pass through the gateway.
#[test]
fn a_task_of_an_example_runs_to_its_result() {
    let Some(server) = Example::start("simpleStreamableHttp") else { return };
    let gateway = gateway(&server);
    let session = gateway.client("/mcp/example").initialize();
    let call = json!({"name": "delay", "arguments": {"duration": 50}, "task": {"ttl": 60_000}});
    let created = session.request("tools/call", call);
    let task = json!({"taskId": created["task"]["taskId"]});
    let result = session.request("tasks/result", task.clone());
    assert_eq!(result["content"][0]["text"], "Completed 50ms delay");
    assert_eq!(session.request("tasks/get", task)["status"], "completed");
}

#[test]
fn every_sdk_uses_the_examples_on_stdio() {
    if !at_hand("the examples on stdio") {
        return;
    }
    let entry = |name: &str| json!({"command": borrowed::starter("node"), "args": [path_of(&format!("server/{name}.js"))]});
    let servers = json!({
        "weather": entry("mcpServerOutputSchema"),
        "progress": entry("progressExample"),
        // The first line that it writes is not a message.
        "summary": entry("toolWithSampleServer"),
    });
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("a", servers);
    cluster.wait_for_active(1);
    for sdk in Sdk::at_hand("the examples on stdio") {
        let url = |server: &str| format!("{}/mcp/{server}", cluster.coordinator.url());
        let weather =
            told(sdk, &url("weather"), "get_weather", json!({"city": "Bergen", "country": "NO"}));
        assert!(weather["results"][0]["structured"]["temperature"].is_object(), "{weather}");
        let counted = told(sdk, &url("progress"), "count", json!({"n": 3}));
        assert_eq!(counted["results"][0]["text"], "Counted to 3", "{sdk:?}");
        let summary = told(sdk, &url("summary"), "summarize", json!({"text": "anything"}));
        let text = summary["results"][0]["text"].as_str().unwrap_or("");
        assert!(text.starts_with("witness heard"), "{sdk:?}: {summary}");
    }
}

#[test]
fn the_example_over_http_and_sse_is_a_server_like_any_other() {
    let Some(server) = Example::start("simpleSseServer") else { return };
    let url = format!("http://127.0.0.1:{}/mcp", server.port);
    for entry in [json!({"type": "sse", "url": url}), json!({"url": url})] {
        let gateway = Gateway::start_with(&settings::standalone(json!({"example": entry})));
        for (path, prefix) in [("/mcp/example", ""), ("/mcp", "example-")] {
            let session = gateway.client(path).initialize();
            let tool = format!("{prefix}start-notification-stream");
            assert_eq!(session.tools(), [tool.as_str()]);
            let (stream, _) = session.start(&tool, json!({"interval": 10, "count": 3}), json!({}));
            let messages = stream.whole().expect(200).messages();
            let text = messages.last().unwrap()["result"]["content"][0]["text"].clone();
            assert!(text.as_str().unwrap().contains("every 10ms"), "{path}: {messages:?}");
            let said = messages.iter().filter(|m| m["method"] == "notifications/message").count();
            assert!(said >= 3, "{path}: {messages:?}");
            session.delete().expect(200);
        }
    }
}

#[test]
fn a_server_of_the_python_sdk_over_http_and_sse_is_one_too() {
    if !borrowed::at_hand("a Python server over HTTP+SSE", &["python"]) {
        return;
    }
    let mut command = Command::new(borrowed::starter("python"));
    let mut process =
        Running::start(command.arg(settings::repository().join("tests/witness/py/sse_server.py")));
    let url = format!("http://127.0.0.1:{}/sse", process.port());
    for entry in [json!({"type": "sse", "url": url}), json!({"url": url})] {
        let gateway = Gateway::start_with(&settings::standalone(json!({"python": entry})));
        for (path, tool) in [("/mcp/python", "add"), ("/mcp", "python-add")] {
            let session = gateway.client(path).initialize();
            assert_eq!(session.tools(), [tool]);
            let sum = session.call(tool, json!({"a": 2, "b": 3}));
            assert_eq!(sum["content"][0]["text"], "5", "{path}");
            session.delete().expect(200);
        }
    }
}

/// Three clients, each run as its authors intend.
#[test]
fn the_example_clients_reach_an_example_server() {
    let Some(server) = Example::start("simpleStreamableHttp") else { return };
    let gateway = gateway(&server);
    let url = format!("{}/mcp/example", gateway.url());
    let clients = [
        ("parallelToolCallsClient", "Tool result for fast-notifier"),
        ("multipleClientsParallel", "All clients completed successfully"),
        ("streamableHttpWithSseFallbackClient", "connected using modern Streamable HTTP"),
    ];
    let running = clients.map(|(name, says)| {
        let child = Command::new(borrowed::starter("node"))
            .arg(path_of(&format!("client/{name}.js")))
            .arg(&url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client runs");
        (name, says, child)
    });
    for (name, says, child) in running {
        let output = child.wait_with_output().expect("its output");
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}{failed}");
        assert!(said.contains(says) && said.contains("Periodic notification"), "{name}: {said}");
        // Closing ends the GET stream, which the SDK reports as an error.
        let wrong = |line: &&str| line.contains("rror") && !line.contains("AbortError");
        assert_eq!(failed.lines().find(wrong), None, "{name}: {failed}");
    }
}

/// One of the SDK's example servers, on its own port.
struct Example {
    port: u16,
    _process: Running,
}

impl Example {
    /// `None`, after reporting the skip, if the SDK is not installed.
    fn start(name: &str) -> Option<Self> {
        if !at_hand(&format!("the example {name}")) {
            return None;
        }
        let mut command = Command::new(borrowed::starter("node"));
        command
            .arg("--import")
            .arg(settings::repository().join("tests/witness/loopback.mjs"))
            .arg(path_of(&format!("server/{name}.js")))
            .env("LOOPBACK_PORT", "0");
        let mut process = Running::start(&mut command);
        let port = process.port();
        // It prints every message that it receives.
        process.discard_output();
        Some(Self { port, _process: process })
    }
}

fn at_hand(what: &str) -> bool {
    borrowed::at_hand(what, &["node", "ts_v1"])
}

fn path_of(example: &str) -> PathBuf {
    let examples = "npm/ts_v1/node_modules/@modelcontextprotocol/sdk/dist/esm/examples";
    borrowed::folder().join(examples).join(example)
}

fn gateway(server: &Example) -> Gateway {
    let url = format!("http://127.0.0.1:{}/mcp", server.port);
    let entry = json!({"type": "streamable-http", "url": url});
    Gateway::start_with(&settings::standalone(json!({"example": entry})))
}

/// Every SDK with the server's own URL, and one with the aggregate's: the URL, and the prefix of
/// names there.
fn uses(gateway: &Gateway, what: &str) -> Vec<(Sdk, String, &'static str)> {
    let own = |sdk| (sdk, format!("{}/mcp/example", gateway.url()), "");
    let aggregate = (Sdk::TypeScript1, format!("{}/mcp", gateway.url()), "example-");
    Sdk::at_hand(what).into_iter().map(own).chain([aggregate]).collect()
}

/// The SDK's lists, once they contain this tool.
fn listed(sdk: Sdk, url: &str, tool: &str) -> Value {
    eventually(&format!("{sdk:?} lists {tool} at {url}"), || {
        let listed = sdk.run("list", url, &json!({}));
        texts(&listed["tools"]).contains(&tool).then_some(listed)
    })
}

/// The result of a call that must succeed.
#[track_caller]
fn told(sdk: Sdk, url: &str, tool: &str, arguments: Value) -> Value {
    let options = json!({"tool": tool, "arguments": arguments, "times": 1});
    let told = sdk.run("state", url, &options);
    assert_eq!(told["results"][0]["isError"], false, "{sdk:?} {tool}: {told}");
    told
}
