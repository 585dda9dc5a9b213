//! The running servers, their nodes, sessions and resources: `/api/cluster/instances` and
//! `mooring ps`.

use std::collections::BTreeSet;

use mooring_tests::{
    Cluster, Gateway, Request, Session, Setup, eventually, process, servers, settings,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const INSTANCES: &str = "/api/cluster/instances";

fn instances(gateway: &Gateway, query: &str) -> Vec<Value> {
    let data = gateway.data(&format!("{INSTANCES}{query}"));
    data["instances"].as_array().unwrap().clone()
}

#[track_caller]
fn the_only(gateway: &Gateway) -> Value {
    let all = instances(gateway, "");
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

/// The session's own short id, as the instances show it.
fn short(gateway: &Gateway, session: &Session) -> String {
    let affinity = gateway.data(&format!("/api/cluster/sessions/{}", session.id));
    affinity["sessionId"].as_str().unwrap()[..8].to_owned()
}

#[test]
fn an_instance_is_shown_with_its_process_and_what_it_uses() {
    let gateway =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::talkative()})));
    assert_eq!(instances(&gateway, ""), Vec::<Value>::new());
    let session = gateway.client("/mcp/counter").initialize();
    let counter = session.whoami("whoami").pid;
    let seen = the_only(&gateway);
    let pid = u32::try_from(seen["pid"].as_u64().unwrap()).unwrap();
    assert!(process::runs(pid) && process::descendants(pid).contains(&counter), "{seen}");
    for (field, is) in [
        ("server", json!("counter")),
        ("transport", json!("stdio")),
        ("state", json!("ready")),
        ("sessionCount", json!(1)),
        ("restarts", json!(0)),
    ] {
        assert_eq!(seen[field], is, "{seen}");
    }
    // The sum of shell and server; the shell alone uses a few hundred KiB.
    assert!(seen["rssBytes"].as_u64().unwrap() > 1 << 20, "{seen}");
    assert!(seen["cpuMs"].is_u64() && seen["sessions"][0].as_str().unwrap().len() == 8, "{seen}");
    let (started, used) = (seen["startedAt"].as_u64().unwrap(), seen["lastUsed"].as_u64().unwrap());
    assert!(0 < started && started <= used, "{seen}");
    let first = &instances(&gateway, "?lines=50")[0]["stderr"][0];
    assert_eq!(first["text"], "here I am");
    assert!(first["at"].as_u64().unwrap() >= started - 1000, "{first}");
}

#[test]
fn a_server_that_dies_is_counted_and_its_successor_is_shown() {
    let gateway =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    let session = gateway.client("/mcp/counter").initialize();
    let first = session.whoami("whoami").pid;
    process::signal(first, Signal::KILL);
    gateway.wait_for_log("the next message opens it again");
    let second = session.whoami("whoami").pid;
    assert_ne!(second, first);
    let seen = the_only(&gateway);
    assert_eq!((&seen["pid"], &seen["restarts"]), (&json!(second), &json!(1)));
}

#[test]
fn an_opening_is_shown_before_it_is_ready() {
    let gateway = Gateway::start_with(&settings::standalone(json!({"mute": servers::silent()})));
    let body = mooring_tests::mcp::request(
        json!(0),
        "initialize",
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}),
    )
    .to_string();
    let mut connection = mooring_tests::Connection::open(gateway.address());
    let head = format!(
        "POST /mcp/mute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection.send_raw(format!("{head}{body}").as_bytes());
    let seen = eventually("it is shown", || instances(&gateway, "").pop());
    assert_eq!((&seen["state"], &seen["pid"]), (&json!("starting"), &Value::Null));
    assert_eq!(seen["transport"], "stdio");
}

#[test]
fn a_coordinator_shows_the_instances_of_all_nodes() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    cluster.add_public("c", json!({"notes": servers::notes()}));
    cluster.wait_for_active(3);
    let notes = cluster.client("/mcp/notes").initialize();
    let sessions: Vec<Session> =
        (0..8).map(|_| cluster.client("/mcp/counter").initialize()).collect();
    for session in &sessions {
        let whoami = session.whoami("whoami");
        let all = instances(&cluster.coordinator, "?server=counter");
        let own = short(&cluster.coordinator, session);
        let seen = all.iter().find(|seen| seen["sessions"][0] == own).unwrap();
        assert_eq!((&seen["node"], &seen["pid"]), (&json!(whoami.name), &json!(whoami.pid)));
        assert!(seen["rssBytes"].as_u64().unwrap() > 0, "{seen}");
    }
    assert_eq!(instances(&cluster.coordinator, "").len(), 9);
    assert_eq!(instances(&cluster.coordinator, "?server=nobody"), Vec::<Value>::new());
    let of_c = instances(&cluster.coordinator, "?node=c");
    assert_eq!((of_c.len(), &of_c[0]["server"]), (1, &json!("notes")));
    assert_eq!(of_c[0]["sessions"], json!([short(&cluster.coordinator, &notes)]));
    // A node shows its own instances.
    let own = instances(&cluster.nodes[2], "");
    assert_eq!((own.len(), &own[0]["pid"]), (1, &of_c[0]["pid"]));
}

#[test]
fn pages_show_every_instance_once() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let sessions: Vec<Session> =
        (0..7).map(|_| cluster.client("/mcp/counter").initialize()).collect();
    let (mut seen, mut query) = (BTreeSet::new(), "?limit=2".to_owned());
    loop {
        let page = cluster.coordinator.data(&format!("{INSTANCES}{query}"));
        let entries = page["instances"].as_array().unwrap();
        assert!(entries.len() <= 2, "{page}");
        for entry in entries {
            assert!(seen.insert(entry["pid"].as_u64().unwrap()), "twice: {entry}");
        }
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=2&after={}", next.replace('/', "%2F"));
    }
    assert_eq!(seen.len(), sessions.len());
}

