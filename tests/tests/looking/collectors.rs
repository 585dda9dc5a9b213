//! Metrics and logs at a collector of OpenTelemetry.

use std::collections::BTreeSet;

use mooring_tests::spans::{self, LogRecord, Point, collector, of_signal};
use mooring_tests::{Cluster, Gateway, Scripted, eventually, servers, settings};
use serde_json::{Value, json};

fn telling(base: Value, telemetry: Value) -> Value {
    settings::merged(base, json!({"systemConfig": {"telemetry": telemetry}}))
}

fn points(collector: &Scripted) -> Vec<Point> {
    of_signal(collector, "/v1/metrics").iter().flat_map(|body| spans::points(body)).collect()
}

fn log_records(collector: &Scripted) -> Vec<LogRecord> {
    of_signal(collector, "/v1/logs").iter().flat_map(|body| spans::log_records(body)).collect()
}

/// Waits for a point with these labels, of a process with this mode.
#[track_caller]
fn wait_for_point(
    points: impl Fn() -> Vec<Point>,
    (mode, name): (&str, &str),
    labels: &[(&str, &str)],
    is_it: impl Fn(f64) -> bool,
) -> Point {
    eventually(&format!("{name} {labels:?} of the {mode}"), || {
        points().into_iter().find(|point| {
            let has = |(label, value): &(&str, &str)| {
                point.labels.get(*label).is_some_and(|found| found == value)
            };
            point.name == name
                && point.resource["mooring.mode"] == mode
                && labels.iter().all(has)
                && is_it(point.value)
        })
    })
}

#[test]
fn a_collector_gets_the_metrics_of_the_page_again_and_again() {
    let collector = collector();
    let metrics = json!({"otlp": {"endpoint": collector.url("/base"), "headers": {"X-Key": "k"}},
        "metrics": {"interval": 1000}});
    let servers = json!({"counter": servers::counter()});
    let gateway = Gateway::start_with(&telling(settings::standalone(servers), metrics));
    gateway.wait_until_discovered(&["counter"]);
    let session = gateway.client("/mcp/counter").initialize();
    session.count("count");
    let points = || {
        let bodies = of_signal(&collector, "/base/v1/metrics");
        bodies.iter().flat_map(|body| spans::points(body)).collect::<Vec<_>>()
    };
    let call = [("server", "counter"), ("method", "tools/call"), ("outcome", "ok")];
    let total = ("standalone", "mooring_calls_total");
    let point = wait_for_point(points, total, &call, |value| value == 1.0);
    assert_eq!((point.kind, point.unit.as_str()), ("counter", ""));
    assert!(point.began > 1_600_000_000_000_000_000 && point.at > point.began, "{point:?}");
    assert_eq!(point.resource["service.name"], "mooring");
    let durations = ("standalone", "mooring_call_duration_seconds");
    let point = wait_for_point(points, durations, &call[..2], |value| value >= 1.0);
    assert_eq!((point.kind, point.unit.as_str()), ("histogram", "s"));
    let asked = collector.wait_for("a request", |asked| asked.path == "/base/v1/metrics");
    assert_eq!(asked.header("x-key"), Some("k"));
    // The values of later are told later.
    session.count("count");
    wait_for_point(points, total, &call, |value| value == 2.0);
    // The same families, those without samples left out; and of the same kinds.
    let page = gateway.get("/metrics").expect(200).text();
    let family = |line: &str| {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let kind = page.lines().find_map(|line| {
            let (family, kind) = line.strip_prefix("# TYPE ")?.rsplit_once(' ')?;
            let is_it = match kind {
                "histogram" => name.strip_prefix(family).is_some_and(|end| end.starts_with('_')),
                _ => name == family,
            };
            is_it.then(|| (family.to_owned(), kind.to_owned()))
        });
        kind.unwrap_or_else(|| panic!("no type of {line}"))
    };
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let of_page: BTreeSet<(String, String)> = samples.map(family).collect();
    let told = points().into_iter().map(|point| (point.name, point.kind.to_owned()));
    let told: BTreeSet<(String, String)> = told.collect();
    assert_eq!(of_page.difference(&told).collect::<Vec<_>>(), Vec::<&(String, String)>::new());
    assert!(page.contains("mooring_metric_exports_total{outcome=\"failed\"} 0"), "{page}");
}

#[test]
fn every_process_of_a_cluster_tells_its_own_and_the_last_values_at_its_end() {
    let collector = collector();
    let telemetry = json!({
        "metrics": {"endpoint": collector.url("/v1/metrics"), "interval": 3_600_000},
    });
    let coordinator = telling(settings::coordinator(json!({})), telemetry.clone());
    let coordinator = Gateway::start_with(&coordinator);
    let servers = json!({"counter": servers::counter()});
    let node = settings::node(coordinator.port(), json!({"id": "a"}), servers);
    let node = Gateway::start_with(&telling(node, telemetry));
    let mut cluster = Cluster { coordinator, nodes: vec![node] };
    cluster.wait_for_active(1);
    cluster.client("/mcp/counter").initialize().count("count");
    assert!(points(&collector).is_empty(), "nothing is told before its time");
    cluster.nodes[0].terminate();
    let instances = ("node", "mooring_server_restarts_total");
    let point =
        wait_for_point(|| points(&collector), instances, &[("server", "counter")], |_| true);
    assert_eq!(point.resource["service.instance.id"], "a");
    cluster.coordinator.terminate();
    let call = [("server", "counter"), ("method", "tools/call"), ("outcome", "ok")];
    let total = ("coordinator", "mooring_calls_total");
    wait_for_point(|| points(&collector), total, &call, |value| value == 1.0);
}

