//! Where control groups are delegated, nothing of a server is left even if supervisor and reapers
//! are killed together.

use mooring_tests::{Gateway, eventually, process, settings};
use rustix::process::Signal;
use serde_json::json;

/// A server that leaves a daemon behind, which neither the kernel nor its own reaper ends once that
/// reaper is dead.
fn daemonic(mark: &str) -> Gateway {
    let script = "setsid -f sh -c 'trap \"\" TERM HUP; sleep 1000; true' </dev/null >/dev/null 2>&1; \
                  exec mooring-example-counter";
    let server = json!({"command": "sh", "args": ["-c", script], "env": {"MARK": mark}});
    Gateway::start_with(&settings::standalone(json!({"daemonic": server})))
}

fn group_of(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default()
}

/// The supervisor and its reapers.
fn helpers(gateway: u32) -> Vec<u32> {
    let servers = process::servers(gateway);
    process::descendants(gateway).into_iter().filter(|pid| !servers.contains(pid)).collect()
}

/// The marked processes once all run; `None` if they are in no group of their own.
#[track_caller]
fn grouped(gateway: &Gateway, mark: &str) -> Option<Vec<u32>> {
    let session = gateway.client("/mcp/daemonic").initialize();
    let pid = session.whoami("whoami").pid;
    let marked = eventually("the daemon runs", || {
        Some(process::with_variable("MARK", mark)).filter(|all| all.len() >= 3)
    });
    if group_of(pid).contains("mooring-servers-") {
        return Some(marked);
    }
    eprintln!("skipped: no control groups are delegated to the gateway here");
    None
}

fn mark() -> String {
    format!("group-{}-{:?}", std::process::id(), std::thread::current().id())
}

#[track_caller]
fn all_end(marked: &[u32]) {
    eventually("nothing is left", || process::survivors(marked).is_empty().then_some(()));
}

#[test]
fn nothing_is_left_when_supervisor_and_reapers_are_killed_together() {
    let mark = mark();
    let gateway = daemonic(&mark);
    let Some(marked) = grouped(&gateway, &mark) else { return };
    let helpers = helpers(gateway.pid());
    // Stopped first, so that none of them sees the others die.
    helpers.iter().for_each(|pid| process::signal(*pid, Signal::STOP));
    helpers.iter().for_each(|pid| process::signal(*pid, Signal::KILL));
    all_end(&marked);
}

#[test]
fn the_next_gateway_ends_what_is_left_when_all_are_killed_together() {
    let mark = mark();
    let mut gateway = daemonic(&mark);
    let Some(marked) = grouped(&gateway, &mark) else { return };
    let helpers = helpers(gateway.pid());
    let bystander = daemonic(&format!("{mark}-bystander"));
    let session = bystander.client("/mcp/daemonic").initialize();
    assert_eq!(session.count("count"), 1);
    helpers.iter().for_each(|pid| process::signal(*pid, Signal::STOP));
    gateway.kill9();
    helpers.iter().for_each(|pid| process::signal(*pid, Signal::KILL));
    gateway.start();
    all_end(&marked);
    // The groups of a gateway that lives are left alone.
    assert_eq!(session.count("count"), 2);
}
