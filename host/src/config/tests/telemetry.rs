//! `systemConfig.telemetry`.

use super::*;

fn telemetry(text: &str) -> Case {
    file(&format!("{{\"mcpServers\": {{}}, \"systemConfig\": {{\"telemetry\":\n{text}}}}}"))
}

#[test]
fn a_log_is_off_until_its_object_is_there() {
    for text in ["{}", r#"{"accessLog": {"enabled": false}, "auditLog": null}"#] {
        assert_eq!(telemetry(text).config().telemetry, TelemetrySettings::default(), "{text}");
    }
    let config = telemetry(
        r#"{"accessLog": {}, "auditLog": {"to": "logs/audit", "format": "text", "keep": 0,
            "maxBytes": 1048576, "arguments": true, "redact": ["", "/a/*"]}}"#,
    )
    .config();
    let access = config.telemetry.access_log.unwrap();
    assert_eq!(access, LogOutput { to: LogDestination::Stdout, format: LogFormat::Json });
    let audit = config.telemetry.audit_log.unwrap();
    assert_eq!(audit.arguments, Some(vec![String::new(), "/a/*".to_owned()]));
    let path = PathBuf::from("/srv/logs/audit");
    let to = LogDestination::File { path, max_bytes: 1 << 20, keep: 0 };
    assert_eq!(audit.output, LogOutput { to, format: LogFormat::Text });
}