#[test]
fn both_logs_go_to_the_collector_and_nothing_is_left_at_the_end() {
    let collector = collector();
    let telemetry = json!({
        "otlp": {"endpoint": collector.url("")},
        "accessLog": {"to": "otlp"},
        "auditLog": {"to": "otlp", "arguments": true, "redact": ["/secret"]},
    });
    let servers = json!({"counter": servers::counter()});
    let mut gateway = Gateway::start_with(&telling(settings::standalone(servers), telemetry));
    gateway.wait_until_discovered(&["counter"]);
    let session = gateway.client("/mcp").initialize();
    let tool = session.tools().into_iter().find(|name| name.ends_with("count")).unwrap();
    session.call(&tool, json!({"secret": "word", "plain": 1}));
    let _ = session.answer("tools/call", json!({"name": "no-such", "arguments": {}}));
    let find = |event: &str, key: &str, value: &str| {
        eventually(&format!("{event} of {value}"), || {
            log_records(&collector).into_iter().find(|record| {
                record.event == event
                    && record.attributes.get(key).is_some_and(|found| found == value)
            })
        })
    };
    let record = find("mooring.access", "tool", &tool);
    assert_eq!(record.severity, "INFO");
    assert!(record.at > 1_600_000_000_000_000_000, "{record:?}");
    for (name, value) in [
        ("log", "access"),
        ("principal", "anonymous"),
        ("scope", "/mcp"),
        ("server", "counter"),
        ("method", "tools/call"),
        ("outcome", "ok"),
    ] {
        assert_eq!(record.attributes[name], value, "{record:?}");
    }
    assert!(record.attributes["seconds"].parse::<f64>().unwrap() > 0.0, "{record:?}");
    assert!(record.attributes["received"].parse::<u64>().unwrap() > 50, "{record:?}");
    assert!(record.body.contains(&format!("tool={tool}")), "{record:?}");
    assert_eq!(record.resource["mooring.mode"], "standalone");
    assert_eq!(find("mooring.access", "tool", "no-such").severity, "WARN");
    let record = find("mooring.audit", "target", &tool);
    assert_eq!(record.attributes["decision"], "allowed");
    let arguments: Value = serde_json::from_str(&record.attributes["arguments"]).unwrap();
    assert_eq!(arguments, json!({"secret": "[redacted]", "plain": 1}));
    assert!(!record.body.contains("word"), "{record:?}");
    for _ in 0..100 {
        session.count(&tool);
    }
    gateway.terminate();
    let calls = log_records(&collector).into_iter().filter(|record| {
        record.event == "mooring.access"
            && record.attributes.get("tool").is_some_and(|found| *found == tool)
    });
    assert_eq!(calls.count(), 101);
}

#[test]
fn a_collector_that_is_away_or_refuses_costs_lines_that_are_counted_and_no_call() {
    let refusing = Scripted::start(|_, out| {
        out.reply("401 Unauthorized", &[], b"");
        None
    });
    let telemetry = json!({
        "traces": {"endpoint": refusing.url("")},
        "metrics": {"endpoint": "http://127.0.0.1:1", "interval": 1000},
        "accessLog": {"to": "otlp"},
        "otlp": {"endpoint": "http://127.0.0.1:1"},
    });
    let servers = json!({"counter": servers::counter()});
    let gateway = Gateway::start_with(&telling(settings::standalone(servers), telemetry));
    gateway.wait_until_discovered(&["counter"]);
    let session = gateway.client("/mcp/counter").initialize();
    for number in 1..=50 {
        assert_eq!(session.count("count"), number);
    }
    let more_than_none = |line: &str| {
        eventually(line, || {
            let page = gateway.get("/metrics").expect(200).text();
            let value = page.lines().find_map(|one| one.strip_prefix(line)?.trim().parse().ok());
            value.filter(|value: &u64| *value > 0)
        })
    };
    more_than_none("mooring_metric_exports_total{outcome=\"failed\"}");
    more_than_none("mooring_log_lines_lost_total{log=\"access\",reason=\"failed\"}");
    // What is refused for good is not repeated.
    let lost = more_than_none("mooring_spans_lost_total{reason=\"failed\"}");
    let told: usize = spans::received(&refusing).len();
    assert!(told as u64 >= lost, "{told} told, {lost} lost");
    let requests = of_signal(&refusing, "/v1/traces");
    let different: BTreeSet<&[u8]> = requests.iter().map(Vec::as_slice).collect();
    assert_eq!(different.len(), requests.len());
    session.count("count");
}
