//! Many sessions and few processes: shared processes, limits, and how refusals are logged.

use std::time::Duration;

use mooring_tests::scripted::{Asked, Out};
use mooring_tests::{
    Behind, Connection, Gateway, PlayedCoordinator, Request, Response, Scripted, Session,
    eventually, mcp, process, servers, settings, within,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::processes::lifecycle::{is_refused, metric, wait_until_gone, with_limits};

fn instances(gateway: &Gateway, server: &str) -> Vec<Value> {
    let data = gateway.data(&format!("/api/cluster/instances?server={server}"));
    data["instances"].as_array().unwrap().clone()
}

/// Sends `initialize` without waiting for the answer.
fn begin(gateway: &Gateway, path: &str) -> Connection {
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}});
    let body = mcp::request(json!(0), "initialize", params).to_string();
    let mut connection = Connection::open(gateway.address());
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection.send_raw(format!("{head}{body}").as_bytes());
    connection
}

// Shared processes

#[test]
fn shared_servers_that_hang_at_their_start_do_not_keep_others_from_theirs() {
    let mut all = json!({"counter": servers::counter()});
    let mute: Vec<String> = (0..4).map(|number| format!("mute-{number}")).collect();
    for name in &mute {
        all[name] = servers::isolated(servers::silent(), "shared");
    }
    let gateway = with_limits(all, json!({"simultaneousStarts": 4}));
    let waiting: Vec<Connection> =
        mute.iter().map(|name| begin(&gateway, &format!("/mcp/{name}"))).collect();
    for name in &mute {
        eventually("it starts", || (instances(&gateway, name).len() == 1).then_some(()));
    }
    assert_eq!(gateway.client("/mcp/counter").initialize().count("count"), 1);
    drop(waiting);
}

#[test]
fn sessions_that_share_a_process_take_up_one_place() {
    let settings = settings::merged(
        settings::coordinator(json!({})),
        json!({
            "mcpServers": {
                "counter": servers::isolated(servers::counter(), "shared"),
                "own": servers::counter(),
            },
            "systemConfig": {"limits": {"childrenPerNode": 3}},
        }),
    );
    let gateway = Gateway::start_with(&settings);
    let sessions = [(); 5].map(|()| gateway.client("/mcp/counter").initialize());
    let own = gateway.client("/mcp/own").initialize();
    let node = eventually("the node's load is known", || {
        let nodes = gateway.data("/api/cluster/nodes");
        let node = nodes[0].clone();
        (node["load"]["instances"] == json!({"counter": 1, "own": 1})).then_some(node)
    });
    assert_eq!((&node["load"]["children"], &node["room"]), (&json!(2), &json!("free")), "{node}");
    let pid = sessions[0].whoami("whoami").pid;
    let all = instances(&gateway, "counter");
    assert_eq!(all.len(), 1, "{all:?}");
    let seen = (&all[0]["pid"], &all[0]["sessionCount"], &all[0]["restarts"]);
    assert_eq!(seen, (&json!(pid), &json!(5), &json!(0)));
    process::signal(pid, Signal::KILL);
    gateway.wait_for_log("it was shared");
    for session in &sessions {
        session.count("count");
    }
    let all = instances(&gateway, "counter");
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((&all[0]["sessionCount"], &all[0]["restarts"]), (&json!(5), &json!(1)));
    assert_eq!(own.count("count"), 1);
}

#[test]
fn a_shared_server_that_lives_is_well_again() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken");
    std::fs::write(&broken, "").unwrap();
    let script = "test -e \"$0\" && exit 3; exec mooring-example-counter";
    let server = json!({"command": "sh", "args": ["-c", script, broken], "isolation": "shared"});
    let gateway = Gateway::start_with(&settings::standalone(json!({"odd": server})));
    eventually("it has failed", || {
        let _ = gateway.client("/mcp/odd").try_initialize();
        (metric(&gateway, "server_failures", "odd") >= 2).then_some(())
    });
    std::fs::remove_file(&broken).unwrap();
    let session = eventually("it starts", || {
        let client = gateway.client("/mcp/odd");
        let id = client.try_initialize().header("mcp-session-id")?.to_owned();
        Some(Session::resumed(&client, &id))
    });
    session.count("count");
    assert!(metric(&gateway, "server_failures", "odd") >= 2, "it is not yet known to be well");
    eventually("it is well", || (metric(&gateway, "server_failures", "odd") == 0).then_some(()));
}

#[test]
fn nothing_is_kept_warm_where_nobody_could_take_it() {
    let warm = |isolation| {
        settings::merged(servers::isolated(servers::counter(), isolation), json!({"warm": 1}))
    };
    let all = json!({"all": warm("shared"), "each": warm("principal"), "own": warm("session")});
    let gateway = Gateway::start_with(&settings::standalone(all));
    gateway.wait_until_discovered(&["all", "each", "own"]);
    eventually("a spare", || (metric(&gateway, "server_spares", "own") == 1).then_some(()));
    eventually("no other process is left", || {
        let all = process::descendants(gateway.pid());
        let is_counter =
            |pid: &&u32| process::command_line(**pid).contains("mooring-example-counter");
        (all.iter().filter(is_counter).count() == 1).then_some(())
    });
}

// Idleness