#[test]
fn a_node_that_does_not_answer_is_named_and_holds_nobody_up() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({"coordinator": {"nodeTimeout": 60_000}}));
    for _ in 0..6 {
        let _ = cluster.client("/mcp/counter").initialize();
    }
    let of_a = instances(&cluster.coordinator, "?node=a");
    cluster.nodes[1].signal(Signal::STOP);
    let data = cluster.coordinator.data(INSTANCES);
    cluster.nodes[1].signal(Signal::CONT);
    assert_eq!(data["unreachable"].as_array().unwrap().len(), 1, "{data}");
    assert_eq!(data["unreachable"][0]["node"], "b");
    assert_eq!(data["instances"].as_array().unwrap().len(), of_a.len(), "{data}");
    cluster.nodes[1].terminate();
    let reason = eventually("b has left", || {
        let data = cluster.coordinator.data(INSTANCES);
        let reason = data["unreachable"][0]["reason"].as_str()?.to_owned();
        reason.contains("inactive").then_some(reason)
    });
    assert_eq!(reason, "it is inactive");
}

#[test]
fn instances_are_for_who_may_use_the_api() {
    let settings = settings::merged(
        settings::standalone(json!({"counter": servers::counter()})),
        json!({"systemConfig": {"routing": {"enableBearerAuth": true, "bearerAuthKey": "a-key-for-tests"}}}),
    );
    let gateway = Gateway::start_with(&settings);
    for path in [INSTANCES, "/api/logs?server=counter", "/api/cluster/instances?limit=x"] {
        let refused = gateway.get(path).expect(401);
        assert_eq!(refused.json()["success"], false, "{path}");
        let allowed = Request::get(path).header("Authorization", "Bearer a-key-for-tests");
        assert_ne!(allowed.send(gateway.address()).status, 401, "{path}");
    }
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let foreign = Request::get("/cluster/instances").header("X-Forwarded-For", "8.8.8.8");
    foreign.send(cluster.nodes[0].address()).expect(403);
}

#[test]
fn what_the_router_rejects_is_in_the_apis_envelope() {
    let gateway =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let get = |path: &str| Request::get(path).send(coordinator.address());
    let delete = Request::delete("/api/cluster/nodes").send(coordinator.address());
    assert_eq!(delete.header("allow"), Some("GET,HEAD"));
    let large = Request::post("/api/cluster/heartbeat").body(vec![b' '; 2 << 20]);
    for (response, status) in [
        (delete, 405),
        (gateway.post("/api/logs", &json!({})), 405),
        (get("/api/cluster/register"), 405),
        (get("/api/cluster/instances?limit=many"), 400),
        (get("/api/cluster/instances?after=here"), 400),
        (get("/api/cluster/instances?node=%20"), 400),
        (get("/api/cluster/instances?node=nobody"), 404),
        (get("/api/logs"), 400),
        (get("/api/logs?server=x&follow=perhaps"), 400),
        (get("/api/logs?server=nobody"), 404),
        (get("/api/cluster/sessions/%ff"), 400),
        (get("/api/nothing"), 404),
        (large.send(coordinator.address()), 413),
    ] {
        let text = response.text();
        assert_eq!(response.status, status, "{text}");
        assert_eq!(response.header("content-type"), Some("application/json"), "{text}");
        let body = response.json();
        assert_eq!(body["success"], false, "{text}");
        assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "{text}");
    }
}

#[test]
fn a_server_in_a_crash_loop_is_shown_with_its_reason() {
    let broken = json!({"command": "sh", "args": ["-c", "echo s3cret-word >&2; exit 3"]});
    let key =
        json!({"systemConfig": {"routing": {"enableBearerAuth": true, "bearerAuthKey": "k3y"}}});
    let mut cluster = Cluster {
        coordinator: Gateway::start_with(&settings::coordinator(json!({}))),
        nodes: Vec::new(),
    };
    let node =
        settings::node(cluster.coordinator.port(), json!({"id": "a"}), json!({"bad": broken}));
    cluster.nodes.push(Gateway::start_with(&settings::merged(node, key)));
    cluster.wait_for_active(1);
    let seen = eventually("it is in a crash loop", || {
        let data = cluster.coordinator.data("/api/cluster/instances");
        let seen = data["servers"].as_array()?.iter().find(|server| server["server"] == "bad")?;
        (seen["status"] == "crash-loop").then(|| seen.clone())
    });
    assert_eq!(seen["node"], "a");
    assert!(seen["failures"].as_u64().unwrap() > 1, "{seen}");
    assert!(seen["nextAttemptMs"].as_u64().is_some(), "{seen}");
    assert!(seen["lastError"].as_str().unwrap().contains("s3cret-word"), "{seen}");

    let url = format!("http://{}", cluster.coordinator.address());
    let output = Setup::new(&json!({})).run(&["ps", "--url", &url]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.lines().any(|l| l.starts_with("bad") && l.contains("crash-loop")), "{table}");
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(says.contains("bad on a: crash-loop") && says.contains("s3cret-word"), "{says}");

    // `/health` needs no key, so it does not show a server's stderr.
    let node = &cluster.nodes[0];
    let health = node.get("/health").expect(200);
    assert_eq!(health.json()["servers"][0]["status"], "crash-loop");
    assert!(!health.text().contains("s3cret-word"), "{}", health.text());
    let evil = Request::get("/health").header("Host", "evil.example");
    assert!(!evil.send(node.address()).expect(200).text().contains("s3cret-word"));
    let known = Request::get("/health").header("Authorization", "Bearer k3y");
    let health = known.send(node.address()).expect(200);
    assert!(health.text().contains("s3cret-word"), "{}", health.text());
}
