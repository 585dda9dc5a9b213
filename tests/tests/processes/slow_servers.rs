//! A server that is dead, hangs or does not exist does not affect the others.

use std::time::{Duration, Instant};

use mooring_tests::{Gateway, eventually, servers, settings};
use serde_json::{Value, json};

/// Time that missing servers may add to a new client's first list.
const UNNOTICED: Duration = Duration::from_millis(300);

/// Far below any timeout of the gateway for a server.
const AT_ONCE: Duration = Duration::from_secs(8);

fn gateway_with(odd: Value) -> Gateway {
    let servers = json!({"odd": odd, "counter": servers::counter(), "notes": servers::notes()});
    Gateway::start_with(&settings::standalone(servers))
}

fn others_are_served(gateway: &Gateway) {
    let start = Instant::now();
    let session = gateway.client("/mcp").initialize();
    // On a busy machine they may answer later than a list waits for.
    eventually("the others' tools are listed", || {
        let tools = session.tools();
        let is_listed = |tool: &str| tools.contains(&tool.to_owned());
        (is_listed("counter-count") && is_listed("notes-add_note")).then_some(())
    });
    assert_eq!(session.count("counter-count"), 1);
    let single = gateway.client("/mcp/counter").initialize();
    assert_eq!(single.count("count"), 1);
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
}

#[test]
fn a_server_that_never_answers_blocks_no_list_and_no_call_of_the_others() {
    let gateway = gateway_with(servers::silent());
    others_are_served(&gateway);
    others_are_served(&gateway);
}

#[test]
fn a_first_call_does_not_wait_for_a_server_that_never_answers() {
    let gateway = gateway_with(servers::silent());
    let session = gateway.client("/mcp").initialize();
    let start = Instant::now();
    assert_eq!(session.count("counter-count"), 1);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn a_server_that_ends_at_once_blocks_nobody() {
    let gateway = gateway_with(json!({"command": "false"}));
    others_are_served(&gateway);
}

#[test]
fn a_command_that_does_not_exist_is_named_and_blocks_nobody() {
    let gateway = gateway_with(servers::missing());
    others_are_served(&gateway);
    let line = gateway.wait_for_log("mooring-no-such-program");
    assert!(line.contains("odd"), "{line}");
    let response = gateway.client("/mcp/odd").try_initialize();
    let says = response.error_message();
    assert!(says.contains("odd") && says.contains("mooring-no-such-program"), "{says}");
    let error = eventually("health names the error", || {
        let health = gateway.get("/health").json();
        let servers = health["servers"].as_array()?.clone();
        let odd = servers.into_iter().find(|server| server["name"] == "odd")?;
        odd["error"].as_str().map(str::to_owned)
    });
    assert!(error.contains("mooring-no-such-program"), "{error}");
}

#[test]
fn a_remote_server_that_is_down_is_named_and_blocks_nobody() {
    let nobody = mooring_tests::Port::reserve();
    let url = format!("http://127.0.0.1:{}/mcp", nobody.number());
    let gateway = gateway_with(json!({"type": "streamable-http", "url": url}));
    others_are_served(&gateway);
    let says = gateway.client("/mcp/odd").try_initialize().error_message();
    assert!(says.contains("odd"), "{says}");
}

#[test]
fn a_server_with_an_unset_variable_is_misconfigured_by_name_and_the_rest_starts() {
    let gateway = gateway_with(json!({
        "command": "mooring-example-counter",
        "env": {"KEY": "${MOORING_TEST_SURELY_UNSET}"},
    }));
    others_are_served(&gateway);
    let says = gateway.client("/mcp/odd").try_initialize().error_message();
    assert!(says.contains("MOORING_TEST_SURELY_UNSET"), "{says}");
}

#[test]
fn a_server_that_says_nonsense_first_still_works() {
    let noisy = json!({
        "command": "sh",
        "args": ["-c", "echo starting up; echo; echo '{broken'; exec mooring-example-counter"],
    });
    let gateway = gateway_with(noisy);
    others_are_served(&gateway);
    assert_eq!(gateway.client("/mcp/odd").initialize().count("count"), 1);
}

#[test]
fn a_server_that_floods_stderr_still_works() {
    let flood =
        "yes 'a line of much too much text' | head -n 5000 >&2; exec mooring-example-counter";
    let gateway = gateway_with(json!({"command": "sh", "args": ["-c", flood]}));
    assert_eq!(gateway.client("/mcp/odd").initialize().count("count"), 1);
}

/// The time until a new client has its list of tools, and the list.
fn first_list(gateway: &Gateway) -> (Duration, Vec<String>) {
    let start = Instant::now();
    let session = gateway.client("/mcp").initialize();
    let tools = session.tools();
    let took = start.elapsed();
    session.delete().expect(200);
    (took, tools)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[test]
fn new_clients_do_not_wait_for_dead_hanging_and_slow_servers_and_are_told_of_the_slow_one() {
    const GOOD: [&str; 3] = ["counter", "notes", "clock"];
    const TRIES: usize = 9;
    let folder = tempfile::tempdir().unwrap();
    let installed = folder.path().join("installed");
    let install = "while ! [ -e \"$0\" ]; do sleep 0.1; done; exec mooring-example-counter";
    let good = json!({
        "counter": servers::counter(), "notes": servers::notes(), "clock": servers::clock(),
    });
    let bad = json!({
        "dead": servers::missing(),
        "hanging": servers::silent(),
        "slow": {"command": "sh", "args": ["-c", install, installed]},
    });
    let alone = Gateway::start_with(&settings::standalone(good.clone()));
    let beside = Gateway::start_with(&settings::standalone(settings::merged(good, bad)));
    let start = Instant::now();
    let [alone_knows, beside_knows] = [&alone, &beside].map(|gateway| {
        gateway.wait_until_discovered(&GOOD);
        first_list(gateway).1
    });
    assert_eq!(alone_knows, beside_knows);

    // Three attempts, since other programs may have slowed one down.
    let is_unnoticed = (0..3).any(|_| {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..TRIES {
            without.push(first_list(&alone).0);
            with.push(first_list(&beside).0);
        }
        let (without, with) = (median(without), median(with));
        eprintln!("initialize and tools/list: {without:.1?} without the bad ones, {with:.1?} with");
        with < without + UNNOTICED
    });
    assert!(is_unnoticed, "three times in a row");

    let session = beside.client("/mcp").initialize();
    let mut stream = session.listen();
    assert_eq!(session.tools(), alone_knows);
    std::thread::sleep(Duration::from_secs(3).saturating_sub(start.elapsed()));
    std::fs::write(&installed, "").unwrap();
    stream.message(|message| message["method"] == "notifications/tools/list_changed");
    let tools = session.tools();
    assert!(tools.contains(&"slow-count".to_owned()), "{tools:?}");
    assert_eq!(tools.len(), alone_knows.len() + 3, "{tools:?}");
    assert_eq!(session.count("slow-count"), 1);
    assert_eq!(session.count("counter-count"), 1);
}
