//! A server that keeps texts for each session, played by a test, and how what is kept of its state is
//! seen from outside.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use mooring_tests::http::Incoming;
use mooring_tests::odd_server::{Say, answer, initialized};
use mooring_tests::{Gateway, OddServer, Session, Way, eventually, process};
use rustix::process::Signal;
use serde_json::{Value, json};

pub fn with_state(mut server: Value, state: Value) -> Value {
    server["state"] = state;
    server
}

/// The gateway's notice: its level and its text.
pub fn notice(stream: &mut Incoming) -> (String, String) {
    let notice = stream.message(|message| message["params"]["logger"] == "mooring");
    let text = |key: &str| notice["params"][key].as_str().unwrap().to_owned();
    (text("level"), text("data"))
}

/// A number of `/metrics`.
#[track_caller]
pub fn metric(gateway: &Gateway, name: &str) -> u64 {
    let text = gateway.get("/metrics").expect(200).text();
    let value = text.lines().find_map(|line| line.strip_prefix(&format!("mooring_{name} ")));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
}

/// Waits until the gateway has saved states so often.
#[track_caller]
pub fn wait_until_saved(gateway: &Gateway, times: u64) {
    eventually("it is saved", || (metric(gateway, "state_saved_total") >= times).then_some(()));
}

/// `save` and `restore` of the played server. Of several changes in a row only the first is saved at
/// once.
pub fn by_tools(every_ms: u64) -> Value {
    json!({
        "save": {"tool": "export", "everyMs": every_ms},
        "restore": {"tool": "import", "arguments": {"texts": "{{state/texts}}"}},
    })
}

/// Texts by session, of a server that a test plays.
#[derive(Clone, Default)]
pub struct Kept(pub Arc<Mutex<HashMap<usize, Vec<String>>>>);

impl Kept {
    pub fn of(&self, session: usize) -> Vec<String> {
        self.0.lock().unwrap().get(&session).cloned().unwrap_or_default()
    }

    pub fn push(&self, session: usize, text: &str) {
        self.0.lock().unwrap().entry(session).or_default().push(text.to_owned());
    }
}

/// A server with the tools `push`, `all`, `export` and `import`. Its process ends by `end`, which
/// is no tool that sets state.
pub fn keeper(way: Way, kept: Kept) -> OddServer {
    OddServer::start(way, move |session, message, say| play(&kept, session, message, say))
}

pub fn play(kept: &Kept, session: usize, message: &Value, say: Say<'_>) {
    let arguments = &message["params"]["arguments"];
    let result = match (message["method"].as_str(), message["params"]["name"].as_str()) {
        (Some("initialize"), _) => initialized(message, &json!({"tools": {}})),
        (Some("tools/list"), _) => {
            let names = ["push", "all", "export", "import"];
            let tool = |name: &str| {
                let only_reads = ["all", "export"].contains(&name);
                let hints = json!({"readOnlyHint": only_reads});
                json!({"name": name, "inputSchema": {"type": "object"}, "annotations": hints})
            };
            json!({"tools": names.map(tool)})
        }
        (Some("tools/call"), Some("push")) => {
            kept.push(session, arguments["text"].as_str().unwrap());
            json!({"content": []})
        }
        (Some("tools/call"), Some("import")) => {
            for text in arguments["texts"].as_array().unwrap() {
                kept.push(session, text.as_str().unwrap());
            }
            json!({"content": []})
        }
        (Some("tools/call"), Some(_)) => {
            let all = kept.of(session);
            json!({"content": [], "structuredContent": {"texts": all}})
        }
        _ if message["id"].is_null() || message["method"].is_null() => return,
        _ => json!({}),
    };
    say(answer(message, &result));
}

pub fn all(session: &Session) -> Value {
    session.call("all", json!({}))["structuredContent"]["texts"].clone()
}

/// Ends every process below the gateway, so that each session needs a new one.
pub fn kill_all(gateway: &Gateway) {
    kill_servers(process::descendants(gateway.pid()));
}

/// Ends those of the processes that are played servers.
pub fn kill_servers(processes: Vec<u32>) {
    let is_relay = |pid: &u32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).starts_with("mooring-verbatim-server")
            || String::from_utf8_lossy(&command).contains("/mooring-verbatim-server")
    };
    let servers: Vec<u32> = processes.into_iter().filter(is_relay).collect();
    assert!(!servers.is_empty());
    for pid in servers {
        process::signal(pid, Signal::KILL);
        eventually("the server is gone", || (!process::runs(pid)).then_some(()));
    }
}
