//! The outage drill of `docs/operating.md`: a coordinator, two nodes and three servers under load;
//! servers, nodes and everything are killed and come back. At each step, what an operator and probes
//! see within two seconds.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mooring_tests::{
    Cluster, Gateway, PATIENCE, Session, binaries, process, servers, settings, within,
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// How soon everything says so.
const SOON: Duration = Duration::from_secs(2);
/// The longest pause between two starts of a server that fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Pause of a client between two calls.
const PAUSE: Duration = Duration::from_millis(50);

/// Node `a` has `counter` and `notes`, node `b` has `counter` and `flaky`, which does not start
/// while the file is there.
struct Drill {
    cluster: Cluster,
    broken: PathBuf,
    _folder: tempfile::TempDir,
}

impl Drill {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broken = folder.path().join("broken");
        let script = format!(
            "if [ -e '{}' ]; then echo no licence >&2; exit 7; fi; exec mooring-example-counter",
            broken.display()
        );
        let flaky = json!({"command": "sh", "args": ["-c", script]});
        let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
        let mut cluster = Cluster { coordinator, nodes: Vec::new() };
        cluster.add("a", json!({"counter": servers::counter(), "notes": servers::counter()}));
        cluster.add("b", json!({"counter": servers::counter(), "flaky": flaky}));
        cluster.wait_for_active(2);
        cluster.coordinator.wait_until_discovered(&["counter", "notes", "flaky"]);
        Self { cluster, broken, _folder: folder }
    }

    fn run(&self, args: &[&str]) -> Output {
        let url = self.cluster.coordinator.url();
        Command::new(binaries::mooring()).args(args).args(["--url", &url]).output().unwrap()
    }

    /// What everything says now.
    fn look(&self) -> Seen {
        let coordinator = &self.cluster.coordinator;
        let readyz = coordinator.get("/readyz?servers");
        let (health, ps) = (self.run(&["health"]), self.run(&["ps"]));
        Seen {
            health: coordinator.get("/health").expect(200).json(),
            readyz: coordinator.get("/readyz").status,
            servers: (readyz.status, readyz.text()),
            command: (health.status.code(), err(&health)),
            ps: out(&ps),
            nodes: out(&self.run(&["nodes"])),
            metrics: coordinator.get("/metrics").expect(200).text(),
        }
    }

    /// Waits until everything says so. `state` is that of each server.
    #[track_caller]
    fn sees(&self, step: &str, states: [(&str, &str); 3], more: impl Fn(&Seen) -> bool) -> Seen {
        let mut last = None;
        let look = || {
            let seen = self.look();
            let is_so = seen.is_so(&states) && more(&seen);
            (last.insert(seen).is_clean() && is_so).then_some(())
        };
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            within(SOON, step, look);
        }));
        let seen = last.expect("it has looked");
        assert!(found.is_ok(), "not within {SOON:?}: {step}: {seen:#?}");
        seen
    }
}

/// What operators and probes see of the coordinator.
#[derive(Debug)]
struct Seen {
    health: Value,
    readyz: u16,
    servers: (u16, String),
    command: (Option<i32>, String),
    ps: String,
    nodes: String,
    metrics: String,
}

impl Seen {
    fn server(&self, name: &str) -> &Value {
        let servers = self.health["servers"].as_array().expect("servers");
        servers.iter().find(|server| server["name"] == name).unwrap_or(&Value::Null)
    }

    /// Whether health, probes, command and metrics all say these states.
    fn is_so(&self, states: &[(&str, &str)]) -> bool {
        let is_well = states.iter().all(|(_, state)| *state == "ok");
        let is_up = states.iter().all(|(_, state)| *state != "down");
        let status = if is_well { "ok" } else { "degraded" };
        self.health["status"] == status
            && self.servers.0 == if is_up { 200 } else { 503 }
            && self.command.0 == Some(i32::from(!is_up))
            && states.iter().all(|(name, state)| self.says(name, state))
    }

    fn says(&self, name: &str, state: &str) -> bool {
        let line = format!("server {name} is {state}: ");
        let is_down = state == "down";
        let up = format!("mooring_server_up{{server=\"{name}\"}} {}\n", i32::from(!is_down));
        self.server(name)["state"] == state
            && self.servers.1.contains(&line) == is_down
            && self.command.1.contains(&line) == (state != "ok")
            && self.metrics.contains(&up)
    }

