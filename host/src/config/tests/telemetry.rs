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
        assert_eq!(traces.endpoint.to_string(), expect);
        assert!((traces.ratio - 0.25).abs() < f64::EPSILON);
        assert_eq!(traces.headers[0].0, "x-key");
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
