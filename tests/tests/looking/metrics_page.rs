//! `/metrics`, read as strictly as Prometheus' text format is written, and judged by promtool.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use mooring_tests::{Cluster, Gateway, Request, servers, settings};
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
    assert_eq!(value(&families, "mooring_errors_total", &by_server), 1.0);
    read(&page(&cluster.nodes[0]));
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
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(page(&gateway).as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let says = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && says.trim().is_empty(), "{says}");
}
