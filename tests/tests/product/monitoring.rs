//! The alert rules and the dashboard: they ask for metrics that exist, and Prometheus reads them.

use std::collections::BTreeSet;
use std::process::Command;

use mooring_tests::{Gateway, borrowed, servers, settings};
use serde_json::{Value, json};

fn file(name: &str) -> String {
    let path = settings::repository().join("packaging/helm/mooring/files").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of metrics in a text.
fn metrics(text: &str) -> BTreeSet<&str> {
    let is_part =
        |letter: char| letter.is_ascii_lowercase() || letter == '_' || letter.is_ascii_digit();
    text.match_indices("mooring_")
        .map(|(at, _)| {
            let rest = &text[at..];
            &rest[..rest.find(|letter| !is_part(letter)).unwrap_or(rest.len())]
        })
        .collect()
}

/// All expressions of the dashboard.
fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// A metric that was renamed would leave an alert that never fires.
#[test]
fn alerts_and_dashboard_ask_for_metrics_that_exist() {
    let described =
        std::fs::read_to_string(settings::repository().join("docs/operating.md")).unwrap();
    let described = metrics(&described);
    let gateway =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    gateway.client("/mcp").initialize().count("counter-count");
    let served = gateway.get("/metrics").expect(200).text();
    let served = metrics(&served);
    // These come with the first node, error, or replica that is away.
    let later = ["mooring_errors_total", "mooring_node_silent"];
    for (file, text) in
        [("alerts.yml", file("alerts.yml")), ("dashboard.json", file("dashboard.json"))]
    {
        let asked = metrics(&text);
        assert!(asked.len() > 10, "{file}: {asked:?}");
        for name in asked {
            assert!(described.contains(name), "{file} asks for {name}, which no page describes");
            assert!(served.contains(name) || later.contains(&name), "{file}: {name} is not served");
        }
    }
}

#[test]
fn prometheus_understands_the_alerts_and_the_dashboard() {
    let Some(promtool) = borrowed::on_the_path("promtool") else {
        borrowed::skip("the alert rules", "promtool is not installed");
        return;
    };
    let check = |rules: &str| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rules.yml");
        std::fs::write(&file, rules).unwrap();
        let output = Command::new(&promtool).args(["check", "rules"]).arg(&file).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let (is_good, said) = check(&file("alerts.yml"));
    assert!(is_good, "{said}");
    // Each expression of the dashboard, with Grafana's variables in their places, as a rule.
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).unwrap();
    let rules: Vec<Value> = expressions(&dashboard)
        .iter()
        .enumerate()
        .map(|(number, text)| {
            let text = text.replace("$__rate_interval", "1m");
            json!({"record": format!("panel:{number}"), "expr": text})
        })
        .collect();
    assert!(rules.len() > 30, "{}", rules.len());
    let groups = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    let (is_good, said) = check(&groups.to_string());
    assert!(is_good, "{said}");
    assert!(!check("groups: [{name: a, rules: [{alert: a, expr: 'sum('}]}]").0);
}

/// The rules are tried with a small history: one server down, and a node that hangs.
#[test]
fn alerts_fire_when_they_should_and_only_then() {
    let Some(promtool) = borrowed::on_the_path("promtool") else {
        borrowed::skip("alerts that fire", "promtool is not installed");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("alerts.yml"), file("alerts.yml")).unwrap();
    let series = |name: &str, values: &str| json!({"series": name, "values": values});
    let fires = |alert: &str, at: &str, labels: Value| match labels {
        Value::Null => json!({"alertname": alert, "eval_time": at}),
        labels => {
            json!({"alertname": alert, "eval_time": at, "exp_alerts": [{"exp_labels": labels}]})
        }
    };
    let tests = json!({
        "rule_files": ["alerts.yml"],
        "evaluation_interval": "15s",
        "tests": [{
            "interval": "15s",
            "input_series": [
                series(r#"mooring_server_up{server="notes",instance="c"}"#, "1x8 0x40"),
                series(r#"mooring_server_up{server="clock",instance="c"}"#, "1x60"),
                series(r#"mooring_node_silent{node="n1"}"#, "0x8 1x40"),
                series(r#"mooring_node_up{node="n1",status="active"}"#, "1x60"),
                series(r#"mooring_node_up{node="n2",status="draining"}"#, "1x60"),
                series(r#"mooring_limit_refusals_total{limit="sessions",instance="c"}"#, "0x8 5x40"),
                series(r#"mooring_short_of{what="memory",instance="c"}"#, "0x60"),
            ],
            "alert_rule_test": [
                fires("MooringServerDown", "1m", Value::Null),
                fires("MooringServerDown", "5m", json!({"server": "notes", "severity": "critical"})),
                fires("MooringNodeSilent", "5m", json!({"node": "n1", "severity": "warning"})),
                fires("MooringNodeNotActive", "10m", Value::Null),
                fires("MooringLimitReached", "5m", json!({"instance": "c", "limit": "sessions", "severity": "warning"})),
                fires("MooringShortOf", "10m", Value::Null),
            ],
        }],
    });
    // What an alert says is in the file; here it is asked whether it fires.
    let rules = file("alerts.yml");
    let bare: Vec<&str> = without_annotations(&rules);
    std::fs::write(folder.path().join("alerts.yml"), bare.join("\n")).unwrap();
    let test = folder.path().join("test.yml");
    std::fs::write(&test, tests.to_string()).unwrap();
    let output = Command::new(&promtool).args(["test", "rules"]).arg(&test).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// The lines of the rules without what is below `annotations:`.
fn without_annotations(rules: &str) -> Vec<&str> {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let mut lines = Vec::new();
    let mut skipped = None;
    for line in rules.lines() {
        if line.trim() == "annotations:" {
            skipped = Some(depth(line));
        } else if skipped.is_none_or(|above| depth(line) <= above) {
            skipped = None;
            lines.push(line);
        }
    }
    lines
}

#[test]
fn every_alert_says_what_to_look_at() {
    let rules = yaml_rust2::YamlLoader::load_from_str(&file("alerts.yml")).unwrap().remove(0);
    let rules = rules["groups"][0]["rules"].as_vec().unwrap().clone();
    assert!(rules.len() >= 10);
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(name.starts_with("Mooring"), "{name}");
        for part in ["summary", "description"] {
            let text = rule["annotations"][part].as_str().unwrap_or_default();
            assert!(text.ends_with('.') || text.contains("{{"), "{name}: {part}: {text}");
        }
        assert!(["warning", "critical"].contains(&rule["labels"]["severity"].as_str().unwrap()));
    }
}

#[test]
fn panels_do_not_lie_over_each_other() {
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).unwrap();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for x in place("x")..place("x") + place("w") {
            assert!(x < 24, "{}", panel["title"]);
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{} lies over another one", panel["title"]);
            }
        }
    }
}
