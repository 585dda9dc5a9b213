//! Settings that are refused: all that runs goes on, the reason is told, and no process stays.

use mooring_tests::{Gateway, Setup, eventually, process, servers, settings};
use serde_json::{Value, json};

fn good() -> Value {
    settings::standalone(json!({"counter": servers::counter_named("good")}))
}

/// The text of settings, and what the reason says.
fn bad_files() -> Vec<(String, &'static str)> {
    let with = |more: Value| settings::merged(good(), more).to_string();
    let of_server = |server: Value| with(json!({"mcpServers": {"new": server}}));
    let sticky = |strategy: &str| {
        with(json!({"systemConfig": {"cluster": {"stickySession": {"strategy": strategy}}}}))
    };
    vec![
        ("{\"mcpServers\": {".to_owned(), "mcp_settings.json"),
        ("\u{0}\u{1}".to_owned(), "mcp_settings.json"),
        ("[]".to_owned(), "mcp_settings.json"),
        (with(json!({"systemConfig": {"cluster": {"mode": "sideways", "enabled": true}}})), "mode"),
        (of_server(servers::missing()), "mooring-no-such-program"),
        (
            of_server(json!({"command": "sh", "args": ["-c", "echo no luck >&2; exit 3"]})),
            "no luck",
        ),
        (of_server(json!({"command": 7})), "new"),
        (of_server(json!({})), "new"),
        (
            of_server(json!({"command": "x", "env": {"KEY": "${NO_SUCH_VARIABLE}"}})),
            "NO_SUCH_VARIABLE",
        ),
        (of_server(json!({"url": "http://127.0.0.1:9/mcp"})), "new"),
        (of_server(json!({"command": "sleep", "args": ["60"], "startTimeoutMs": 300})), "new"),
        (sticky("no-such-plugin.wasm"), "no-such-plugin.wasm"),
    ]
}

#[test]
fn each_bad_file_is_refused_with_its_reason_and_changes_nothing() {
    let gateway = Gateway::start_with(&good());
    let session = gateway.client("/mcp/counter").initialize();
    let before = session.whoami("whoami");
    for (round, (text, reason)) in bad_files().into_iter().enumerate() {
        gateway.rewrite_text(&text);
        let answer = gateway.post("/api/reload", &Value::Null).expect(422).json();
        assert_eq!(answer["data"]["outcome"], "refused", "{text}: {answer}");
        let reasons = answer["data"]["reasons"].to_string();
        assert!(reasons.contains(reason), "{reason:?} is not in {reasons}");
        assert!(answer["message"].as_str().unwrap().contains("nothing was changed"), "{answer}");
        assert_eq!(session.count("count"), 1 + round as i64, "{text}");
        assert_eq!(session.whoami("whoami"), before, "{text}");
    }
    gateway.wait_for_log("the new settings are refused");
    eventually("only the session's process runs", || {
        (process::servers(gateway.pid()) == [before.pid]).then_some(())
    });
    let text = gateway.get("/metrics").expect(200).text();
    assert!(text.contains("mooring_reloads_total{outcome=\"applied\"} 0"), "{text}");
    // A good file is taken all the same.
    gateway.apply(&settings::standalone(json!({"counter": servers::counter_named("better")})));
    eventually("it is taken", || (session.whoami("whoami").name == "better").then_some(()));
}

#[test]
fn a_file_that_says_nothing_of_servers_takes_none_away() {
    let gateway = Gateway::start_with(&good());
    let session = gateway.client("/mcp/counter").initialize();
    let before = session.whoami("whoami");
    for text in [
        "",
        " \n",
        "// nothing yet",
        "{}",
        r#"{"mcpServers": []}"#,
        r#"{"mcpServers": null}"#,
        r#"{"mcpServers": "later"}"#,
        r#"{"mcpservers": {"counter": {"command": "mooring-example-counter"}}}"#,
        r#"{"systemConfig": {"limits": {"pageSize": 7}}}"#,
    ] {
        gateway.rewrite_text(text);
        let answer = gateway.post("/api/reload", &Value::Null).expect(422).json();
        let reasons = answer["data"]["reasons"].to_string();
        assert!(reasons.contains("0 servers") && reasons.contains("if that is meant"), "{answer}");
        assert_eq!(session.whoami("whoami"), before, "{text}");
    }
    // By itself neither.
    gateway.rewrite_text("");
    eventually("the file was refused", || {
        let last = gateway.data("/api/reload");
        let is_by_itself = last["last"]["cause"] == "a changed file";
        (is_by_itself && last["last"]["outcome"] == "refused").then_some(())
    });
    assert_eq!(session.whoami("whoami"), before);
    let removed = gateway.apply(&settings::standalone(json!({})));
    assert_eq!(removed["removed"], json!(["counter"]));
    // Without servers there is nothing to lose.
    gateway.rewrite_text("{}");
    gateway.post("/api/reload", &Value::Null).expect(200);
}

