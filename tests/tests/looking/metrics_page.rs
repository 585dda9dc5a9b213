//! `/metrics`, read as strictly as Prometheus' text format is written, and judged by promtool.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use mooring_tests::over_sse::OverSse;
use mooring_tests::{Cluster, Gateway, Request, Stateless, eventually, servers, settings};
use serde_json::json;

/// A sample: its name, its labels, its value.
#[derive(Debug, Clone)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// The families of a page by their names: type and samples.
type Families = BTreeMap<String, (String, Vec<Sample>)>;

/// The labels of a series, without a bucket's bound.
type LabelPairs = Vec<(String, String)>;
/// A bucket's bound, and its count.
type Bucket = (f64, f64);

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Reads a page, and panics at whatever is not as the format wants it.
#[track_caller]
fn read(page: &str) -> Families {
    let mut families = Families::new();
    let mut helped = BTreeSet::new();
    let mut current = String::new();
    assert!(page.ends_with('\n'), "the last line has no end");
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(name) && !help.trim().is_empty(), "{line}");
            assert!(helped.insert(name.to_owned()), "twice: {line}");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(helped.contains(name), "no help before {line}");
            let before = families.insert(name.to_owned(), (kind.to_owned(), Vec::new()));
            assert!(before.is_none(), "twice: {line}");
            name.clone_into(&mut current);
            continue;
        }
        let sample = sample(line);
        let (kind, samples) = families.get_mut(&current).unwrap_or_else(|| panic!("{line}"));
        let end = sample.name.strip_prefix(&*current).unwrap_or_else(|| panic!("astray: {line}"));
        let ends: &[&str] =
            if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(ends.contains(&end), "{line}");
        let is_same = |other: &Sample| other.name == sample.name && other.labels == sample.labels;
        assert!(!samples.iter().any(is_same), "twice: {line}");
        assert!(sample.value >= 0.0, "{line}");
        samples.push(sample);
    }
    families.iter().filter(|(_, (kind, _))| kind == "histogram").for_each(
        |(name, (_, samples))| {
            check_histogram(name, samples);
        },
    );
    families
}

#[track_caller]
fn sample(line: &str) -> Sample {
    let (rest, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
    let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    let (name, mut labels) = match rest.split_once('{') {
        None => (rest, ""),
        Some((name, labels)) => {
            (name, labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}")))
        }
    };
    assert!(is_name(name), "{line}");
    let mut read = BTreeMap::new();
    while !labels.is_empty() {
        let (label, rest) = labels.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
        assert!(is_name(label), "{line}");
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next().unwrap_or_else(|| panic!("{line}")) {
                (at, '"') => break at + 1,
                (_, '\\') => match characters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c @ ('"' | '\\'))) => value.push(c),
                    _ => panic!("a wrong escape: {line}"),
                },
                (_, c) => value.push(c),
            }
        };
        assert!(read.insert(label.to_owned(), value).is_none(), "twice: {line}");
        labels = &rest[end..];
        if !labels.is_empty() {
            labels = labels.strip_prefix(',').unwrap_or_else(|| panic!("{line}"));
        }
    }
    Sample { name: name.to_owned(), labels: read, value }
}

#[track_caller]
fn check_histogram(name: &str, samples: &[Sample]) {
    let mut series: BTreeMap<LabelPairs, Vec<Bucket>> = BTreeMap::new();
    let without_bound = |sample: &Sample| {
        let labels = sample.labels.iter().filter(|(label, _)| *label != "le");
        labels.map(|(a, b)| (a.clone(), b.clone())).collect::<Vec<_>>()
    };
    for sample in samples.iter().filter(|one| one.name.ends_with("_bucket")) {
        let bound = match sample.labels["le"].as_str() {
            "+Inf" => f64::INFINITY,
            bound => bound.parse().unwrap(),
        };
        series.entry(without_bound(sample)).or_default().push((bound, sample.value));
    }
    for (labels, buckets) in &series {
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name}: {buckets:?}");
        let last = buckets.last().unwrap();
        assert!(last.0.is_infinite(), "{name} has no +Inf");
        let of = |end: &str| {
            let named = samples.iter().filter(|one| one.name == format!("{name}{end}"));
            let mut found = named.filter(|one| without_bound(one) == *labels);
            found.next().unwrap_or_else(|| panic!("{name}{end} of {labels:?}")).value
        };
        assert_eq!(of("_count"), last.1, "{name}");
        assert_eq!(of("_sum") > 0.0, last.1 > 0.0, "{name}");
    }
}

