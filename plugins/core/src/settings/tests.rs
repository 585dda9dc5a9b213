use super::*;

fn mistake(config: &str) -> String {
    Settings::parse(config).expect_err(config)
}

#[test]
fn every_key_has_a_default() {
    let expected = Settings {
        cookie_name: "MCPHUB_NODE".to_owned(),
        header_name: "X-MCPHub-Node".to_owned(),
        affinity_ttl_seconds: 3600,
    };
    assert_eq!(Settings::parse("{}"), Ok(expected.clone()));
    assert_eq!(
        Settings::parse(" {\"enabled\": false, \"strategy\": \"cookie\"}\n"),
        Ok(expected)
    );
}

#[test]
fn given_values_are_taken() {
    let config = r#"{"cookieName":"node\u002did","headerName":"X-Node","affinityTimeout":90000}"#;
    let expected = Settings {
        cookie_name: "node-id".to_owned(),
        header_name: "X-Node".to_owned(),
        affinity_ttl_seconds: 90,
    };
    assert_eq!(Settings::parse(config), Ok(expected));
}

#[test]
fn unknown_keys_are_no_business_of_a_strategy() {
    let config = r#"{"signed": true, "nested": {"a": [1.5e300, null]}, "onFailure": "fallback"}"#;
    assert!(Settings::parse(config).is_ok());
}

#[test]
fn a_timeout_is_rounded_up_to_a_second() {
    let seconds = |config: &str| Settings::parse(config).map(|s| s.affinity_ttl_seconds);
    assert_eq!(seconds(r#"{"affinityTimeout":1}"#), Ok(1));
    assert_eq!(seconds(r#"{"affinityTimeout":1001}"#), Ok(2));
    assert_eq!(
        seconds(r#"{"affinityTimeout":4294967295000}"#),
        Ok(u32::MAX)
    );
}

#[test]
fn wrong_types_are_named() {
    for (config, expected) in [
        ("[1]", "stickySession must be an object, but is an array"),
        (
            "\"cookie\"",
            "stickySession must be an object, but is a string",
        ),
        (
            r#"{"enabled":"yes"}"#,
            "stickySession.enabled must be true or false, but is a string",
        ),
        (
            r#"{"strategy":7}"#,
            "stickySession.strategy must be a string, but is a number",
        ),
        (
            r#"{"cookieName":null}"#,
            "stickySession.cookieName must be a string, but is null",
        ),
        (
            r#"{"headerName":{}}"#,
            "stickySession.headerName must be a string, but is an object",
        ),
        (
            r#"{"affinityTimeout":"1h"}"#,
            "stickySession.affinityTimeout must be a whole number of milliseconds from 1 to 4294967295000, but is a string",
        ),
    ] {
        assert_eq!(mistake(config), expected);
    }
}

#[test]
fn a_timeout_that_is_no_time_is_refused() {
    for value in ["0", "-1", "1.5", "4294967295001"] {
        let error = mistake(&format!(r#"{{"affinityTimeout":{value}}}"#));
        assert!(error.ends_with(&format!("but is {value}")), "{error}");
    }
    for value in ["1e3", "1e300", "99999999999999999999"] {
        let error = mistake(&format!(r#"{{"affinityTimeout":{value}}}"#));
        assert!(error.contains("must be a whole number"), "{error}");
    }
}

#[test]
fn names_that_would_break_a_header_are_refused() {
    for name in [
        "",
        "a b",
        "a;b",
        "a=b",
        "a,b",
        "\\r\\nSet-Cookie: x",
        "é",
        "a\\u0000",
    ] {
        for key in ["cookieName", "headerName"] {
            let error = mistake(&format!(r#"{{"{key}":"{name}"}}"#));
            assert!(
                error.starts_with(&format!("stickySession.{key} must not")),
                "{error}"
            );
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }
    let long = "x".repeat(65);
    assert!(mistake(&format!(r#"{{"cookieName":"{long}"}}"#)).contains("longer than 64 bytes"));
}

#[test]
fn a_header_with_a_meaning_of_its_own_is_refused() {
    for name in [
        "Host",
        "content-length",
        "Mcp-Session-Id",
        "Mooring-Outcome",
        "SET-COOKIE",
    ] {
        let error = mistake(&format!(r#"{{"headerName":"{name}"}}"#));
        assert!(error.contains("meaning of its own"), "{error}");
        assert!(Settings::parse(&format!(r#"{{"cookieName":"{name}"}}"#)).is_ok());
    }
}

#[test]
fn all_mistakes_are_reported_together() {
    let error = mistake(r#"{"enabled":1,"cookieName":"","affinityTimeout":0}"#);
    assert_eq!(error.matches("stickySession.").count(), 3, "{error}");
}

#[test]
fn text_that_is_no_json_is_refused_with_its_place() {
    for config in ["", "{", "{\"a\":1,}", "{} {}"] {
        let error = mistake(config);
        assert!(
            error.starts_with("stickySession is not valid JSON: "),
            "{error}"
        );
        assert!(error.contains("line 1"), "{error}");
    }
}