#[test]
fn what_was_found_in_a_file_that_is_applied_is_told_to_who_asked() {
    let gateway = Gateway::start_with(&good());
    let odd = settings::merged(
        good(),
        json!({
            "groups": [{"name": "g", "servers": ["counter", "no-such-server"]}],
            "systemConfig": {"limits": {"pageSize": "many"}},
        }),
    );
    let report = gateway.apply(&odd);
    let warnings = report["warnings"].as_array().unwrap();
    let told = |part: &str| warnings.iter().any(|line| line.as_str().unwrap().contains(part));
    assert!(told("no-such-server") && told("limits.pageSize"), "{report}");
    assert_eq!(gateway.data("/api/reload")["last"]["warnings"], report["warnings"]);
    assert_eq!(gateway.apply(&good())["warnings"], json!([]));
}

#[test]
fn a_file_that_could_not_be_read_is_taken_once_it_can_be() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let user = 65_534;
    let mut gateway = Setup::new(&good()).user(user).start();
    let file = gateway.folder().join("mcp_settings.json");
    let rights = |mode| {
        let rights = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&file, rights).unwrap();
    };
    let new = settings::standalone(json!({"counter": servers::counter_named("new")}));
    std::fs::write(gateway.folder().join("next"), new.to_string()).unwrap();
    let next = gateway.folder().join("next");
    let none = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&next, none).unwrap();
    std::fs::rename(&next, &file).unwrap();
    gateway.wait_for_log("the new settings are refused");
    rights(0o644);
    gateway.wait_for_log("the new settings are in force");
    assert!(gateway.terminate().success());
}

#[test]
fn no_process_stays_of_a_reload_that_fails_after_half_of_its_servers_have_started() {
    let gateway = Gateway::start_with(&good());
    let session = gateway.client("/mcp/counter").initialize();
    let pid = session.whoami("whoami").pid;
    let mut many = json!({"counter": servers::counter_named("changed")});
    for number in 0..6 {
        let server = if number == 5 {
            json!({"command": "sh", "args": ["-c", "sleep 1; exit 1"]})
        } else {
            settings::merged(servers::counter(), json!({"warm": 2}))
        };
        many[format!("s{number}")] = server;
    }
    let report = gateway.reload(&settings::standalone(many));
    assert_eq!(report["outcome"], "refused", "{report}");
    assert!(report["reasons"].to_string().contains("s5"), "{report}");
    eventually("no other process runs", || {
        (process::servers(gateway.pid()) == [pid]).then_some(())
    });
    assert_eq!(session.whoami("whoami").pid, pid);
    gateway.client("/mcp/s0").try_initialize().expect(404);
}

#[test]
fn a_gateway_that_ends_during_a_trial_leaves_no_process() {
    let mut gateway = Gateway::start_with(&good());
    let marked = json!({"command": "sleep", "args": ["300"], "env": {"TRIAL_OF": "ending"}});
    gateway.rewrite(&settings::standalone(json!({"slow": marked})));
    gateway.signal(rustix::process::Signal::HUP);
    let tried = eventually("it is being tried", || {
        let servers = process::servers(gateway.pid());
        servers.into_iter().find(|pid| process::command_line(*pid).contains("sleep 300"))
    });
    assert!(gateway.terminate().success());
    eventually("it is gone", || (!process::runs(tried)).then_some(()));
}

#[test]
fn a_gateway_that_listens_for_others_is_not_opened_by_a_lost_key() {
    let locked = settings::merged(
        good(),
        json!({"bearerKeys": [{"name": "k", "token": "a-long-enough-token", "enabled": true, "accessType": "all"}]}),
    );
    // An empty value counts as none: the address is that of a gateway with a key.
    let gateway = Setup::new(&locked).env("MOORING_HOST", "").start();
    let post = || {
        mooring_tests::Request::post("/api/reload")
            .header("Authorization", "Bearer a-long-enough-token")
            .send(gateway.address())
    };
    gateway.rewrite(&good());
    let answer = post().expect(422).json();
    assert!(answer["data"]["reasons"].to_string().contains("without a key"), "{answer}");
    gateway.client("/mcp/counter").try_initialize().expect(401);
}

/// A start without the file would go on with no server and no key.
#[test]
fn a_file_that_is_gone_takes_nothing_away() {
    let gateway = Gateway::start_with(&good());
    let session = gateway.client("/mcp/counter").initialize();
    let pid = session.whoami("whoami").pid;
    std::fs::remove_file(gateway.folder().join("mcp_settings.json")).unwrap();
    let line = gateway.wait_for_log("the new settings are refused");
    assert!(line.contains("is gone"), "{line}");
    let answer = gateway.post("/api/reload", &Value::Null).expect(422).json();
    assert!(answer["data"]["reasons"].to_string().contains("is gone"), "{answer}");
    assert_eq!(session.whoami("whoami").pid, pid);
    gateway.apply(&settings::standalone(json!({"counter": servers::counter_named("better")})));
    eventually("the session has moved", || {
        (session.whoami("whoami").name == "better").then_some(())
    });
}

/// What a pipe had is read, and a second reading would wait for ever.
#[test]
fn settings_that_came_through_a_pipe_are_not_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("settings");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::write(pipe, good().to_string()).unwrap()
    });
    let gateway = Setup::text("{}").arg("--config").arg(pipe.to_str().unwrap()).start();
    writer.join().unwrap();
    let answer = gateway.post("/api/reload", &Value::Null).expect(422).json();
    assert!(answer["data"]["reasons"].to_string().contains("no regular file"), "{answer}");
    assert_eq!(gateway.client("/mcp/counter").initialize().count("count"), 1);
}
