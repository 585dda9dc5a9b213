//! Hundreds of processes on one gateway: each session has its own, and none is left over.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mooring_tests::{Gateway, Session, process, servers, settings, within};
use serde_json::{Value, json};

use mooring_tests::borrowed;

/// Clients that work in parallel.
const CLIENTS: usize = 4;

/// Memory, in bytes, that a gateway may keep after hundreds of sessions have ended. It remembers a
/// few hundred bytes of each, so that an ended session cannot be resumed. The rest is its peak use,
/// about 40 KiB for each process, which the allocator does not return at once; a second round needs
/// no more than the first.
const KEPT: u64 = 40 << 20;

const MANY: usize = 500;
const REAL: usize = 60;

fn gateway_of(name: &str, server: &Value) -> Gateway {
    let settings = json!({
        "mcpServers": {name: server},
        "systemConfig": {"limits": {
            "childrenPerServer": 1000, "childrenPerNode": 1000, "childrenPerPrincipal": 1000,
        }},
    });
    let gateway = Gateway::start_with(&settings);
    gateway.wait_until_discovered(&[name]);
    wait_for_processes(&gateway, 0);
    gateway
}

#[track_caller]
fn wait_for_processes(gateway: &Gateway, number: usize) {
    within(Duration::from_secs(30), &format!("{number} processes"), || {
        (process::servers(gateway.pid()).len() == number).then_some(())
    });
}

fn open(gateway: &Gateway, path: &str, number: usize) -> Vec<Session> {
    let each = number / CLIENTS;
    std::thread::scope(|scope| {
        let one = || (0..each).map(|_| gateway.client(path).initialize()).collect::<Vec<_>>();
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(one)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// Runs `act` in all sessions, `CLIENTS` at a time.
fn in_each<T: Send>(sessions: &[Session], act: impl Fn(&Session) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let act = &act;
        let parts = sessions.chunks(sessions.len().div_ceil(CLIENTS));
        let parts = parts.map(|part| scope.spawn(move || part.iter().map(act).collect::<Vec<_>>()));
        let parts: Vec<_> = parts.collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

fn end(gateway: &Gateway, sessions: &[Session]) {
    in_each(sessions, |session| drop(session.delete().expect(200)));
    wait_for_processes(gateway, 0);
}

/// The sessions' processes, once each session has its own at the same time.
fn processes(gateway: &Gateway, sessions: &[Session]) -> BTreeSet<u32> {
    within(Duration::from_secs(30), "each session has its process", || {
        let theirs = in_each(sessions, |session| session.whoami("whoami").pid);
        let theirs: BTreeSet<u32> = theirs.into_iter().collect();
        let all: BTreeSet<u32> = process::servers(gateway.pid()).into_iter().collect();
        (theirs.len() == sessions.len() && theirs == all).then_some(theirs)
    })
}

/// Prints how long each step took.
struct Steps(Instant);

impl Steps {
    fn done(&mut self, what: &str) {
        eprintln!("{:.1?} {what}", self.0.elapsed());
        self.0 = Instant::now();
    }
}

#[track_caller]
fn assert_little_is_kept(gateway: &Gateway, before: u64) {
    let after = process::resident(gateway.pid());
    eprintln!("{} KiB before, {} KiB after", before >> 10, after >> 10);
    assert!(after < before + KEPT, "{} MiB more than before", (after - before) >> 20);
}

#[test]
#[ignore = "long: half a thousand that are deleted go at every run"]
fn half_a_thousand_idle_processes_go_and_their_sessions_go_on() {
    let gateway = gateway_of(
        "counter",
        &settings::merged(servers::counter(), json!({"idleTimeoutMs": 2000})),
    );
    let before = process::resident(gateway.pid());
    let mut steps = Steps(Instant::now());
    // The first processes may be gone when the last session is opened.
    let sessions = open(&gateway, "/mcp/counter", MANY);
    in_each(&sessions, |session| session.count("count"));
    steps.done("to open and use them");
    wait_for_processes(&gateway, 0);
    steps.done("until all were gone");
    for session in sessions.iter().step_by(MANY / 50) {
        assert_eq!(session.count("count"), 1, "a new process counts anew");
    }
    steps.done("to go on with some");
    end(&gateway, &sessions);
    steps.done("to end them");
    for session in sessions.iter().step_by(MANY / 50) {
        session.try_request("tools/list", json!({})).expect(404);
    }
    assert_little_is_kept(&gateway, before);
}

#[test]
fn half_a_thousand_sessions_have_a_process_each_until_they_are_ended() {
    let gateway = gateway_of("counter", &servers::counter());
    let before = process::resident(gateway.pid());
    let mut steps = Steps(Instant::now());
    let sessions = open(&gateway, "/mcp/counter", MANY);
    steps.done("to open them");
    for value in 1..=2 {
        let values = in_each(&sessions, |session| session.count("count"));
        assert!(values.iter().all(|came| *came == value), "{values:?}");
    }
    let first = processes(&gateway, &sessions);
    assert_eq!(processes(&gateway, &sessions), first);
    steps.done("to use them");
    eprintln!("{} KiB with all of them", process::resident(gateway.pid()) >> 10);
    end(&gateway, &sessions);
    steps.done("to end them");
    assert_little_is_kept(&gateway, before);
    let before = process::resident(gateway.pid());
    let sessions = open(&gateway, "/mcp/counter", MANY);
    end(&gateway, &sessions);
    steps.done("to begin and end as many again");
    let more = process::resident(gateway.pid()).saturating_sub(before);
    assert!(more < KEPT / 4, "{} MiB more than after the first time", more >> 20);
}

#[test]
fn sixty_of_a_real_server_are_gone_after_their_sessions() {
    if !borrowed::at_hand("sixty of a real server", &["everything"]) {
        return;
    }
    let everything = json!({"command": borrowed::starter("server-everything")});
    let gateway = gateway_of("everything", &everything);
    let before = process::resident(gateway.pid());
    let mut steps = Steps(Instant::now());
    let sessions = open(&gateway, "/mcp/everything", REAL);
    steps.done("to open them");
    in_each(&sessions, |session| {
        let said = session.call("echo", json!({"message": session.id}));
        assert_eq!(said["content"][0]["text"], format!("Echo: {}", session.id));
    });
    assert!(process::servers(gateway.pid()).len() >= REAL);
    steps.done("to use them");
    end(&gateway, &sessions);
    steps.done("to end them");
    assert_little_is_kept(&gateway, before);
}