#[test]
fn what_is_no_log_is_refused_with_its_place() {
    for (text, part) in [
        (r#"{"accessLog": {"format": "xml"}}"#, "telemetry.accessLog.format"),
        (r#"{"accessLog": {"to": ""}}"#, "telemetry.accessLog.to"),
        (r#"{"auditLog": {"keep": 5000}}"#, "telemetry.auditLog.keep"),
        (r#"{"auditLog": {"arguments": true, "redact": ["a"]}}"#, "telemetry.auditLog.redact[0]"),
    ] {
        let report = telemetry(text).load().expect_err(text);
        assert_eq!(report.errors.len(), 1, "{text}");
        assert!(report.errors[0].to_string().contains(part), "{text}: {}", report.errors[0]);
    }
}

#[test]
fn traces_go_to_the_collectors_path() {
    for (endpoint, expect) in [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("https://c.example/otlp/", "https://c.example/otlp/v1/traces"),
        ("http://c/v1/traces", "http://c/v1/traces"),
    ] {
        let text = format!(
            r#"{{"traces": {{"endpoint": "{endpoint}", "ratio": 0.25, "headers": {{"X-Key": "k"}}}}}}"#
        );
        let traces = telemetry(&text).config().telemetry.traces.unwrap();
        assert_eq!(traces.collector.endpoint.to_string(), expect);
        assert!((traces.ratio - 0.25).abs() < f64::EPSILON);
        assert_eq!(traces.collector.headers[0].0, "x-key");
    }
    let off = r#"{"traces": {"endpoint": "http://c:4318", "enabled": false}}"#;
    assert_eq!(telemetry(off).config().telemetry.traces, None);
}

#[test]
fn what_names_no_collector_is_refused_with_its_place() {
    for (text, part) in [
        (r#"{"traces": {}}"#, "telemetry.traces.endpoint"),
        (r#"{"traces": {"endpoint": "c:4318"}}"#, "telemetry.traces.endpoint"),
        (r#"{"traces": {"endpoint": "http://c", "ratio": 1.5}}"#, "telemetry.traces.ratio"),
        (r#"{"traces": {"endpoint": "http://c", "ratio": "1"}}"#, "telemetry.traces.ratio"),
        (r#"{"traces": {"endpoint": "http://c", "headers": {"Mcp-Session-Id": "x"}}}"#, "headers"),
    ] {
        let report = telemetry(text).load().expect_err(text);
        assert_eq!(report.errors.len(), 1, "{text}");
        assert!(report.errors[0].to_string().contains(part), "{text}: {}", report.errors[0]);
    }
}

#[test]
fn one_collector_serves_all_that_names_none_of_its_own() {
    let config = telemetry(
        r#"{"otlp": {"endpoint": "http://c:4318/x", "headers": {"X-Key": "k"}}, "accessLog": {"to": "otlp"},
            "auditLog": {"to": "otlp"}, "metrics": {"interval": 5000},
            "traces": {"endpoint": "http://other:4318"}}"#,
    )
    .config();
    let TelemetrySettings { access_log, audit_log, traces, metrics } = config.telemetry;
    let metrics = metrics.unwrap();
    assert_eq!(metrics.interval, std::time::Duration::from_secs(5));
    assert_eq!(metrics.collector.endpoint.to_string(), "http://c:4318/x/v1/metrics");
    assert_eq!(metrics.collector.headers[0].0, "x-key");
    for output in [access_log.unwrap(), audit_log.unwrap().output] {
        let LogDestination::Collector(collector) = output.to else { panic!("{output:?}") };
        assert_eq!(collector.endpoint.to_string(), "http://c:4318/x/v1/logs");
        assert_eq!(collector.headers.len(), 1);
    }
    // Whoever has an own endpoint shares nothing: the key is the other collector's.
    let traces = traces.unwrap().collector;
    assert_eq!(traces.endpoint.to_string(), "http://other:4318/v1/traces");
    assert!(traces.headers.is_empty());
}

#[test]
fn a_collector_that_cannot_be_is_refused_once() {
    for (text, part) in [
        (r#"{"otlp": {}}"#, "telemetry.otlp.endpoint"),
        (r#"{"otlp": {"endpoint": "c"}, "metrics": {}, "traces": {}}"#, "telemetry.otlp.endpoint"),
        (r#"{"otlp": {"endpoint": "http://c/v1/traces"}, "traces": {}}"#, "otlp.endpoint"),
        (r#"{"accessLog": {"to": "otlp"}}"#, "telemetry.accessLog.to"),
        (r#"{"metrics": {}}"#, "telemetry.metrics.endpoint"),
        (r#"{"metrics": {"endpoint": "http://c", "interval": 10}}"#, "telemetry.metrics.interval"),
        (
            r#"{"otlp": {"endpoint": "http://c"}, "metrics": {"headers": {"x": "y"}}}"#,
            "telemetry.metrics.headers",
        ),
    ] {
        let report = telemetry(text).load().expect_err(text);
        assert_eq!(report.errors.len(), 1, "{text}: {:?}", report.errors);
        assert!(report.errors[0].to_string().contains(part), "{text}: {}", report.errors[0]);
    }
}

#[test]
fn the_protocol_is_that_of_the_section_of_all_or_of_opentelemetrys_variables() {
    const OF_ALL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
    const OF_TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
    let read = |text: &str, variables: &[(&str, &str)]| {
        let mut case = telemetry(text);
        for (name, value) in variables {
            case = case.env(name, value);
        }
        let TelemetrySettings { traces, metrics, .. } = case.config().telemetry;
        (traces.unwrap().collector, metrics.unwrap().collector)
    };
    let both = r#"{"otlp": {"endpoint": "http://c"}, "traces": {}, "metrics": {}}"#;
    let method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let (traces, metrics) = read(both, &[(OF_ALL, "grpc")]);
    assert_eq!(traces.endpoint.to_string(), format!("http://c:4317{method}"));
    assert_eq!((traces.protocol, metrics.protocol), (OtlpProtocol::Grpc, OtlpProtocol::Grpc));
    let (traces, metrics) = read(both, &[(OF_TRACES, "grpc"), (OF_ALL, "http/protobuf")]);
    assert_eq!((traces.protocol, metrics.protocol), (OtlpProtocol::Grpc, OtlpProtocol::Http));
    assert_eq!(metrics.endpoint.to_string(), "http://c/v1/metrics");
    // What the file says goes first.
    let mixed = r#"{"otlp": {"endpoint": "http://c", "protocol": "grpc"}, "traces": {},
        "metrics": {"endpoint": "http://d", "protocol": "http/protobuf"}}"#;
    let (traces, metrics) = read(mixed, &[(OF_TRACES, "http/protobuf"), (OF_ALL, "http/json")]);
    assert_eq!((traces.protocol, metrics.protocol), (OtlpProtocol::Grpc, OtlpProtocol::Http));
    assert_eq!(metrics.endpoint.to_string(), "http://d/v1/metrics");
}

#[test]
fn opentelemetrys_variables_name_a_collector_where_the_file_does_not() {
    let variables = |case: Case, headers: &str| {
        let case = case.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/x");
        case.env("OTEL_EXPORTER_OTLP_HEADERS", headers)
    };
    let on = r#"{"traces": {}, "accessLog": {"to": "otlp"}}"#;
    let config = variables(telemetry(on), " X-Key = a%2Cb , y=z,").config();
    let traces = config.telemetry.traces.unwrap().collector;
    assert_eq!(traces.endpoint.to_string(), "http://c:4318/x/v1/traces");
    let headers: Vec<(&str, &[u8])> =
        traces.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(headers, [("x-key", &b"a,b"[..]), ("y", b"z")]);
    // They turn nothing on, and what the file has goes first.
    assert_eq!(variables(telemetry("{}"), "?").config().telemetry, TelemetrySettings::default());
    let own = r#"{"otlp": {"endpoint": "http://d", "headers": {"a": "b"}}, "traces": {}}"#;
    let traces = variables(telemetry(own), "?").config().telemetry.traces.unwrap().collector;
    assert_eq!(traces.endpoint.to_string(), "http://d/v1/traces");
    assert_eq!(traces.headers[0].0, "a");
    // A secret among them is not told.
    let report = variables(telemetry(on), "s3cret").load().expect_err("no header");
    assert_eq!(report.errors.len(), 1, "{:?}", report.errors);
    let error = report.errors[0].to_string();
    assert!(error.contains("OTEL_EXPORTER_OTLP_HEADERS") && !error.contains("s3cret"), "{error}");
}

#[test]
fn a_protocol_that_cannot_be_is_refused_once() {
    for (text, part) in [
        (r#"{"otlp": {"endpoint": "http://c", "protocol": "http/json"}, "traces": {}}"#, "otlp"),
        (
            r#"{"otlp": {"endpoint": "http://c/x", "protocol": "grpc"}, "traces": {}, "metrics": {}}"#,
            "telemetry.otlp.endpoint",
        ),
        (
            r#"{"traces": {"endpoint": "http://c/v1/traces", "protocol": "grpc"}}"#,
            "telemetry.traces.endpoint",
        ),
        (r#"{"metrics": {"endpoint": "http://c", "protocol": 1}}"#, "telemetry.metrics.protocol"),
    ] {
        let report = telemetry(text).load().expect_err(text);
        assert_eq!(report.errors.len(), 1, "{text}: {:?}", report.errors);
        assert!(report.errors[0].to_string().contains(part), "{text}: {}", report.errors[0]);
    }
    let both = r#"{"otlp": {"endpoint": "http://c"}, "traces": {}, "metrics": {}}"#;
    let case = telemetry(both).env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");
    let report = case.load().expect_err("no such protocol");
    assert_eq!(report.errors.len(), 1, "{:?}", report.errors);
    let error = report.errors[0].to_string();
    assert!(
        error.contains("OTEL_EXPORTER_OTLP_PROTOCOL") && error.contains("http/json"),
        "{error}"
    );
}