fn page(gateway: &Gateway) -> String {
    let response = gateway.get("/metrics").expect(200);
    assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    response.text()
}

/// The sum of the samples that have these labels.
fn value(families: &Families, name: &str, labels: &[(&str, &str)]) -> f64 {
    let family = name.strip_suffix("_count").filter(|base| families.contains_key(*base));
    let (_, samples) = &families[family.unwrap_or(name)];
    let has = |sample: &&Sample| {
        sample.name == name
            && labels
                .iter()
                .all(|(label, value)| sample.labels.get(*label).is_some_and(|found| found == value))
    };
    samples.iter().filter(has).map(|sample| sample.value).sum()
}

/// A server whose name needs escapes wherever it is written.
const ODD: &str = "a \"b\" \\c";

fn gateway_with_calls() -> Gateway {
    let servers = json!({"counter": servers::counter(), ODD: servers::counter_named("odd")});
    let gateway = Gateway::start_with(&settings::standalone(servers));
    gateway.wait_until_discovered(&["counter", ODD]);
    for path in ["/mcp/counter", "/mcp"] {
        let session = gateway.client(path).initialize();
        let tools = session.tools();
        let count = tools.iter().find(|tool| tool.ends_with("count")).unwrap();
        session.count(count);
        session.count(count);
        let unknown = session.answer("tools/call", json!({"name": "no-such", "arguments": {}}));
        assert!(unknown.get("error").is_some() || unknown["result"]["isError"] == true);
        let _ = session.answer("made/up", json!({}));
        session.delete();
    }
    gateway
}

#[test]
fn every_sample_has_its_type_and_every_histogram_adds_up() {
    let gateway = gateway_with_calls();
    let families = read(&page(&gateway));
    let call = [("server", "counter"), ("method", "tools/call")];
    let ok = [call[0], call[1], ("outcome", "ok")];
    assert!(value(&families, "mooring_calls_total", &ok) >= 2.0);
    let counted = value(&families, "mooring_call_duration_seconds_count", &call);
    assert_eq!(counted, value(&families, "mooring_calls_total", &call));
    assert!(value(&families, "mooring_calls_total", &[("method", "other")]) >= 2.0);
    assert!(value(&families, "mooring_errors_total", &[("emitter", "gateway")]) >= 1.0);
    assert!(
        value(&families, "mooring_call_received_bytes_total", &[("server", "counter")]) > 100.0
    );
    assert!(value(&families, "mooring_call_sent_bytes_total", &[("server", "counter")]) > 100.0);
    assert!(value(&families, "mooring_refusals_total", &[("reason", "method")]) >= 1.0);
    assert!(value(&families, "mooring_strategy_decision_duration_seconds_count", &[]) >= 1.0);
    assert!(families["mooring_server_processes"].1.iter().any(|one| one.labels["server"] == ODD));
    assert!(value(&families, "process_cpu_seconds_total", &[]) > 0.0);
    assert_eq!(value(&families, "mooring_streams", &[]), 0.0);
}

/// The metrics that the documents describe.
fn documented() -> BTreeSet<String> {
    let text = std::fs::read_to_string(settings::repository().join("docs/operating.md")).unwrap();
    let section = text.split("\n## Metrics\n").nth(1).expect("the section");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.map(|row| row.split('|').next().unwrap().trim().trim_end_matches('`'));
    names.flat_map(|names| names.split("`, `")).map(str::to_owned).collect()
}

