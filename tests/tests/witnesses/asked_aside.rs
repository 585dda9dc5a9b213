//! A server of the Python SDK whose questions name no request, and clients of the official SDKs, with
//! sessions and without.

use std::process::Command;

use mooring_tests::running::Running;
use mooring_tests::{Front, borrowed, settings};
use serde_json::json;

use crate::witnesses::sdk::{Sdk, texts};

#[test]
fn what_a_server_asks_beside_its_calls_reaches_every_client() {
    if !borrowed::at_hand("a Python server that asks beside its calls", &["python_v1"]) {
        return;
    }
    let python = borrowed::starter("python-python_v1");
    let script = settings::repository().join("tests/witness/py/aside_server.py");
    let mut far = Running::start(Command::new(&python).arg(&script).arg("http"));
    let servers = json!({
        "far": {"url": format!("http://127.0.0.1:{}/mcp", far.port())},
        "near": {"command": python, "args": [script, "stdio"]},
    });
    let sdks = Sdk::at_hand("questions beside calls");
    let system = json!({"eras": ["legacy", "modern"]});
    Front::each(&servers, &system, |front| {
        front.wait_until_discovered(&["far", "near"]);
        for sdk in &sdks {
            let eras: &[&str] = match sdk {
                Sdk::TypeScript2 => &["legacy", "2026-07-28"],
                Sdk::TypeScript1 | Sdk::Python => &["legacy"],
            };
            for era in eras {
                for (path, tool) in [
                    ("/mcp/far", "everything"),
                    ("/mcp/near", "everything"),
                    ("/mcp", "far-everything"),
                    ("/mcp", "near-everything"),
                ] {
                    let url = format!("{}{path}", front.gateway().url());
                    // A client with a session is asked on its GET stream, so that it needs one.
                    let listen = *era == "legacy";
                    let options = json!({"tool": tool, "times": 1, "era": era, "listen": listen});
                    let told = sdk.run("state", &url, &options);
                    let asked = texts(&told["asked"]);
                    let all = ["elicitation/create", "sampling/createMessage", "roots/list"];
                    assert_eq!(asked, all, "{sdk:?} {era} {path} {tool}: {told}");
                    let said = told["results"][0].to_string();
                    assert!(said.contains("witness, witness heard: Capital?"), "{sdk:?}: {told}");
                }
            }
        }
    });
}
