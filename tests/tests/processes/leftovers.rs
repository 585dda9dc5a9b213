//! No process that was started for a session is left, whatever it does and however it ends.
//!
//! Every server process has an environment variable that no other process on the machine has, and
//! everything that it starts inherits it, in other sessions and process groups too.

use std::path::Path;

use mooring_tests::{Gateway, eventually, process, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

use mooring_tests::borrowed;

const MARK: &str = "MOORING_TEST_MARK";

/// A kind of server, and the least number of processes that one of its sessions has.
struct Kind {
    name: &'static str,
    server: Value,
    processes: usize,
}

fn shell(name: &'static str, script: &str, processes: usize) -> Kind {
    Kind { name, server: json!({"command": "sh", "args": ["-c", script]}), processes }
}

/// Servers that leave processes behind, or try to.
fn kinds() -> Vec<Kind> {
    vec![
        Kind { name: "plain", server: json!({"command": "mooring-example-counter"}), processes: 1 },
        shell("wrapped", "mooring-example-counter; true", 2),
        shell("background", "sleep 1000 & exec mooring-example-counter", 2),
        shell(
            "stubborn",
            "trap '' TERM HUP INT; mooring-example-counter; while :; do sleep 1; done",
            2,
        ),
        shell(
            "daemon",
            "setsid -f sh -c 'trap \"\" TERM HUP; sleep 1000 & sleep 1000; true' \
             </dev/null >/dev/null 2>&1; exec mooring-example-counter",
            4,
        ),
        // Each process of the chain ends soon after it has started the next one.
        shell(
            "breeding",
            "setsid -f sh -c 'next() { sleep 0.01; next & }; next' </dev/null >/dev/null 2>&1; \
             exec mooring-example-counter",
            2,
        ),
        shell("stopped", "sh -c 'kill -STOP $$' & exec mooring-example-counter", 2),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Delete,
    Idle,
    Sigterm,
    KillGateway,
    KillSupervisor,
    KillReapers,
    /// The servers themselves, and nothing that they started.
    KillServers,
    /// They reach `maxLifetimeMs`.
    Lifetime,
    /// They use more than `maxMemory`.
    Memory,
    /// They do not answer `initialize` in time.
    StartTimeout,
}

/// The ends that need no cooperation of the server.
const ENDS: [End; 8] = [
    End::Delete,
    End::Idle,
    End::Sigterm,
    End::KillGateway,
    End::KillSupervisor,
    End::KillReapers,
    End::KillServers,
    End::Lifetime,
];
/// `maxMemory` of a server, in bytes.
const MAX_MEMORY: u64 = 40_000_000;

#[test]
fn delete_leaves_nothing() {
    nothing_is_left(End::Delete, &kinds());
}

#[test]
fn idleness_leaves_nothing() {
    nothing_is_left(End::Idle, &kinds());
}

#[test]
fn sigterm_of_the_gateway_leaves_nothing() {
    nothing_is_left(End::Sigterm, &kinds());
}

#[test]
fn kill_9_of_the_gateway_leaves_nothing() {
    nothing_is_left(End::KillGateway, &kinds());
}

#[test]
fn kill_9_of_the_supervisor_leaves_nothing() {
    nothing_is_left(End::KillSupervisor, &kinds());
}

#[test]
fn kill_9_of_the_reapers_leaves_nothing() {
    nothing_is_left(End::KillReapers, &kinds());
}

#[test]
fn kill_9_of_the_servers_leaves_nothing() {
    nothing_is_left(End::KillServers, &kinds());
}

#[test]
fn age_leaves_nothing() {
    nothing_is_left(End::Lifetime, &kinds());
}

#[test]
fn greed_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("grow");
    // A background process grows, so that the server itself keeps its place in the process tree.
    let script = "(until test -e \"$0\"; do sleep 0.05; done; (head -c 60000000 /dev/zero; sleep 1000) | tail) \
                  </dev/null >/dev/null 2>&1 & exec \"$@\"";
    let kinds = kinds().into_iter().map(|mut kind| {
        let command = std::mem::replace(&mut kind.server["command"], "sh".into());
        let args = kind.server["args"].as_array().cloned().unwrap_or_default();
        let first = [json!("-c"), script.into(), file.to_str().unwrap().into(), command];
        kind.server["args"] = first.into_iter().chain(args).collect();
        kind.server["maxMemory"] = MAX_MEMORY.into();
        kind.processes += 1;
        kind
    });
    nothing_is_left_after(End::Memory, &kinds.collect::<Vec<_>>(), &file);
}

#[test]
fn silence_at_the_start_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("be-silent");
    let server =
        format!("$(test -e {} && echo sleep 1000 || echo mooring-example-counter)", file.display());
    let kinds = kinds().into_iter().map(|mut kind| {
        let script = match kind.server["args"][1].as_str() {
            Some(script) => script.replace("mooring-example-counter", &server),
            None => format!("exec {server}"),
        };
        kind.server = json!({"command": "sh", "args": ["-c", script], "startTimeoutMs": 5000});
        kind
    });
    nothing_is_left_after(End::StartTimeout, &kinds.collect::<Vec<_>>(), &file);
}

