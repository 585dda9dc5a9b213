//! A rolling restart of the whole cluster, while official SDK clients call over 32 connections: none
//! of them sees an error.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mooring_tests::{Gateway, Port, Request, Setup, binaries, borrowed, eventually, settings};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::sdk::{Load, Sdk};

const NODES: [&str; 3] = ["n1", "n2", "n3"];
/// Sessions of each of the two SDKs; each waits for one answer at a time.
const SESSIONS: usize = 16;
const SECRET: &str = "rolling-secret-of-thirty-two-bytes-and-more";
const TOKEN: &str = "rolling-token-of-sixteen-bytes-and-more";
/// Milliseconds. Long enough that sessions leave between two calls.
const DRAIN_DEADLINE: u64 = 4000;
const PATIENCE: Duration = Duration::from_secs(2);
/// Where HAProxy says what it knows of the coordinators.
const STATS: &str = "/of-haproxy";

fn common(setup: Setup) -> Setup {
    setup.env("MOORING_SECRET", SECRET).env("MOORING_CLUSTER_TOKEN", TOKEN)
}

fn coordinator() -> Setup {
    let deadline = json!({"systemConfig": {"cluster": {"drainDeadline": DRAIN_DEADLINE}}});
    common(Setup::new(&settings::merged(settings::coordinator(json!({})), deadline)))
}

fn nodes(coordinator: u16, file: &Path) -> Vec<Gateway> {
    let node = |id: &&str| {
        let server = json!({"command": "mooring-tally-server", "args": [id, file]});
        let node = json!({"id": id, "heartbeatInterval": 1000});
        let node = settings::node(coordinator, node, json!({"tally": server}));
        let deadline = json!({"systemConfig": {"cluster": {"drainDeadline": DRAIN_DEADLINE}}});
        common(Setup::new(&settings::roomy(settings::merged(node, deadline)))).start()
    };
    NODES.iter().map(node).collect()
}

/// The SDKs, or `None` if they are not here.
fn sdks(what: &str) -> Option<[Sdk; 2]> {
    let all = [Sdk::TypeScript1, Sdk::TypeScript2];
    all.iter().all(|sdk| sdk.is_at_hand(what)).then_some(all)
}

/// On the URL of one server, and on that of all.
fn load(sdks: [Sdk; 2], port: u16) -> [Load; 2] {
    let paths = [("/mcp/tally", "count"), ("/mcp", "tally-count")];
    std::array::from_fn(|index| {
        let (path, tool) = paths[index];
        let url = format!("http://127.0.0.1:{port}{path}");
        sdks[index].load(&url, &json!({"sessions": SESSIONS, "calls": 50, "tool": tool}))
    })
}

#[track_caller]
fn end(load: [Load; 2]) {
    for load in load {
        let seen = load.end();
        eprintln!("{seen}");
        assert_eq!(seen["failures"], 0, "{seen}");
        let more_than = |what: &str, least: u64| seen[what].as_u64().is_some_and(|of| of > least);
        assert!(more_than("sessions", 16) && more_than("answers", 300), "{seen}");
    }
}

#[track_caller]
fn wait_for_nodes(coordinator: &Gateway) {
    eventually("all nodes are there and take sessions", || {
        let nodes = coordinator.get("/api/cluster/nodes?active=true").json();
        let takes = |node: &&Value| node["draining"] != true && node["silent"] != true;
        let count = nodes["data"].as_array()?.iter().filter(takes).count();
        (count == NODES.len()).then_some(())
    });
}

struct HaProxy {
    child: Child,
    port: Port,
    _folder: TempDir,
}

