//! A server in a sandbox reaches what its entry names, and nothing else.

use std::net::TcpListener;
use std::path::Path;

use mooring_tests::{Gateway, Setup, eventually, servers, settings};
use serde_json::{Value, json};

/// Whether the kernel has Landlock in a version that knows TCP.
fn is_supported() -> bool {
    let modules = std::fs::read_to_string("/sys/kernel/security/lsm");
    let is_on = modules.is_ok_and(|all| all.contains("landlock"))
        || !Path::new("/sys/kernel/security/lsm").exists();
    let is_supported = is_on && linux() >= (6, 7);
    if !is_supported {
        eprintln!("skipped: Landlock as of Linux 6.7 is missing or switched off");
    }
    is_supported
}

/// The version of the running kernel.
fn linux() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    (next(), next())
}

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("open/a", "a"), ("closed/b", "b"), ("work/c", "c")] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The words that the script prints within a sandbox around `open` and `work`.
    #[track_caller]
    fn printed(&self, script: &str, network: bool) -> (Gateway, String) {
        let work = self.path("work");
        let whole = format!(
            "cd {work}; {{ {script}\n}} >draft 2>/dev/null; mv draft said; exec sleep 1000"
        );
        // In a file, since `$` has a meaning in the settings.
        let script = self.path("open/run.sh");
        std::fs::write(&script, whole).unwrap();
        let gateway = Setup::new(&settings::standalone(json!({"boxed": {
            "command": "sh",
            "args": [script],
            "sandbox": {
                "read": [self.path("open")], "write": [self.path("work")], "network": network,
            },
        }})))
        .start();
        let said = self.path("work/said");
        let said = eventually("the server has looked", || std::fs::read_to_string(&said).ok());
        (gateway, said)
    }
}

#[test]
fn files_are_those_of_its_entry() {
    if !is_supported() {
        return;
    }
    let world = World::new();
    let at = |name| world.path(name);
    let script = [
        format!("cat {} >/dev/null && echo read-open", at("open/a")),
        format!("echo x >{} && echo wrote-open", at("open/new")),
        format!("cat {} >/dev/null && echo read-closed", at("closed/b")),
        format!("ls {} >/dev/null && echo listed-closed", at("closed")),
        "echo y >d && cat c d >/dev/null && rm d && echo used-work".to_owned(),
        "mkdir e && mv c e/c && echo moved-work".to_owned(),
        format!("mv e/c {} && echo moved-out", at("closed/c")),
        "cat /etc/passwd /proc/self/status >/dev/null && echo read-system".to_owned(),
        "echo x >/dev/null && head -c1 /dev/urandom >/dev/null && echo used-devices".to_owned(),
        "kill -0 $PPID && echo signalled".to_owned(),
    ];
    let (gateway, said) = world.printed(&script.join("\n"), true);
    let mut expected = vec!["read-open", "used-work", "moved-work", "read-system", "used-devices"];
    if said.contains("signalled") && linux() < (6, 12) {
        expected.push("signalled");
    }
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    let settings = gateway.folder().join("mcp_settings.json");
    assert!(settings.exists());
}

#[test]
fn without_a_network_it_opens_and_accepts_no_connection() {
    if !is_supported() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let python = format!(
        "import socket\nfor name, act in [('connected', lambda: socket.create_connection(('127.0.0.1', {port}))), \
         ('bound', lambda: socket.socket().bind(('127.0.0.1', 0)))]:\n try:\n  act(); print(name)\n \
         except OSError as error: print(type(error).__name__)\n"
    );
    let script = format!("/usr/bin/python3 -c \"{python}\"");
    if !Path::new("/usr/bin/python3").exists() {
        eprintln!("skipped: there is no /usr/bin/python3");
        return;
    }
    let (_gateway, said) = World::new().printed(&script, false);
    assert_eq!(said, "PermissionError\nPermissionError\n");
    let (_gateway, said) = World::new().printed(&script, true);
    assert_eq!(said, "connected\nbound\n");
}

