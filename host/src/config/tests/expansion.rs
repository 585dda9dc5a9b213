//! Expansion of `${VAR}`, `$VAR` and `${VAR:-default}`.

use super::reader::expand::{Unexpanded, expand, is_one_reference};

fn env(name: &str) -> Option<String> {
    match name {
        "A" => Some("1".into()),
        "_b2" => Some("two".into()),
        "EMPTY" => Some(String::new()),
        "SELF" => Some("${A}$A".into()),
        _ => None,
    }
}

#[test]
fn a_reference_becomes_its_value() {
    for (text, expected) in [
        ("", ""),
        ("plain", "plain"),
        ("${A}", "1"),
        ("$A", "1"),
        ("x${A}y$A-z", "x1y1-z"),
        ("$_b2.${_b2}", "two.two"),
        ("${A:-d}", "1"),
        ("${NOPE:-d e}", "d e"),
        ("${NOPE:-}", ""),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY}", ""),
        ("${NOPE:-http://a:1/?b}", "http://a:1/?b"),
        ("ü$A€", "ü1€"),
        // A value is not expanded again.
        ("${SELF}", "${A}$A"),
        // Text that is not a reference stays unchanged.
        ("$", "$"),
        ("5$", "5$"),
        ("$$", "$$"),
        ("$$A", "$1"),
        ("$1 ${1} $(x) $-", "$1 ${1} $(x) $-"),
        ("${", "${"),
        ("${}", "${}"),
        ("${A", "${A"),
        ("${A:x}", "${A:x}"),
        ("${NOPE:-open", "${NOPE:-open"),
        ("${#A}", "${#A}"),
        ("$ü", "$ü"),
    ] {
        assert_eq!(expand(text, &env).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn every_unset_variable_is_named_once() {
    let error = expand("$Z ${Y} ${A} $Z", &env).unwrap_err();
    assert_eq!(error.to_string(), "environment variables Y, Z are not set");
    let error = expand("${Y}", &env).unwrap_err();
    assert_eq!(error.to_string(), "environment variable Y is not set");
}

#[test]
fn an_expansion_cannot_fill_the_memory() {
    let huge = |_: &str| Some("x".repeat(1 << 16));
    let text = "$A".repeat(1000);
    assert_eq!(expand(&text, &huge), Err(Unexpanded::TooLong));
}

#[test]
fn a_secret_is_a_reference_only_as_a_whole() {
    assert!(is_one_reference("${A}") && is_one_reference("${A:-b}"));
    for text in ["$A", "${A}b", "b${A}", "${A", "", "pa$$word"] {
        assert!(!is_one_reference(text), "{text}");
    }
}
