//! Telemetry at a collector that takes OTLP over gRPC.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use base64::Engine as _;
use mooring_tests::spans::{self, log_records, points};
use mooring_tests::{
    Certificate, Gateway, GrpcCollector, GrpcReply, Port, Scripted, Session, Setup, eventually,
    servers, settings,
};
use serde_json::{Value, json};

fn telling(telemetry: Value) -> Value {
    let servers = settings::standalone(json!({"counter": servers::counter()}));
    settings::merged(servers, json!({"systemConfig": {"telemetry": telemetry}}))
}

/// Traces alone, to this collector.
fn traced(url: &str) -> Value {
    telling(json!({"traces": {"endpoint": url, "protocol": "grpc"}}))
}

#[track_caller]
fn session_of(gateway: &Gateway) -> Session {
    gateway.wait_until_discovered(&["counter"]);
    gateway.client("/mcp/counter").initialize()
}

/// Waits until a line of the metrics has this value at least.
#[track_caller]
fn wait_for_metric(gateway: &Gateway, line: &str, least: u64) -> u64 {
    eventually(&format!("{line} of {least}"), || {
        let page = gateway.get("/metrics").expect(200).text();
        let value = page.lines().find_map(|one| one.strip_prefix(line)?.trim().parse().ok());
        value.filter(|value: &u64| *value >= least)
    })
}

fn metric(gateway: &Gateway, line: &str) -> u64 {
    wait_for_metric(gateway, line, 0)
}

/// How many calls of the tool `count` a collector knows of. Each has two spans of one name: only the
/// edge's is counted, not the runner's below it.
fn counted(collector: &GrpcCollector) -> usize {
    let messages = collector.calls_of("TraceService").into_iter();
    let spans = messages.flat_map(|call| spans::spans(&call.message));
    spans.filter(|span| span.name == "tools/call count" && span.kind == 2).count()
}

const LOST: &str = "mooring_spans_lost_total{reason=\"failed\"}";