impl HaProxy {
    /// Before coordinators at these ports: the first takes everything while it is ready. Without
    /// `timeout check` an answer to a check may take no longer than `inter`, and where many tests run
    /// both would now and then count as gone at the same moment.
    fn before(program: &Path, ports: [u16; 2]) -> Self {
        let (folder, port) = (TempDir::new().unwrap(), Port::reserve());
        let [one, two] = ports;
        let file = folder.path().join("haproxy.cfg");
        let text = format!(
            "defaults\n mode http\n option http-server-close\n option redispatch\n retries 3\n \
             timeout connect 1s\n timeout client 1h\n timeout server 1h\n timeout check 5s\n\
             frontend clients\n bind 127.0.0.1:{}\n stats enable\n stats uri {STATS}\n \
             default_backend coordinators\n\
             backend coordinators\n option httpchk GET /readyz\n \
             default-server check inter 50ms fall 1 rise 1\n \
             server c1 127.0.0.1:{one}\n server c2 127.0.0.1:{two} backup\n",
            port.number()
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(&file).stdin(Stdio::null());
        let child = command.spawn().unwrap();
        Self { child, port, _folder: folder }
    }

    /// Waits until it sends requests to this coordinator if it has to. That a coordinator is ready
    /// is not enough: HAProxy finds out with its next check.
    #[track_caller]
    fn wait_until_up(&self, server: &str) {
        eventually(&format!("HAProxy has found {server}"), || {
            let asked = Request::get(&format!("{STATS};csv"));
            let page = asked.try_open_within(self.port.address(), PATIENCE).ok()?;
            let page = page.try_whole().ok()?.text();
            let mut lines = page.lines().map(|line| line.split(',').collect::<Vec<&str>>());
            let status = lines.next()?.iter().position(|name| *name == "status")?;
            let row = lines.find(|row| row.get(1) == Some(&server))?;
            row.get(status)?.starts_with("UP").then_some(())
        });
    }

    fn wait_until_ready(&self) {
        eventually("HAProxy has found a coordinator", || {
            let answer =
                Request::get("/readyz").try_open_within(self.port.address(), PATIENCE).ok()?;
            (answer.status == 200).then_some(())
        });
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn wait_until_ready(gateway: &Gateway) {
    eventually("the coordinator is ready", || (gateway.get("/readyz").status == 200).then_some(()));
}

#[test]
fn nodes_and_coordinators_behind_haproxy_are_restarted_and_no_client_sees_an_error() {
    const WHAT: &str = "rolling restart behind HAProxy";
    let Some(haproxy) = borrowed::on_the_path("haproxy") else {
        return borrowed::skip(WHAT, "haproxy is not installed");
    };
    let Some(sdks) = sdks(WHAT) else { return };
    let (folder, file) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut first = coordinator().data(folder.path()).start();
    let mut second = coordinator().data(folder.path()).prepare();
    let proxy = HaProxy::before(&haproxy, [first.port(), second.port()]);
    proxy.wait_until_ready();
    let mut nodes = nodes(proxy.port.number(), &file.path().join("tally"));
    wait_for_nodes(&first);
    // It knows the nodes by the folder that both have.
    second.start();
    wait_for_nodes(&second);
    proxy.wait_until_up("c2");
    let load = load(sdks, proxy.port.number());
    for node in &mut nodes {
        node.restart_after(Signal::TERM);
        wait_for_nodes(&first);
    }
    for (coordinator, name) in [(&mut second, "c2"), (&mut first, "c1")] {
        coordinator.restart_after(Signal::TERM);
        wait_until_ready(coordinator);
        wait_for_nodes(coordinator);
        proxy.wait_until_up(name);
    }
    end(load);
}

#[test]
fn the_commands_of_the_docs_restart_a_cluster_and_no_client_sees_an_error() {
    const WHAT: &str = "rolling restart by drain and take-over";
    let Some(sdks) = sdks(WHAT) else { return };
    let file = TempDir::new().unwrap();
    let mut coordinator = coordinator().start();
    let mut nodes = nodes(coordinator.port(), &file.path().join("tally"));
    wait_for_nodes(&coordinator);
    let load = load(sdks, coordinator.port());
    for (id, node) in NODES.iter().zip(&mut nodes) {
        let mut command = Command::new(binaries::mooring());
        command.args(["drain", id, "--url", &coordinator.url()]);
        let drained = command.output().unwrap();
        assert!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
        node.restart_after(Signal::TERM);
        wait_for_nodes(&coordinator);
    }
    let mut before = coordinator.hand_over();
    wait_for_nodes(&coordinator);
    assert!(before.wait().unwrap().success(), "the process of before has ended by itself");
    end(load);
}
