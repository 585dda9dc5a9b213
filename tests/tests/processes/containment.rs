//! A server runs with the limits and the user of its entry, and otherwise in a clean state.

use std::os::unix::fs::PermissionsExt;

use mooring_tests::{Gateway, Setup, eventually, settings};
use serde_json::{Value, json};

/// What a server with this entry reads from `/proc/self`, and its user and groups.
#[track_caller]
fn seen(entry: Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    // A server that runs as another user must be able to write here.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let dump = folder.path().join("seen");
    let looks = "cat /proc/self/limits /proc/self/status; echo ids `id -u` `id -g` `id -G`";
    let script = format!("{{ {looks}; }} >{0}.draft; mv {0}.draft {0}", dump.display());
    let server = json!({"command": "sh", "args": ["-c", script]});
    let servers = json!({"odd": settings::merged(server, entry)});
    let _gateway = Gateway::start_with(&settings::standalone(servers));
    eventually("the server says what it sees", || std::fs::read_to_string(&dump).ok())
}

/// The soft and the hard limit.
#[track_caller]
fn limit<'s>(seen: &'s str, name: &str) -> (&'s str, &'s str) {
    let line = seen.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    let mut fields = line.split_whitespace();
    (fields.next().unwrap(), fields.next().unwrap())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn limits_are_those_of_the_entry() {
    let limits =
        json!({"memory": 4_000_000_000_u64, "files": 65, "processes": 3000, "cpuSeconds": 50});
    let seen = seen(json!({"rlimits": limits}));
    assert_eq!(limit(&seen, "Max address space"), ("4000000000", "4000000000"));
    assert_eq!(limit(&seen, "Max open files"), ("65", "65"));
    assert_eq!(limit(&seen, "Max processes"), ("3000", "3000"));
    assert_eq!(limit(&seen, "Max cpu time"), ("50", "50"));
}

#[test]
fn without_limits_only_core_dumps_are_off() {
    let (seen, own) = (seen(json!({})), std::fs::read_to_string("/proc/self/limits").unwrap());
    assert_eq!(limit(&seen, "Max core file size"), ("0", "0"));
    for name in ["Max address space", "Max processes", "Max cpu time"] {
        assert_eq!(limit(&seen, name), limit(&own, name), "{name}");
    }
}

#[test]
fn no_signal_is_blocked_or_ignored() {
    let seen = seen(json!({}));
    for set in ["SigBlk:\t", "SigIgn:\t"] {
        let line = seen.lines().find_map(|line| line.strip_prefix(set)).unwrap();
        assert_eq!(line, "0000000000000000", "{set}");
    }
}

#[test]
fn a_server_runs_as_the_user_of_its_entry() {
    if is_root() {
        let seen = seen(json!({"user": "12345:23456"}));
        assert!(seen.contains("ids 12345 23456 23456\n"), "{seen}");
    } else {
        refused(json!({"user": 12345}), "may not switch to user 12345:12345; run the gateway");
    }
}

#[test]
fn a_limit_that_is_too_high_says_so() {
    // No limit is too high for root.
    if !is_root() {
        let too_many = json!({"rlimits": {"files": 1_000_000_000}});
        refused(too_many, "above the gateway's own limit");
    }
}

#[test]
fn what_cannot_be_started_says_why() {
    refused(json!({"command": "mooring-no-such-program"}), "no such program; give its full path");
    refused(json!({"cwd": "/mooring/nowhere"}), "its working directory does not exist");
    refused(json!({"command": "/"}), "Permission denied");
}

#[track_caller]
fn refused(entry: Value, why: &str) {
    let server = settings::merged(json!({"command": "sleep", "args": ["1000"]}), entry);
    let gateway = Setup::new(&settings::standalone(json!({"odd": server}))).start();
    let line = gateway.wait_for_log("cannot start");
    assert!(line.contains(why), "{line}");
}
