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
