//! Sessions of HTTP+SSE whose streams were at a coordinator that is gone, while others go on: they end
//! at their nodes, unless their clients have come back.

use std::time::Duration;

use mooring_tests::over_sse::OverSse;
use mooring_tests::{Gateway, Pair, Setup, process, servers, settings, within};
use rustix::process::Signal;
use serde_json::{Value, json};

const PATHS: [(&str, &str); 2] = [("/sse/counter", ""), ("/sse", "counter-")];
/// A coordinator counts as gone after the shortest lease of its streams, 10 s.
const GONE: Duration = Duration::from_secs(40);

fn fast() -> Value {
    json!({"coordinator": {"nodeTimeout": 1500}})
}

fn pid(session: &mut OverSse, prefix: &str) -> u32 {
    session.pid(&format!("{prefix}whoami"))
}

fn count(session: &mut OverSse, prefix: &str) -> i64 {
    session.call(&format!("{prefix}count"), json!({}))["value"].as_i64().expect("a count")
}

#[track_caller]
fn wait_until_gone(pids: &[u32]) {
    within(GONE, "the servers of the streams that are gone have ended", || {
        pids.iter().all(|pid| !process::runs(*pid)).then_some(())
    });
}

#[test]
fn they_end_at_their_nodes_and_no_others_do() {
    let Some(mut pair) = Pair::start("streams of a dead coordinator", &fast()) else { return };
    let addresses = [0, 1].map(|at| pair.coordinators[at].address());
    let open = |at: usize| {
        PATHS.map(|(path, prefix)| {
            let mut session = OverSse::initialize(addresses[at], path);
            assert_eq!(count(&mut session, prefix), 1);
            let pid = pid(&mut session, prefix);
            (session, prefix, pid)
        })
    };
    let left = open(0);
    let mut back = open(0);
    let mut others = open(1);
    // Sessions of Streamable HTTP are of no stream.
    let client = pair.client(0, "/mcp/counter").initialize();
    let streamable = client.whoami("whoami").pid;
    pair.coordinators[0].kill9();
    for (session, ..) in &mut back {
        session.come_back_at(addresses[1]);
    }
    wait_until_gone(&left.each_ref().map(|(_, _, pid)| *pid));
    for (session, prefix, before) in back.iter_mut().chain(&mut others) {
        assert_eq!((count(session, prefix), pid(session, prefix)), (2, *before), "{prefix}");
    }
    assert!(process::runs(streamable));
    // Those that came back are of the other coordinator's streams now, and end with them.
    pair.coordinators[0].start();
    pair.coordinators[1].kill9();
    wait_until_gone(&back.each_ref().map(|(_, _, pid)| *pid));
    wait_until_gone(&others.each_ref().map(|(_, _, pid)| *pid));
    assert!(process::runs(streamable));
}

#[test]
fn two_coordinators_without_a_store_need_none_for_that() {
    let coordinators = [0, 1].map(|_| Gateway::start_with(&settings::coordinator(fast())));
    let urls: Vec<String> = coordinators.iter().map(Gateway::url).collect();
    let own = json!({"id": "a", "coordinatorUrl": urls});
    let servers = json!({"counter": servers::counter()});
    let node = Setup::new(&settings::roomy(settings::node(0, own, servers))).start();
    for coordinator in &coordinators {
        coordinator.wait_until_discovered(&["counter"]);
    }
    let mut left = OverSse::initialize(coordinators[0].address(), "/sse/counter");
    let mut stays = OverSse::initialize(coordinators[1].address(), "/sse/counter");
    let (gone, kept) = (pid(&mut left, ""), pid(&mut stays, ""));
    coordinators[0].signal(Signal::KILL);
    wait_until_gone(&[gone]);
    assert_eq!((pid(&mut stays, ""), count(&mut stays, "")), (kept, 1));
    drop(node);
}

#[test]
fn a_node_that_stood_still_gives_up_no_stream() {
    let coordinator = Gateway::start_with(&settings::coordinator(fast()));
    let own = json!({"id": "a"});
    let servers = json!({"counter": servers::counter()});
    let node = Gateway::start_with(&settings::node(coordinator.port(), own, servers));
    coordinator.wait_until_discovered(&["counter"]);
    let mut session = OverSse::initialize(coordinator.address(), "/sse/counter");
    let before = pid(&mut session, "");
    node.signal(Signal::STOP);
    // Longer than the lease of its streams.
    std::thread::sleep(Duration::from_secs(12));
    node.signal(Signal::CONT);
    within(Duration::from_secs(20), "the node is back", || {
        let nodes = coordinator.data("/api/cluster/nodes?active=true");
        (nodes.as_array()?.len() == 1).then_some(())
    });
    assert!(process::runs(before));
    assert_eq!((count(&mut session, ""), pid(&mut session, "")), (1, before));
}