#[test]
fn spares_and_shared_processes_are_in_the_sandbox_too() {
    if !is_supported() {
        return;
    }
    for more in [json!({"warm": 1}), json!({"isolation": "shared"}), json!({})] {
        let world = World::new();
        let script = "cat $0/b >/dev/null 2>&1 && exit 1; exec mooring-example-counter";
        let server = json!({
            "command": "sh",
            "args": ["-c", script, world.path("closed")],
            "sandbox": {"read": [folder_of_examples()]},
        });
        let servers = json!({"boxed": settings::merged(server, more)});
        let gateway = Gateway::start_with(&settings::standalone(servers));
        let session = gateway.client("/mcp/boxed").initialize();
        assert_eq!(session.count("count"), 1);
    }
}

fn folder_of_examples() -> String {
    mooring_tests::binaries::folder().to_str().unwrap().to_owned()
}

#[test]
fn mistakes_are_told_before_the_start() {
    let check = |sandbox: Value, more: Value| {
        let server = json!({"command": "true", "sandbox": sandbox});
        let servers = json!({"boxed": settings::merged(server, more)});
        let output = Setup::new(&settings::standalone(servers)).run(&["check"]);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let none = || json!({});
    let (code, page) = check(json!({"read": ["/mooring/nowhere"]}), none());
    assert_eq!(code, Some(0), "{page}");
    assert!(page.contains("sandbox.read[0]: /mooring/nowhere does not exist"), "{page}");
    assert!(
        page.contains("MISCONFIGURED: sandbox.read[0] /mooring/nowhere does not exist"),
        "{page}"
    );
    for (sandbox, more, problem) in [
        (json!({"write": ["~/x"]}), none(), "sandbox.write[0]: begins with ~"),
        (json!({"read": [""]}), none(), "sandbox.read[0]: is empty"),
        (json!({"network": "no"}), none(), "sandbox.network: must be true or false"),
        (json!([]), none(), "sandbox: must be an object"),
        (json!({}), json!({"allowPrivileges": true}), "allowPrivileges: contradicts \"sandbox\""),
    ] {
        let (code, page) = check(sandbox, more);
        assert_eq!(code, Some(0), "{page}");
        assert!(page.contains(problem) && page.contains("MISCONFIGURED"), "{page}");
    }
    // Relative to the settings file, as `cwd` is.
    let (code, page) = check(json!({"read": ["mcp_settings.json"], "write": ["."]}), none());
    assert_eq!(code, Some(0), "{page}");
    assert!(!page.contains("MISCONFIGURED"), "{page}");
}

// Systems that have less

/// What takes Landlock away from a program and all that it starts, as a system without it would.
const WITHOUT_LANDLOCK: &str = r#"
import ctypes, os, struct, sys
if os.uname().machine not in ("x86_64", "aarch64"):
    sys.exit("another processor")
# BPF: load the system call's number; if it is one of Landlock's (444 to 446), ENOSYS; else allow.
code = [(0x20, 0, 0, 0), (0x35, 0, 2, 444), (0x25, 1, 0, 446), (0x06, 0, 0, 0x00050026),
        (0x06, 0, 0, 0x7FFF0000)]
code = b"".join(struct.pack("HBBI", *one) for one in code)
held = ctypes.create_string_buffer(code)
class Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("code", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
program = Program(5, ctypes.addressof(held))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0):
    sys.exit(os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
"#;

/// Words to start a gateway with in a system without Landlock; `None` where that cannot be played.
fn without_landlock() -> Option<[&'static str; 3]> {
    let words = ["/usr/bin/python3", "-c", WITHOUT_LANDLOCK];
    let [python, flag, script] = words;
    let tried = std::process::Command::new(python).args([flag, script, "/bin/true"]).status();
    let is_played = tried.is_ok_and(|status| status.success());
    if !is_played {
        eprintln!("skipped: here no program can be kept from Landlock");
    }
    is_played.then_some(words)
}

/// Words to start a gateway with that may mount nothing; `None` where that cannot be played.
fn without_mounts() -> Option<[&'static str; 2]> {
    let words = ["setpriv", "--bounding-set=-sys_admin"];
    let tried = std::process::Command::new(words[0]).args([words[1], "/bin/true"]).status();
    let is_played = tried.is_ok_and(|status| status.success());
    if !is_played || !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root, with setpriv, can give up the right to mount");
        return None;
    }
    Some(words)
}

#[test]
fn without_landlock_a_server_in_a_sandbox_does_not_start() {
    let Some(words) = without_landlock() else { return };
    let world = World::new();
    let touch = |name: &str| {
        let script = format!("touch {}; exec mooring-example-counter", world.path(name));
        json!({"command": "sh", "args": ["-c", script]})
    };
    let boxed = |name: &str, more: Value| {
        let sandbox = json!({"sandbox": {"read": ["/"], "write": [world.path("work")]}});
        settings::merged(settings::merged(touch(name), sandbox), more)
    };
    let settings = settings::standalone(json!({
        "boxed": boxed("work/boxed", json!({})),
        "warm": boxed("work/warm", json!({"warm": 1})),
        "shared": boxed("work/shared", json!({"isolation": "shared"})),
        "quiet": boxed("work/quiet", json!({"sandbox": {"network": false}})),
        "plain": touch("work/plain"),
        "other": servers::counter(),
    }));
    let gateway = Setup::new(&settings).within(&words).start();
    for name in ["boxed", "warm", "shared", "quiet"] {
        let answer = gateway.client(&format!("/mcp/{name}")).try_initialize();
        assert!(answer.error_message().contains("Landlock"), "{name}: {}", answer.text());
        assert!(!Path::new(&world.path(&format!("work/{name}"))).exists(), "{name}: it ran");
    }
    let line = gateway.wait_for_log("cannot start");
    assert!(line.contains("this system has no Landlock") && line.contains("sandbox"), "{line}");
    // One without a sandbox runs, and what it lacks is told at the start.
    assert_eq!(gateway.client("/mcp/plain").initialize().count("count"), 1);
    let line = gateway.wait_for_log("no Landlock of version 2");
    assert!(line.contains("plain") && line.contains("other") && !line.contains("boxed"), "{line}");
    let output = Setup::new(&settings).within(&words).run(&["check"]);
    let page = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(page.contains("Landlock"), "{page}");
}

#[test]
fn where_nothing_can_be_mounted_a_sandbox_keeps_the_gateways_files_all_the_same() {
    let Some(words) = without_mounts() else { return };
    if !is_supported() {
        return;
    }
    let world = World::new();
    let home = world.path("home");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(format!("{home}/near"), "near").unwrap();
    let server = |sandbox: Value, name: &str| {
        let look = format!(
            "cd {}; {{ cat {home}/near; cat {home}/data/* {home}/token; echo done; }} \
             >{name}.draft 2>/dev/null; mv {name}.draft {name}; exec sleep 1000",
            world.path("work")
        );
        let sandbox = settings::merged(json!({"write": [world.path("work")]}), sandbox);
        json!({"command": "sh", "args": ["-c", look], "sandbox": sandbox})
    };
    let around = [world.path("work"), home.clone()];
    let settings = settings::standalone(json!({
        "reads": server(json!({"read": [home]}), "reads"),
        "writes": server(json!({"write": around}), "writes"),
        "cwd": settings::merged(server(json!({}), "cwd"), json!({"cwd": home})),
        "bare": {"command": "sleep", "args": ["1000"]},
    }));
    let token = format!("{home}/token");
    std::fs::write(&token, "token-of-the-cluster-0123456789").unwrap();
    let gateway = Setup::new(&settings)
        .within(&words)
        .data(Path::new(&format!("{home}/data")))
        .env("MOORING_CLUSTER_TOKEN_FILE", &token)
        .start();
    for name in ["reads", "cwd"] {
        let said = world.path(&format!("work/{name}"));
        let said = eventually("it has looked", || std::fs::read_to_string(&said).ok());
        assert_eq!(said, "neardone\n", "{name}");
    }
    assert!(Path::new(&format!("{home}/data/local-key")).exists());
    let line = gateway.wait_for_log("cannot start");
    assert!(line.contains("writes") && line.contains("name folders without them"), "{line}");
    assert!(!Path::new(&world.path("work/writes")).exists(), "it ran");
    // The one without a sandbox can read all, and that is told.
    let line = gateway.wait_for_log("does not let the gateway hide");
    assert!(line.contains("bare") && !line.contains("reads"), "{line}");
    let output = Setup::new(&settings).within(&words).run(&["check"]);
    let page = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(page.contains("does not let the gateway hide"), "{page}");
}
