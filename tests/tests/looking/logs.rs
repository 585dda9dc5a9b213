//! The servers' stderr: `/api/logs`, `mooring logs` and `mooring ps`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use mooring_tests::http::Incoming;
use mooring_tests::{
    Cluster, Gateway, Request, Session, Setup, binaries, eventually, servers, settings,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const KEY: &str = "a-key-for-tests";

/// Sends a message whose text the server writes to stderr.
fn say(session: &Session, marker: &str) {
    session.request("tools/call", json!({"name": "count", "_meta": {"marker": marker}}));
}

fn talkative() -> Gateway {
    Gateway::start_with(&settings::standalone(json!({"counter": servers::talkative()})))
}

fn lines(gateway: &Gateway, query: &str) -> Vec<Value> {
    let data = gateway.data(&format!("/api/logs?server=counter{query}"));
    data["lines"].as_array().unwrap().clone()
}

fn follow(gateway: &Gateway, query: &str) -> Incoming {
    let path = format!("/api/logs?server=counter&follow=true{query}");
    let stream = Request::get(&path).open(gateway.address());
    assert_eq!(stream.status, 200);
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    stream
}

#[track_caller]
fn line_with(stream: &mut Incoming, marker: &str) -> Value {
    loop {
        let event = stream.event();
        if event.kind.as_deref() == Some("line") && event.data.contains(marker) {
            return event.json();
        }
    }
}

fn mooring(args: &[&str]) -> Output {
    Command::new(binaries::mooring()).args(args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_last_lines_come_with_time_and_process_newest_last() {
    let gateway = talkative();
    let session = gateway.client("/mcp/counter").initialize();
    // Lines of the discovery process must not arrive between two reads.
    gateway.wait_until_discovered(&["counter"]);
    say(&session, "one");
    say(&session, "two");
    // An answer may arrive before the stderr lines that precede it.
    let all = eventually("both lines are there", || {
        let all = lines(&gateway, "");
        all.iter().any(|line| line["text"].to_string().contains("two")).then_some(all)
    });
    let place = |marker: &str| {
        let is = |line: &Value| line["text"].as_str().unwrap().contains(marker);
        all.iter().position(is).unwrap_or_else(|| panic!("{marker}: {all:?}"))
    };
    assert!(place("here I am") < place("one") && place("one") < place("two"), "{all:?}");
    assert!(all.is_sorted_by_key(|line| line["at"].as_u64().unwrap()));
    let pid = &gateway.data("/api/cluster/instances")["instances"][0]["pid"];
    assert_eq!(all[place("two")]["pid"], *pid);
    let last = lines(&gateway, "&lines=1");
    assert_eq!(last, all[all.len() - 1..]);
    // The lines outlive the session.
    session.delete().expect(200);
    assert!(lines(&gateway, "").len() >= all.len());
}

#[test]
fn followers_get_a_new_line_as_it_comes() {
    let gateway = talkative();
    let session = gateway.client("/mcp/counter").initialize();
    say(&session, "before");
    // The discovery process writes too, perhaps after that.
    let mut streams = [follow(&gateway, "&lines=20"), follow(&gateway, "&lines=20")];
    streams.iter_mut().for_each(|stream| drop(line_with(stream, "before")));
    say(&session, "after");
    for stream in &mut streams {
        let line = line_with(stream, "after");
        assert!(line["at"].is_u64() && line["pid"].is_u64(), "{line}");
    }
}

#[test]
fn a_coordinator_follows_all_nodes_and_those_that_come_later() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("a", json!({"counter": servers::talkative()}));
    cluster.wait_for_active(1);
    let mut stream = follow(&cluster.coordinator, "&lines=0");
    let session = cluster.client("/mcp/counter").initialize();
    say(&session, "from-a");
    assert_eq!(line_with(&mut stream, "from-a")["node"], "a");
    cluster.add("b", json!({"counter": servers::talkative()}));
    cluster.wait_for_active(2);
    let (on_b, session) = eventually("a session is on b", || {
        let session = cluster.client("/mcp/counter").initialize();
        let node = &cluster.coordinator.data(&format!("/api/cluster/sessions/{}", session.id));
        (node["nodeId"] == "b").then_some(("from-b", session))
    });
    say(&session, on_b);
    assert_eq!(line_with(&mut stream, "from-b")["node"], "b");
    let nodes = |query: &str| -> Vec<Value> {
        let of = |line: &Value| line["node"].clone();
        let mut nodes: Vec<Value> = lines(&cluster.coordinator, query).iter().map(of).collect();
        nodes.dedup();
        nodes
    };
    assert!(nodes("").contains(&json!("a")) && nodes("").contains(&json!("b")));
    assert_eq!(nodes("&node=b"), ["b"]);
    // A node that is gone is named, in the stream and in the list.
    cluster.nodes[1].kill9();
    let gone = loop {
        let event = stream.event();
        if event.kind.as_deref() == Some("unreachable") {
            break event.json();
        }
    };
    assert_eq!(gone["node"], "b");
    let data = cluster.coordinator.data("/api/logs?server=counter");
    assert_eq!(data["unreachable"][0]["node"], "b", "{data}");
    cluster.nodes[1].start();
    let back = |data: &Value| data["unreachable"] == json!([]);
    eventually("b is back", || {
        back(&cluster.coordinator.data("/api/logs?server=counter")).then_some(())
    });
}

#[test]
fn what_a_node_writes_while_nobody_can_follow_it_is_shown_later() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    let servers = json!({"counter": servers::talkative()});
    let node =
        settings::node(cluster.coordinator.port(), json!({"id": "a", "public": true}), servers);
    cluster.nodes.push(Gateway::start_with(&node));
    cluster.wait_for_active(1);
    let mut stream = follow(&cluster.coordinator, "");
    say(&cluster.client("/mcp/counter").initialize(), "before");
    line_with(&mut stream, "before");
    // The stopped coordinator sees nothing of what follows.
    cluster.coordinator.signal(Signal::STOP);
    cluster.nodes[0].restart_after(Signal::KILL);
    say(&cluster.nodes[0].client("/mcp/counter").initialize(), "meanwhile");
    cluster.coordinator.signal(Signal::CONT);
    let line = line_with(&mut stream, "meanwhile");
    assert_eq!((&line["node"], line.get("number")), (&json!("a"), None), "{line}");
}

#[test]
fn a_slow_reader_is_told_what_it_has_missed() {
    // The script is in a file, since the settings would expand its variables.
    let script = "while IFS= read -r line; do
        case $line in *flood*) seq -f 'many-lines-of-some-length-that-nobody-reads-%g' 100000 >&2;; esac
        printf '%s\n' \"$line\"
    done | mooring-example-counter";
    let server = json!({"command": "sh", "args": ["flood.sh"]});
    let mut gateway = Setup::new(&settings::standalone(json!({"counter": server}))).prepare();
    std::fs::write(gateway.folder().join("flood.sh"), script).unwrap();
    gateway.start();
    let session = gateway.client("/mcp/counter").initialize();
    let mut stream = follow(&gateway, "&lines=0");
    // More than all buffers on the way can hold. Answered once the last line is written.
    say(&session, "flood");
    let lost = loop {
        let event = stream.event();
        if event.kind.as_deref() == Some("lost") {
            break event.json();
        }
    };
    assert!(lost["lost"].as_u64().unwrap() > 0, "{lost}");
    line_with(&mut stream, "nobody-reads-100000");
}