#[test]
fn npx_leaves_nothing() {
    npx_leaves_nothing_at(&[End::KillGateway]);
}

#[test]
#[ignore = "long: one end is tried at every run"]
fn npx_leaves_nothing_at_any_end() {
    npx_leaves_nothing_at(&ENDS);
}

fn npx_leaves_nothing_at(ends: &[End]) {
    let what = "what npx leaves behind";
    if !borrowed::at_hand(what, &["memory"]) {
        return;
    }
    let Some(npx) = borrowed::on_the_path("npx") else {
        return borrowed::skip(what, "npx is not on the PATH");
    };
    let folder = borrowed::folder().join("npm/memory");
    for end in ends.iter().copied() {
        let server =
            json!({"command": npx, "args": ["--no-install", "mcp-server-memory"], "cwd": folder});
        nothing_is_left(end, &[Kind { name: "npx", server, processes: 2 }]);
    }
}

#[test]
fn uvx_leaves_nothing() {
    uvx_leaves_nothing_at(&[End::KillSupervisor]);
}

#[test]
#[ignore = "long: one end is tried at every run"]
fn uvx_leaves_nothing_at_any_end() {
    uvx_leaves_nothing_at(&ENDS);
}

fn uvx_leaves_nothing_at(ends: &[End]) {
    let what = "what uvx leaves behind";
    let installed = Some(borrowed::folder().join("py/bin/uvx")).filter(|file| file.is_file());
    let Some(uvx) = installed.or_else(|| borrowed::on_the_path("uvx")) else {
        return borrowed::skip(what, "uvx is not installed");
    };
    let args = ["--offline", "mcp-server-time"];
    let tried = std::process::Command::new(&uvx).args(args).arg("--help").output();
    if !tried.is_ok_and(|output| output.status.success()) {
        return borrowed::skip(what, "uvx has no mcp-server-time in its cache");
    }
    for end in ends.iter().copied() {
        let server = json!({"command": uvx, "args": args});
        nothing_is_left(end, &[Kind { name: "uvx", server, processes: 2 }]);
    }
}

#[test]
fn another_supervisor_is_started_and_sessions_go_on() {
    let gateway = Gateway::start_with(&settings::standalone(json!({
        "counter": {"command": "mooring-example-counter"},
    })));
    let session = gateway.client("/mcp/counter").initialize();
    for _ in 0..3 {
        assert_eq!(session.count("count"), 1, "a new process counts anew");
        let (before, server) = (supervisor(&gateway), session.whoami("whoami").pid);
        process::signal(before, Signal::KILL);
        eventually("the server is gone", || (!process::runs(server)).then_some(()));
        eventually("another supervisor runs", || {
            children_named(gateway.pid(), "--supervise-children").pop()
        });
    }
    gateway.wait_for_log("the supervisor of the server processes has died");
}

#[test]
fn a_terminals_signals_do_not_reach_supervisor_and_servers() {
    let gateway = Gateway::start_with(&settings::standalone(json!({
        "counter": {"command": "mooring-example-counter"},
    })));
    let session = gateway.client("/mcp/counter").initialize();
    session.count("count");
    let (supervisor, server) = (supervisor(&gateway), session.whoami("whoami").pid);
    // The reaper of the discovery process may still be ending.
    let is_its_parent = |reaper: &u32| process::children(*reaper).contains(&server);
    let reaper = process::children(supervisor).into_iter().find(is_its_parent).expect("a reaper");
    let helpers = vec![supervisor, reaper];
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::PIPE] {
        helpers.iter().for_each(|pid| process::signal(*pid, signal));
    }
    assert_eq!(session.count("count"), 2);
    assert_eq!(process::survivors(&helpers), helpers);
}