#[test]
fn every_family_is_documented_and_every_documented_one_is_there() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let there = read(&page(&cluster.coordinator)).into_keys().collect::<BTreeSet<_>>();
    assert_eq!(there, documented());
    let of_node: BTreeSet<_> = read(&page(&cluster.nodes[0])).into_keys().collect();
    assert!(of_node.is_subset(&there), "{of_node:?}");
}

#[test]
fn what_is_open_is_counted_while_it_is() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let now = |name: &str, labels: &[(&str, &str)]| {
        value(&read(&page(&cluster.coordinator)), name, labels)
    };
    let streams = |transport: &str| now("mooring_streams", &[("transport", transport)]);
    let session = cluster.client("/mcp/counter").initialize();
    let node = session.whoami("whoami").name;
    let stream = session.listen();
    let sse = OverSse::initialize(cluster.coordinator.address(), "/sse/counter");
    eventually("both streams are counted", || {
        (streams("streamable-http") == 1.0 && streams("http-sse") == 1.0).then_some(())
    });
    assert_eq!(now("mooring_sessions", &[]), 2.0);
    assert_eq!(now("mooring_bindings", &[]), 2.0);
    assert_eq!(now("mooring_bindings", &[]), now("mooring_node_bindings", &[]));
    assert!(now("mooring_node_bindings", &[("node", &node)]) >= 1.0);
    assert_eq!(now("mooring_node_up", &[("status", "active")]), 2.0);
    assert_eq!(now("mooring_server_replicas", &[("server", "counter"), ("state", "ok")]), 2.0);
    assert!(now("mooring_connections", &[]) >= 2.0);
    let on_nodes = |name: &str| {
        cluster.nodes.iter().map(|node| value(&read(&page(node)), name, &[])).sum::<f64>()
    };
    assert!(on_nodes("mooring_children") >= 2.0);
    assert!(on_nodes("mooring_instances") >= 2.0);
    drop((stream, sse));
    session.delete().expect(200);
    eventually("nothing is open", || {
        let left = streams("streamable-http") + streams("http-sse") + now("mooring_bindings", &[]);
        (left == 0.0).then_some(())
    });
}

#[test]
fn a_client_without_a_session_that_listens_has_a_stream() {
    let near = json!({"command": "mooring-stateless-server", "args": ["stdio"], "era": "modern"});
    let servers = json!({"counter": servers::counter(), "near": near});
    let eras = json!({"systemConfig": {"eras": ["legacy", "modern"]}});
    let gateway = Gateway::start_with(&settings::merged(settings::standalone(servers), eras));
    gateway.wait_until_discovered(&["counter", "near"]);
    let streams = || {
        let labels = [("transport", "streamable-http")];
        value(&read(&page(&gateway)), "mooring_streams", &labels)
    };
    let wanted = json!({"notifications": {"toolsListChanged": true}});
    let open = ["/mcp/counter", "/mcp/near", "/mcp"].map(|path| {
        let client = Stateless::new(gateway.address(), path);
        let (mut stream, _) = client.open("subscriptions/listen", wanted.clone());
        let first = stream.event().json();
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{path}: {first}");
        stream
    });
    assert_eq!(streams(), 3.0);
    drop(open);
    eventually("no stream is open", || (streams() == 0.0).then_some(()));
}

#[test]
fn a_limit_that_is_met_is_counted() {
    let servers = json!({"counter": servers::counter()});
    let limits = json!({"systemConfig": {"limits": {"sessionsPerPrincipal": 1}}});
    let gateway = Gateway::start_with(&settings::merged(settings::standalone(servers), limits));
    let session = gateway.client("/mcp/counter").initialize();
    gateway.client("/mcp/counter").try_initialize().expect(429);
    let families = read(&page(&gateway));
    let of = |name, label| value(&families, name, &[label]);
    assert_eq!(of("mooring_limit_refusals_total", ("limit", "sessionsPerPrincipal")), 1.0);
    assert_eq!(of("mooring_refusals_total", ("reason", "rate_limit")), 1.0);
    assert_eq!(session.count("count"), 1);
}