#[test]
fn a_drain_ends_what_followers_read() {
    let mut gateway = talkative();
    let mut stream = follow(&gateway, "");
    assert!(gateway.terminate().success());
    while stream.next_event().is_some() {}
}

#[test]
fn ps_shows_a_table_and_logs_shows_lines() {
    let settings = settings::merged(
        settings::standalone(json!({"counter": servers::talkative()})),
        json!({"systemConfig": {"routing": {"enableBearerAuth": true, "bearerAuthKey": KEY}}}),
    );
    let gateway = Gateway::start_with(&settings);
    let session = gateway
        .client("/mcp/counter")
        .header("Authorization", &format!("Bearer {KEY}"))
        .initialize();
    say(&session, "one\u{1b}[31m");
    // Until then `ps` may show two instances.
    gateway.wait_for_log("catalog discovered");
    // The settings name the gateway's address and its key.
    let folder = gateway.folder().to_str().unwrap().to_owned();
    let port = gateway.port().to_string();
    let run = |args: &[&str]| {
        let mut command = Command::new(binaries::mooring());
        command.args(args).args(["--config", &folder]).env("PORT", &port);
        command.output().unwrap()
    };
    let table = run(&["ps"]);
    assert!(table.status.success(), "{table:?}");
    let text = out(&table);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 2, "{text}");
    let head = ["SERVER", "NODE", "PID", "STATE", "SESSIONS", "RSS", "CPU", "RESTARTS", "AGE"];
    assert_eq!(rows[0], head);
    assert_eq!((rows[1][0], rows[1][3], rows[1][4]), ("counter", "ready", "1"));
    let json: Value = serde_json::from_str(&out(&run(&["ps", "--json"]))).unwrap();
    assert_eq!(json["instances"][0]["pid"].to_string(), rows[1][2]);
    let logs = out(&run(&["logs", "counter"]));
    assert!(logs.contains("here I am") && !logs.contains('\u{1b}'), "{logs}");
    let last = out(&run(&["logs", "counter", "-n", "1", "--json"]));
    assert_eq!(last.lines().count(), 1);
    assert!(serde_json::from_str::<Value>(&last).unwrap()["text"].is_string(), "{last}");
    // The address and the key can also be given by hand.
    let without = mooring(&["ps", "--url", &gateway.url()]);
    assert_eq!(without.status.code(), Some(1));
    let says = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(says.contains("401") && says.contains("MOORING_KEY"), "{says}");
    let mut with = Command::new(binaries::mooring());
    let with = with.args(["ps", "--url", &gateway.url()]).env("MOORING_KEY", KEY).output().unwrap();
    assert!(out(&with).contains("counter"), "{with:?}");
}

#[test]
fn logs_follows_until_the_gateway_ends() {
    let mut gateway = talkative();
    let session = gateway.client("/mcp/counter").initialize();
    let mut child = Command::new(binaries::mooring())
        .args(["logs", "counter", "-f", "-n", "500", "--url", &gateway.url()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = |marker: &str| {
        lines.any(|line| line.unwrap().contains(marker)).then_some(()).expect("the line")
    };
    until("here I am");
    say(&session, "later");
    until("later");
    assert!(gateway.terminate().success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn errors_are_readable_where_nobody_listens_or_hosts_the_server() {
    let nobody = mooring_tests::Port::reserve();
    let url = format!("http://127.0.0.1:{}", nobody.number());
    for args in [&["ps", "--url", &url][..], &["logs", "counter", "--url", &url][..]] {
        let output = mooring(args);
        assert_eq!(output.status.code(), Some(1));
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(says.contains("no gateway answers at") && says.lines().count() == 1, "{says}");
    }
    let from_settings = Setup::new(&json!({})).run(&["ps"]);
    assert_eq!(from_settings.status.code(), Some(1));
    let gateway = Gateway::start_with(&json!({}));
    let output = mooring(&["logs", "nobody", "--url", &gateway.url()]);
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(says.contains("Server not found: nobody"), "{says}");
}
