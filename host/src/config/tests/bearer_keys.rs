//! `bearerKeys` and `bearerAuthKey`.

use crate::model::ServerName;

use super::*;

/// A file with these keys, which begin on line 2.
fn keys(list: &str) -> Case {
    file(&format!("{{\"bearerKeys\":\n[{list}]}}"))
}

/// A key of this name with these members besides its token, which is made of the name.
fn key(name: &str, more: &str) -> String {
    format!(r#"{{"name": "{name}", "token": "token-of-{name}-0123456789", {more}}}"#)
}

/// The names of the keys, and what each opens.
fn opened(case: &Case) -> Vec<String> {
    let config = case.config();
    let shown = |key: &BearerKey| match &key.reach {
        KeyReach::All => format!("{}: all", key.name),
        KeyReach::Only { groups, servers } => {
            let servers: Vec<&str> = servers.iter().map(ServerName::as_str).collect();
            format!("{}: {} / {}", key.name, groups.join(" "), servers.join(" "))
        }
    };
    config.access.lock.keys().iter().map(shown).collect()
}

#[test]
fn a_key_opens_all_or_what_its_lists_name() {
    let list = [
        key("a", r#""accessType": "all", "allowedServers": ["x"], "enabled": true"#),
        key(
            "g",
            r#""accessType": "groups", "allowedGroups": ["one", "2"], "allowedServers": ["x"]"#,
        ),
        key(
            "s",
            r#""accessType": "servers", "allowedGroups": ["one"], "allowedServers": ["x", "y"]"#,
        ),
        key("c", r#""accessType": "custom", "allowedGroups": ["one"], "allowedServers": ["x"]"#),
        key("off", r#""accessType": "all", "enabled": false, "kind": "user""#),
        key("n", r#""accessType": "servers", "allowedServers": null, "allowedGroups": null"#),
    ];
    let case = keys(&list.join(",\n"));
    assert_eq!(opened(&case), ["a: all", "g: one 2 / ", "s:  / x y", "c: one / x", "n:  / "]);
    let warnings = lines(&case.load().unwrap().warnings);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("bearerKeys[5].accessType: opens nothing"), "{warnings:?}");
    let config = case.config();
    let token = &config.access.lock.keys()[1].token;
    assert!(token.matches(b"token-of-g-0123456789") && !token.matches(b"token-of-a-0123456789"));
}

#[test]
fn variables_in_tokens_are_replaced() {
    for (token, expect) in [
        ("${TOKEN}", "value-of-the-variable"),
        ("hub-${TOKEN}", "hub-value-of-the-variable"),
        ("${TOKEN}-${TOKEN}", "value-of-the-variable-value-of-the-variable"),
        ("${NONE:-a-token-by-default}", "a-token-by-default"),
        ("a$TOKEN-of-dollars$", "a$TOKEN-of-dollars$"),
    ] {
        let list = format!(r#"{{"name": "k", "token": "{token}", "accessType": "all"}}"#);
        let old = format!(r#"{{"systemConfig": {{"routing": {{"bearerAuthKey": "{token}"}}}}}}"#);
        for case in [keys(&list), file(&old)] {
            let config = case.env("TOKEN", "value-of-the-variable").warns(&[]);
            assert_eq!(config.access.lock.keys()[0].token.expose(), expect);
        }
    }
    for token in
        ["${input:key}", "${input:key}${NONE}", "${", "${X", "a-long-token-${}", "${NONE}${}"]
    {
        let list = format!(r#"{{"name": "k", "token": "{token}", "accessType": "all"}}"#);
        let errors = keys(&list).load().unwrap_err().errors;
        assert_eq!(errors.len(), 1, "{token}: {errors:?}");
        assert_eq!(errors[0].key, "bearerKeys[0].token");
    }
}

#[test]
fn a_key_whose_variable_is_not_set_lets_nobody_in() {
    let list = |token: &str| format!(r#"{{"name": "k", "token": "{token}", "accessType": "all"}}"#);
    for (token, unset) in [
        ("${NONE}", "environment variable NONE is not set"),
        ("a-${NONE}", "environment variable NONE is not set"),
        ("${NONE}-${TOKEN}-${NOT}", "environment variables NONE, NOT are not set"),
    ] {
        let old = format!(r#"{{"systemConfig": {{"routing": {{"bearerAuthKey": "{token}"}}}}}}"#);
        for case in [keys(&list(token)), file(&old)] {
            let loaded = case.env("TOKEN", "value-of-the-variable").load().unwrap();
            assert_eq!(loaded.config.access.lock, Lock::Generated, "{token}");
            let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
            assert_eq!(warnings.len(), 2, "{warnings:?}");
            assert!(warnings[0].contains(unset), "{warnings:?}");
            assert!(warnings[1].contains("no key of the file is in force"), "{warnings:?}");
        }
        let other = r#"{"name": "o", "token": "0123456789abcdef", "accessType": "all"}"#;
        let both = keys(&format!("{}, {other}", list(token)));
        let loaded = both.env("TOKEN", "value-of-the-variable").load().unwrap();
        let held: Vec<&str> =
            loaded.config.access.lock.keys().iter().map(|key| key.name.as_str()).collect();
        assert_eq!((held, loaded.warnings.len()), (vec!["o"], 1));
    }
}

#[test]
fn what_is_not_a_key_refuses_the_start() {
    for (list, place) in [
        (r#""0123456789abcdef""#, "bearerKeys[0]"),
        ("null", "bearerKeys[0]"),
        ("[]", "bearerKeys[0]"),
        (r#"{"name": "k", "accessType": "all"}"#, "bearerKeys[0].token"),
        (r#"{"name": "k", "token": "", "accessType": "all"}"#, "bearerKeys[0].token"),
        (r#"{"name": "k", "token": "  ", "accessType": "all"}"#, "bearerKeys[0].token"),
        (r#"{"name": "k", "token": 5, "accessType": "all"}"#, "bearerKeys[0].token"),
        (
            r#"{"name": "k", "token": "schlüssel-0123456789", "accessType": "all"}"#,
            "bearerKeys[0].token",
        ),
        (r#"{"name": "k", "token": "0123456789abcdef"}"#, "bearerKeys[0].accessType"),
        (
            r#"{"name": "k", "token": "0123456789abcdef", "accessType": "every"}"#,
            "bearerKeys[0].accessType",
        ),
        (
            r#"{"name": "k", "token": "0123456789abcdef", "accessType": "all", "enabled": "true"}"#,
            "bearerKeys[0].enabled",
        ),
        (
            r#"{"name": "k", "token": "0123456789abcdef", "accessType": "all", "enable": false}"#,
            "bearerKeys[0]",
        ),
        (
            r#"{"name": "k", "token": "0123456789abcdef", "accessType": "all", "expiresAt": 5}"#,
            "bearerKeys[0]",
        ),
        (
            r#"{"name": "k", "token": "0123456789abcdef", "accessType": "all", "kind": "user", "owner": "eve"}"#,
            "bearerKeys[0].kind",
        ),
        (
            r#"{"name": "k", "token": "0123456789abcdef", "accessType": "groups", "allowedGroups": "g"}"#,
            "bearerKeys[0].allowedGroups",
        ),
        (
            r#"{"name": "k", "token": "0123456789abcdef", "accessType": "servers", "allowedServers": [1]}"#,
            "bearerKeys[0].allowedServers[0]",
        ),
        (r#"{"token": "0123456789abcdef", "accessType": "all"}"#, "bearerKeys[0]"),
    ] {
        let errors = keys(list).load().unwrap_err().errors;
        assert_eq!(errors.len(), 1, "{list}: {errors:?}");
        assert_eq!(errors[0].key, place, "{list}: {errors:?}");
        assert!(!errors[0].advice.is_empty(), "{list}");
        keys(list).allow_open().config();
    }
    let text = keys(r#""0123456789abcdef""#).load().unwrap_err().to_string();
    for part in ["is not a bearer key", "\"token\"", "\"accessType\": \"all\""] {
        assert!(text.contains(part) && !text.contains("0123456789abcdef"), "{text}");
    }
    for whole in [r#""k""#, "{}", "true", r#"{"a": {"token": "x"}}"#] {
        let errors = file(&format!(r#"{{"bearerKeys": {whole}}}"#)).load().unwrap_err().errors;
        assert_eq!(errors[0].key, "bearerKeys", "{whole}");
    }
}

#[test]
fn no_two_keys_make_the_same_holder() {
    let named = |name: &str, id: &str, token: &str| {
        format!(
            r#"{{"id": "{id}", "name": "{name}", "token": "token-{token}-0123456789", "accessType": "all"}}"#
        )
    };
    let list = [
        named("k", "1", "a"),
        named("k", "2", "b"),
        named("", "3", "c"),
        named("anonymous", "4", "d"),
    ];
    assert_eq!(
        opened(&keys(&list.join(","))),
        ["k (1): all", "k (2): all", "3: all", "anonymous (4): all"]
    );
    for same in [
        [named("k", "1", "a"), named("k", "1", "b")],
        [named("k", "", "a"), named("k", "2", "b")],
        [named("k", "1", "a"), named("l", "2", "a")],
        [named("anonymous", "", "a"), named("l", "2", "b")],
    ] {
        let report = keys(&same.join(",")).load().unwrap_err();
        assert!(!report.to_string().contains("0123456789"), "{report}");
    }
    let long = "n".repeat(200);
    assert!(keys(&named(&long, "1", "a")).load().is_err());
}

#[test]
fn the_older_key_is_used_without_spaces_and_refused_if_it_cannot_be_sent() {
    let old = |text: &str| {
        file(&format!(
            r#"{{"systemConfig": {{"routing": {{"enableBearerAuth": true, "bearerAuthKey": {text}}}}}}}"#
        ))
    };
    let config = old(r#"" a-key-of-some-length ""#).warns(&[]);
    let token = &config.access.lock.keys()[0].token;
    assert!(token.matches(b"a-key-of-some-length"));
    assert!(!token.matches(b"a-key-of-some-lengtH") && !token.matches(b""));
    for text in ["5", "[]", r#""ä-key-of-some-length""#, r#""a\nkey""#, r#""${input:key}""#] {
        let errors = old(text).load().unwrap_err().errors;
        assert_eq!(errors[0].key, "systemConfig.routing.bearerAuthKey", "{text}");
    }
    file(r#"{"systemConfig": {"routing": {"enableBearerAuth": "true", "bearerAuthKey": "a-key-of-some-length"}}}"#)
        .errors(&["1:51: systemConfig.routing.enableBearerAuth: must be true or false, not a string; \
         write true or false without quotes"]);
    old(r#""short""#)
        .warns(&["1:74: systemConfig.routing.bearerAuthKey: is short enough to be guessed; \
         use at least 16 characters, chosen at random"]);
}
