//! Epochs: a state that a session has left is never used again, and what a session has left or
//! ended is closed wherever it still runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mooring_tests::fake_node::Says;
use mooring_tests::scripted::Asked;
use mooring_tests::{
    Behind, Cluster, FakeNode, Gateway, OverSse, PlayedCoordinator, Request, Response, Session,
    eventually, process, servers, settings,
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Short enough that a test waits for it, long enough for a loaded machine.
const NODE_TIMEOUT: u64 = 3000;
const SESSION: &str = "00000001-0000-4000-8000-000000000001";

/// A node that takes opens as from its coordinator, with servers of every kind.
struct Runner {
    behind: Behind,
    node: Gateway,
    _upstream: Gateway,
}

impl Runner {
    fn start() -> Self {
        let counter = json!({"counter": servers::counter()});
        let upstream = Gateway::start_with(&settings::roomy(settings::standalone(counter)));
        let hears = PlayedCoordinator::start();
        let servers = json!({
            "stdio": servers::counter(),
            "shared": servers::isolated(servers::counter(), "shared"),
            "http": {"type": "streamable-http", "url": format!("{}/mcp/counter", upstream.url())},
            "sse": {"type": "sse", "url": format!("{}/sse/counter", upstream.url())},
        });
        let own = json!({"id": "n", "public": true});
        let node = settings::node(hears.port(), own, servers);
        let node = Gateway::start_with(&settings::roomy(node));
        let behind = hears.registered(&node, None);
        Self { behind, node, _upstream: upstream }
    }

    fn send(&self, request: Request, epochs: [Option<u64>; 2]) -> Response {
        let request =
            request.header("mooring-session", SESSION).header("mooring-principal", "anonymous");
        let named = ["mooring-epoch", "mooring-opened"].into_iter().zip(epochs);
        let request = named.fold(request, |request, (name, epoch)| match epoch {
            Some(epoch) => request.header(name, &epoch.to_string()),
            None => request,
        });
        self.behind.send(&request)
    }

    /// Has the session opened with an epoch, by an edge that knows which one was open last. Returns
    /// whether it was there, and the epoch that it has.
    fn open(&self, server: &str, epoch: u64, opened: Option<u64>) -> (String, u64) {
        let answer = self.ask(server, epoch, opened).expect(200);
        let start = answer.header("mooring-start").expect("a start").to_owned();
        (start, epoch_of(&answer))
    }

    fn ask(&self, server: &str, epoch: u64, opened: Option<u64>) -> Response {
        let params = json!({
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        });
        let request = Request::post(&path(server)).header("mooring-open", "host").json(&params);
        self.send(request, [Some(epoch), opened])
    }

    fn count(&self, server: &str) -> Option<i64> {
        let call = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "count", "arguments": {}},
        });
        let request = Request::post(&path(server))
            .header("Accept", "application/json, text/event-stream")
            .json(&call);
        let answer = self.send(request, [None; 2]);
        let message = answer.messages().into_iter().next().filter(|_| answer.status == 200)?;
        message["result"]["structuredContent"]["value"].as_i64()
    }

    fn held(&self) -> Vec<Value> {
        let page = self.behind.send(&Request::get("/cluster/bindings")).expect(200).json();
        page["bindings"].as_array().expect("a list").clone()
    }

    fn close(&self, server: &str, up_to: u64) {
        self.send(Request::delete(&path(server)), [Some(up_to), None]).expect(200);
    }
}

fn path(server: &str) -> String {
    format!("/cluster/servers/{server}/mcp")
}

fn epoch_of(answer: &Response) -> u64 {
    answer.header("mooring-epoch").expect("an epoch").parse().expect("a number")
}

