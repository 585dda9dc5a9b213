//! Secrets that come from files: sent to their server, taken up when they change, and shown nowhere.

use std::os::unix::fs::symlink;
use std::path::Path;

use mooring_tests::{Front, Gateway, OddServer, Setup, Way, eventually, servers, settings};
use serde_json::{Value, json};

use crate::remote::upstreams::{SCOPES, ask, text};

/// A folder as Kubernetes mounts a secret: its files are links through a link, which alone changes.
fn mounted(value: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    symlink("..data/token", folder.path().join("token")).unwrap();
    remount(folder.path(), value);
    folder
}

/// Another value for it.
fn remount(folder: &Path, value: &str) {
    let (number, temporary) = (format!("..{value}"), folder.join("..data_tmp"));
    std::fs::create_dir(folder.join(&number)).unwrap();
    std::fs::write(folder.join(&number).join("token"), format!("{value}\n")).unwrap();
    symlink(&number, &temporary).unwrap();
    std::fs::rename(&temporary, folder.join("..data")).unwrap();
}

fn with_header(far: &OddServer, value: &str) -> Value {
    settings::merged(far.entry(), json!({"headers": {"X-Key": value}}))
}

/// What the server was sent last.
fn last_key(far: &OddServer) -> Option<String> {
    far.asked().last()?.header("x-key").map(str::to_owned)
}

#[test]
fn a_mounted_secret_is_sent_and_a_new_one_is_taken_up_by_its_server_alone() {
    for way in [Way::Http, Way::Sse] {
        let far = OddServer::guarded(way, None, |_, out| Some(out));
        let folder = mounted("canary-one");
        let reference = format!("k-${{file:{}/token}}", folder.path().display());
        let all = json!({"far": with_header(&far, &reference), "counter": servers::counter()});
        Front::each(&all, &json!({}), |front| {
            for (path, tool) in SCOPES {
                assert_eq!(text(&ask(&front.client(path).initialize(), tool)), "as usual");
            }
            assert!(far.asked().iter().all(|asked| asked.header("x-key") == Some("k-canary-one")));
        });
        let gateway = Gateway::start_with(&settings::standalone(all));
        let (session, other) =
            (gateway.client("/mcp/far").initialize(), gateway.client("/mcp/counter").initialize());
        assert_eq!(other.count("count"), 1);
        remount(folder.path(), "canary-two");
        eventually("the new secret is sent", || {
            assert_eq!(text(&ask(&session, "ask")), "as usual");
            (last_key(&far).as_deref() == Some("k-canary-two")).then_some(())
        });
        assert_eq!(other.count("count"), 2, "another server has lost nothing");
    }
}

#[test]
fn a_credential_of_systemd_is_sent() {
    let far = OddServer::guarded(Way::Http, None, |_, out| Some(out));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("far-key"), "from-systemd\n").unwrap();
    let entry = with_header(&far, "${credential:far-key}");
    let gateway = Setup::new(&settings::standalone(json!({"far": entry})))
        .env("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())
        .start();
    assert_eq!(text(&ask(&gateway.client("/mcp/far").initialize(), "ask")), "as usual");
    assert_eq!(last_key(&far).as_deref(), Some("from-systemd"));
}

#[test]
fn a_missing_file_is_named_and_what_comes_later_is_taken_up() {
    let far = OddServer::guarded(Way::Http, None, |_, out| Some(out));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("later");
    let reference = format!("${{file:{}}}", file.display());
    let all = json!({"far": with_header(&far, &reference), "counter": servers::counter()});
    let checked = Setup::new(&settings::standalone(all.clone())).run(&["check"]);
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(told.contains(&format!("mcpServers.far: {reference}: No such file")), "{told}");
    let gateway = Gateway::start_with(&settings::standalone(all));
    assert_eq!(gateway.client("/mcp/counter").initialize().count("count"), 1);
    let error = gateway.client("/mcp/far").try_initialize().json().to_string();
    assert!(error.contains("misconfigured") && error.contains("later"), "{error}");
    std::fs::write(&file, "now\n").unwrap();
    eventually("the server runs", || {
        gateway.client("/mcp/far").try_initialize().json()["result"].as_object().map(drop)
    });
    assert_eq!(last_key(&far).as_deref(), Some("now"));
    // What is gone again changes nothing: the settings of before stay in force.
    std::fs::remove_file(&file).unwrap();
    gateway.wait_for_log("the new settings are refused");
    assert_eq!(text(&ask(&gateway.client("/mcp/far").initialize(), "ask")), "as usual");
}