#[test]
fn a_plugin_is_counted_with_its_time_and_its_faults() {
    for (plugin, kind) in [("faults/traps.wasm", "trap"), ("faults/loops.wasm", "deadline")] {
        let strategy = json!({"stickySession": {"strategy": settings::prebuilt(plugin)}});
        let cluster = Cluster::of_two_equal_nodes(strategy);
        for header in ["none", "fault"] {
            let _ = cluster.client("/mcp/counter").header("X-Fault", header).initialize();
        }
        let families = read(&page(&cluster.coordinator));
        let of = |name: &str, labels: &[(&str, &str)]| value(&families, name, labels);
        assert!(of("mooring_strategy_faults_total", &[("kind", kind)]) >= 1.0, "{plugin}");
        let decided = |outcome| of("mooring_strategy_decisions_total", &[("outcome", outcome)]);
        assert!(decided("strategy") >= 1.0 && decided("fallback") >= 1.0, "{plugin}");
        assert!(of("mooring_strategy_fallbacks_total", &[]) >= 1.0, "{plugin}");
        let timed = of("mooring_strategy_decision_duration_seconds_count", &[]);
        assert_eq!(timed, of("mooring_strategy_decisions_total", &[]), "{plugin}");
    }
}

#[test]
fn a_coordinator_counts_the_calls_that_its_nodes_serve() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let session = cluster.client("/mcp/counter").initialize();
    for _ in 0..5 {
        session.count("count");
    }
    let answer = session.answer("tools/call", json!({"name": "no-such", "arguments": {}}));
    let families = read(&page(&cluster.coordinator));
    let call = [("server", "counter"), ("method", "tools/call")];
    let of = |outcome| {
        value(&families, "mooring_calls_total", &[call[0], call[1], ("outcome", outcome)])
    };
    assert_eq!(of("ok"), 5.0, "{families:#?}");
    let expect = if answer.get("error").is_some() { "error" } else { "tool_error" };
    assert_eq!(of(expect), 1.0, "{answer}");
    let by_server = [("server", "counter"), ("emitter", "server")];
    // Errors are counted where they come into being.
    let at =
        |node: usize| value(&read(&page(&cluster.nodes[node])), "mooring_errors_total", &by_server);
    assert_eq!(at(0) + at(1), 1.0);
}

#[test]
fn a_recovered_session_is_counted_with_its_cause() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    let session = cluster.session_at("a");
    session.count("count");
    cluster.nodes[0].kill9();
    let _ = session.try_request("tools/call", json!({"name": "count", "arguments": {}}));
    session.count("count");
    let families = read(&page(&cluster.coordinator));
    let recovered = |cause| value(&families, "mooring_recoveries_total", &[("cause", cause)]);
    assert!(recovered("node") + recovered("instance") >= 1.0, "{families:#?}");
}

#[test]
fn labels_stay_few_whatever_clients_send() {
    let servers = json!({"counter": servers::counter()});
    let gateway = Gateway::start_with(&settings::standalone(servers));
    let session = gateway.client("/mcp/counter").initialize();
    let lines = || page(&gateway).lines().count();
    let _ = session.answer("made/up-0", json!({}));
    Request::get("/mcp/no-such").send(gateway.address()).expect(404);
    let before = lines();
    for number in 1..40 {
        let _ = session.answer(&format!("made/up-{number}"), json!({}));
        Request::get(&format!("/mcp/no-such-{number}")).send(gateway.address()).expect(404);
    }
    assert_eq!(lines(), before);
}

#[test]
fn promtool_accepts_the_page() {
    let promtool = Command::new("promtool").arg("--version").stdout(Stdio::null()).status();
    if !promtool.is_ok_and(|status| status.success()) {
        println!(
            "SKIPPED promtool_accepts_the_page: no promtool here (apt-get install prometheus)"
        );
        return;
    }
    let gateway = gateway_with_calls();
    promtool_accepts(&page(&gateway));
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    cluster.client("/mcp/counter").initialize().count("count");
    promtool_accepts(&page(&cluster.coordinator));
    promtool_accepts(&page(&cluster.nodes[0]));
}

#[track_caller]
fn promtool_accepts(page: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let says = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && says.trim().is_empty(), "{says}");
}
