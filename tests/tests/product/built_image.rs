//! The image, built where there is no engine: `packaging/image/build` runs the Dockerfile's own stages
//! with buildah, and the processes of the image are a coordinator and its nodes.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::Duration;

use mooring_tests::{
    Client, Port, Request, binaries, borrowed, eventually, process, settings, within,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const WHAT: &str = "the image without an engine";
const TOKEN: &str = "token-of-the-cluster-0123456789";
const USER: &str = "10001";

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

/// The images in their folder, which goes with the test.
struct Images(tempfile::TempDir);

impl Images {
    /// `None` where they cannot be built.
    fn build(target: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(settings::repository().join("packaging/image/build"))
            .arg(binaries::mooring())
            .arg(folder.path())
            .arg(target)
            .output()
            .unwrap();
        let said = said(&output);
        if output.status.code() == Some(3) {
            borrowed::skip(WHAT, said.trim().lines().last().unwrap_or("it cannot be built"));
            return None;
        }
        assert!(output.status.success(), "{said}");
        Some(Self(folder))
    }

    fn buildah(&self) -> Command {
        let mut buildah = Command::new("buildah");
        buildah.arg("--root").arg(self.0.path().join("store"));
        buildah.arg("--runroot").arg(self.0.path().join("run"));
        buildah.args(["--storage-driver", "vfs"]);
        buildah
    }

    #[track_caller]
    fn told(&self, words: &[&str]) -> String {
        let output = self.buildah().args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn container(&self, target: &str) -> String {
        self.told(&["from", "--pull-never", &format!("localhost/mooring:{target}")])
    }
}

/// The image's own command in a container, with the network of this machine.
struct Running {
    child: Child,
    port: Port,
    container: String,
}

impl Running {
    fn start(images: &Images, target: &str, port: Port, settings: &Value) -> Self {
        let container = images.container(target);
        let file = images.0.path().join(format!("{container}.json"));
        fs::write(&file, settings.to_string()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let counter = binaries::program("mooring-example-counter");
        let log = fs::File::create(images.0.path().join(format!("{container}.log"))).unwrap();
        let child = images
            .buildah()
            .args(["run", "--isolation", "chroot"])
            .args(["--env", &format!("PORT={}", port.number())])
            .args(["--env", &format!("MOORING_CLUSTER_TOKEN={TOKEN}")])
            // It is no process 1 here, since there is no engine that would make one of it.
            .args(["--env", "TINI_SUBREAPER=1"])
            .args(["--volume", &mounted(&file, "/app/mcp_settings.json")])
            .args(["--volume", &mounted(&counter, "/usr/local/bin/mooring-example-counter")])
            .args([&container, "--", "/usr/bin/tini", "--", "mooring"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let running = Self { child, port, container };
        // The coordinator and its nodes are copies of 300 MB before they start.
        within(Duration::from_secs(60), "the process of the image serves", || {
            let alive = Request::get("/livez").try_send(running.address()).ok()?;
            (alive.status == 200).then_some(())
        });
        running
    }

    fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The processes of the container that were started by this program.
    fn processes(&self, program: &str) -> Vec<u32> {
        let mut all = process::descendants(self.child.id());
        all.retain(|pid| process::command_line(*pid).split([' ', '\0']).next() == Some(program));
        all
    }

    /// What an engine does at `docker stop`.
    fn stop(mut self) {
        let tini = self.processes("/usr/bin/tini");
        assert_eq!(tini.len(), 1, "{tini:?}");
        process::signal(tini[0], Signal::TERM);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for pid in process::descendants(self.child.id()) {
            process::signal(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

fn mounted(file: &Path, place: &str) -> String {
    format!("{}:{place}:ro", file.display())
}

fn users(pid: u32) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap().to_owned();
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
#[ignore = "long: it makes a Debian and downloads what belongs into the image"]
fn the_processes_of_the_image_are_a_coordinator_and_its_nodes() {
    let Some(images) = Images::build("slim") else { return };
    let first = images.container("slim");
    let version = images
        .buildah()
        .args(["run", "--isolation", "chroot", &first, "--", "mooring", "--version"])
        .output()
        .unwrap();
    if said(&version).contains("GLIBC_") {
        borrowed::skip(WHAT, "this binary wants a later C library than the image has");
        return;
    }
    assert_eq!(said(&version).trim(), format!("mooring {}", env!("CARGO_PKG_VERSION")));

    let port = Port::reserve();
    let number = port.number();
    let coordinator = Running::start(&images, "slim", port, &settings::coordinator(json!({})));
    let nodes: Vec<Running> = ["n1", "n2"]
        .into_iter()
        .map(|id| {
            let servers = json!({"counter": {"command": "mooring-example-counter"}});
            let settings = settings::node(number, json!({"id": id}), servers);
            Running::start(&images, "slim", Port::reserve(), &settings)
        })
        .collect();
    let client = || Client::new(coordinator.address(), "/mcp/counter");
    eventually("the coordinator knows its nodes", || {
        let nodes = Request::get("/api/cluster/nodes")
            .header("Authorization", &format!("Bearer {TOKEN}"))
            .try_send(coordinator.address())
            .ok()?
            .text();
        (nodes.matches("\"status\":\"active\"").count() == 2).then_some(())
    });
    let sessions: Vec<_> = (0..8).map(|_| client().initialize()).collect();
    for session in &sessions {
        assert_eq!([session.count("count"), session.count("count")], [1, 2]);
    }
    for running in nodes.iter().chain([&coordinator]) {
        let gateways = running.processes("mooring");
        assert!(!gateways.is_empty());
        for pid in gateways {
            assert_eq!(users(pid), [USER; 4], "{}", process::command_line(pid));
        }
        let health = images
            .buildah()
            .args(["run", "--isolation", "chroot"])
            .args(["--env", &format!("PORT={}", running.port.number())])
            .args([running.container.as_str(), "--", "mooring", "health", "--live"])
            .output()
            .unwrap();
        assert!(health.status.success(), "the health check of the image: {}", said(&health));
    }
    let served: usize =
        nodes.iter().map(|node| node.processes("mooring-example-counter").len()).sum();
    assert!(served >= sessions.len(), "{served} servers run in the nodes");
    for session in sessions {
        assert_eq!(session.delete().status, 200);
    }
    for running in nodes.into_iter().chain([coordinator]) {
        running.stop();
    }
    let left: Vec<PathBuf> = Vec::from_iter(
        fs::read_to_string("/proc/mounts")
            .unwrap()
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1).map(PathBuf::from))
            .filter(|place| place.starts_with(images.0.path())),
    );
    assert_eq!(left, Vec::<PathBuf>::new(), "mounts are left");
}