    /// A coordinator stays ready for registrations and clients whatever its servers do.
    fn is_clean(&self) -> bool {
        assert_eq!(self.readyz, 200, "{self:?}");
        true
    }

    /// Whether `mooring ps` has a row of this server on this node in one of these states.
    fn has_row(&self, server: &str, node: &str, states: &[&str]) -> bool {
        self.ps.lines().any(|line| {
            let cells: Vec<&str> = line.split_whitespace().collect();
            cells.len() > 3 && (cells[0], cells[1]) == (server, node) && states.contains(&cells[3])
        })
    }

    fn node_is(&self, node: &str, states: &[&str]) -> bool {
        self.nodes.lines().any(|line| {
            let cells: Vec<&str> = line.split_whitespace().collect();
            cells.len() > 1 && cells[0] == node && states.contains(&cells[1])
        })
    }

    /// Whether these alerts begin to wait for their time, and no others of their kinds.
    fn alerts_are(&self, expected: &[&str]) -> bool {
        alerts(&self.metrics) == expected.iter().map(|one| (*one).to_owned()).collect()
    }

    /// The sum of the errors with all these labels.
    fn errors(&self, labels: &[&str]) -> u64 {
        errors(&self.metrics, labels)
    }
}

/// Whether a rule holds for a page of metrics.
type Holds = fn(&str) -> bool;

/// The rules of `alerts.yml` that look at what is, not at what grows: name, expression, and what a
/// sample's line has to begin with to be one that it finds; then the value, and the label that says
/// whom it is about.
const ALERTS: [(&str, &str, &str, Holds, &str); 4] = [
    (
        "MooringServerDown",
        "max by (server) (mooring_server_up) == 0",
        "mooring_server_up{",
        |line| line.ends_with(" 0"),
        "server",
    ),
    (
        "MooringReplicaNotUsable",
        "max by (server, state) (mooring_server_replicas{state=~\"failing|away\"}) > 0",
        "mooring_server_replicas{",
        |line| {
            ["failing", "away"].iter().any(|state| line.contains(&format!("state=\"{state}\"")))
                && !line.ends_with(" 0")
        },
        "server",
    ),
    (
        "MooringNodeNotActive",
        "max by (node, status) (mooring_node_up{status!~\"active|draining\"}) == 1",
        "mooring_node_up{",
        |line| {
            !["active", "draining"].iter().any(|it| line.contains(&format!("status=\"{it}\"")))
                && line.ends_with(" 1")
        },
        "node",
    ),
    (
        "MooringNodeSilent",
        "max by (node) (mooring_node_silent) == 1",
        "mooring_node_silent{",
        |line| line.ends_with(" 1"),
        "node",
    ),
];

/// The alerts that begin to wait for their time with these metrics, as `Name subject`.
fn alerts(metrics: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (name, _, begin, is_found, label) in ALERTS {
        for line in metrics.lines().filter(|line| line.starts_with(begin) && is_found(line)) {
            let (_, rest) = line.split_once(&format!("{label}=\"")).expect(line);
            let subject = rest.split('"').next().unwrap_or_default();
            found.insert(format!("{name} {subject}"));
        }
    }
    found
}

#[test]
fn the_drill_knows_the_alert_rules_as_they_are() {
    let path = settings::repository().join("packaging/helm/mooring/files/alerts.yml");
    let text = std::fs::read_to_string(path).unwrap();
    let file = yaml_rust2::YamlLoader::load_from_str(&text).unwrap();
    let rules = file[0]["groups"][0]["rules"].as_vec().unwrap();
    let expression = |name: &str| {
        let rule = rules.iter().find(|rule| rule["alert"].as_str() == Some(name));
        rule.and_then(|rule| rule["expr"].as_str()).map(str::to_owned)
    };
    for (name, known, ..) in ALERTS {
        assert_eq!(expression(name).as_deref(), Some(known), "{name}");
    }
}

fn errors(metrics: &str, labels: &[&str]) -> u64 {
    let lines = metrics.lines().filter(|line| {
        line.starts_with("mooring_errors_total{") && labels.iter().all(|label| line.contains(label))
    });
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Clients that call their servers all the time, each in one session.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(sessions: Vec<Session>) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let client = |session: Session| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let params = json!({"name": "whoami", "arguments": {}});
                    let (message, _) = session.message("tools/call", params);
                    // Whatever comes of it: the drill looks at what operators see.
                    let _ = session.post(&message).try_send(session.client.address());
                    std::thread::sleep(PAUSE);
                }
            })
        };
        let clients = sessions.into_iter().map(client).collect();
        Self { stop, clients }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const WELL: [(&str, &str); 3] = [("counter", "ok"), ("notes", "ok"), ("flaky", "ok")];