/// No descriptor of the gateway, the supervisor or a reaper reaches a server.
#[test]
fn a_server_has_its_three_pipes_and_nothing_else() {
    let gateway = Gateway::start_with(&settings::standalone(json!({
        "counter": {"command": "mooring-example-counter"},
    })));
    // With two sessions, descriptors of the first are open when the second starts.
    let sessions = [0, 1].map(|_| gateway.client("/mcp/counter").initialize());
    for session in &sessions {
        let pid = session.whoami("whoami").pid;
        let mut open: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        open.sort();
        assert_eq!(open, ["0", "1", "2"]);
    }
}

/// Opens a session of every kind, ends them, and waits until no process of them is left.
#[track_caller]
fn nothing_is_left(end: End, kinds: &[Kind]) {
    nothing_is_left_after(end, kinds, Path::new(""));
}

/// The same for servers that misbehave once the file `sign` exists.
#[track_caller]
fn nothing_is_left_after(end: End, kinds: &[Kind], sign: &Path) {
    let folder = tempfile::tempdir().unwrap();
    // Unique on this machine as long as the folder exists.
    let run = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
    let mark = |kind: &Kind| format!("{run}-{}", kind.name);
    let mut servers = json!({});
    for kind in kinds {
        servers[kind.name] = kind.server.clone();
        servers[kind.name]["env"][MARK] = mark(kind).into();
        if end == End::Lifetime {
            servers[kind.name]["maxLifetimeMs"] = 3000.into();
        }
    }
    let mut settings = settings::standalone(servers);
    // All of them must run at the same time.
    settings["systemConfig"]["limits"]["simultaneousStarts"] = kinds.len().into();
    if end == End::Idle {
        let idle = json!({"coordinator": {"cleanupInterval": 100, "stickySessionTimeout": 3000}});
        settings = settings::merged(settings::coordinator(idle), settings);
    }
    let mut gateway = Gateway::start_with(&settings);
    let started = |kind: &Kind| {
        eventually(&format!("{} has started all its processes", kind.name), || {
            let pids = process::with_variable(MARK, &mark(kind));
            let stopped =
                kind.name != "stopped" || pids.iter().any(|pid| process::is_stopped(*pid));
            (pids.len() >= kind.processes && stopped).then_some(())
        });
    };
    let open = |kind: &Kind| {
        let session = gateway.client(&format!("/mcp/{}", kind.name)).initialize();
        session.request("tools/list", json!({}));
        started(kind);
        session
    };
    let begin = |kind: &Kind| {
        let client = gateway.client(&format!("/mcp/{}", kind.name));
        std::thread::spawn(move || client.try_initialize())
    };
    let sessions: Vec<_> = if end == End::StartTimeout {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
        gateway.wait_until_discovered(&names);
        std::fs::write(sign, "").unwrap();
        let begun: Vec<_> = kinds.iter().map(begin).collect();
        kinds.iter().for_each(started);
        for one in begun {
            let says = one.join().unwrap().error_message();
            assert!(says.contains("startTimeoutMs"), "{says}");
        }
        Vec::new()
    } else {
        kinds.iter().map(open).collect()
    };
    let helpers = process::descendants(gateway.pid());
    match end {
        End::Delete => sessions.iter().for_each(|session| drop(session.delete().expect(200))),
        End::Idle | End::Lifetime | End::StartTimeout => {}
        End::Memory => std::fs::write(sign, "").unwrap(),
        End::Sigterm => assert!(gateway.terminate().success()),
        End::KillGateway => gateway.kill9(),
        End::KillSupervisor => process::signal(supervisor(&gateway), Signal::KILL),
        End::KillReapers => {
            for reaper in process::children(supervisor(&gateway)) {
                process::signal(reaper, Signal::KILL);
            }
        }
        End::KillServers => {
            for reaper in process::children(supervisor(&gateway)) {
                for server in process::children(reaper) {
                    process::signal(server, Signal::KILL);
                }
            }
        }
    }
    for kind in kinds {
        eventually(&format!("after {end:?} nothing is left of {}", kind.name), || {
            process::with_variable(MARK, &mark(kind)).is_empty().then_some(())
        });
    }
    if matches!(end, End::Sigterm | End::KillGateway) {
        eventually("supervisor and reapers are gone too", || {
            process::survivors(&helpers).is_empty().then_some(())
        });
    }
}

#[track_caller]
fn supervisor(gateway: &Gateway) -> u32 {
    let found = children_named(gateway.pid(), "--supervise-children");
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

fn children_named(pid: u32, part: &str) -> Vec<u32> {
    let named = |pid: &u32| process::command_line(*pid).contains(part);
    process::children(pid).into_iter().filter(named).collect()
}