#[test]
fn a_runner_finds_only_what_the_session_has_not_left() {
    let runner = Runner::start();
    for server in ["stdio", "shared", "http", "sse"] {
        let open = |epoch, opened| {
            let (start, epoch) = runner.open(server, epoch, opened);
            (start == "existing", epoch)
        };
        assert_eq!(open(5, None), (false, 5), "{server}");
        assert_eq!(open(5, Some(5)), (true, 5), "the same binding");
        assert_eq!(open(9, None), (true, 5), "a coordinator that knows nothing");
        assert_eq!(open(9, Some(5)), (true, 5), "it was open last");
        let before = runner.count(server);
        assert_eq!(open(9, Some(7)), (false, 9), "it was open elsewhere since");
        if server != "shared" {
            assert_eq!((before, runner.count(server)), (Some(1), Some(1)), "{server}");
        }
        let newer = runner.ask(server, 8, Some(7));
        assert_eq!((newer.status, epoch_of(&newer)), (409, 9));
        assert_eq!(newer.header("mooring-outcome"), Some("not-sent"));
        let held = runner.held();
        let its = held.iter().find(|held| held["server"] == server && held["session"] == SESSION);
        assert_eq!(its.expect("a report")["epoch"], 9);
        runner.close(server, 8);
        assert!(runner.count(server).is_some(), "a later one is not closed");
        runner.close(server, 9);
        assert!(runner.count(server).is_none());
    }
    eventually("nothing is left of what was closed", || {
        let left = process::servers(runner.node.pid());
        // Sessions that share a process leave it to the next for a while.
        (left.len() <= 1).then_some(())
    });
}

#[test]
fn an_epoch_that_is_none_is_refused() {
    let runner = Runner::start();
    for odd in ["0", "-1", "x", "9007199254740992", "1 2"] {
        let request = Request::post(&path("stdio"))
            .header("mooring-open", "host")
            .header("mooring-session", SESSION)
            .header("mooring-principal", "anonymous")
            .header("mooring-epoch", odd)
            .json(&json!({}));
        assert_eq!(runner.behind.send(&request).status, 400, "{odd}");
    }
}

fn is_open(asked: &Asked) -> bool {
    asked.header("mooring-open").is_some()
}

fn number(asked: &Asked, name: &str) -> Option<u64> {
    asked.header(name).map(|value| value.parse().expect("a number"))
}

fn coordinator() -> Gateway {
    Gateway::start_with(&settings::coordinator(json!({})))
}

fn register(coordinator: &Gateway, node: &FakeNode) {
    node.register(coordinator, json!(["A"]), json!({})).expect(200);
}

#[test]
fn each_move_raises_the_epoch_and_says_what_was_open_last() {
    let coordinator = coordinator();
    let nodes = ["n1", "n2"].map(|id| Says::default().start(id));
    register(&coordinator, &nodes[0]);
    let session = coordinator.client("/mcp/A").initialize();
    let first = nodes[0].wait_for("an open", is_open);
    let first_epoch = number(&first, "mooring-epoch").expect("an epoch");
    // Above all that a coordinator which has lost its memory can have given.
    assert!(first_epoch > 1_700_000_000_000_000 && number(&first, "mooring-opened").is_none());
    register(&coordinator, &nodes[1]);
    nodes[0].deregister(&coordinator).expect(200);
    let _ = session.try_request("tools/list", json!({}));
    let second = nodes[1].wait_for("an open", is_open);
    assert_eq!(number(&second, "mooring-opened"), Some(first_epoch));
    assert!(number(&second, "mooring-epoch") > Some(first_epoch));
}