#[test]
fn everything_that_fails_is_seen_within_two_seconds_and_so_is_its_return() {
    let mut drill = Drill::start();
    let of_client =
        |drill: &Drill, server: &str| drill.cluster.client(&format!("/mcp/{server}")).initialize();
    let mut sessions: Vec<Session> = (0..4).map(|_| of_client(&drill, "counter")).collect();
    sessions.extend(["notes", "flaky"].map(|server| of_client(&drill, server)));
    let load = Load::start(sessions);

    // 1. All is well; servers without a session are listed, too.
    let seen = drill.sees("all is well", WELL, |seen| {
        seen.node_is("a", &["active"]) && seen.node_is("b", &["active"]) && seen.alerts_are(&[])
    });
    for (server, node) in [("counter", "a"), ("counter", "b"), ("notes", "a"), ("flaky", "b")] {
        assert!(seen.has_row(server, node, &["ready", "idle"]), "{server} on {node}: {}", seen.ps);
    }
    assert_eq!(seen.command.1, "");
    assert_eq!(seen.health["reasons"], json!([]));

    // 2. A server is killed: its session's next message opens it again. The process that was
    // started again says so, and no other.
    let mine = of_client(&drill, "notes");
    let pid = mine.call("whoami", json!({}))["structuredContent"]["pid"].as_u64().unwrap();
    process::signal(u32::try_from(pid).unwrap(), Signal::KILL);
    let said = drill.cluster.nodes[0].wait_for_log("the next message opens it again");
    assert!(said.contains(" WARN notes: "), "{said}");
    mine.call("whoami", json!({}));
    let short = drill.cluster.coordinator.data(&format!("/api/cluster/sessions/{}", mine.id));
    let short = short["sessionId"].as_str().unwrap()[..8].to_owned();
    let rows = drill.cluster.coordinator.data("/api/cluster/instances?server=notes");
    for row in rows["instances"].as_array().unwrap() {
        let is_mine = row["sessions"] == json!([short]);
        assert_eq!(row["restarts"], u64::from(is_mine), "{rows}");
    }
    drill.sees("a killed server is no outage", WELL, |seen| seen.alerts_are(&[]));

    // 3. A server does not start any more.
    std::fs::write(&drill.broken, "").unwrap();
    for pid in process::descendants(drill.cluster.nodes[1].pid()) {
        if process::command_line(pid).contains("mooring-example-counter") {
            process::signal(pid, Signal::KILL);
        }
    }
    let states = [("counter", "ok"), ("notes", "ok"), ("flaky", "down")];
    let seen = drill.sees("flaky does not start", states, |seen| {
        seen.has_row("flaky", "b", &["backoff", "crash-loop", "starting"])
            && seen.errors(&["server=\"flaky\"", "kind=\"unavailable\""]) > 0
            && seen.alerts_are(&["MooringReplicaNotUsable flaky", "MooringServerDown flaky"])
    });
    let why = seen.server("flaky")["why"].as_str().unwrap();
    assert!(
        why.starts_with("server flaky is down: on node b ") && why.contains("no licence"),
        "{why}"
    );
    assert!(!seen.servers.1.contains("no licence"), "a probe needs no key: {}", seen.servers.1);
    assert!(seen.command.1.contains("no licence"), "{}", seen.command.1);
    let said = drill.cluster.nodes[1].wait_for_log("the server has failed");
    assert!(said.contains(" WARN flaky: ") && said.contains("no licence"), "{said}");

    // 4. It is mended. Its clients' next messages start it.
    std::fs::remove_file(&drill.broken).unwrap();
    within(LONGEST_PAUSE + PATIENCE, "flaky is back", || {
        let seen = drill.look();
        (seen.server("flaky")["state"] == "ok").then_some(())
    });
    drill.sees("all is well again", WELL, |seen| seen.alerts_are(&[]));

    // 5. A node dies.
    drill.cluster.nodes[1].kill9();
    let states = [("counter", "degraded"), ("notes", "ok"), ("flaky", "down")];
    let seen = drill.sees("b is dead", states, |seen| {
        seen.node_is("b", &["silent", "unhealthy"])
            && seen.has_row("flaky", "b", &["unreachable"])
            && seen.metrics.contains("mooring_node_silent{node=\"b\"} 1\n")
            && seen.alerts_are(&[
                "MooringNodeSilent b",
                "MooringReplicaNotUsable counter",
                "MooringReplicaNotUsable flaky",
                "MooringServerDown flaky",
            ])
    });
    let replicas = &seen.server("counter")["replicas"];
    assert_eq!((&replicas["known"], &replicas["available"]), (&json!(2), &json!(1)));
    assert_eq!(
        (&replicas["nodes"][0]["node"], &replicas["nodes"][0]["state"]),
        (&json!("b"), &json!("away"))
    );
    let why = seen.server("flaky")["why"].as_str().unwrap();
    assert!(why.starts_with("server flaky is down: node b ") && why.contains(" since "), "{why}");
    drill.cluster.coordinator.wait_for_log("the node is silent");

    // 6. Everything is dead but the coordinator.
    let before = drill.look().errors(&["emitter=\"gateway\"", "kind=\"unavailable\""]);
    drill.cluster.nodes[0].kill9();
    let states = [("counter", "down"), ("notes", "down"), ("flaky", "down")];
    let seen = drill.sees("every node is dead", states, |seen| {
        seen.errors(&["emitter=\"gateway\"", "kind=\"unavailable\""]) > before
            && ["a", "b"].iter().all(|node| seen.node_is(node, &["silent", "unhealthy"]))
            && ["counter", "flaky", "notes"].iter().all(|server| {
                let pending = alerts(&seen.metrics);
                ["MooringServerDown", "MooringReplicaNotUsable"]
                    .iter()
                    .all(|name| pending.contains(&format!("{name} {server}")))
            })
            && alerts(&seen.metrics).contains("MooringNodeSilent a")
    });
    for (server, node) in [("counter", "a"), ("counter", "b"), ("notes", "a"), ("flaky", "b")] {
        assert!(seen.has_row(server, node, &["unreachable"]), "{server} on {node}: {}", seen.ps);
    }
    assert_eq!(seen.servers.1.lines().filter(|line| line.starts_with("server ")).count(), 3);
    assert_eq!(seen.health["cluster"]["nodes"], 2);

    // 7. The nodes come back.
    drill.cluster.nodes[0].start();
    let states = [("counter", "degraded"), ("notes", "ok"), ("flaky", "down")];
    drill.cluster.wait_for_active(1);
    drill.sees("a is back", states, |seen| {
        let pending = alerts(&seen.metrics);
        let down = pending.iter().filter(|alert| alert.starts_with("MooringServerDown"));
        seen.node_is("a", &["active"])
            && down.eq(["MooringServerDown flaky"])
            && !pending.contains("MooringNodeSilent a")
    });
    drill.cluster.nodes[1].start();
    drill.cluster.wait_for_active(2);
    drill.sees("b is back", WELL, |seen| seen.node_is("b", &["active"]) && seen.alerts_are(&[]));

    // 8. The coordinator dies and comes back. Its nodes say so.
    drill.cluster.coordinator.kill9();
    for node in &drill.cluster.nodes {
        node.wait_for_log("the coordinator does not answer");
    }
    drill.cluster.coordinator.start();
    drill.cluster.wait_for_active(2);
    drill.sees("the coordinator is back", WELL, |seen| {
        seen.node_is("a", &["active"]) && seen.alerts_are(&[])
    });
    for node in &drill.cluster.nodes {
        node.wait_for_log("the coordinator is back");
    }

    // 9. A node leaves as planned: only what has no other node is missing.
    drill.cluster.nodes[0].terminate();
    let states = [("counter", "ok"), ("notes", "down"), ("flaky", "ok")];
    let seen = drill.sees("a has signed off", states, |seen| {
        let pending = alerts(&seen.metrics);
        seen.node_is("a", &["inactive"])
            && pending.contains("MooringServerDown notes")
            && pending.contains("MooringNodeNotActive a")
    });
    let why = seen.server("notes")["why"].as_str().unwrap();
    assert!(why.contains("node a has signed off at "), "{why}");
    drop(load);
}
