//! The data folder: ours alone, bounded, and nothing is lost where it fails.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use mooring_tests::{Gateway, Session, Setup, eventually, servers, settings};
use serde_json::{Value, json};

fn counter() -> Value {
    settings::standalone(json!({"counter": servers::counter()}))
}

fn limited(bytes: u64) -> Value {
    settings::merged(counter(), json!({"systemConfig": {"limits": {"dataFolder": bytes}}}))
}

/// Parameters of `initialize` that are too large for the session's id.
fn large(bytes: usize) -> Value {
    json!({
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "test", "version": "0"}, "_meta": {"pad": "x".repeat(bytes)},
    })
}

fn begin(gateway: &Gateway, bytes: usize) -> Session {
    // The helper sends `notifications/initialized`, the session's second message.
    gateway.client("/mcp").params(large(bytes)).initialize()
}

fn begin_unused(gateway: &Gateway, bytes: usize) -> Session {
    let client = gateway.client("/mcp").params(large(bytes));
    let answer = client.try_initialize().expect(200);
    let id = answer.header("mcp-session-id").expect("an id").to_owned();
    Session::resumed(&client, &id)
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes_in(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

fn files_in(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn metric(gateway: &Gateway, name: &str) -> u64 {
    let text = gateway.get("/metrics").expect(200).text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{name} in {text}"))
}

#[test]
fn sessions_that_say_nothing_but_initialize_leave_nothing() {
    let gateway = Gateway::start_with(&counter());
    let data = gateway.data_folder();
    let before = bytes_in(&data);
    let unused: Vec<Session> = (0..50).map(|_| begin_unused(&gateway, 60_000)).collect();
    assert_eq!(bytes_in(&data), before);
    assert!(metric(&gateway, "mooring_session_params_bytes") > 50 * 60_000);
    // An ended one is refused while the process lives.
    for session in &unused[..25] {
        session.delete().expect(200);
        assert_eq!(session.try_request("ping", json!({})).status, 404);
    }
    assert_eq!(bytes_in(&data), before);
    assert_eq!(metric(&gateway, "mooring_ended_sessions "), 0);
    // The others go on.
    assert_eq!(unused[30].count("counter-count"), 1);
}

#[test]
fn a_used_session_outlives_a_restart_and_its_end_too() {
    let mut gateway = Gateway::start_with(&counter());
    let (kept, ended) = (begin(&gateway, 60_000), begin(&gateway, 60_000));
    assert_eq!(files_in(&gateway.data_folder().join("sessions")), 2);
    ended.delete().expect(200);
    assert_eq!(files_in(&gateway.data_folder().join("sessions")), 1);
    gateway.kill9();
    gateway.start();
    assert_eq!(kept.count("counter-count"), 1);
    assert_eq!(ended.try_request("ping", json!({})).status, 404);
}

#[test]
fn beyond_the_limit_sessions_that_are_served_stay_and_the_oldest_others_go() {
    let mut gateway = Gateway::start_with(&limited(1 << 20));
    let served = begin(&gateway, 60_000);
    assert_eq!(served.count("counter-count"), 1);
    let idle: Vec<Session> = (0..40).map(|_| begin(&gateway, 60_000)).collect();
    let data = gateway.data_folder();
    assert!(bytes_in(&data) <= 1 << 20, "{}", bytes_in(&data));
    assert!(metric(&gateway, "mooring_data_folder_bytes") <= 1 << 20);
    assert_eq!(metric(&gateway, "mooring_data_folder_limit_bytes"), 1 << 20);
    assert!(metric(&gateway, "mooring_session_params_dropped_total") >= 20);
    gateway.kill9();
    gateway.start();
    assert!(!served.tools().is_empty());
    assert!(!idle[39].tools().is_empty());
    assert_eq!(idle[0].try_request("ping", json!({})).status, 404);
}

#[test]
fn a_link_in_the_place_of_a_file_is_not_followed() {
    let mut gateway = Setup::new(&settings::coordinator(json!({}))).prepare();
    let data = gateway.data_folder();
    let target = gateway.folder().join("target");
    let elsewhere = gateway.folder().join("elsewhere");
    fs::create_dir_all(&data).unwrap();
    fs::create_dir_all(&elsewhere).unwrap();
    fs::write(&target, "k".repeat(64)).unwrap();
    for name in ["secret", "ended-sessions", "nodes.json", "lock"] {
        symlink(&target, data.join(name)).unwrap();
    }
    symlink(&elsewhere, data.join("sessions")).unwrap();
    gateway.start();
    let log = gateway.log();
    assert!(log.contains("secret in the data folder is not used"), "{log}");
    begin(&gateway, 60_000).delete().expect(200);
    gateway.terminate();
    assert_eq!(fs::read_to_string(&target).unwrap(), "k".repeat(64));
    assert_eq!(files_in(&elsewhere), 0);
    assert!(fs::symlink_metadata(data.join("secret")).unwrap().is_symlink());
}

#[test]
fn a_folder_that_others_could_write_to_is_mended() {
    let mut gateway = Setup::new(&counter()).prepare();
    let data = gateway.data_folder();
    gateway.start();
    let session = begin(&gateway, 60_000);
    gateway.terminate();
    set_mode(&data, 0o777);
    set_mode(&data.join("secret"), 0o666);
    gateway.start();
    gateway.wait_for_log("other users could write to the data folder");
    assert_eq!((mode(&data), mode(&data.join("secret"))), (0o755, 0o600));
    assert_eq!(session.count("counter-count"), 1);
}

#[test]
fn a_folder_for_everybody_is_refused_and_left_as_it_is() {
    let everybody = tempfile::tempdir().unwrap();
    set_mode(everybody.path(), 0o1777);
    let output = Setup::new(&counter()).data(everybody.path()).refused();
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(says.contains("folder for everybody"), "{says}");
    assert_eq!((mode(everybody.path()), files_in(everybody.path())), (0o777, 0));
}

#[test]
fn a_folder_of_somebody_else_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can give a folder away.
    }
    let setup = Setup::new(&counter());
    let elsewhere = tempfile::tempdir().unwrap();
    chown(elsewhere.path(), Some(65_534), None).unwrap();
    let output = setup.data(elsewhere.path()).refused();
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(says.contains("belongs to user 65534") && says.contains("chown"), "{says}");
    assert_eq!(files_in(elsewhere.path()), 0);
}

#[test]
fn the_folder_may_be_a_link_and_the_port_file_is_no_trap() {
    let real = tempfile::tempdir().unwrap();
    let links = tempfile::tempdir().unwrap();
    let link = links.path().join("data");
    symlink(real.path(), &link).unwrap();
    let mut gateway = Setup::new(&counter()).data(&link).prepare();
    let target = links.path().join("target");
    fs::write(&target, "mine").unwrap();
    symlink(&target, gateway.folder().join("port.draft")).unwrap();
    gateway.start();
    assert!(real.path().join("secret").is_file());
    assert_eq!(fs::read_to_string(target).unwrap(), "mine");
}

/// A file stands where the subfolder must be: that stops root too.
#[test]
fn what_cannot_be_written_is_kept_in_memory_and_told() {
    let gateway = Gateway::start_with(&counter());
    assert_eq!(gateway.get("/readyz").expect(200).text(), "ok\n");
    let data = gateway.data_folder();
    fs::write(data.join("sessions"), "in the way").unwrap();
    let session = begin(&gateway, 60_000);
    // Of another connection, which has to find the parameters again.
    assert_eq!(session.count("counter-count"), 1);
    gateway.wait_for_log("it stays in memory and is tried again");
    eventually("it is told", || {
        let ready = gateway.get("/readyz").expect(200).text();
        ready.starts_with("ok\ndata folder: not writable").then_some(())
    });
    assert_eq!(gateway.get("/health").json()["dataFolder"]["state"], "not writable");
    assert!(metric(&gateway, "mooring_data_folder_failures_total") >= 1);
    fs::remove_file(data.join("sessions")).unwrap();
    begin(&gateway, 60_000);
    eventually("the folder is well again", || {
        (gateway.get("/readyz").text() == "ok\n").then_some(())
    });
}

#[test]
fn a_folder_that_can_only_be_read_gives_its_key() {
    let mut gateway = Setup::new(&counter()).prepare();
    gateway.start();
    let session = gateway.client("/mcp").initialize();
    gateway.terminate();
    let data = gateway.data_folder();
    if rustix::process::geteuid().is_root() {
        // Root writes everywhere: the gateway runs as somebody else, and the folder is root's.
        set_mode(gateway.folder(), 0o777);
        set_mode(&data, 0o755);
        set_mode(&data.join("secret"), 0o644);
        set_mode(&data.join("ended-sessions"), 0o644);
        gateway.run_as(65_534);
    } else {
        set_mode(&data, 0o500);
    }
    gateway.start();
    gateway.wait_for_log("cannot write to it");
    let ready = gateway.get("/readyz").expect(200).text();
    assert!(ready.starts_with("ok\ndata folder: not writable"), "{ready}");
    assert_eq!(session.count("counter-count"), 1);
    gateway.terminate();
    set_mode(&data, 0o700);
}