#[test]
fn a_binding_rises_above_what_a_node_holds_by_a_clock_of_the_future() {
    let coordinator = coordinator();
    let first = Says::default().start("n1");
    register(&coordinator, &first);
    let session = coordinator.client("/mcp/A").initialize();
    const HELD: u64 = 1 << 52;
    let refuses = AtomicBool::new(true);
    let refusal = move |_: &Asked| {
        let headers =
            vec!["Mooring-Outcome: not-sent".to_owned(), format!("Mooring-Epoch: {HELD}")];
        refuses.swap(false, Ordering::Relaxed).then_some(("409 Conflict", headers))
    };
    let second = Says::default().refuses(refusal).start("n2");
    register(&coordinator, &second);
    first.deregister(&coordinator).expect(200);
    let _ = session.try_request("tools/list", json!({}));
    let raised = second.wait_for("a second open", |asked| {
        is_open(asked) && number(asked, "mooring-opened") > Some(HELD)
    });
    assert!(number(&raised, "mooring-epoch") >= number(&raised, "mooring-opened"));
}

#[test]
fn of_two_reports_the_higher_epoch_wins_after_a_restart() {
    for order in [["left", "current"], ["current", "left"]] {
        let coordinator = coordinator();
        let node = |id: &str| {
            // The one that was left has opened the session earlier, and is alive.
            let (epoch, opened_at) = if id == "left" { (10, 1) } else { (11, 2) };
            let held = json!({
                "session": SESSION, "server": "A", "openedAt": opened_at, "epoch": epoch,
            });
            Says::default().held(move |_| json!({"bindings": [held.clone()]})).start(id)
        };
        let nodes = order.map(node);
        nodes.iter().for_each(|node| register(&coordinator, node));
        let holder = coordinator.data(&format!("/api/cluster/sessions/{SESSION}"));
        assert_eq!(holder["nodeId"], "current", "{order:?}");
        let at = |id: &str| &nodes[usize::from(order[1] == id)];
        let closing = at("left").wait_for("its end", |asked| asked.method == "DELETE");
        assert_eq!(number(&closing, "mooring-epoch"), Some(10), "a later one would stay");
        assert!(at("current").seen().iter().all(|asked| asked.method != "DELETE"));
    }
}

/// Two nodes, `a` and `b`, whose leases are short.
fn cluster() -> Cluster {
    let coordinator = json!({"coordinator": {"nodeTimeout": NODE_TIMEOUT}});
    let coordinator = Gateway::start_with(&settings::coordinator(coordinator));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for id in ["a", "b"] {
        let node = json!({"id": id, "heartbeatInterval": 500});
        let servers = json!({"counter": servers::counter_named(id)});
        let node = settings::node(cluster.coordinator.port(), node, servers);
        cluster.nodes.push(Gateway::start_with(&settings::roomy(node)));
    }
    cluster.wait_for_active(2);
    cluster
}

/// Counts until a call is answered: those that were under way when a node froze may have run.
fn count_anyhow(session: &Session, tool: &str) -> i64 {
    eventually("a call is answered", || {
        let answer = session.answer("tools/call", json!({"name": tool, "arguments": {}}));
        answer["result"]["structuredContent"]["value"].as_i64()
    })
}

/// A session that was at `a`, whose node froze and came back.
fn moved(cluster: &Cluster, path: &str) -> (Session, u32) {
    let prefix = if path == "/mcp" { "counter-" } else { "" };
    let (count, whoami) = (format!("{prefix}count"), format!("{prefix}whoami"));
    let found = (0..64)
        .map(|_| cluster.client(path).initialize())
        .find(|session| session.whoami(&whoami).name == "a");
    let session = found.expect("a session at a");
    for _ in 0..3 {
        session.count(&count);
    }
    let pid = session.whoami(&whoami).pid;
    cluster.nodes[0].signal(Signal::STOP);
    assert_eq!(count_anyhow(&session, &count), 1);
    assert_eq!(session.whoami(&whoami).name, "b");
    cluster.wait_for_active(1);
    cluster.nodes[0].signal(Signal::CONT);
    (session, pid)
}