#[test]
fn a_remote_server_that_does_not_let_go_keeps_no_other_from_being_stopped() {
    let far = Scripted::start(|asked: &Asked, mut out: Out| {
        if asked.method != "DELETE" {
            return Some(out);
        }
        out.wait_for_end();
        None
    });
    let idle = json!({"idleTimeoutMs": 200});
    let gateway = Gateway::start_with(&settings::standalone(json!({
        "far": settings::merged(far.entry(), idle.clone()),
        "near": settings::merged(servers::counter(), idle),
    })));
    gateway.wait_until_discovered(&["near"]);
    let _sessions = [(); 8].map(|()| gateway.client("/mcp/far").initialize());
    far.wait_for("a session is to end", |asked| asked.method == "DELETE" && asked.is_of_client());
    let pid = gateway.client("/mcp/near").initialize().whoami("whoami").pid;
    // Ending each of the other sessions takes five seconds.
    within(Duration::from_secs(10), "it is stopped", || (!process::runs(pid)).then_some(()));
}

// Limits

/// Sends a node a message of a principal's session, as its coordinator would.
fn direct(behind: &Behind, principal: &str, session: u8) -> Response {
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}});
    let request = Request::post("/cluster/servers/counter/mcp")
        .header("Accept", "application/json, text/event-stream")
        .header("Mooring-Session", &format!("00000000-0000-4000-8000-0000000000{session:02}"))
        .header("Mooring-Principal", principal)
        .header("Mooring-Open", "host");
    behind.send(&request.json(&params))
}

#[test]
fn a_principal_has_its_own_number_of_processes() {
    let hears = PlayedCoordinator::start();
    let all = json!({"counter": servers::counter()});
    let node = settings::node(hears.port(), json!({"id": "n"}), all);
    let limits = json!({"childrenPerNode": 9, "childrenPerPrincipal": 2});
    let node = settings::merged(node, json!({"systemConfig": {"limits": limits}}));
    let node = Gateway::start_with(&node);
    let behind = hears.registered(&node, None);
    for session in [1, 2] {
        direct(&behind, "alice", session).expect(200);
    }
    let refused = direct(&behind, "alice", 3).expect(503);
    is_refused(&refused, &["you have 2 processes", "limits.childrenPerPrincipal"]);
    for session in [4, 5] {
        direct(&behind, "bob", session).expect(200);
    }
    direct(&behind, "bob", 6).expect(503);
    assert_eq!(metric(&node, "server_processes", "counter"), 4);
}

#[test]
fn the_session_that_was_left_longest_makes_room_and_goes_on() {
    let gateway = with_limits(
        json!({"counter": servers::counter()}),
        json!({"childrenPerServer": 2, "unusedAfterMs": 500}),
    );
    let client = gateway.client("/mcp/counter");
    let [one, two] = [(); 2].map(|()| client.initialize());
    let pids = [&one, &two].map(|session| session.whoami("whoami").pid);
    assert_eq!(one.count("count"), 1);
    is_refused(&client.try_initialize(), &["limits.childrenPerServer"]);
    let third = eventually("there is room", || {
        assert_eq!(two.whoami("whoami").pid, pids[1], "who is in use does not give way");
        let id = client.try_initialize().header("mcp-session-id")?.to_owned();
        Some(Session::resumed(&client, &id))
    });
    assert!(gateway.wait_for_log("makes room").contains(&pids[0].to_string()));
    wait_until_gone(pids[0]);
    third.delete().expect(200);
    assert_eq!(one.count("count"), 1, "a new process counts anew");
    assert_eq!(two.whoami("whoami").pid, pids[1]);
    assert_eq!(metric(&gateway, "server_failures", "counter"), 0);
}

#[test]
fn who_listens_or_would_be_lost_does_not_give_way() {
    let one = |more| {
        settings::merged(servers::counter(), settings::merged(json!({"maxInstances": 1}), more))
    };
    let gateway = with_limits(
        json!({
            "listens": one(json!({})),
            "lost": one(json!({"onLost": "fail"})),
            "goes": one(json!({})),
        }),
        json!({"unusedAfterMs": 300}),
    );
    let listens = gateway.client("/mcp/listens").initialize();
    let _stream = listens.listen();
    let lost = gateway.client("/mcp/lost").initialize();
    assert_eq!((listens.count("count"), lost.count("count")), (1, 1));
    // Used later than the others, but the only one that may be ended once it has been idle.
    let goes = gateway.client("/mcp/goes").initialize();
    let pid = goes.whoami("whoami").pid;
    eventually("it goes", || {
        gateway.client("/mcp/goes").try_initialize().header("mcp-session-id").map(str::to_owned)
    });
    wait_until_gone(pid);
    for path in ["/mcp/listens", "/mcp/lost"] {
        is_refused(&gateway.client(path).try_initialize(), &["maxInstances"]);
    }
    assert_eq!((listens.count("count"), lost.count("count")), (2, 2));
}

// Log lines

#[test]
fn refusals_are_said_once_and_then_counted() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken");
    let script = "test -e \"$0\" && exit 3; exec mooring-example-counter";
    let server = json!({"command": "sh", "args": ["-c", script, broken]});
    let gateway = Gateway::start_with(&settings::standalone(json!({"odd": server})));
    gateway.wait_until_discovered(&["odd"]);
    let session = gateway.client("/mcp/odd").initialize();
    let pid = session.whoami("whoami").pid;
    std::fs::write(&broken, "").unwrap();
    process::signal(pid, Signal::KILL);
    wait_until_gone(pid);
    let refused = || {
        let call = json!({"name": "count", "arguments": {}});
        session.try_request("tools/call", call).error_message()
    };
    eventually("it is left alone", || refused().contains("next attempt").then_some(()));
    for _ in 0..20 {
        assert!(refused().contains("odd"));
    }
    let log = gateway.log();
    let said = |part: &str| log.lines().filter(|line| line.contains(part)).count();
    assert_eq!((said("session affinity"), said("leaves")), (0, 0), "{log}");
    assert!((1..10).contains(&said("its next start has to wait")), "{log}");
}
