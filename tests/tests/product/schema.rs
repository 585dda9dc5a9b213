//! The JSON Schema of the settings, and the OpenAPI document: served, printed, and right.

use std::io::Write as _;
use std::process::{Command, Stdio};

use mooring_tests::{Gateway, Request, Setup, borrowed, servers, settings, sources};
use serde_json::{Value, json};

fn schema() -> Value {
    let output = Setup::text("{}").run(&["schema"]);
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What a validator of another make says of settings files: an empty text for each that is valid.
fn judged(files: &[Value]) -> Vec<String> {
    let program = "import json, sys, jsonschema\n\
        asked = json.load(sys.stdin)\n\
        cls = jsonschema.validators.validator_for(asked['schema'])\n\
        cls.check_schema(asked['schema'])\n\
        found = cls(asked['schema'])\n\
        print(json.dumps(['; '.join(e.json_path + ' ' + e.message for e in found.iter_errors(f)) for f in asked['files']]))";
    let mut judge = Command::new(borrowed::starter("python-kubernetes_validate"))
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let asked = json!({"schema": schema(), "files": files});
    judge.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    serde_json::from_slice(&judge.wait_with_output().unwrap().stdout).expect("its findings")
}

#[test]
fn every_example_is_valid_and_mistakes_are_found() {
    if !borrowed::at_hand("the schema of the settings", &["kubernetes_validate"]) {
        return;
    }
    let root = settings::repository();
    let mut texts = Vec::new();
    for path in sources::files(&root.join("examples"), &["json"]) {
        texts.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
    }
    assert!(texts.len() >= 7);
    // Those of the pages, which pass `mooring check` as well.
    for path in sources::files(&root.join("docs"), &["md"]) {
        let page = std::fs::read_to_string(&path).unwrap();
        for block in page.split("```json settings\n").skip(1) {
            let text = block.split("```").next().unwrap();
            texts.push((path.display().to_string(), text.to_owned()));
        }
    }
    assert!(texts.len() >= 20, "{}", texts.len());
    let examples: Vec<Value> = texts.iter().map(|(_, text)| settings::value_of(text)).collect();
    for ((place, text), found) in texts.iter().zip(judged(&examples)) {
        assert_eq!(found, "", "{place}: {text}");
    }
    let good = json!({
        "$schema": "http://127.0.0.1:3000/api/schema",
        "_remark": "mine",
        "mcpServers": {"a": {"command": "x", "warm": 2, "tools": {"t": {"enabled": false}}, "autoApprove": ["t"]}},
        "systemConfig": {
            "listen": {"tls": {"certificates": [{"cert": "a", "key": "b"}], "minVersion": "1.3"}},
            "cluster": {"stickySession": {"strategy": "mine.wasm", "weights": [1]}},
            "limits": {"sessions": 5},
        },
    });
    // What counts as absent, and what dashboards write for nothing.
    let empty = json!({
        "mcpServers": {"a": {"command": "x", "args": {}, "env": [], "enabled": null, "warm": null, "isolation": null, "url": "", "tools": ["t"]}},
        "groups": null,
        "bearerKeys": null,
        "systemConfig": {"limits": null, "allowedHosts": null, "cluster": {"enabled": null, "mode": null}},
    });
    let wrong = [
        json!({"mcpServers": {"a": {"command": 5}}}),
        json!({"mcpServers": {"a": {"command": "x", "args": "y"}}}),
        json!({"mcpServers": {"a": {"command": "x", "args": {"0": "y"}}}}),
        json!({"mcpServers": {"a": {"command": "x", "env": "A=b"}}}),
        json!({"mcpServers": {"a": {"url": "http://x/", "headers": ["A: b"]}}}),
        json!({"mcpServers": {"a": {"url": "http://x/", "passthroughHeaders": "x-a"}}}),
        json!({"mcpServers": []}),
        json!({"groups": "all"}),
        json!({"groups": [{"name": "g", "servers": "a"}]}),
        json!({"bearerKeys": {"name": "n"}}),
        json!({"bearerKeys": [{"name": "n", "tokne": "t"}]}),
        json!({"bearerKeys": [{"name": "n", "token": "t", "accessType": "everything"}]}),
        json!({"systemConfig": {"policy": {}}}),
        json!({"systemConfig": {"policy": [{"effect": "maybe"}]}}),
        json!({"systemConfig": {"policy": [{"effect": "allow", "who": {"users": ["a"]}}]}}),
        json!({"systemConfig": {"limits": {"rates": [{"requests": 0}]}}}),
        json!({"systemConfig": {"eras": ["new"]}}),
        json!({"systemConfig": {"allowedHosts": "a"}}),
        json!({"systemConfig": {"telemetry": {"traces": {"ratio": 2}}}}),
        json!({"systemConfig": {"cluster": {"node": {"coordinatorUrl": 5}}}}),
        json!({"systemConfig": {"cluster": {"store": "redis"}}}),
        json!({"mcpServer": {}}),
        json!({"mcpServers": {"a": {"command": "x", "warm": 65}}}),
        json!({"mcpServers": {"a": {"command": "x", "wram": 1}}}),
        json!({"mcpServers": {"a": {"isolation": "alone"}}}),
        json!({"systemConfig": {"limits": {"sessions": "5"}}}),
        json!({"systemConfig": {"listen": {"tls": {"cert": 5}}}}),
        json!({"systemConfig": {"routing": {"enableGlobalRoute": "yes"}}}),
    ];
    let found = judged(&[&[good, empty.clone()][..], &wrong].concat());
    assert_eq!(found[..2], ["", ""]);
    for (settings, found) in wrong.iter().zip(&found[2..]) {
        assert_ne!(found, "", "{settings}");
    }
    let checked = Setup::text(&empty.to_string()).run(&["check"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

/// An editor has no key: both are served to everybody, but not to pages of other sites.
#[test]
fn schema_and_openapi_are_served_without_a_key() {
    let settings = settings::merged(
        settings::standalone(json!({"counter": servers::counter()})),
        json!({"systemConfig": {"routing": {"enableBearerAuth": true, "bearerAuthKey": "a-long-random-key"}}}),
    );
    let gateway = Gateway::start_with(&settings);
    let served = gateway.get("/api/schema").expect(200);
    assert_eq!(served.header("content-type"), Some("application/json"));
    assert_eq!(served.json(), schema());
    let document = gateway.get("/api/openapi.json").expect(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    // What the document says of keys is so.
    for (path, methods) in document["paths"].as_object().unwrap() {
        let Some(operation) = methods.get("get").filter(|_| !path.contains('{')) else { continue };
        let is_open = operation["security"].as_array().unwrap().is_empty();
        let status = gateway.get(path).status;
        assert_eq!(status != 401, is_open, "{path}: {status}");
    }
    for path in ["/api/schema", "/api/openapi.json"] {
        let request = Request::get(path).header("Origin", "https://attacker.example");
        assert_eq!(request.send(gateway.address()).status, 403, "{path}");
    }
}

#[test]
fn a_settings_file_may_name_its_schema() {
    let checked = Setup::text("{\"$schema\": \"http://127.0.0.1:3000/api/schema\", \"mcpServers\": {\"counter\": {\"command\": \"mooring-example-counter\"}}}").run(&["check"]);
    assert!(checked.status.success());
    assert_eq!(String::from_utf8_lossy(&checked.stderr), "");
}