#[test]
fn metrics_traces_and_logs_go_over_grpc_each_on_a_connection_that_is_kept() {
    let collector = GrpcCollector::start();
    let gateway = Gateway::start_with(&telling(json!({
        "otlp": {"endpoint": collector.url(), "protocol": "grpc", "headers": {"X-Key": "k"}},
        "traces": {}, "metrics": {"interval": 1000}, "accessLog": {"to": "otlp"},
    })));
    let session = session_of(&gateway);
    session.count("count");
    eventually("the span of the call", || (counted(&collector) == 1).then_some(()));
    eventually("its line", || {
        let calls = collector.calls_of("LogsService").into_iter();
        let mut records = calls.flat_map(|call| log_records(&call.message));
        records.find(|record| record.attributes.get("tool").is_some_and(|tool| tool == "count"))
    });
    let point = eventually("its count", || {
        let calls = collector.calls_of("MetricsService").into_iter();
        let mut points = calls.flat_map(|call| points(&call.message));
        points.find(|point| {
            point.name == "mooring_calls_total"
                && point.labels.get("method").is_some_and(|method| method == "tools/call")
        })
    });
    assert_eq!((point.value, point.resource["service.name"].as_str()), (1.0, "mooring"));
    session.count("count");
    eventually("another span", || (counted(&collector) == 2).then_some(()));
    collector.wait_for_calls("MetricsService", 3);
    for (service, path) in [
        ("TraceService", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
        ("MetricsService", "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"),
        ("LogsService", "/opentelemetry.proto.collector.logs.v1.LogsService/Export"),
    ] {
        let calls = collector.calls_of(service);
        let connections: BTreeSet<usize> = calls.iter().map(|call| call.connection).collect();
        assert_eq!(connections.len(), 1, "{service}: {connections:?}");
        let call = &calls[0];
        assert_eq!((call.path.as_str(), call.scheme.as_str()), (path, "http"));
        assert_eq!(format!("http://{}", call.authority), collector.url());
        for (name, value) in
            [("content-type", "application/grpc"), ("te", "trailers"), ("x-key", "k")]
        {
            assert_eq!(call.header(name), value);
        }
        assert_eq!(call.header("grpc-timeout"), "10S");
    }
    assert_eq!(metric(&gateway, LOST), 0);
    assert_eq!(metric(&gateway, "mooring_metric_exports_total{outcome=\"failed\"}"), 0);
}

#[test]
fn opentelemetrys_variables_say_where_and_how() {
    let collector = GrpcCollector::start();
    let gateway = Setup::new(&telling(json!({"traces": {}})))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b")
        .start();
    session_of(&gateway).count("count");
    eventually("the span", || (counted(&collector) == 1).then_some(()));
    assert_eq!(collector.calls()[0].header("x-key"), "a b");
}

#[test]
fn grpc_goes_over_tls_with_http_2_alone() {
    let certificate = Certificate::of(&["localhost"]);
    let with = |protocols: &[&str]| {
        let mut tls = certificate.server(&[]);
        tls.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        GrpcCollector::over_tls(tls)
    };
    let start = |collector: &GrpcCollector| {
        let setup = Setup::new(&traced(&collector.url()));
        setup.env("SSL_CERT_FILE", certificate.cert.to_str().unwrap()).start()
    };
    let collector = with(&["h2"]);
    let gateway = start(&collector);
    session_of(&gateway).count("count");
    eventually("the span", || (counted(&collector) == 1).then_some(()));
    assert_eq!(collector.calls()[0].scheme, "https");
    drop(gateway);
    let without = with(&[]);
    let gateway = start(&without);
    session_of(&gateway).count("count");
    gateway.wait_for_log("it does not speak HTTP/2 over TLS");
    wait_for_metric(&gateway, LOST, 1);
    drop(gateway);
    // An authority that nobody has named is not trusted.
    let gateway = Gateway::start_with(&traced(&collector.url()));
    session_of(&gateway).count("count");
    gateway.wait_for_log("spans are lost: the collector is not reached: TLS");
    assert_eq!(counted(&collector), 1);
}

/// Details of a status that say when to come back.
fn retry_info() -> String {
    // google.rpc.Status { details: [Any { RetryInfo { retry_delay { nanos: 1000 } } }] }
    let info = b"\x0a\x03\x10\xe8\x07";
    let kind = b"type.googleapis.com/google.rpc.RetryInfo";
    let mut any = vec![0x0a, u8::try_from(kind.len()).unwrap()];
    any.extend_from_slice(kind);
    any.extend_from_slice(&[0x12, u8::try_from(info.len()).unwrap()]);
    any.extend_from_slice(info);
    let mut status = vec![0x1a, u8::try_from(any.len()).unwrap()];
    status.extend_from_slice(&any);
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(status)
}

#[test]
fn what_a_collector_cannot_take_now_is_sent_again_and_nothing_is_lost() {
    let collector = GrpcCollector::scripted(|_, before| match before {
        0 => GrpcReply::status(14),
        1 => GrpcReply::Refused {
            trailers: vec![
                ("grpc-status", "8".to_owned()),
                ("grpc-status-details-bin", retry_info()),
            ],
            is_alone: false,
        },
        3 => GrpcReply::Http(503),
        _ => GrpcReply::taken(),
    });
    let gateway = Gateway::start_with(&traced(&collector.url()));
    let session = session_of(&gateway);
    session.count("count");
    let calls = collector.wait_for_calls("TraceService", 3);
    assert_eq!(calls[0].message, calls[1].message);
    assert_eq!(calls[0].message, calls[2].message);
    session.count("count");
    let calls = collector.wait_for_calls("TraceService", 5);
    assert_eq!(calls[3].message, calls[4].message);
    wait_for_metric(&gateway, "mooring_spans_total", 2);
    assert_eq!(metric(&gateway, LOST), 0);
    let connections: BTreeSet<usize> = calls.iter().map(|call| call.connection).collect();
    assert_eq!(connections.len(), 1, "a refusal does not cost the connection");
}

#[test]
fn what_a_collector_refuses_is_not_sent_again_and_its_words_are_told() {
    let collector = GrpcCollector::scripted(|_, _| GrpcReply::Refused {
        trailers: vec![
            ("grpc-status", "8".to_owned()),
            ("grpc-message", "no room%0Aforged %1B[2J".to_owned()),
        ],
        is_alone: true,
    });
    let gateway = Gateway::start_with(&traced(&collector.url()));
    let session = session_of(&gateway);
    session.count("count");
    gateway.wait_for_log("spans are lost: the collector answers RESOURCE_EXHAUSTED: no room");
    wait_for_metric(&gateway, LOST, 1);
    assert!(!gateway.log().contains('\u{1b}'));
    assert!(!gateway.log().lines().any(|line| line.starts_with("forged")));
    let calls = collector.calls();
    let different: BTreeSet<&[u8]> = calls.iter().map(|call| &*call.message).collect();
    assert_eq!(different.len(), calls.len());
}

/// An answer that takes all but so many of a request.
fn partial(rejected: u8, says: &str) -> Vec<u8> {
    let mut partial = vec![0x08, rejected, 0x12, u8::try_from(says.len()).unwrap()];
    partial.extend_from_slice(says.as_bytes());
    let mut answer = vec![0x0a, u8::try_from(partial.len()).unwrap()];
    answer.extend_from_slice(&partial);
    answer
}

#[test]
fn what_a_collector_takes_in_part_is_counted() {
    let collector = GrpcCollector::scripted(|_, _| GrpcReply::Taken(partial(1, "too old")));
    let gateway = Gateway::start_with(&telling(json!({
        "otlp": {"endpoint": collector.url(), "protocol": "grpc"},
        "traces": {}, "metrics": {"interval": 1000},
    })));
    session_of(&gateway).count("count");
    wait_for_metric(&gateway, LOST, 1);
    wait_for_metric(&gateway, "mooring_metric_exports_total{outcome=\"partial\"}", 1);
    gateway.wait_for_log("the collector rejects 1 of the spans: too old");
    gateway.wait_for_log("the collector rejects 1 of the metrics: too old");
    // Over HTTP it is the same message.
    let over_http = Scripted::start(|_, out| {
        let kind = ["Content-Type: application/x-protobuf"];
        out.reply("200 OK", &kind, &partial(1, "too new"));
        None
    });
    let gateway = Gateway::start_with(&telling(json!({"traces": {"endpoint": over_http.url("")}})));
    session_of(&gateway).count("count");
    wait_for_metric(&gateway, LOST, 1);
    gateway.wait_for_log("the collector rejects 1 of the spans: too new");
}

#[test]
fn a_collector_that_wants_no_more_on_a_connection_gets_another() {
    let collector = GrpcCollector::scripted(|_, before| match before % 2 {
        0 => GrpcReply::TakenForTheLastTime,
        _ => GrpcReply::taken(),
    });
    let gateway = Gateway::start_with(&traced(&collector.url()));
    let session = session_of(&gateway);
    for number in 1..=4 {
        session.count("count");
        eventually("the span", || (counted(&collector) == number).then_some(()));
    }
    let calls = collector.calls();
    let connections: BTreeSet<usize> = calls.iter().map(|call| call.connection).collect();
    assert!(connections.len() > 1, "{connections:?}");
    assert_eq!(metric(&gateway, LOST), 0);
}

#[test]
fn a_collector_that_is_away_costs_no_call_and_gets_what_comes_after_it_is_back() {
    let port = Port::reserve();
    let url = format!("http://localhost:{}", port.number());
    let gateway = Gateway::start_with(&traced(&url));
    let session = session_of(&gateway);
    for number in 1..=20 {
        assert_eq!(session.count("count"), number);
    }
    wait_for_metric(&gateway, LOST, 1);
    gateway.wait_for_log("spans are lost: the collector is not reached");
    let collector = GrpcCollector::at(port.number(), None, |_, _| GrpcReply::taken());
    eventually("a span", || {
        session.count("count");
        (counted(&collector) > 0).then_some(())
    });
    // It goes away with its connections, and comes back.
    drop(collector);
    let collector = GrpcCollector::at(port.number(), None, |_, _| GrpcReply::taken());
    eventually("a span again", || {
        session.count("count");
        (counted(&collector) > 0).then_some(())
    });
}

#[test]
fn a_collector_that_speaks_http_1_alone_is_told_and_costs_no_call() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 16 * 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let gateway = Gateway::start_with(&traced(&format!("http://{address}")));
    let session = session_of(&gateway);
    session.count("count");
    wait_for_metric(&gateway, LOST, 1);
    gateway.wait_for_log("spans are lost: the collector does not speak HTTP/2");
    session.count("count");
}
