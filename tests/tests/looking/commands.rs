//! The commands that look at a running gateway: `health`, `ps`, `nodes`, `sessions`, `tools` and
//! `call`.

use std::process::{Command, Output};

use mooring_tests::{
    Cluster, Gateway, Port, Request, binaries, eventually, process, servers, settings,
};
use serde_json::{Value, json};

fn mooring(gateway: &Gateway, args: &[&str]) -> Output {
    let mut command = Command::new(binaries::mooring());
    command.args(args).args(["--url", &gateway.url()]).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The first eight digits of a session's uuid, as the log shows them.
fn short(coordinator: &Gateway, id: &str) -> String {
    let affinity = coordinator.data(&format!("/api/cluster/sessions/{id}"));
    affinity["sessionId"].as_str().unwrap()[..8].to_owned()
}

#[test]
fn a_gateway_alone_says_which_server_is_missing_and_why() {
    let gateway = Gateway::start_with(&settings::standalone(json!({
        "counter": servers::counter(),
        "gone": servers::missing(),
        "wrong": {"command": 5},
    })));
    eventually("gone has failed", || {
        let health = gateway.get("/health").json();
        let servers = health["servers"].as_array()?.clone();
        let state = |name: &str| {
            let found = servers.iter().find(|server| server["name"] == name)?;
            found["state"].as_str().map(str::to_owned)
        };
        let states = [state("counter")?, state("gone")?, state("wrong")?];
        (states == ["ok", "down", "down"]).then_some(())
    });
    let health = gateway.get("/health").expect(200).json();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["reasons"].as_array().unwrap().len(), 2, "{health}");
    gateway.get("/readyz").expect(200);
    gateway.get("/readyz?servers=false").expect(200);
    gateway.get("/readyz?servers=counter").expect(400);
    for query in ["servers", "servers=true", "verbose&servers=1"] {
        let refused = gateway.get(&format!("/readyz?{query}")).expect(503).text();
        let lines: Vec<&str> = refused.lines().collect();
        assert!(lines[0].starts_with("server gone is down: "), "{refused}");
        assert!(lines[1].starts_with("server wrong is down: misconfigured"), "{refused}");
    }
    let output = mooring(&gateway, &["health"]);
    assert_eq!(output.status.code(), Some(1));
    let says = err(&output);
    assert!(
        says.contains("server gone is down: ") && says.contains("mooring-no-such-program"),
        "{says}"
    );
    assert!(says.contains("server wrong is down: misconfigured"), "{says}");
    assert!(mooring(&gateway, &["health", "--live"]).status.success());

    let text = out(&mooring(&gateway, &["ps"]));
    let states: Vec<(&str, &str)> = text
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .map(|cells| (cells[0], cells[3]))
        .collect();
    assert!(states.contains(&("counter", "idle")) && states.contains(&("wrong", "misconfigured")));
    assert!(states.iter().any(|(name, state)| *name == "gone" && *state != "idle"), "{text}");
    let unknown = mooring(&gateway, &["ps", "nobody"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(err(&unknown).contains("no server has the name \"nobody\""), "{}", err(&unknown));
    assert!(mooring(&gateway, &["ps", "counter"]).status.success(), "it is idle");
}

#[test]
fn what_a_server_has_said_is_for_those_with_a_key() {
    let failing = json!({"command": "sh", "args": ["-c", "echo s3cret-word >&2; exit 3"]});
    let settings = settings::merged(
        settings::standalone(json!({"failing": failing})),
        json!({"systemConfig": {"routing": {"enableBearerAuth": true, "bearerAuthKey": "k3y"}}}),
    );
    let gateway = Gateway::start_with(&settings);
    eventually("it is down", || {
        let health = gateway.get("/health").json();
        (health["servers"][0]["state"] == "down").then_some(())
    });
    for path in ["/health", "/readyz?servers", "/metrics"] {
        let text = gateway.get(path).text();
        assert!(text.contains("failing") && !text.contains("s3cret-word"), "{path}: {text}");
    }
    let known = Request::get("/health").header("Authorization", "Bearer k3y");
    let known = known.send(gateway.address()).expect(200).text();
    assert!(known.contains("s3cret-word"), "{known}");
}

#[test]
fn spares_are_listed_until_a_session_takes_them() {
    let warm = json!({"command": "mooring-example-counter", "warm": 2});
    let gateway = Gateway::start_with(&settings::standalone(json!({"counter": warm})));
    let states = || {
        let text = out(&mooring(&gateway, &["ps"]));
        let row = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        text.lines().skip(1).map(row).collect::<Vec<_>>()
    };
    let spares = eventually("two spares", || {
        let rows = states();
        let is_spare = |row: &Vec<String>| row[3] == "spare" && row[4] == "0";
        (rows.len() == 2 && rows.iter().all(is_spare)).then_some(rows)
    });
    assert!(spares.iter().all(|row| process::runs(row[2].parse().unwrap())), "{spares:?}");
    let session = gateway.client("/mcp/counter").initialize();
    session.whoami("whoami");
    eventually("one runs, and two wait", || {
        let rows = states();
        let count = |state: &str| rows.iter().filter(|row| row[3] == state).count();
        (count("ready") == 1 && count("spare") == 2).then_some(())
    });
    // Pages have every one once, although spares have no session.
    let page = gateway.data("/api/cluster/instances?limit=1");
    assert_eq!(page["instances"].as_array().unwrap().len(), 1);
}

#[test]
fn restarts_belong_to_the_process_that_was_started_again() {
    let shared = servers::isolated(servers::counter(), "shared");
    let gateway = Gateway::start_with(&settings::standalone(json!({
        "own": servers::counter(), "shared": shared,
    })));
    for (server, expect) in [("own", [1, 0]), ("shared", [1, 1])] {
        let path = format!("/mcp/{server}");
        let sessions = [(); 2].map(|()| gateway.client(&path).initialize());
        let pids = [0, 1].map(|at: usize| sessions[at].whoami("whoami").pid);
        process::signal(pids[0], rustix::process::Signal::KILL);
        eventually("it is gone", || (!process::runs(pids[0])).then_some(()));
        let restarts = eventually("both run", || {
            for session in &sessions {
                let call = json!({"name": "whoami", "arguments": {}});
                let _ = session.try_request("tools/call", call);
            }
            let path = format!("/api/cluster/instances?server={server}");
            let seen = gateway.data(&path)["instances"].as_array()?.clone();
            let of = |at: usize| {
                let pid = sessions[at].whoami("whoami").pid;
                let is_its = |row: &&Value| row["pid"] == pid;
                seen.iter().find(is_its)?["restarts"].as_u64()
            };
            Some([of(0)?, of(1)?])
        });
        assert_eq!(restarts, expect, "{server}");
    }
}

#[test]
fn nodes_and_sessions_are_listed_by_short_hashes_alone() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let coordinator = &cluster.coordinator;
    let text = out(&mooring(coordinator, &["nodes"]));
    let ids: Vec<&str> =
        text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(ids, ["a", "b"], "{text}");
    let json: Value =
        serde_json::from_str(&out(&mooring(coordinator, &["nodes", "--json"]))).unwrap();
    assert_eq!(json[0]["id"], "a");
    let of_node = mooring(&cluster.nodes[0], &["nodes"]);
    assert_eq!(of_node.status.code(), Some(1));

    let sessions: Vec<_> = (0..6).map(|_| cluster.client("/mcp/counter").initialize()).collect();
    let nodes: Vec<String> = sessions.iter().map(|session| session.whoami("whoami").name).collect();
    let listed = mooring(coordinator, &["sessions"]);
    assert!(listed.status.success(), "{}", err(&listed));
    let text = out(&listed);
    assert_eq!(text.lines().count(), 1 + sessions.len(), "{text}");
    for (session, node) in sessions.iter().zip(&nodes) {
        let uuid = coordinator.data(&format!("/api/cluster/sessions/{}", session.id));
        let uuid = uuid["sessionId"].as_str().unwrap().to_owned();
        let short = &uuid[..8];
        let own = out(&mooring(coordinator, &["sessions", short]));
        assert!(own.contains(&format!("{short}  counter@{node}")), "{own}");
        let by_short = coordinator.data(&format!("/api/cluster/sessions/{short}"));
        assert_eq!((&by_short["sessionId"], &by_short["nodeId"]), (&json!(short), &json!(node)));
        let json = out(&mooring(coordinator, &["sessions", "--json"]));
        for shown in [&text, &own, &json, &by_short.to_string()] {
            assert!(!shown.contains(&uuid) && !shown.contains(&session.id), "{shown}");
        }
    }
    let at_a = mooring(coordinator, &["sessions", "--node", "a", "--server", "counter"]);
    let count = nodes.iter().filter(|node| *node == "a").count();
    assert_eq!(out(&at_a).lines().count(), 1 + count);
    let first = coordinator.data("/api/cluster/sessions?limit=4");
    assert_eq!((first["sessions"].as_array().unwrap().len(), &first["total"]), (4, &json!(6)));
    let next = first["next"].as_str().unwrap();
    let second = coordinator.data(&format!("/api/cluster/sessions?limit=4&after={next}"));
    assert_eq!((second["sessions"].as_array().unwrap().len(), &second["next"]), (2, &Value::Null));
    let ended = short(coordinator, &sessions[0].id);
    sessions[0].delete();
    let gone = mooring(coordinator, &["sessions", &ended]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(err(&gone).contains("no session has the hash"), "{}", err(&gone));
    let wrong = mooring(coordinator, &["sessions", "not-a-hash"]);
    assert!(
        wrong.status.code() == Some(1) && err(&wrong).contains("hexadecimal"),
        "{}",
        err(&wrong)
    );
}

#[test]
fn what_only_a_coordinator_has_asks_for_no_key_elsewhere() {
    let alone = Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    for args in [&["nodes"][..], &["drain", "a"], &["undrain", "a"]] {
        let output = mooring(&alone, args);
        let said = err(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains("only available on coordinator nodes"), "{args:?}: {said}");
        assert!(!said.contains("MOORING_KEY"), "{args:?}: {said}");
    }
}

#[test]
fn a_name_that_nobody_has_is_told_whatever_is_filtered_by_it() {
    let alone = Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let _open = [alone.client("/mcp/counter"), cluster.client("/mcp/counter")]
        .map(|client| client.initialize());
    for gateway in [&alone, &cluster.coordinator] {
        for (args, part) in [
            (&["sessions", "--server", "nosuch"][..], "no server has the name \"nosuch\""),
            (&["sessions", "--node", "nosuch"], "Node not found: nosuch"),
            (&["sessions", "--server", "counter", "--node", "nosuch"], "Node not found: nosuch"),
            (&["sessions", "--server", "nosuch", "--json"], "no server has the name"),
            (&["explain", "--server", "nosuch"], "no server has the name \"nosuch\""),
            (&["ps", "nosuch"], "no server has the name \"nosuch\""),
            (&["ps", "--node", "nosuch"], "Node not found: nosuch"),
            (&["logs", "nosuch"], "nosuch"),
            (&["tools", "nosuch"], "nosuch"),
        ] {
            let output = mooring(gateway, args);
            assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
            let (said, listed) = (err(&output), out(&output));
            assert!(said.contains(part) && listed.is_empty(), "{args:?}: {said}{listed}");
        }
        let known = mooring(gateway, &["sessions", "--server", "counter"]);
        assert_eq!((known.status.code(), out(&known).lines().count()), (Some(0), 2));
    }
    // One that is known, and of which there is nothing, is no error.
    let idle = settings::standalone(json!({"idle": servers::counter()}));
    let idle = Gateway::start_with(&idle);
    let none = mooring(&idle, &["sessions", "--server", "idle"]);
    assert_eq!((none.status.code(), out(&none).lines().count()), (Some(0), 1));
    let none = mooring(&idle, &["explain", "--server", "idle"]);
    assert_eq!(none.status.code(), Some(0));
    assert!(out(&none).contains("no decision about server idle is known"), "{}", out(&none));
}

#[test]
fn tools_are_listed_and_called_as_a_client_does() {
    let settings = settings::merged(
        settings::standalone(json!({"counter": servers::counter(), "notes": servers::notes()})),
        json!({"systemConfig": {"routing": {"enableBearerAuth": true, "bearerAuthKey": "k3y"}}}),
    );
    let gateway = Gateway::start_with(&settings);
    let run = |args: &[&str]| {
        let mut command = Command::new(binaries::mooring());
        command.args(args).args(["--url", &gateway.url()]).env("MOORING_KEY", "k3y");
        command.output().unwrap()
    };
    let all = out(&run(&["tools"]));
    let own = out(&run(&["tools", "counter"]));
    assert!(all.lines().count() > own.lines().count(), "{all}\n{own}");
    assert!(own.lines().any(|line| line.starts_with("whoami ")), "{own}");
    let json: Value = serde_json::from_str(&out(&run(&["tools", "counter", "--json"]))).unwrap();
    assert!(json[0]["inputSchema"].is_object(), "{json}");

    let called = run(&["call", "counter", "whoami", "--json"]);
    assert_eq!(called.status.code(), Some(0), "{}", err(&called));
    let result: Value = serde_json::from_str(&out(&called)).unwrap();
    assert!(result["structuredContent"]["pid"].is_u64(), "{result}");
    assert!(run(&["call", "counter", "whoami", "{}"]).status.success());
    // The session of the call is closed, and so is its process.
    eventually("no session is left", || {
        let all = Request::get("/api/cluster/sessions").header("Authorization", "Bearer k3y");
        (all.send(gateway.address()).expect(200).json()["data"]["total"] == 0).then_some(())
    });
    for (args, code, says) in [
        (&["call", "counter", "whoami", "[1]"][..], 2, "no JSON object"),
        (&["call", "counter", "whoami", "oops"], 2, "no JSON object"),
        (&["call", "counter", "nothing"], 1, "error -3"),
        (&["call", "counter", "count", "{\"by\":\"two\"}"], 3, ""),
        (&["call", "nobody", "whoami"], 1, "nobody"),
        (&["tools", "nobody"], 1, "nobody"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", err(&output));
        assert!(err(&output).contains(says), "{args:?}: {}", err(&output));
    }
    let without = mooring(&gateway, &["call", "counter", "whoami"]);
    assert!(without.status.code() == Some(1) && err(&without).contains("MOORING_KEY"));
    let nobody = Port::reserve();
    let url = format!("http://127.0.0.1:{}", nobody.number());
    let args = ["call", "counter", "whoami", "--url", &url];
    let unreached = Command::new(binaries::mooring()).args(args).output().unwrap();
    assert_eq!(unreached.status.code(), Some(1));
    assert!(err(&unreached).contains("no gateway answers at"), "{}", err(&unreached));
}
