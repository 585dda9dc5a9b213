//! Spans, metrics and log records as a collector gets them over OTLP (opentelemetry-proto 1.x).

use std::collections::BTreeMap;

use crate::protobuf::Fields;
use crate::scripted::{Asked, Scripted};

/// A collector that takes everything.
#[must_use]
pub fn collector() -> Scripted {
    Scripted::start(|_, out| {
        out.reply("200 OK", &["Content-Type: application/x-protobuf"], b"");
        None
    })
}

/// One span, with the resource that it is of.
#[derive(Debug, Clone, Default)]
pub struct Span {
    /// In hexadecimal, as the other ids.
    pub trace: String,
    pub id: String,
    /// Empty for the first of a trace.
    pub parent: String,
    pub name: String,
    pub state: String,
    /// 2: a server's, 3: a client's.
    pub kind: u64,
    pub began: u64,
    pub ended: u64,
    pub is_error: bool,
    pub attributes: BTreeMap<String, String>,
    pub resource: BTreeMap<String, String>,
}

/// All spans that a collector has got.
#[must_use]
#[track_caller]
pub fn received(collector: &Scripted) -> Vec<Span> {
    of_signal(collector, "/v1/traces").iter().flat_map(|body| spans(body)).collect()
}

/// The bodies of the requests to one path.
#[must_use]
#[track_caller]
pub fn of_signal(collector: &Scripted, path: &str) -> Vec<Vec<u8>> {
    let body = |asked: Asked| {
        assert_eq!(asked.method, "POST");
        assert_eq!(asked.header("content-type"), Some("application/x-protobuf"));
        (asked.path == path).then_some(asked.body)
    };
    collector.all().into_iter().filter_map(body).collect()
}

/// The spans of one request.
#[must_use]
#[track_caller]
pub fn spans(request: &[u8]) -> Vec<Span> {
    let items = items(request).into_iter();
    items.map(|(resource, bytes)| Span { resource, ..span(&bytes) }).collect()
}

/// What a request tells, with the resource that it is of.
fn items(request: &[u8]) -> Vec<(BTreeMap<String, String>, Vec<u8>)> {
    let mut items = Vec::new();
    for of_resource in Fields::of(request).all(1) {
        let of_resource = Fields::of(&of_resource);
        let resource = Fields::of(&of_resource.bytes(1)).attributes(1);
        for of_scope in of_resource.all(2) {
            let of_scope = Fields::of(&of_scope);
            assert_eq!(Fields::of(&of_scope.bytes(1)).text(1), "mooring");
            items.extend(of_scope.all(2).into_iter().map(|item| (resource.clone(), item)));
        }
    }
    items
}

fn span(bytes: &[u8]) -> Span {
    let fields = Fields::of(bytes);
    let hex = |field| fields.bytes(field).iter().map(|byte| format!("{byte:02x}")).collect();
    let status = Fields::of(&fields.bytes(15)).number(3);
    Span {
        trace: hex(1),
        id: hex(2),
        parent: hex(4),
        name: fields.text(5),
        state: fields.text(3),
        kind: fields.number(6),
        began: fields.number(7),
        ended: fields.number(8),
        is_error: status == 2,
        attributes: fields.attributes(9),
        resource: BTreeMap::new(),
    }
}

/// One point of a metric.
#[derive(Debug, Clone)]
pub struct Point {
    pub name: String,
    /// `gauge`, `counter` or `histogram`.
    pub kind: &'static str,
    pub unit: String,
    pub labels: BTreeMap<String, String>,
    /// Of a histogram how many it has counted.
    pub value: f64,
    /// Nanoseconds since 1970.
    pub began: u64,
    pub at: u64,
    pub resource: BTreeMap<String, String>,
}

/// The points of one request with metrics.
#[must_use]
#[track_caller]
pub fn points(request: &[u8]) -> Vec<Point> {
    let mut points = Vec::new();
    for (resource, bytes) in items(request) {
        let metric = Fields::of(&bytes);
        let (field, kind) = [(5, "gauge"), (7, "counter"), (9, "histogram")]
            .into_iter()
            .find(|(field, _)| metric.has(*field))
            .expect("data");
        let data = Fields::of(&metric.bytes(field));
        if kind != "gauge" {
            assert_eq!(data.number(2), 2, "sums since the beginning");
        }
        assert_eq!(data.number(3), u64::from(kind == "counter"), "only counters grow");
        for bytes in data.all(1) {
            let point = Fields::of(&bytes);
            points.push(Point {
                name: metric.text(1),
                kind,
                unit: metric.text(3),
                labels: point.attributes(if kind == "histogram" { 9 } else { 7 }),
                value: match kind {
                    "histogram" => counted(&point),
                    _ if point.has(6) => point.number(6) as f64,
                    _ => point.real(4),
                },
                began: point.number(2),
                at: point.number(3),
                resource: resource.clone(),
            });
        }
    }
    points
}

/// How many a histogram has counted: the sum of its buckets, of which there is one more than bounds.
#[track_caller]
fn counted(point: &Fields) -> f64 {
    let (buckets, bounds) = (point.bytes(6), point.bytes(7));
    assert_eq!(buckets.len(), bounds.len() + 8);
    let eight = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let sum: u64 = buckets.chunks(8).map(eight).sum();
    assert_eq!(sum, point.number(4));
    assert!(bounds.chunks(8).map(|bytes| f64::from_bits(eight(bytes))).is_sorted());
    assert_eq!(point.real(5) > 0.0, sum > 0);
    sum as f64
}

/// One entry of a log.
#[derive(Debug, Clone)]
pub struct LogRecord {
    pub body: String,
    pub severity: String,
    pub at: u64,
    pub event: String,
    pub attributes: BTreeMap<String, String>,
    pub resource: BTreeMap<String, String>,
}

/// The entries of one request with log records.
#[must_use]
#[track_caller]
pub fn log_records(request: &[u8]) -> Vec<LogRecord> {
    let read = |(resource, bytes): (_, Vec<u8>)| {
        let record = Fields::of(&bytes);
        LogRecord {
            body: Fields::of(&record.bytes(5)).text(1),
            severity: record.text(3),
            at: record.number(1),
            event: record.text(12),
            attributes: record.attributes(6),
            resource,
        }
    };
    items(request).into_iter().map(read).collect()
}
