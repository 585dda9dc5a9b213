//! A machine that is short of something: sessions go on, what cannot be done is told, and all is
//! well again by itself once the machine is.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mooring_tests::{
    Cluster, Gateway, Session, Setup, borrowed, eventually, process, servers, settings, within,
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// More than the pause between two checks of a data folder that is well.
const CHECKED: Duration = Duration::from_secs(45);

fn counter() -> Value {
    settings::standalone(json!({"counter": servers::counter()}))
}

/// Begins a session whose parameters are too large for its id, and uses it.
fn begin_large(gateway: &Gateway) -> Session {
    let params = json!({
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "test", "version": "0"}, "_meta": {"pad": "x".repeat(60_000)},
    });
    gateway.client("/mcp").params(params).initialize()
}

fn ready(gateway: &Gateway) -> String {
    gateway.get("/readyz").expect(200).text()
}

#[track_caller]
fn wait_until_ready_says(gateway: &Gateway, is_meant: impl Fn(&str) -> bool) -> String {
    within(CHECKED, "/readyz says what is meant", || {
        Some(ready(gateway)).filter(|text| is_meant(text))
    })
}

#[track_caller]
fn metric(gateway: &Gateway, name: &str) -> u64 {
    let text = gateway.get("/metrics").expect(200).text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{name} in {text}"))
}

/// A gateway whose data folder is a small disk of its own, which ends with it. `None` where this
/// system does not allow that.
fn on_a_small_disk(what: &str) -> Option<(Gateway, PathBuf)> {
    let mounts = ["unshare", "nsenter"].map(borrowed::on_the_path);
    let allowed = mounts.iter().all(Option::is_some)
        && Command::new("unshare")
            .args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"])
            .output()
            .is_ok_and(|output| output.status.success());
    if !allowed {
        borrowed::skip(what, "nothing can be mounted here");
        return None;
    }
    let script = "mkdir -p \"$MOORING_DATA\" && mount -t tmpfs -o size=256k,mode=700 none \
                  \"$MOORING_DATA\" && exec \"$@\"";
    let gateway =
        Setup::new(&counter()).within(&["unshare", "-m", "sh", "-c", script, "sh"]).start();
    let data = gateway.data_folder();
    let seen = Path::new("/proc").join(gateway.pid().to_string()).join("root");
    Some((gateway, seen.join(data.strip_prefix("/").unwrap())))
}

