//! The operators' page in this machine's Chromium, and what axe-core finds in it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mooring_tests::{Cluster, Gateway, Session, borrowed, servers, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::browsers::chromium;

const KEY: &str = "a-key-for-the-page";

/// A browser that is told what to do.
struct Browser {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Browser {
    fn start(chromium: &Path) -> Self {
        let script = settings::repository().join("tests/witness/ts/page.mjs");
        let mut child = Command::new(borrowed::starter("node"))
            .arg(script)
            .arg(chromium)
            .env("MOORING_WITNESS_DIR", borrowed::folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut browser = Self { child, orders, answers };
        assert_eq!(browser.answer(), "ready");
        browser
    }

    #[track_caller]
    fn does(&mut self, order: Value) -> Value {
        writeln!(self.orders, "{order}").unwrap();
        self.answer()
    }

    #[track_caller]
    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert!(answer["error"].is_null(), "{answer}");
        answer["ok"].clone()
    }

    #[track_caller]
    fn sees(&mut self, selector: &str, text: &str) -> String {
        let seen = self.does(json!({"see": selector, "text": text}));
        seen.as_str().unwrap().to_owned()
    }

    /// No finding that keeps somebody from using the page.
    #[track_caller]
    fn is_accessible(&mut self, what: &str) {
        let found = self.does(json!({"axe": true}));
        let bad: Vec<&Value> = found
            .as_array()
            .unwrap()
            .iter()
            .filter(|finding| ["serious", "critical"].map(Value::from).contains(&finding["impact"]))
            .collect();
        assert!(bad.is_empty(), "{what}: {bad:#?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A name that would be a tag, if the page let it.
const HOSTILE: &str = "<img src=x onerror=alert(1)>";

fn cluster() -> Cluster {
    let lock =
        json!({"systemConfig": {"routing": {"enableBearerAuth": true, "bearerAuthKey": KEY}}});
    let fast = json!({
        "stickySession": {"strategy": "header"}, "coordinator": {"nodeTimeout": 1500},
    });
    let coordinator = Gateway::start_with(&settings::merged(settings::coordinator(fast), lock));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    let shout = format!("echo '{HOSTILE}' >&2; exit 3");
    let bad = json!({"command": "sh", "args": ["-c", shout]});
    let counter = servers::counter;
    cluster.add("a", json!({"counter": counter(), "notes": servers::notes(), "bad": bad}));
    cluster.add("b", json!({"counter": counter()}));
    cluster
}

fn session(cluster: &Cluster, node: &str) -> Session {
    let key = format!("Bearer {KEY}");
    let client = cluster.client("/mcp/counter").header("Authorization", &key);
    client.header("X-MCPHub-Node", node).initialize()
}

#[test]
fn a_live_cluster_can_be_read_and_used_by_everybody() {
    let what = "the operators' page";
    if !borrowed::at_hand(what, &["node", "playwright", "axe"]) {
        return;
    }
    let Some(chromium) = chromium() else {
        return borrowed::skip(what, "no Chromium that starts is on the PATH");
    };
    let mut cluster = cluster();
    let url = format!("{}/ui", cluster.coordinator.url());
    let mut browser = Browser::start(&chromium);
    browser.does(json!({"open": url}));

    // Locked: the form is there, a wrong key is told, the right one opens.
    browser.sees("#key", "This gateway is locked");
    browser.is_accessible("the form for the key");
    browser.does(json!({"fill": "#key-value", "value": "wrong"}));
    browser.does(json!({"press": "Enter"}));
    browser.sees("#key", "Unauthorized");
    browser.does(json!({"fill": "#key-value", "value": KEY}));
    browser.does(json!({"press": "Enter"}));
    browser.sees("#connection", "Live");
    browser.sees("#nodes tbody tr", "a");
    browser.sees("#nodes tbody tr", "b");

    // What comes is there without another load.
    browser.sees("#sessions .empty", "No session");
    let opened = session(&cluster, "b");
    let row = browser.sees("#sessions tbody tr", "counter on b");
    let short = row.split_whitespace().next().unwrap().to_owned();
    assert_eq!(short.len(), 8, "{row}");
    browser.sees("#decisions tbody tr", &short);
    browser.sees("#instances tbody tr", &short);
    browser.does(json!({"click": "#decisions tbody tr:first-child summary"}));
    browser.sees("#decisions dd", "the client's token names b");
    // Text of others is text.
    browser.sees("#troubles", HOSTILE);
    browser.sees("#verdict", "needs a look");

    for (scheme, width) in [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)] {
        browser.does(json!({"open": url, "scheme": scheme, "width": width}));
        browser.does(json!({"fill": "#key-value", "value": KEY}));
        browser.does(json!({"press": "Enter"}));
        browser.sees("#sessions tbody tr", &short);
        browser.sees("#instances tbody tr", "ready");
        browser.does(json!({"click": "#decisions tbody tr:first-child summary"}));
        browser.is_accessible(&format!("{scheme}, {width} px"));
        let fits = browser.does(json!({"width": true}));
        assert!(fits[0].as_u64() <= fits[1].as_u64(), "{scheme} {width}: wider than its window");
    }

    // By keyboard: the first stop leads past the head of the page.
    browser.does(json!({"open": url}));
    browser.does(json!({"fill": "#key-value", "value": KEY}));
    browser.does(json!({"press": "Enter"}));
    browser.does(json!({"click": "#nodes tbody tr:first-child button[aria-label='Drain node a']"}));
    browser.sees("#drain", "Drain node a?");
    browser.is_accessible("the question");
    browser.does(json!({"press": "Escape"}));
    browser.does(json!({"see": "#drain", "absent": true}));
    assert_eq!(draining(&cluster, "a"), false, "nothing without a yes");
    browser.does(json!({"click": "button[aria-label='Drain node a']"}));
    browser.does(json!({"click": "#drain-yes"}));
    browser.sees("#nodes tbody tr", "draining");
    assert_eq!(draining(&cluster, "a"), true);
    browser.does(json!({"click": "button[aria-label='Undrain node a']"}));
    browser.does(json!({"click": "#drain-yes"}));
    browser.sees("#nodes button[aria-label='Drain node a']", "Drain");

    opened.delete().expect(200);
    cluster.nodes[1].signal(Signal::KILL);
    browser.sees("#nodes tbody tr", "unhealthy");
    browser.sees("#troubles", "Server counter: fewer replicas, without b");
    browser.sees("#sessions .empty", "No session");
    browser.sees("#log-lines li", "b");
    cluster.coordinator.kill9();
    browser.sees("#lost", "Connection lost");
    browser.is_accessible("a lost connection");
    cluster.coordinator.start();
    browser.sees("#connection", "Live");
    browser.does(json!({"see": "#lost", "absent": true}));

    let report = browser.does(json!({"report": true}));
    assert_eq!(report["loads"], 6, "one for each open: {report}");
    for nothing in ["elsewhere", "refused", "errors"] {
        assert_eq!(report[nothing], json!([]), "{report}");
    }
}

fn draining(cluster: &Cluster, id: &str) -> Value {
    let nodes = mooring_tests::Request::get("/api/cluster/nodes")
        .header("Authorization", &format!("Bearer {KEY}"))
        .send(cluster.coordinator.address())
        .expect(200)
        .json();
    let nodes = nodes["data"].as_array().unwrap();
    nodes.iter().find(|node| node["id"] == id).unwrap()["draining"].clone()
}
