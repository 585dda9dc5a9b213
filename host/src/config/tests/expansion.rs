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
        ("${A:x", "${A:x"),
        ("${env:A}", "1"),
        ("x${env:A}${env:NOPE:-d}", "x1d"),
        ("{env:A}", "1"),
        ("Bearer {env:A}{env:_b2}$A", "Bearer 1two1"),
        ("{env:1} {env:A {env: {env:A:-d} {A} {env}", "{env:1} {env:A {env: {env:A:-d} {A} {env}"),
        ("${A.} ${A.b} ${secrets.} ${vars.a", "${A.} ${A.b} ${secrets.} ${vars.a"),
        ("${NOPE:-open", "${NOPE:-open"),
        (
            "${{ A }} ${{a:1}} ${{.Names}} {{.Names}} ${{ secrets. }}",
            "${{ A }} ${{a:1}} ${{.Names}} {{.Names}} ${{ secrets. }}",
        ),
        (
            "${{ secrets.A } {{LIBRECHAT_} {{LIBRECHAT_a b}}",
            "${{ secrets.A } {{LIBRECHAT_} {{LIBRECHAT_a b}}",
        ),
        ("{file} {file:>10} {file:a} {file:/x $A", "{file} {file:>10} {file:a} {file:/x 1"),
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
    for text in ["${Y}", "${env:Y}", "$Y ${env:Y}"] {
        let error = expand(text, &env).unwrap_err();
        assert_eq!(error.to_string(), "environment variable Y is not set");
    }
}

#[test]
fn what_another_program_would_fill_in_is_named() {
    for (text, named) in [
        ("Bearer ${input:ha-token}", "${input:ha-token}"),
        ("${command:x.y} ${config:a}", "${command:x.y}, ${config:a}"),
        ("${env:}", "${env:}"),
        ("${env:a b}", "${env:a b}"),
        ("${A:=x}", "${A:…}"),
        ("Bearer ${TOKEN:s3cret}", "${TOKEN:…}"),
        ("${workspaceFolder}/x ${userHome}", "${userHome}, ${workspaceFolder}"),
        ("${user_config.api_key}", "${user_config.api_key}"),
        ("x ${secrets.A-b.c}", "${secrets.A-b.c}"),
        ("Bearer ${{ secrets.A }}x", "${{ secrets.A }}"),
        ("${{inputs.a-b}} $A ${{ env.X }}", "${{ env.X }}, ${{inputs.a-b}}"),
        ("http://h/{{LIBRECHAT_USER_ID}}/$A", "{{LIBRECHAT_USER_ID}}"),
    ] {
        let error = expand(text, &env).unwrap_err();
        assert_eq!(error.to_string(), format!("{named}: only other programs fill that in"));
    }
    // A variable of that name is one nevertheless.
    let set = |name: &str| (name == "workspaceFolder").then(|| "/w".to_owned());
    assert_eq!(expand("${workspaceFolder}/x", &set).as_deref(), Ok("/w/x"));
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
    assert!(is_one_reference("${env:A}") && is_one_reference("${input:a}"));
    for text in ["$A", "${A}b", "b${A}", "${A", "", "pa$$word", "${A}${A}", "${1}"] {
        assert!(!is_one_reference(text), "{text}");
    }
}