fn in_its_mounts(gateway: &Gateway, args: &[&str]) {
    let pid = gateway.pid().to_string();
    let output = Command::new("nsenter").args(["-t", &pid, "-m"]).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Fills a disk to its last byte.
fn fill(file: &Path) {
    let mut file = fs::File::create(file).unwrap();
    while file.write_all(&[0; 1024]).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
}

#[track_caller]
fn wait_for_tombstone(data: &Path, before: usize) {
    eventually("the end of the session is written", || {
        let text = fs::read_to_string(data.join("ended-sessions")).unwrap_or_default();
        (text.lines().count() > before).then_some(())
    });
}

/// Waits until the parameters of one session are in the data folder, whole.
#[track_caller]
fn wait_for_parameters(data: &Path) {
    eventually("the parameters are written", || {
        let files = fs::read_dir(data.join("sessions")).ok()?.flatten();
        let is_whole = |file: &fs::DirEntry| !file.file_name().to_string_lossy().contains("draft");
        (files.filter(is_whole).count() == 1).then_some(())
    });
}

/// Sessions begin, go on and end while the data folder cannot be written, and all of it is written
/// once `heal` has been done.
#[track_caller]
fn goes_on(gateway: &Gateway, data: &Path, before: &[Session], why: &str, heal: impl FnOnce()) {
    let [kept, ended] = before else { panic!("two sessions") };
    let (large, gone) = (begin_large(gateway), begin_large(gateway));
    assert_eq!(large.count("counter-count"), 1);
    assert_eq!(kept.count("counter-count"), 2);
    ended.delete().expect(200);
    gone.delete().expect(200);
    let text = wait_until_ready_says(gateway, |text| text.contains("data folder: not writable"));
    assert!(text.starts_with("ok\n") && text.contains(why), "{text}");
    assert_eq!(metric(gateway, "mooring_short_of{what=\"data-folder\"}"), 1);
    assert_eq!(ended.try_request("ping", json!({})).status, 404);
    let lines = gateway.log().matches("it stays in memory").count();
    assert!((1..=2).contains(&lines), "{lines} lines about it:\n{}", gateway.log());
    let tombstones = fs::read_to_string(data.join("ended-sessions")).unwrap_or_default();
    assert!(fs::read_dir(data.join("sessions")).map_or(0, Iterator::count) == 0);
    heal();
    wait_until_ready_says(gateway, |text| text == "ok\n");
    wait_for_tombstone(data, tombstones.lines().count());
    wait_for_parameters(data);
    let half = fs::read_dir(data).unwrap().flatten().map(|file| file.file_name());
    let half: Vec<_> = half.filter(|name| name.to_string_lossy().ends_with(".draft")).collect();
    assert!(half.is_empty(), "{half:?}");
    assert_eq!(metric(gateway, "mooring_short_of{what=\"data-folder\"}"), 0);
    assert_eq!(large.count("counter-count"), 2);
}

fn two(gateway: &Gateway) -> [Session; 2] {
    let sessions = [(); 2].map(|()| gateway.client("/mcp").initialize());
    sessions.iter().for_each(|session| assert_eq!(session.count("counter-count"), 1));
    sessions
}

#[test]
fn a_full_disk_costs_nothing_and_is_told_until_there_is_room() {
    let Some((gateway, data)) = on_a_small_disk("a full disk") else { return };
    let before = two(&gateway);
    let filler = data.join("filler");
    fill(&filler);
    goes_on(&gateway, &data, &before, "No space left", || fs::remove_file(filler).unwrap());
}

#[test]
fn a_disk_that_becomes_read_only_costs_nothing_and_may_come_back() {
    let Some((gateway, data)) = on_a_small_disk("a read-only disk") else { return };
    let before = two(&gateway);
    let folder = gateway.data_folder();
    let remount = |how: &str| {
        in_its_mounts(&gateway, &["mount", "-o", how, folder.to_str().unwrap()]);
    };
    remount("remount,ro");
    goes_on(&gateway, &data, &before, "Read-only", || remount("remount,rw"));
}

/// A full disk is seen before anything has to be written.
#[test]
fn a_full_disk_is_told_though_nobody_writes() {
    let Some((gateway, data)) = on_a_small_disk("a full disk without work") else { return };
    let filler = data.join("filler");
    fill(&filler);
    wait_until_ready_says(&gateway, |text| text.contains("data folder: not writable"));
    fs::remove_file(filler).unwrap();
    wait_until_ready_says(&gateway, |text| text == "ok\n");
    assert!(gateway.log().contains("the data folder can be written again"));
}

#[test]
fn a_data_folder_that_comes_late_is_used_from_then_on() {
    let mut gateway = Setup::new(&counter()).prepare();
    let data = gateway.data_folder();
    fs::write(&data, "in the way").unwrap();
    gateway.start();
    let (session, ended) = (begin_large(&gateway), gateway.client("/mcp").initialize());
    assert_eq!(session.count("counter-count"), 1);
    let text = ready(&gateway);
    assert!(text.starts_with("ok\ndata folder: not usable"), "{text}");
    ended.count("counter-count");
    ended.delete().expect(200);
    fs::remove_file(&data).unwrap();
    wait_until_ready_says(&gateway, |text| text == "ok\n");
    wait_for_tombstone(&data, 0);
    wait_for_parameters(&data);
    gateway.restart_after(Signal::KILL);
    assert_eq!(session.count("counter-count"), 1, "key and parameters came along");
    assert_eq!(ended.try_request("ping", json!({})).status, 404);
}

#[test]
fn the_list_of_nodes_is_written_once_that_is_possible() {
    let mut coordinator = Setup::new(&settings::coordinator(json!({}))).prepare();
    let data = coordinator.data_folder();
    fs::write(&data, "in the way").unwrap();
    coordinator.start();
    let node = mooring_tests::fake_node::Says::default().start("n1");
    let _ = node.register(&coordinator, json!(["counter"]), json!({})).expect(200);
    fs::remove_file(&data).unwrap();
    within(CHECKED, "the node is in the list", || {
        let text = fs::read_to_string(data.join("nodes.json")).ok()?;
        text.contains("\"n1\"").then_some(())
    });
}

#[test]
fn a_limit_of_file_sizes_is_an_error_and_not_the_end() {
    if borrowed::on_the_path("prlimit").is_none() {
        borrowed::skip("a limit of file sizes", "there is no prlimit");
        return;
    }
    let gateway = Setup::new(&counter()).within(&["prlimit", "--fsize=20000:20000", "--"]).start();
    let session = begin_large(&gateway);
    assert_eq!(session.count("counter-count"), 1);
    wait_until_ready_says(&gateway, |text| text.contains("data folder: not writable"));
    assert_eq!(session.count("counter-count"), 2);
}

/// What writes the log must not be what ends a request.
#[test]
fn a_log_on_a_full_disk_costs_lines_and_nothing_else() {
    let script = "exec \"$@\" 2>/dev/full >/dev/full";
    let gateway = Setup::new(&counter()).within(&["sh", "-c", script, "sh"]).start();
    let session = gateway.client("/mcp").initialize();
    assert_eq!(session.count("counter-count"), 1);
    let servers = process::servers(gateway.pid());
    servers.iter().for_each(|server| process::signal(*server, Signal::KILL));
    eventually("the server is gone", || process::survivors(&servers).is_empty().then_some(()));
    assert_eq!(session.count("counter-count"), 1);
    assert_eq!(ready(&gateway), "ok\n");
}

fn with_descriptors(settings: &Value, most: u32) -> Option<Gateway> {
    if borrowed::on_the_path("prlimit").is_none() {
        borrowed::skip("too few descriptors", "there is no prlimit");
        return None;
    }
    let limit = format!("--nofile={most}:{most}");
    Some(Setup::new(settings).within(&["prlimit", &limit, "--"]).start())
}

#[test]
fn clients_that_take_every_descriptor_end_no_session() {
    // So many connections that their own limit does not help.
    let limits = json!({"systemConfig": {"limits": {"connections": 10_000}}});
    let Some(gateway) = with_descriptors(&settings::merged(counter(), limits), 160) else { return };
    let sessions: Vec<Session> = (0..5).map(|_| gateway.client("/mcp").initialize()).collect();
    sessions.iter().for_each(|session| assert_eq!(session.count("counter-count"), 1));
    let crowd: Vec<TcpStream> =
        (0..300).filter_map(|_| TcpStream::connect(gateway.address()).ok()).collect();
    for round in 2..12 {
        sessions.iter().for_each(|session| assert_eq!(session.count("counter-count"), round));
    }
    let health = gateway.get("/health").expect(200).json();
    assert_eq!(health["servers"][0]["failures"], 0, "{health}");
    assert_eq!(metric(&gateway, "mooring_open_files_limit"), 160);
    drop(crowd);
    wait_until_ready_says(&gateway, |text| text == "ok\n");
    let lines = gateway.log().matches("cannot accept").count();
    assert!(lines <= 4, "{lines} lines:\n{}", gateway.log());
}

#[test]
fn a_server_is_not_blamed_for_descriptors_that_are_missing() {
    let Some(gateway) = with_descriptors(&counter(), 128) else { return };
    let mut sessions = Vec::new();
    let refused = (0..60).find_map(|_| {
        let client = gateway.client("/mcp/counter");
        let answer = client.try_initialize();
        let id = answer.header("mcp-session-id").map(str::to_owned);
        match id {
            Some(id) => {
                sessions.push(Session::resumed(&client, &id));
                None
            }
            None => Some(answer.text()),
        }
    });
    let why = refused.expect("descriptors run out");
    assert!(why.contains("open files"), "{why}");
    assert!(sessions.len() > 5, "{} sessions", sessions.len());
    let text = wait_until_ready_says(&gateway, |text| text.contains("open files: "));
    assert!(text.starts_with("ok\n"), "{text}");
    assert_eq!(metric(&gateway, "mooring_short_of{what=\"open-files\"}"), 1);
    let health = gateway.get("/health").expect(200).json();
    let server = &health["servers"][0];
    assert_eq!(
        (&server["failures"], &server["status"]),
        (&json!(0), &json!("running")),
        "{health}"
    );
    for session in sessions.drain(3..) {
        session.delete();
    }
    for session in &sessions {
        assert_eq!(session.count("count"), 1);
    }
    let another = eventually("there is room again", || {
        let answer = gateway.client("/mcp/counter").try_initialize();
        answer.header("mcp-session-id").map(str::to_owned)
    });
    assert!(!another.is_empty());
    wait_until_ready_says(&gateway, |text| text == "ok\n");
}

#[test]
fn a_node_is_not_blamed_for_descriptors_that_its_coordinator_lacks() {
    let limits = json!({"systemConfig": {"limits": {"connections": 10_000}}});
    let settings = settings::merged(settings::coordinator(json!({})), limits);
    let Some(coordinator) = with_descriptors(&settings, 128) else { return };
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for id in ["a", "b"] {
        cluster.add(id, json!({"counter": servers::counter_named(id)}));
    }
    cluster.wait_for_active(2);
    let sessions = ["a", "b"].map(|node| (cluster.session_at(node), node));
    for (session, _) in &sessions {
        assert_eq!(session.count("count"), 1);
    }
    // A stream that is read takes one from the client and one to the node.
    let streams: Vec<_> = (0..120)
        .map_while(|_| {
            let client = cluster.client("/mcp/counter");
            let answer = client.initialize_request().try_send(client.address()).ok()?;
            let session = Session::resumed(&client, answer.header("mcp-session-id")?);
            let stream = session.try_listen()?;
            Some((session, stream))
        })
        .collect();
    assert!(streams.len() < 120, "descriptors have run out");
    let until = Instant::now() + Duration::from_secs(4);
    let mut counts = [1, 1];
    while Instant::now() < until {
        for ((session, _), count) in sessions.iter().zip(&mut counts) {
            let request = session.message("tools/call", json!({"name": "count"})).0;
            // Refused where there is no descriptor for it, and never at another node.
            if let Ok(answer) = session.post(&request).try_send(cluster.coordinator.address())
                && answer.json()["result"].is_object()
            {
                *count += 1;
            }
        }
    }
    drop(streams);
    for ((session, node), count) in sessions.iter().zip(counts) {
        let whoami = session.message("tools/call", json!({"name": "whoami"})).0;
        eventually("there is room again", || {
            let answer = session.post(&whoami).try_send(cluster.coordinator.address()).ok()?;
            answer.json()["result"].is_object().then_some(())
        });
        assert_eq!(session.whoami("whoami").name, *node);
        assert_eq!(session.count("count"), count + 1);
    }
    let log = cluster.coordinator.log();
    assert!(!log.contains("is silent") && !log.contains("unhealthy"), "{log}");
}

/// `minFreeMemory` above what the machine has stands for a machine that has too little.
#[test]
fn too_little_memory_is_told_and_sessions_go_on() {
    let most = json!({"systemConfig": {"cluster": {"node": {"minFreeMemory": 1_u64 << 53}}}});
    let gateway = Setup::new(&settings::merged(counter(), most)).start();
    let session = gateway.client("/mcp").initialize();
    assert_eq!(session.count("counter-count"), 1);
    let text = wait_until_ready_says(&gateway, |text| text.contains("memory: "));
    assert!(text.starts_with("ok\n") && text.contains("MiB are free"), "{text}");
    assert_eq!(metric(&gateway, "mooring_short_of{what=\"memory\"}"), 1);
    let shortages = &gateway.get("/health").expect(200).json()["shortages"];
    assert!(shortages[0].as_str().is_some_and(|line| line.starts_with("memory: ")), "{shortages}");
    assert_eq!(session.count("counter-count"), 2);
    assert_eq!(gateway.log().matches("MiB are free").count(), 1);
}

/// A control group of the first or the second version, removed at the end of the test.
struct Group {
    folder: PathBuf,
    is_second: bool,
}

impl Group {
    /// `None` where no group with this controller can be made.
    fn of(controller: &str, what: &str) -> Option<Self> {
        let (first, second) = (Path::new("/sys/fs/cgroup").join(controller), "/sys/fs/cgroup");
        let enabled = fs::read_to_string("/sys/fs/cgroup/cgroup.subtree_control");
        let is_second = !first.is_dir();
        let parent = match is_second {
            false => first,
            true if enabled.is_ok_and(|names| names.contains(controller)) => second.into(),
            true => {
                borrowed::skip(what, &format!("there is no control group for {controller}"));
                return None;
            }
        };
        let folder = parent.join(format!("mooring-test-{}-{controller}", std::process::id()));
        if fs::create_dir(&folder).is_err() {
            borrowed::skip(what, "no control group can be made here");
            return None;
        }
        Some(Self { folder, is_second })
    }

    fn write(&self, file: &str, value: &str) {
        fs::write(self.folder.join(file), value).unwrap();
    }

    fn number(&self, file: &str) -> u64 {
        fs::read_to_string(self.folder.join(file)).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It is empty once the gateway has ended, which its helper does first or right now.
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while fs::remove_dir(&self.folder).is_err() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn too_little_memory_in_a_control_group_is_over_once_there_is_more() {
    let Some(group) = Group::of("memory", "memory of a control group") else { return };
    let (limit, used) = match group.is_second {
        true => ("memory.max", "memory.current"),
        false => ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    };
    let reserve = json!({"systemConfig": {"cluster": {"node": {"minFreeMemory": 200 << 20}}}});
    group.write(limit, &(1_u64 << 30).to_string());
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.folder.display());
    let gateway = Setup::new(&settings::merged(counter(), reserve))
        .within(&["sh", "-c", &enter, "sh"])
        .start();
    let session = gateway.client("/mcp").initialize();
    assert_eq!(session.count("counter-count"), 1);
    assert_eq!(ready(&gateway), "ok\n");
    group.write(limit, &(group.number(used) + (100 << 20)).to_string());
    wait_until_ready_says(&gateway, |text| text.contains("memory: "));
    assert_eq!(session.count("counter-count"), 2);
    group.write(limit, &(1_u64 << 30).to_string());
    wait_until_ready_says(&gateway, |text| text == "ok\n");
    gateway.wait_for_log("no longer short of memory");
    assert_eq!(session.count("counter-count"), 3);
}

/// As where all that a container may have are taken by its servers.
#[test]
fn a_gateway_that_gets_no_further_thread_goes_on() {
    let Some(group) = Group::of("pids", "too few processes") else { return };
    let gateway = Gateway::start_with(&counter());
    let session = begin_large(&gateway);
    assert_eq!(session.count("counter-count"), 1);
    group.write("cgroup.procs", &gateway.pid().to_string());
    group.write("pids.max", "1");
    for round in 2..10 {
        let large = begin_large(&gateway);
        assert_eq!(session.count("counter-count"), round);
        large.delete().expect(200);
    }
    let written = fs::read_dir(gateway.data_folder().join("sessions")).unwrap().count();
    assert_eq!(written, 1, "what is at the disk goes on");
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
    group.write("pids.max", "max");
}
