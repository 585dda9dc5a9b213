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

/// Within a user namespace it would be root of its own, and still may become nobody else.
#[test]
fn a_gateway_that_hides_files_in_a_user_namespace_starts_no_server_of_another_user() {
    if !is_root() {
        eprintln!("skipped: only root can start a gateway of another user");
        return;
    }
    for user in [json!(12345), json!("23456:12345"), json!("12345:23456"), json!(0)] {
        let server = json!({"command": "sleep", "args": ["1000"], "user": user});
        let setup = Setup::new(&settings::standalone(json!({"odd": server}))).user(23456);
        let gateway = setup.start();
        let line = gateway.wait_for_log("cannot start");
        assert!(line.contains("may not switch to user"), "{user}: {line}");
        assert!(line.contains("run the gateway as root"), "{user}: {line}");
    }
}

/// Becomes root of a user namespace that has the users below 30000. Only a process outside may
/// write down which these are.
const IN_A_NAMESPACE: &str = r#"
import ctypes, os, sys
own, (told, tells) = os.getpid(), os.pipe()
outside = os.fork()
if outside == 0:
    os.close(tells)
    os.read(told, 1)
    for kind in ("uid_map", "gid_map"):
        with open(f"/proc/{own}/{kind}", "w") as file:
            file.write("0 0 30000")
    os._exit(0)
if ctypes.CDLL(None).unshare(0x10000000):
    sys.exit("no user namespace")
os.write(tells, b"x")
if os.waitpid(outside, 0)[1]:
    sys.exit("no users")
os.execv(sys.argv[1], sys.argv[1:])
"#;

/// Root of a user namespace, as in a container without privileges, where only some users are.
#[test]
fn root_of_a_user_namespace_starts_servers_of_the_users_that_it_has() {
    let within = ["/usr/bin/python3", "-c", IN_A_NAMESPACE];
    let tried = std::process::Command::new(within[0]).args(&within[1..]).arg("/bin/true").status();
    if !is_root() || !tried.is_ok_and(|status| status.success()) {
        eprintln!("skipped: only root, with Python, can make a user namespace with several users");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let seen = folder.path().join("seen");
    let script = folder.path().join("look.sh");
    let text = "{ id -u; cat mcp_settings.json; cat data/*; } >$1.draft 2>/dev/null; \
                mv $1.draft $1; exec sleep 1000";
    std::fs::write(&script, text).unwrap();
    let look = |user: Value| json!({"command": "sh", "args": [script, seen], "user": user});
    let servers = json!({"there": look(json!(12345)), "unmapped": look(json!(40_000))});
    let gateway = Setup::new(&settings::standalone(servers)).within(&within).start();
    let said = eventually("it has looked", || std::fs::read_to_string(&seen).ok());
    assert_eq!(said, "12345\n", "its user, and nothing of the gateway's");
    let line = gateway.wait_for_log("cannot start");
    assert!(line.contains("unmapped"), "{line}");
    assert!(line.contains("may not switch to user 40000:40000"), "{line}");
    assert!(line.contains("user namespace"), "{line}");
}

#[test]
fn root_without_the_right_to_change_users_says_so() {
    let within = ["setpriv", "--bounding-set=-setuid,-setgid"];
    let tried = std::process::Command::new(within[0]).args(&within[1..]).arg("/bin/true").status();
    if !is_root() || !tried.is_ok_and(|status| status.success()) {
        eprintln!("skipped: only root, with setpriv, can give up the right to change users");
        return;
    }
    let server = json!({"command": "sleep", "args": ["1000"], "user": 12345});
    let setup = Setup::new(&settings::standalone(json!({"odd": server}))).within(&within);
    let line = setup.start().wait_for_log("cannot start");
    assert!(line.contains("may not switch to user 12345:12345"), "{line}");
    assert!(line.contains("SETUID"), "{line}");
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
