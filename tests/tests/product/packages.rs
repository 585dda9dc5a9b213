//! What is installed elsewhere: the Debian package, into an empty root, and the npm packages, without
//! a registry. Both are built from the binary of these tests.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mooring_tests::{Port, Request, binaries, borrowed, eventually, process, settings};
use rustix::process::Signal;

#[track_caller]
fn done(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = said(&output);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn said(output: &Output) -> String {
    let all = [output.stdout.clone(), output.stderr.clone()].concat();
    String::from_utf8_lossy(&all).into_owned()
}

fn script(path: &str) -> PathBuf {
    settings::repository().join("packaging").join(path)
}

/// The Debian package, uncompressed. `None` where it cannot be built.
fn debian_package(what: &str, folder: &Path) -> Option<PathBuf> {
    if borrowed::on_the_path("dpkg-deb").is_none() {
        borrowed::skip(what, "dpkg-deb is not installed");
        return None;
    }
    let built = done(
        Command::new(script("deb/build"))
            .arg(binaries::mooring())
            .arg(folder)
            .env("DEB_COMPRESSION", "none"),
    );
    Some(built.trim().into())
}

/// Another system's root with nothing in it but what dpkg needs.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        // A service of another user has to come in.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "etc"]
        {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        for file in [
            "var/lib/dpkg/status",
            "var/lib/dpkg/available",
            "etc/passwd",
            "etc/group",
            "etc/shadow",
            "etc/gshadow",
        ] {
            fs::write(root.path().join(file), "").unwrap();
        }
        Self(root)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Its scripts run here, since there is no shell in that root. So they get its path.
    fn dpkg(&self, words: &[&str]) {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg(format!("--root={}", self.0.path().display()));
        dpkg.args(["--force-script-chrootless", "--force-depends", "--force-confold"]);
        done(dpkg.args(words));
    }
}

fn is_root(what: &str) -> bool {
    let is_root = rustix::process::getuid().is_root();
    if !is_root {
        borrowed::skip(what, "it takes root");
    }
    is_root
}

#[test]
fn the_debian_package_is_the_same_each_time_and_says_what_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let Some(package) = debian_package("the Debian package", folder.path()) else { return };
    let again = debian_package("", &folder.path().join("again")).unwrap();
    assert_eq!(fs::read(&package).unwrap(), fs::read(&again).unwrap(), "byte for byte");
    let field = |name: &str| done(Command::new("dpkg-deb").arg("-f").arg(&package).arg(name));
    let version = env!("CARGO_PKG_VERSION").replacen('-', "~", 1);
    assert_eq!(field("Version").trim(), version);
    assert!(field("Depends").contains("libc6 (>= 2."), "{}", field("Depends"));
    let list = done(Command::new("dpkg-deb").arg("-c").arg(&package));
    for line in list.lines() {
        assert!(line.contains("root/root"), "{line}");
        let mode = line.split_whitespace().next().unwrap();
        assert!(mode.as_bytes()[8] != b'w', "everybody may write: {line}");
    }
    for path in [
        "./usr/bin/mooring",
        "./usr/lib/systemd/system/mooring.service",
        "./etc/mooring/mcp_settings.json",
        "./usr/share/doc/mooring/copyright",
    ] {
        assert!(list.lines().any(|line| line.ends_with(path)), "{path}: {list}");
    }
    let conffiles = done(Command::new("dpkg-deb").args(["-I"]).arg(&package).arg("conffiles"));
    assert_eq!(conffiles.trim(), "/etc/mooring/mcp_settings.json");
}

