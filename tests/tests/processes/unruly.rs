//! A server that floods, sends nonsense, falls silent or closes a pipe affects only itself.

use std::time::{Duration, Instant};

use mooring_tests::{Gateway, eventually, process, servers, settings};
use serde_json::{Value, json};

/// Far below any timeout of the unruly server.
const AT_ONCE: Duration = Duration::from_secs(10);

fn shell(script: &str) -> Value {
    json!({"command": "sh", "args": ["-c", script], "startTimeoutMs": 3000})
}

/// A gateway with a well-behaved server, and one that runs this script.
fn beside(script: &str) -> Gateway {
    Gateway::start_with(&settings::merged(
        settings::standalone(json!({"good": servers::counter(), "unruly": shell(script)})),
        json!({"systemConfig": {"limits": {"line": 1 << 20}}}),
    ))
}

/// Opens the unruly server, with any outcome, and checks that the other one is served meanwhile.
#[track_caller]
fn the_other_is_served(gateway: &Gateway) {
    std::thread::scope(|scope| {
        let unruly = scope.spawn(|| gateway.client("/mcp/unruly").try_initialize().status);
        for _ in 0..5 {
            let began = Instant::now();
            let session = gateway.client("/mcp/good").initialize();
            assert_eq!(session.count("count"), 1);
            session.delete().expect(200);
            assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        }
        unruly.join().unwrap();
    });
}

/// Resident memory of the gateway itself, in bytes.
fn memory(gateway: &Gateway) -> u64 {
    process::memory(gateway.pid()).expect("it runs")
}

#[test]
fn a_flood_on_stderr_is_read_and_the_server_works() {
    let gateway = beside("yes noise >&2 & exec mooring-example-counter");
    let session = gateway.client("/mcp/unruly").initialize();
    for expected in 1..=20 {
        assert_eq!(session.count("count"), expected);
    }
    the_other_is_served(&gateway);
    assert!(gateway.log().len() < 1 << 20, "a flood must not reach the log");
}

#[test]
fn a_flood_on_stdout_stops_nobody_else() {
    let gateway = beside("yes garbage");
    let before = memory(&gateway);
    the_other_is_served(&gateway);
    assert!(memory(&gateway) < before + (64 << 20), "what is no message is not kept");
}

#[test]
fn a_line_without_end_is_not_kept() {
    let gateway = beside("head -c 100000000 /dev/zero | tr '\\0' x; exec sleep 1000");
    let before = memory(&gateway);
    the_other_is_served(&gateway);
    assert!(memory(&gateway) < before + (64 << 20), "limits.line is 1 MiB");
}

#[test]
fn a_line_that_is_too_long_fails_what_waits_and_the_next_is_read() {
    let gateway = beside(
        "read line; head -c 2000000 /dev/zero | tr '\\0' x; echo; exec mooring-example-counter",
    );
    let says = gateway.client("/mcp/unruly").try_initialize().error_message();
    assert!(says.contains("1048576 bytes"), "{says}");
    the_other_is_served(&gateway);
}

#[test]
fn half_a_line_and_then_nothing_is_given_up() {
    let gateway = beside("printf '{\"jsonrpc\"'; exec sleep 1000");
    the_other_is_served(&gateway);
    let says = gateway.client("/mcp/unruly").try_initialize().error_message();
    assert!(says.contains("unruly"), "{says}");
}

#[test]
fn who_closes_one_pipe_is_ended() {
    for script in ["exec 1>&-; sleep 1000", "exec 0<&-; sleep 1000"] {
        let gateway = beside(script);
        // Listing its tools starts it again, so only the first processes count.
        let first = eventually(&format!("{script:?} runs"), || {
            let mut running = process::servers(gateway.pid());
            running.retain(|pid| process::command_line(*pid).contains("sleep"));
            (!running.is_empty()).then_some(running)
        });
        the_other_is_served(&gateway);
        eventually(&format!("nothing is left of {script:?}"), || {
            process::survivors(&first).is_empty().then_some(())
        });
    }
}

#[test]
fn who_stops_reading_makes_its_own_clients_wait() {
    // It answers `initialize` and reads nothing afterwards.
    let answer = json!({
        "jsonrpc": "2.0", "id": 1,
        "result": {
            "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
            "serverInfo": {"name": "deaf", "version": "1"},
        },
    });
    let gateway = beside(&format!("read line; echo '{answer}'; exec sleep 1000"));
    let session = gateway.client("/mcp/unruly").initialize();
    let text = "x".repeat(200_000);
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let params = json!({"name": "any", "arguments": {"text": text}});
                scope.spawn(|| session.try_request("tools/call", params).status)
            })
            .collect();
        the_other_is_served(&gateway);
        session.delete().expect(200);
        for call in calls {
            call.join().unwrap();
        }
    });
}

#[test]
fn a_server_that_stops_its_reaper_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("pids");
    let script = folder.path().join("server.sh");
    let text = "echo $$ $PPID >>\"$1\"; kill -STOP $PPID; exec sleep 1000";
    std::fs::write(&script, text).unwrap();
    let unruly = json!({"command": "sh", "args": [script, out], "startTimeoutMs": 60_000});
    let gateway = Gateway::start_with(&settings::standalone(json!({"unruly": unruly})));
    let pids = eventually("it has started", || {
        let text = std::fs::read_to_string(&out).ok()?;
        let (first, _) = text.split_once('\n')?;
        Some(first.split(' ').map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>())
    });
    eventually("both are gone", || process::survivors(&pids).is_empty().then_some(()));
    assert!(process::runs(gateway.pid()));
}
