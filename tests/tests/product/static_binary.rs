//! The binary without a C library (`packaging/static/build`), where there is nothing else: in a root
//! with the binary, its settings, and what every container engine mounts.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use mooring_tests::{
    Client, Port, Request, Setup, binaries, borrowed, eventually, process, settings,
};
use rustix::process::Signal;
use serde_json::json;

/// Mounts what an engine mounts, and becomes the program: `$1` is the root.
const START: &str = r#"
root=$1; shift
mount -t proc proc "$root/proc" && mount --bind /dev/null "$root/dev/null" && exec chroot "$root" "$@"
"#;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

/// Where `packaging/static/build` puts it, or what `MOORING_STATIC_BINARY` names.
fn binary() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("MOORING_STATIC_BINARY") {
        return Some(named.into());
    }
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let built = binaries::folder().parent()?.join(target).join("release/mooring");
    built.exists().then_some(built)
}

/// An empty root with the binary, for root alone. `None` where there cannot be one.
fn root(what: &str) -> Option<tempfile::TempDir> {
    let Some(binary) = binary() else {
        borrowed::skip(what, "packaging/static/build has not been run");
        return None;
    };
    if !rustix::process::getuid().is_root() {
        borrowed::skip(what, "only root can change the root");
        return None;
    }
    let root = tempfile::tempdir().unwrap();
    for folder in ["proc", "dev", "tmp"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    fs::write(root.path().join("dev/null"), "").unwrap();
    fs::copy(binary, root.path().join("mooring")).unwrap();
    Some(root)
}

/// The program in that root, as process 1 of a container.
fn within(root: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", START, "sh"]);
    command.arg(root).arg("/mooring").env_remove("NODE_EXTRA_CA_CERTS");
    command
}

#[test]
fn the_static_binary_names_no_c_library_and_runs_in_an_empty_root() {
    let what = "the static binary";
    let Some(root) = root(what) else { return };
    let bytes = fs::read(root.path().join("mooring")).unwrap();
    let interpreter = b"/lib64/ld-linux-x86-64.so.2\0";
    assert!(
        !bytes.windows(interpreter.len()).any(|window| window == interpreter),
        "it wants a dynamic linker"
    );
    drop(bytes);
    fs::remove_dir_all(root.path().join("proc")).unwrap();
    fs::remove_dir_all(root.path().join("dev")).unwrap();
    let output = Command::new("chroot").arg(root.path()).args(["/mooring", "--version"]).output();
    assert_eq!(said(&output.unwrap()).trim(), format!("mooring {}", env!("CARGO_PKG_VERSION")));
}

/// With a server of stdio, which is a program of that root too, and strategies that are compiled there.
#[test]
fn the_static_binary_serves_in_a_root_with_nothing_else() {
    let what = "serving by the static binary";
    let Some(root) = root(what) else { return };
    if borrowed::on_the_path("unshare").is_none() {
        borrowed::skip(what, "unshare is not installed");
        return;
    }
    // Its other end is a gateway beside it, so that one program is enough for both.
    let far =
        Setup::new(&settings::standalone(json!({"counter": mooring_tests::servers::counter()})))
            .start();
    let url = format!("http://127.0.0.1:{}/mcp/counter", far.port());
    let settings = json!({
        "mcpServers": {
            "far": {"url": url},
            "near": {"command": "/mooring", "args": ["connect", url], "env": {"HOME": "/tmp"}},
        },
    });
    fs::write(root.path().join("mcp_settings.json"), settings.to_string()).unwrap();
    let port = Port::reserve();
    let log = fs::File::create(root.path().join("log")).unwrap();
    let child = within(root.path())
        .env("PORT", port.number().to_string())
        .env("MOORING_HOST", "127.0.0.1")
        .env("HOME", "/tmp")
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0)
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let log = || fs::read_to_string(root.path().join("log")).unwrap();
    eventually("it serves", || {
        let answer = Request::get("/livez").try_send(port.address()).ok()?;
        (answer.status == 200).then_some(())
    });
    for name in ["far", "near"] {
        let client = Client::new(port.address(), &format!("/mcp/{name}"));
        let session = eventually(&format!("{name} is there"), || {
            (client.try_initialize().status == 200).then(|| client.initialize())
        });
        let counts = [session.count("count"), session.count("count")];
        assert_eq!(counts, [1, 2], "{name}: {}", log());
        assert_eq!(session.delete().status, 200);
    }
    let gateways = process::children(running.0.id());
    assert_eq!(gateways.len(), 1, "{gateways:?}");
    process::signal(gateways[0], Signal::TERM);
    let status = running.0.wait().unwrap();
    assert!(status.success(), "{status}: {}", log());
}

/// Ends what a failed test has left: the first process of the namespace takes all others along.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        for pid in process::children(self.0.id()) {
            process::signal(pid, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

/// In a plain `chroot` there is no `/proc`, by which the gateway starts its own program again.
#[test]
fn a_root_without_proc_is_named_with_what_it_lacks() {
    let what = "a root without /proc";
    let can = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        let quiet = command.args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    };
    let covered =
        ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$@\"", "sh"];
    if !can(&[&covered[..], &["true"]].concat()) {
        borrowed::skip(what, "this user may not mount");
        return;
    }
    let settings = settings::standalone(json!({"counter": mooring_tests::servers::counter()}));
    let output = Setup::new(&settings).within(&covered).refused();
    let says = said(&output);
    assert!(!output.status.success(), "{says}");
    assert!(says.contains("there is no /proc/self/exe: mount /proc and /dev"), "{says}");
}