#[test]
fn the_debian_package_installs_upgrades_and_goes() {
    let what = "installing the Debian package";
    let folder = tempfile::tempdir().unwrap();
    if !is_root(what) {
        return;
    }
    let Some(package) = debian_package(what, folder.path()) else { return };
    let package = package.to_str().unwrap();
    let root = Root::new();
    root.dpkg(&["-i", package]);

    let users = fs::read_to_string(root.path("etc/passwd")).unwrap();
    let user = users.lines().find(|line| line.starts_with("mooring:")).expect("the user");
    assert!(user.ends_with(":/var/lib/mooring:/usr/sbin/nologin"), "{user}");
    let group: u32 = user.split(':').nth(3).unwrap().parse().unwrap();
    let settings = fs::metadata(root.path("etc/mooring/mcp_settings.json")).unwrap();
    assert_eq!((settings.mode() & 0o777, settings.gid()), (0o640, group));
    let secret = root.path("etc/mooring/session-secret");
    assert_eq!(fs::metadata(&secret).unwrap().mode() & 0o777, 0o600);
    let first = fs::read_to_string(&secret).unwrap();
    assert_eq!(first.len(), 64, "32 bytes in hex");

    fs::write(root.path("etc/mooring/mcp_settings.json"), "{\"mcpServers\": {}}").unwrap();
    root.dpkg(&["-i", package]);
    assert_eq!(fs::read_to_string(&secret).unwrap(), first, "sessions outlive an upgrade");
    let kept = fs::read_to_string(root.path("etc/mooring/mcp_settings.json")).unwrap();
    assert_eq!(kept, "{\"mcpServers\": {}}", "the operator's settings are the operator's");

    fs::create_dir_all(root.path("var/lib/mooring/gateway")).unwrap();
    root.dpkg(&["-r", "mooring"]);
    assert!(!root.path("usr/bin/mooring").exists());
    assert!(secret.exists() && root.path("var/lib/mooring/gateway").exists());
    root.dpkg(&["-P", "mooring"]);
    for gone in ["etc/mooring", "var/lib/mooring", "usr/lib/systemd/system/mooring.service"] {
        assert!(!root.path(gone).exists(), "{gone}");
    }
}

