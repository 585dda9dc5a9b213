//! What the log says, and how: whose line it is, once, and only ours.

use mooring_tests::{Gateway, Setup, eventually, servers, settings};
use serde_json::{Value, json};

fn log_of(setup: Setup, marker: &str) -> (Gateway, String) {
    let gateway = setup.start();
    gateway.wait_for_log(marker);
    let log = gateway.log();
    (gateway, log)
}

fn broken() -> Value {
    json!({"command": "sh", "args": ["-c", "echo no licence >&2; exit 3"]})
}

#[test]
fn a_line_begins_with_the_server_and_marks_what_it_has_said() {
    let gateway = Gateway::start_with(&settings::standalone(json!({"broken": broken()})));
    let said = gateway.wait_for_log("stderr: no licence");
    assert!(said.contains("  INFO broken stderr: no licence"), "{said}");
    let failed = gateway.wait_for_log("the server has failed");
    assert!(failed.contains("  WARN broken: the server has failed"), "{failed}");
}

#[test]
fn one_failure_is_told_once() {
    let gateway = Gateway::start_with(&settings::standalone(json!({"broken": broken()})));
    for _ in 0..5 {
        let _ = gateway.client("/mcp/broken").try_initialize();
        let _ = gateway.client("/mcp").try_initialize();
    }
    gateway.wait_for_log("the server is in a crash loop");
    let log = gateway.log();
    let is_loud = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
    let about: Vec<&str> =
        log.lines().filter(is_loud).filter(|line| line.contains("broken")).collect();
    for line in &about {
        let is_failure = line.contains("the server has failed") || line.contains("crash loop");
        assert!(is_failure, "told once more: {line}\n{log}");
    }
    // As many lines as failed starts: each says how many there were.
    let counts = (1..=about.len()).all(|count| {
        about
            .iter()
            .filter(|line| {
                line.contains(&format!("failures={count} "))
                    || line.ends_with(&format!("failures={count}"))
            })
            .count()
            == 1
    });
    assert!(counts, "{about:#?}");
}

#[test]
fn a_json_log_is_json_from_its_first_line_and_carries_fields() {
    let settings = settings::standalone(json!({"counter": servers::counter(), "broken": broken()}));
    let setup = Setup::new(&settings).env("MOORING_LOG_FORMAT", "json");
    let (_gateway, log) = log_of(setup, "the server has failed");
    let events: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    let with = |message: &str| {
        let is_it = |event: &&Value| {
            event["fields"]["message"].as_str().is_some_and(|text| text.starts_with(message))
        };
        events.iter().find(is_it).unwrap_or_else(|| panic!("{message}: {log}"))["fields"].clone()
    };
    let start = with("mooring serves");
    assert_eq!(start["mode"], "standalone");
    let servers = start["servers"].as_str().unwrap();
    assert!(servers.contains("broken") && servers.contains("counter"), "{start}");
    assert!(start["listening"].as_str().unwrap().starts_with("127.0.0.1:"), "{start}");
    let said = with("no licence");
    assert_eq!((&said["server"], &said["stream"]), (&json!("broken"), &json!("stderr")));
    let failed = with("the server has failed");
    assert_eq!((&failed["server"], &failed["failures"]), (&json!("broken"), &json!(1)));
}

#[test]
fn debug_is_ours_and_what_is_not_understood_is_said() {
    let settings = settings::standalone(json!({"counter": servers::counter()}));
    let debug = Setup::new(&settings).env("MOORING_LOG", "debug").env("MOORING_LOG_FORMAT", "json");
    let (gateway, _) = log_of(debug, "catalog discovered");
    gateway.client("/mcp/counter").initialize().whoami("whoami");
    let log = gateway.log();
    assert!(log.contains("\"level\":\"DEBUG\""), "{log}");
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert!(event["target"].as_str().unwrap().starts_with("mooring"), "{line}");
    }
    for (name, value) in
        [("MOORING_LOG", "inof"), ("MOORING_LOG", "mooring=loud"), ("MOORING_LOG_FORMAT", "xml")]
    {
        let setup = Setup::new(&settings).env(name, value);
        let (_gateway, log) = log_of(setup, "catalog discovered");
        let said = format!("{name}={value:?} is not understood");
        assert_eq!(log.matches(&said).count(), 1, "{log}");
    }
}

#[test]
fn a_slow_start_is_told_once_and_check_advises_a_spare() {
    let slow = |warm: u64| {
        let script = "sleep 1.2; exec mooring-example-counter";
        json!({"command": "sh", "args": ["-c", script], "warm": warm})
    };
    let settings =
        |warm: u64| settings::standalone(json!({"slow": slow(warm), "quick": servers::counter()}));
    let gateway = Gateway::start_with(&settings(0));
    let said = gateway.wait_for_log("\"warm\": 1 keeps a process ready");
    assert!(said.contains("  INFO slow: took "), "{said}");
    gateway.client("/mcp/slow").initialize().whoami("whoami");
    assert_eq!(gateway.log().matches("keeps a process ready").count(), 1);
    let data = gateway.data_folder();
    eventually("it is kept", || data.join("slow-starts.json").exists().then_some(()));
    let check = |warm: u64| {
        let output = Setup::new(&settings(warm)).data(&data).run(&["check"]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let says = check(0);
    assert!(says.contains("mcpServers.slow.warm: the server took "), "{says}");
    assert!(!says.contains("mcpServers.quick.warm"), "{says}");
    assert!(!check(1).contains("slow.warm"), "it has a spare");
}
