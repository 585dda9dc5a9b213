//! A gateway that crashes leaves no core dump, and no process of its user reads its memory: both hold
//! every secret. What `MOORING_DUMPABLE=1` opens shows that the tests would see it.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use mooring_tests::{Gateway, Setup, borrowed, eventually, process, servers, settings};
use rustix::process::Signal;
use serde_json::json;

const KEY: &str = "canary-key-0123456789abcdef";
const SECRET: &str = "canary-sealing-0123456789abcdef";
const UPSTREAM: &str = "canary-upstream-0123456789abcdef";

fn setup(env: &[(&str, &str)]) -> Setup {
    let servers = json!({
        "counter": settings::merged(servers::counter(), json!({"env": {"TOKEN": UPSTREAM}})),
    });
    let settings = settings::merged(
        settings::standalone(servers),
        json!({"bearerKeys": [{"name": "boss", "token": KEY, "accessType": "all"}]}),
    );
    let setup = Setup::new(&settings).env("MOORING_SECRET", SECRET);
    env.iter().fold(setup, |setup, (name, value)| setup.env(name, value))
}

/// The words that let a process dump as much as it wants. `None` where that may not be allowed.
fn unlimited(what: &str) -> Option<[&'static str; 2]> {
    let words = ["prlimit", "--core=unlimited:unlimited"];
    if borrowed::on_the_path(words[0]).is_none() {
        borrowed::skip(what, "prlimit is not installed");
        return None;
    }
    if !Command::new(words[0])
        .args([words[1], "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        borrowed::skip(what, "the limit of core dumps cannot be raised here");
        return None;
    }
    Some(words)
}

/// Lets it use all of its secrets, so that they are in its memory.
fn call(gateway: &Gateway) {
    let client = gateway.client("/mcp/counter").header("Authorization", &format!("Bearer {KEY}"));
    let session = eventually("the server is there", || {
        (client.try_initialize().status == 200).then(|| client.initialize())
    });
    assert_eq!(session.count("count"), 1);
}

/// Files that the system may have written a core into.
fn cores(gateway: &Gateway) -> Vec<PathBuf> {
    let files = std::fs::read_dir(gateway.folder()).unwrap().flatten().map(|entry| entry.path());
    let is_core = |file: &PathBuf| {
        file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core"))
    };
    files.filter(is_core).collect()
}

/// By grep, since a core has holes of more than a gigabyte.
fn holds(file: &Path, secret: &str) -> bool {
    let words = ["--quiet", "--text", "--fixed-strings", secret];
    Command::new("grep").args(words).arg(file).status().unwrap().success()
}

/// Crashes a gateway that has used its secrets. Returns whether the system dumped its core.
fn dumps(words: &[&str], env: &[(&str, &str)]) -> (bool, Gateway) {
    let mut gateway = setup(env).within(words).start();
    call(&gateway);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert!(line.contains("unlimited"), "{line}");
    let status = gateway.end_by(Signal::ABORT);
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}");
    (status.core_dumped(), gateway)
}

#[test]
fn a_gateway_that_crashes_leaves_no_core() {
    let what = "core dumps of a gateway";
    let Some(words) = unlimited(what) else { return };
    let (is_dumped, gateway) = dumps(&words, &[]);
    assert!(!is_dumped, "the system says that it has dumped core");
    assert_eq!(cores(&gateway), [""; 0].map(PathBuf::from));

    let (is_dumped, gateway) = dumps(&words, &[("MOORING_DUMPABLE", "1")]);
    if !is_dumped {
        borrowed::skip(what, "this system dumps no core of any process");
        return;
    }
    // Elsewhere the system hands it to a program.
    if let Some(core) = cores(&gateway).first() {
        for secret in [KEY, SECRET, UPSTREAM] {
            assert!(holds(core, secret), "{secret} is not in a core, so nothing was to be hidden");
        }
    }
}

/// The process that starts the servers has their variables, and the environment of the gateway.
#[test]
fn neither_it_nor_its_supervisor_can_be_read_by_another_process_of_its_user() {
    const USER: u32 = 23_456;
    let what = "reading a gateway by a process of its user";
    if !rustix::process::geteuid().is_root() {
        borrowed::skip(what, "only root can start a gateway of another user");
        return;
    }
    if borrowed::on_the_path("setpriv").is_none() {
        borrowed::skip(what, "setpriv is not installed");
        return;
    }
    let reads = |pid: u32, file: &str| {
        let output = Command::new("setpriv")
            .args([format!("--reuid={USER}"), format!("--regid={USER}")])
            .args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all"])
            .args(["head", "-c", "1", &format!("/proc/{pid}/{file}")])
            .output()
            .unwrap();
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        // Nothing is mapped at the start of any memory; who may open it is told that.
        !output.stdout.is_empty() || says.contains("Input/output error")
    };
    let files = ["mem", "environ", "maps", "auxv"];
    let gateway = setup(&[]).user(USER).start();
    call(&gateway);
    let supervisors = process::supervisors(gateway.pid());
    assert_eq!(supervisors.len(), 1, "{supervisors:?}");
    for pid in [gateway.pid(), supervisors[0]] {
        for file in files {
            assert!(!reads(pid, file), "{file} of {}", process::command_line(pid));
        }
    }
    let open = setup(&[("MOORING_DUMPABLE", "1")]).user(USER).start();
    for file in ["environ", "maps", "auxv"] {
        assert!(reads(open.pid(), file), "{file} of one that may be debugged");
    }
}