/// No systemd runs here: the command of the installed unit is run under limits like the unit's.
#[test]
fn the_installed_unit_passes_and_its_command_serves() {
    let what = "the unit of the Debian package";
    let folder = tempfile::tempdir().unwrap();
    if !is_root(what) {
        return;
    }
    if borrowed::on_the_path("setpriv").is_none() || borrowed::on_the_path("prlimit").is_none() {
        borrowed::skip(what, "setpriv or prlimit is not installed");
        return;
    }
    let Some(package) = debian_package(what, folder.path()) else { return };
    let root = Root::new();
    root.dpkg(&["-i", package.to_str().unwrap()]);
    let unit = fs::read_to_string(root.path("usr/lib/systemd/system/mooring.service")).unwrap();
    let value = |name: &str| {
        let name = format!("{name}=");
        let line = unit.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("{name} in {unit}")).to_owned()
    };
    assert!(value("ExecStart").starts_with("/usr/bin/mooring "), "{unit}");
    if let Some(analyze) = borrowed::on_the_path("systemd-analyze") {
        // It looks whether the program is there, and for systemd's own units, which are not.
        let file = folder.path().join("mooring.service");
        let program = root.path("usr/bin/mooring");
        let here = unit.replace("/usr/bin/mooring", program.to_str().unwrap());
        fs::write(&file, here).unwrap();
        let output =
            Command::new(analyze).args(["verify", "--man=no"]).arg(&file).output().unwrap();
        let all = said(&output);
        let ours = all.lines().filter(|line| line.contains("mooring"));
        assert_eq!(ours.collect::<Vec<_>>(), Vec::<&str>::new(), "{all}");
        let judged = Command::new("systemd-analyze")
            .args(["security", "--offline=yes", "--no-pager", "--threshold=29"])
            .arg(root.path("usr/lib/systemd/system/mooring.service"))
            .output()
            .unwrap();
        assert!(judged.status.success(), "above 2.9: {}", said(&judged));
    }

    // What systemd does before the start: a folder of the service, and copies of its credentials.
    let (user, home) = (65534, root.path("var/lib/mooring"));
    let credentials = root.path("run/credentials");
    for made in [&home, &credentials] {
        fs::create_dir_all(made).unwrap();
        std::os::unix::fs::chown(made, Some(user), Some(user)).unwrap();
        fs::set_permissions(made, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let copy = credentials.join("session-secret");
    fs::copy(root.path("etc/mooring/session-secret"), &copy).unwrap();
    std::os::unix::fs::chown(&copy, Some(user), Some(user)).unwrap();
    std::os::unix::fs::chown(root.path("etc/mooring/mcp_settings.json"), Some(user), None).unwrap();
    let there = |text: &str| {
        let mut text = text.replace("%d", credentials.to_str().unwrap());
        for place in ["/etc/mooring", "/var/lib/mooring", "/usr/bin/mooring"] {
            text = text.replace(place, root.path(&place[1..]).to_str().unwrap());
        }
        text
    };
    let variables = unit.lines().filter_map(|line| line.strip_prefix("Environment="));
    let variables: Vec<String> = variables.map(&there).collect();
    let port = Port::reserve();
    let command = there(&value("ExecStart"));
    let mut service = Command::new("prlimit")
        .args([
            // No more than the tests themselves may have.
            format!("--nofile={}", value("LimitNOFILE").parse::<u64>().unwrap().min(hard_limit())),
            format!("--core={}", value("LimitCORE")),
        ])
        .args([
            "setpriv",
            "--no-new-privs",
            "--bounding-set=-all",
            "--inh-caps=-all",
            "--clear-groups",
        ])
        .args([format!("--reuid={user}"), format!("--regid={user}")])
        .args(command.split_whitespace())
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("PORT", port.number().to_string())
        .envs(variables.iter().map(|set| set.split_once('=').unwrap()))
        .current_dir(there(&value("WorkingDirectory")))
        .stdout(fs::File::create(folder.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    let serves = || {
        Request::get("/livez").try_send(port.address()).ok().filter(|answer| answer.status == 200)
    };
    eventually("the installed program serves", serves);
    process::signal(service.id(), Signal::TERM);
    assert!(service.wait().unwrap().success());
}

/// How many files this process may open at most.
fn hard_limit() -> u64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(4).and_then(|hard| hard.parse().ok()).unwrap_or(u64::MAX)
}

/// Npm's packages, installed into a folder without asking any registry. `None` without npm.
fn npm_install(what: &str, folder: &Path) -> Option<PathBuf> {
    if borrowed::on_the_path("npm").is_none() {
        borrowed::skip(what, "npm is not installed");
        return None;
    }
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let packages = folder.join("packages");
    let platform = format!("linux-{arch}");
    done(
        Command::new(script("npm/build"))
            .arg(&packages)
            .arg(format!("{platform}={}", binaries::mooring().display()))
            .env("npm_config_cache", folder.join("cache")),
    );
    let place = folder.join("place");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("package.json"), "{\"private\": true}").unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let file = |name: &str| packages.join(format!("{name}-{version}.tgz"));
    done(
        npm(folder)
            .args(["install", "--no-audit", "--no-fund"])
            .arg(file(&format!("mooring-gateway-{platform}")))
            .arg(file("mooring-gateway"))
            .current_dir(&place),
    );
    Some(place)
}

/// Npm that reaches no registry.
fn npm(folder: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.arg("--offline").env("npm_config_cache", folder.join("cache"));
    npm
}

#[test]
fn npx_starts_the_binary_and_hands_on_arguments_status_and_signals() {
    let folder = tempfile::tempdir().unwrap();
    let Some(place) = npm_install("the npm package", folder.path()) else { return };
    let npx = |words: &[&str]| {
        let mut npx = Command::new("npx");
        npx.args(["--offline", "--no", "--", "mooring-gateway"]).args(words).current_dir(&place);
        npx.env("npm_config_cache", folder.path().join("cache"));
        npx
    };
    let version = done(&mut npx(&["--version"]));
    assert_eq!(version.trim(), format!("mooring {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(npx(&["no-such-command"]).output().unwrap().status.code(), Some(2));

    let starter = place.join("node_modules/.bin/mooring");
    let port_file = place.join("port");
    let mut gateway = Command::new(&starter)
        .arg("--port-file")
        .arg(&port_file)
        .env("PORT", "0")
        .env("MOORING_HOST", "127.0.0.1")
        .current_dir(&place)
        .stdout(fs::File::create(place.join("log")).unwrap())
        .spawn()
        .unwrap();
    eventually("it serves", || fs::read_to_string(&port_file).ok());
    let started = process::children(gateway.id());
    assert_eq!(started.len(), 1, "{started:?}");
    process::signal(gateway.id(), Signal::TERM);
    assert!(
        gateway.wait().unwrap().success(),
        "the signal has come through, and the end is a good one"
    );
    assert!(!process::runs(started[0]));
}

#[test]
fn the_wrapper_says_what_helps_where_there_is_no_binary() {
    let folder = tempfile::tempdir().unwrap();
    let Some(place) = npm_install("the npm package without a binary", folder.path()) else {
        return;
    };
    let starter = place.join("node_modules/.bin/mooring");
    for entry in fs::read_dir(place.join("node_modules")).unwrap().flatten() {
        if entry.file_name().to_str().unwrap().starts_with("mooring-gateway-") {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    let output = Command::new(&starter).arg("--version").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = said(&output);
    assert!(errors.contains("--include=optional") && errors.contains("MOORING_BINARY"), "{errors}");
    let named = Command::new(&starter)
        .arg("--version")
        .env("MOORING_BINARY", binaries::mooring())
        .output()
        .unwrap();
    assert!(said(&named).starts_with("mooring "), "{}", said(&named));
}