#[test]
fn a_secret_of_a_file_is_shown_nowhere() {
    const CANARY: &str = "canary-9f8e7d6c5b4a";
    let folder = mounted(CANARY);
    let reference = format!("${{file:{}/token}}", folder.path().display());
    // One server refuses it, one is not there, one echoes nothing, one is a process.
    let far = OddServer::guarded(Way::Http, None, |_, out| {
        out.reply("401 Unauthorized", &["WWW-Authenticate: Bearer"], b"no");
        None
    });
    let all = json!({
        "far": with_header(&far, &reference),
        "gone": {"type": "http", "url": format!("http://127.0.0.1:9/{reference}")},
        "odd": {"url": format!("http://127.0.0.1:{reference}/mcp")},
        "process": {"command": "mooring-no-such-program", "args": [reference],
            "env": {"KEY": reference}},
        "counter": servers::counter(),
    });
    let text = settings::standalone(all);
    let gateway = Setup::new(&text).env("MOORING_LOG", "debug").start();
    for name in ["far", "gone", "odd", "process", "counter"] {
        let answer = gateway.client(&format!("/mcp/{name}")).try_initialize();
        assert!(!answer.text().contains(CANARY), "{name}: {}", answer.text());
    }
    let session = gateway.client("/mcp").initialize();
    assert_eq!(session.count("counter-count"), 1);
    let checked = Setup::new(&text).run(&["check"]);
    let mut shown = vec![
        ("log", gateway.log()),
        ("check", String::from_utf8_lossy(&checked.stdout).into_owned()),
        ("findings", String::from_utf8_lossy(&checked.stderr).into_owned()),
    ];
    for path in
        ["/api/cluster/instances", "/api/cluster/nodes", "/api/reload", "/health", "/metrics"]
    {
        shown.push((path, gateway.get(path).text()));
    }
    for (what, text) in shown {
        assert!(!text.is_empty() && !text.contains(CANARY), "{what}: {text}");
    }
}

/// A server reads neither the files that others' secrets come from, nor the key of a certificate.
#[test]
fn a_server_cannot_read_the_files() {
    let folder = mounted("canary-of-the-other");
    let (token, out) = (folder.path().join("token"), folder.path().join("seen"));
    let reference = format!("${{file:{}}}", token.display());
    let script = folder.path().join("spy.sh");
    std::fs::write(
        &script,
        "cat \"$1\" >\"$2.draft\" 2>&1; mv \"$2.draft\" \"$2\"\nexec sleep 1000\n",
    )
    .unwrap();
    let far = OddServer::guarded(Way::Http, None, |_, out| Some(out));
    let all = json!({
        "far": with_header(&far, &reference),
        "spy": {"command": "sh", "args": [script, token, out]},
    });
    let gateway = Gateway::start_with(&settings::standalone(all));
    let seen = eventually("the spy has looked", || std::fs::read_to_string(&out).ok());
    if gateway.log().contains("does not let the gateway hide") {
        eprintln!("skipped: this system lets no files be hidden");
        return;
    }
    assert!(!seen.contains("canary"), "{seen}");
    // Its arguments lead there, and the operator is told.
    assert!(
        gateway.log().contains("mcpServers.spy: its arguments leads into"),
        "{}",
        gateway.log()
    );
}
