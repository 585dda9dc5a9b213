//! What has the settings read again: SIGHUP, a change of the file, the API and the command line.

use std::os::unix::fs::symlink;

use mooring_tests::{Gateway, Setup, eventually, servers, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

fn named(name: &str) -> Value {
    settings::standalone(json!({"counter": servers::counter_named(name)}))
}

#[track_caller]
fn wait_for_name(gateway: &Gateway, name: &str) {
    let session = gateway.client("/mcp/counter").initialize();
    eventually(&format!("the server is {name}"), || {
        (session.whoami("whoami").name == name).then_some(())
    });
}

fn counted(gateway: &Gateway, outcome: &str) -> u64 {
    let text = gateway.get("/metrics").expect(200).text();
    let start = format!("mooring_reloads_total{{outcome=\"{outcome}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok()).expect("the metric")
}

#[test]
fn sighup_reloads_and_ends_nothing() {
    let gateway = Gateway::start_with(&named("one"));
    gateway.rewrite(&named("two"));
    gateway.signal(Signal::HUP);
    wait_for_name(&gateway, "two");
    assert_eq!(counted(&gateway, "applied"), 1);
    gateway.signal(Signal::HUP);
    eventually("it was told again", || (counted(&gateway, "unchanged") == 1).then_some(()));
    gateway.wait_for_log("the settings have not changed");
}

#[test]
fn a_file_that_is_rewritten_or_replaced_is_noticed() {
    let gateway = Gateway::start_with(&named("one"));
    gateway.rewrite(&named("two"));
    wait_for_name(&gateway, "two");
    let file = gateway.folder().join("mcp_settings.json");
    std::fs::write(&file, named("three").to_string()).unwrap();
    wait_for_name(&gateway, "three");
    assert_eq!((counted(&gateway, "applied"), counted(&gateway, "refused")), (2, 0));
}

/// Kubernetes replaces the link `..data` by another one, and no file that anybody has named.
#[test]
fn a_link_on_the_way_to_the_file_is_followed_when_it_is_replaced() {
    let mounted = tempfile::tempdir().unwrap();
    let at = |name: &str| mounted.path().join(name);
    for name in ["one", "two"] {
        std::fs::create_dir(at(name)).unwrap();
        let text = named(name).to_string();
        std::fs::write(at(name).join("mcp_settings.json"), text).unwrap();
    }
    symlink("one", at("..data")).unwrap();
    symlink("..data/mcp_settings.json", at("mcp_settings.json")).unwrap();
    let path = at("mcp_settings.json");
    let gateway = Setup::text("{}").arg("--config").arg(path.to_str().unwrap()).start();
    wait_for_name(&gateway, "one");
    symlink("two", at("..data_tmp")).unwrap();
    std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
    wait_for_name(&gateway, "two");
}

#[test]
fn the_command_says_what_became_of_it() {
    let gateway = Gateway::start_with(&named("one"));
    let reload = || {
        std::process::Command::new(mooring_tests::binaries::mooring())
            .args(["reload", "--url", &gateway.url()])
            .current_dir(gateway.folder())
            .output()
            .unwrap()
    };
    gateway.rewrite(&named("two"));
    let done = reload();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && text.contains("applied"), "{text}");
    gateway.rewrite_text("{");
    let refused = reload();
    assert_eq!(refused.status.code(), Some(1));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("nothing was changed"), "{text}");
    wait_for_name(&gateway, "two");
}

#[test]
fn a_variable_of_the_start_still_counts_and_another_value_of_env_too() {
    let file = json!({"mcpServers": {"counter": {
        "command": "mooring-example-counter",
        "env": {"MOORING_EXAMPLE_NAME": "${WHO}-${WHERE}"},
    }}});
    let setup = Setup::new(&file).env("WHO", "me");
    let mut gateway = setup.prepare();
    let dot_env = gateway.folder().join(".env");
    std::fs::write(&dot_env, "WHERE=here\n").unwrap();
    gateway.start();
    wait_for_name(&gateway, "me-here");
    std::fs::write(&dot_env, "WHERE=there\n").unwrap();
    wait_for_name(&gateway, "me-there");
}

#[test]
fn reloads_at_once_are_one_after_the_other_and_the_last_file_wins() {
    let gateway = Gateway::start_with(&named("start"));
    std::thread::scope(|scope| {
        for number in 0..8 {
            let gateway = &gateway;
            scope.spawn(move || {
                let text = named(&format!("n{number}")).to_string();
                let new = gateway.folder().join(format!("new-{number}"));
                std::fs::write(&new, text).unwrap();
                std::fs::rename(&new, gateway.folder().join("mcp_settings.json")).unwrap();
                gateway.post("/api/reload", &Value::Null).expect(200);
            });
        }
    });
    gateway.apply(&named("last"));
    wait_for_name(&gateway, "last");
}

#[test]
fn what_became_of_the_last_reload_is_told_whatever_has_asked_for_it() {
    let gateway = Gateway::start_with(&named("one"));
    let last = || gateway.get("/api/reload").expect(200).json()["data"]["last"].clone();
    assert_eq!(last(), Value::Null);
    gateway.rewrite_text("{");
    let refused = eventually("the change was noticed", || Some(last()).filter(|it| !it.is_null()));
    assert_eq!(
        (&refused["outcome"], &refused["cause"]),
        (&json!("refused"), &json!("a changed file"))
    );
    assert!(refused["reasons"].to_string().contains("mcp_settings.json"), "{refused}");
    gateway.rewrite(&named("two"));
    gateway.signal(Signal::HUP);
    let applied =
        eventually("it is applied", || Some(last()).filter(|it| it["outcome"] == "applied"));
    assert_eq!(applied["changed"], json!(["counter"]));
    assert!(applied["at"].as_u64() >= refused["at"].as_u64());
}

#[test]
fn what_stays_wrong_in_the_file_is_told_once() {
    let with = |name: &str, unread: &str| {
        settings::merged(named(name), json!({"systemConfig": {unread: 1}}))
    };
    let gateway = Gateway::start_with(&with("one", "unreadOne"));
    let told = |word: &str| gateway.log().lines().filter(|line| line.contains(word)).count();
    let at_start = told("unreadOne");
    assert!(at_start > 0, "{}", gateway.log());
    for round in 1..4 {
        gateway.signal(Signal::HUP);
        eventually("it was reloaded", || (counted(&gateway, "unchanged") == round).then_some(()));
    }
    assert_eq!(told("unreadOne"), at_start);
    gateway.rewrite(&with("two", "unreadTwo"));
    gateway.signal(Signal::HUP);
    wait_for_name(&gateway, "two");
    assert_eq!((told("unreadTwo"), told("unreadOne")), (1, at_start));
}
