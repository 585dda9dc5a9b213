//! A restart without a gap: the next process takes the listening sockets over.

use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};

use mooring_tests::{Cluster, Gateway, Request, Session, eventually, servers, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

fn standalone() -> Gateway {
    let servers = json!({"clock": servers::clock(), "counter": servers::counter()});
    Gateway::start_with(&settings::standalone(servers))
}

#[track_caller]
fn wait_for_end(mut before: Child) {
    let status = eventually("the process of before ends", || before.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

#[track_caller]
fn wait_until_sleeping(session: &Session) {
    eventually("the call is under way", || {
        let now = session.call("now", json!({}));
        (now["structuredContent"]["waiting"] == 1).then_some(())
    });
}

#[test]
fn the_next_process_takes_over_and_no_connection_is_refused() {
    let mut gateway = standalone();
    let address = gateway.address();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let probes: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut asked = 0;
                    while !done.load(Ordering::Relaxed) {
                        Request::get("/livez").send(address).expect(200);
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        for _ in 0..3 {
            let before = gateway.hand_over();
            wait_for_end(before);
        }
        done.store(true, Ordering::Relaxed);
        assert!(probes.into_iter().all(|probe| probe.join().expect("none is refused") > 0));
    });
    let session = gateway.client("/mcp/counter").initialize();
    assert_eq!(session.count("count"), 1);
    // The port is locked as ever.
    assert!(gateway.wait_for_log("the next process serves").contains("under way"));
}

#[test]
fn a_call_of_before_ends_well_and_sessions_go_on() {
    let mut gateway = standalone();
    let session = gateway.client("/mcp/clock").initialize();
    let (mut stream, id) = session.start("sleep", json!({"ms": 2500}), json!({}));
    wait_until_sleeping(&session);
    let counting = gateway.client("/mcp/counter").initialize();
    assert_eq!(counting.count("count"), 1);
    let before = gateway.hand_over();
    let answer = stream.message(|message| message["id"] == id);
    assert_eq!(answer["result"]["structuredContent"]["ms"], 2500, "{answer}");
    wait_for_end(before);
    assert_eq!(counting.count("count"), 1, "its id is good, its process is new");
    let mut listening = counting.listen();
    let told = listening.message(|message| message["method"] == "notifications/message");
    assert!(told.to_string().contains("lost"), "{told}");
}

#[test]
fn a_next_process_that_cannot_start_leaves_the_running_one_as_it_is() {
    let mut gateway = standalone();
    let session = gateway.client("/mcp/counter").initialize();
    assert_eq!(session.count("count"), 1);
    let file = gateway.folder().join("mcp_settings.json");
    let good = std::fs::read_to_string(&file).unwrap();
    let strategy = json!({"systemConfig": {"cluster": {"stickySession": {
        "enabled": true, "strategy": "./no-such-plugin.wasm",
    }}}});
    let value: Value = serde_json::from_str(&good).unwrap();
    let mut counted = 1;
    for bad in ["{".to_owned(), settings::merged(value, strategy).to_string()] {
        std::fs::write(&file, bad).unwrap();
        let status = gateway.failing_hand_over();
        assert!(!status.success(), "{status}");
        counted += 1;
        assert_eq!(session.count("count"), counted);
    }
    std::fs::write(&file, good).unwrap();
    let before = gateway.hand_over();
    wait_for_end(before);
    gateway.client("/mcp/counter").initialize().count("count");
}

#[test]
fn a_coordinator_is_taken_over_and_its_sessions_keep_their_state() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    let sessions: Vec<Session> =
        (0..8).map(|_| cluster.client("/mcp/counter").initialize()).collect();
    assert!(sessions.iter().all(|session| session.count("count") == 1));
    let before = cluster.coordinator.hand_over();
    for session in &sessions {
        assert_eq!(session.count("count"), 2);
    }
    wait_for_end(before);
    cluster.wait_for_active(2);
    assert!(sessions.iter().all(|session| session.count("count") == 3));
    let known = std::fs::read_to_string(cluster.coordinator.data_folder().join("nodes.json"));
    let known: Value = serde_json::from_str(&known.unwrap()).unwrap();
    assert_eq!(known.as_array().unwrap().len(), 2, "the list is the next process's");
}

#[test]
fn a_node_is_taken_over_and_serves_on() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    let session = cluster.session_at("a");
    let before = cluster.nodes[0].hand_over();
    wait_for_end(before);
    cluster.wait_for_active(2);
    assert_eq!(session.count("count"), 1);
    cluster.nodes[1].signal(Signal::KILL);
    eventually("it takes sessions", || {
        let session = cluster.client("/mcp/counter").initialize();
        (session.whoami("whoami").name == "a").then_some(())
    });
}

#[test]
fn without_a_gateway_there_is_nothing_to_take_over_and_the_port_has_to_be_fixed() {
    let mut gateway = standalone();
    gateway.kill9();
    gateway.spawn_next();
    gateway.wait_for_log("nothing to take over");
    gateway.client("/mcp/counter").initialize().count("count");
    let unfixed = mooring_tests::Setup::new(&settings::standalone(json!({})));
    let output = unfixed.env("PORT", "0").arg("--take-over").refused();
    assert!(String::from_utf8_lossy(&output.stderr).contains("fixed port"));
}

#[test]
fn the_socket_is_the_users_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let gateway = standalone();
    let socket = gateway.data_folder().join(format!("hand-over-{}", gateway.port()));
    let mode = eventually("it is there", || std::fs::metadata(&socket).ok()).permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Who says nothing, or something else, gets nothing.
    for said in [&b""[..], b"GET / HTTP/1.1\r\n\r\n"] {
        use std::io::{Read as _, Write as _};
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream.write_all(said).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty());
    }
    gateway.client("/mcp/counter").initialize().count("count");
}

#[test]
fn two_next_processes_at_once_take_over_one_after_the_other() {
    let mut gateway = standalone();
    let session = gateway.client("/mcp/clock").initialize();
    let (mut stream, id) = session.start("sleep", json!({"ms": 2500}), json!({}));
    wait_until_sleeping(&session);
    // Both wait in line until the call is over.
    let mut next = [gateway.start_next(), gateway.start_next()];
    stream.message(|message| message["id"] == id);
    let over = eventually("one of them was taken over", || {
        next.iter_mut().position(|child| child.try_wait().unwrap().is_some())
    });
    let [one, other] = next;
    let (middle, last) = if over == 0 { (one, other) } else { (other, one) };
    wait_for_end(middle);
    wait_for_end(gateway.goes_on_as(last));
    assert_eq!(gateway.client("/mcp/counter").initialize().count("count"), 1);
}

#[test]
fn whoever_waits_for_a_gateway_that_dies_or_ends_starts_in_its_place() {
    for (signal, is_well) in [(Signal::KILL, false), (Signal::TERM, true)] {
        let mut gateway = standalone();
        let session = gateway.client("/mcp/clock").initialize();
        let (_stream, _) = session.start("sleep", json!({"ms": 2500}), json!({}));
        wait_until_sleeping(&session);
        let next = gateway.start_next();
        gateway.wait_for_log("another process takes over as soon as");
        gateway.signal(signal);
        let mut before = gateway.goes_on_as(next);
        let status = eventually("the process of before ends", || before.try_wait().unwrap());
        assert_eq!(status.success(), is_well, "{signal:?}: {status}");
        eventually("the next one serves", || {
            std::net::TcpStream::connect(gateway.address()).ok().map(drop)
        });
        let counted = gateway.client("/mcp/counter").initialize().count("count");
        assert_eq!(counted, 1, "{signal:?}");
    }
}