#[test]
fn a_session_that_has_moved_finds_nothing_of_before_when_it_moves_back() {
    for path in ["/mcp/counter", "/mcp"] {
        let mut cluster = cluster();
        let (session, pid) = moved(&cluster, path);
        cluster.wait_for_active(2);
        cluster.coordinator.wait_for_log("the node is back");
        eventually("the process of before ends", || (!process::runs(pid)).then_some(()));
        let metric = |cluster: &Cluster| {
            let metrics = cluster.coordinator.get("/metrics").text();
            let line = metrics.lines().find(|line| line.starts_with("mooring_sessions_reopened"));
            line.map(str::to_owned)
        };
        let before = metric(&cluster);
        let tool = if path == "/mcp" { "counter-count" } else { "count" };
        session.count(tool);
        cluster.nodes[1].kill9();
        assert_eq!(count_anyhow(&session, tool), 1, "a fresh start");
        assert_ne!(metric(&cluster), before, "the second loss counts like the first");
        let whoami = if path == "/mcp" { "counter-whoami" } else { "whoami" };
        assert_eq!(session.whoami(whoami).name, "a");
    }
}

#[test]
fn the_process_that_a_session_uses_survives_a_restart_of_the_coordinator() {
    let mut cluster = cluster();
    let (session, _) = moved(&cluster, "/mcp/counter");
    // The node of before is not heard by the first coordinator any more.
    cluster.coordinator.restart_after(Signal::KILL);
    cluster.wait_for_active(2);
    assert_eq!(session.count("count"), 2, "its state is still there");
    assert_eq!(session.whoami("whoami").name, "b");
}

#[test]
fn sessions_that_have_ended_while_their_node_was_away_are_closed_when_it_is_back() {
    for restarts in [false, true] {
        let mut cluster = cluster();
        let session = cluster.session_at("a");
        session.count("count");
        let pid = session.whoami("whoami").pid;
        cluster.nodes[0].signal(Signal::STOP);
        let begun = Instant::now();
        session.delete().expect(200);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        cluster.wait_for_active(1);
        if restarts {
            cluster.coordinator.restart_after(Signal::KILL);
        }
        cluster.nodes[0].signal(Signal::CONT);
        cluster.wait_for_active(2);
        eventually("its process ends", || (!process::runs(pid)).then_some(()));
    }
}

fn processes(cluster: &Cluster) -> usize {
    cluster.nodes.iter().map(|node| process::servers(node.pid()).len()).sum()
}

#[test]
fn sessions_of_streams_end_when_the_gateway_that_had_them_is_gone() {
    for path in ["/sse/counter", "/sse"] {
        let tool = if path == "/sse" { "counter-count" } else { "count" };
        let mut cluster = cluster();
        let call = json!({"name": tool, "arguments": {}});
        let mut leaves = OverSse::open(cluster.coordinator.address(), path);
        let mut stays = OverSse::open(cluster.coordinator.address(), path);
        for client in [&mut leaves, &mut stays] {
            client.begin();
            let answer = client.request("tools/call", call.clone());
            assert_eq!(answer["structuredContent"]["value"], 1, "{answer}");
        }
        assert_eq!(processes(&cluster), 2, "one for each client");
        drop(leaves);
        cluster.coordinator.restart_after(Signal::KILL);
        stays.come_back();
        cluster.wait_for_active(2);
        eventually("the process of the client that has left ends", || {
            (processes(&cluster) == 1).then_some(())
        });
        let answer = stays.request("tools/call", call);
        assert_eq!(answer["structuredContent"]["value"], 2, "the other one goes on: {answer}");
    }
}

#[test]
fn a_stream_that_ends_leaves_no_tombstone_on_disk() {
    let gateway =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    for _ in 0..5 {
        let mut client = OverSse::open(gateway.address(), "/sse/counter");
        client.begin();
        client.request("tools/call", json!({"name": "count", "arguments": {}}));
    }
    eventually("the sessions end", || process::servers(gateway.pid()).is_empty().then_some(()));
    let ended = std::fs::read_to_string(gateway.data_folder().join("ended-sessions"));
    assert_eq!(ended.unwrap_or_default(), "");
}
