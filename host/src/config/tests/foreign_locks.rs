//! Locks that Mooring does not have: none is ignored silently.

use super::*;

const UNBUILT: [(&str, &str); 14] = [
    (
        r#"{"mcpServers": {"a": {"command": "x", "visibility": ["public"]}}}"#,
        "1:53: mcpServers.a.visibility: a restriction to certain users",
    ),
    (
        r#"{"systemConfig": {"auth": {"betterAuth": {"enabled": true}}}}"#,
        "1:42: systemConfig.auth.betterAuth: sign-in with Better Auth",
    ),
    (
        r#"{"systemConfig": {"auth": {"forwardAuth": {"enabled": true, "mode": "jwks"}}}}"#,
        "1:43: systemConfig.auth.forwardAuth: sign-in at a proxy (forward auth)",
    ),
    (
        r#"{"systemConfig": {"auth": {"forwardAuth": {"header": "X-User"}}}}"#,
        "1:43: systemConfig.auth.forwardAuth: sign-in at a proxy (forward auth)",
    ),
    (
        r#"{"systemConfig": {"auth": {"saml": {"enabled": true}}}}"#,
        "1:36: systemConfig.auth.saml: a way to sign in",
    ),
    (
        r#"{"systemConfig": {"auth": {"pki": [{"issuer": "https://idp"}]}}}"#,
        "1:35: systemConfig.auth.pki: a way to sign in",
    ),
    (
        r#"{"mcpServers": {"a": {"command": "x", "visibility": "private"}}}"#,
        "1:53: mcpServers.a.visibility: a restriction to certain users",
    ),
    (
        r#"{"mcpServers": {"a": {"command": "x", "visibility": "group"}}}"#,
        "1:53: mcpServers.a.visibility: a restriction to certain users",
    ),
    (
        r#"{"mcpServers": {"a": {"command": "x", "owner": "eve"}}}"#,
        "1:48: mcpServers.a.owner: a restriction to certain users",
    ),
    (
        r#"{"mcpServers": {"a": {"command": "x", "sharedWithUsers": ["eve"]}}}"#,
        "1:58: mcpServers.a.sharedWithUsers: a restriction to certain users",
    ),
    (
        r#"{"groups": [{"name": "g", "servers": [], "owner": "eve"}]}"#,
        "1:51: groups[0].owner: a restriction to certain users",
    ),
    (
        r#"{"groups": [{"name": "g", "servers": [], "visibility": "private"}]}"#,
        "1:56: groups[0].visibility: a restriction to certain users",
    ),
    (
        r#"{"groups": [{"name": "g", "servers": [], "sharedWithUsers": ["eve"]}]}"#,
        "1:61: groups[0].sharedWithUsers: a restriction to certain users",
    ),
    (
        r#"{"groups": [{"name": "g", "servers": [], "visibility": 1}]}"#,
        "1:56: groups[0].visibility: a restriction to certain users",
    ),
];

#[test]
fn a_lock_that_is_not_built_stops_mooring() {
    for (text, finding) in UNBUILT {
        file(text).errors(&[&format!(
            "{finding}, which Mooring does not enforce; \
             remove it, or start with --allow-open to ignore it"
        )]);
    }
}

#[test]
fn allow_open_turns_the_refusal_into_a_warning() {
    for (text, finding) in UNBUILT {
        file(text).allow_open().warns(&[&format!(
            "{finding}, which Mooring does not enforce; \
             it is ignored because of --allow-open and keeps no client out"
        )]);
    }
}

#[test]
fn neither_a_key_nor_an_open_gateway_takes_the_place_of_such_a_lock() {
    for routing in [r#"{"enableBearerAuth": false}"#, r#"{"bearerAuthKey": "0123456789abcdef"}"#] {
        let text = format!(
            r#"{{"systemConfig": {{"routing": {routing}, "auth": {{"betterAuth": {{"enabled": true}}}}}}}}"#
        );
        let errors = file(&text).load().unwrap_err().errors;
        assert_eq!(errors[0].key, "systemConfig.auth.betterAuth");
    }
}

#[test]
fn a_variable_that_switches_on_a_lock_stops_mooring() {
    for name in ["BETTER_AUTH_ENABLED", "FORWARD_AUTH_ENABLED"] {
        for value in ["true", "1", "TRUE", "yes", "on"] {
            file("{}").env(name, value).errors(&[&format!(
                "environment: {name}: switches on a lock of MCPHub, which Mooring does not \
                 enforce; unset it, or start with --allow-open to ignore it"
            )]);
            file("{}").env(name, value).allow_open().warns(&[&format!(
                "environment: {name}: switches on a lock of MCPHub, which Mooring does not \
                 enforce; it is ignored because of --allow-open and keeps no client out"
            )]);
        }
        for value in ["", "false", "0", "False", "off"] {
            file("{}").env(name, value).warns(&[]);
        }
    }
}

#[test]
fn what_restricts_nobody_is_no_obstacle() {
    for text in [
        r#"{"systemConfig": {"oauth": {"enabled": false}, "oauthServer": {"accessTokenLifetime": 5}}}"#,
        r#"{"systemConfig": {"auth": {"betterAuth": {"enabled": false, "basePath": "/x"}, "forwardAuth": {"enabled": false, "mode": "jwks"}}}}"#,
        r#"{"systemConfig": {"auth": {"betterAuth": {"providers": {}}, "forwardAuth": {}, "pki": [], "x": null}}}"#,
        r#"{"mcpServers": {"a": {"command": "x", "visibility": "public", "owner": "admin"}}}"#,
        r#"{"mcpServers": {"a": {"command": "x", "visibility": "private", "enabled": false}}}"#,
        r#"{"mcpServers": {"a": {"command": "x", "sharedWithUsers": [], "visibility": null}}}"#,
        r#"{"groups": [{"name": "g", "servers": [], "visibility": "public", "owner": "admin"}]}"#,
        r#"{"mcpServers": {"a": {"command": "x", "visibility": "public", "owner": "eve"}}}"#,
        r#"{"groups": [{"name": "g", "servers": [], "visibility": "public", "sharedWithUsers": ["eve"]}]}"#,
    ] {
        file(text).warns(&[]);
    }
    // What an administrator owns is kept from nobody but users, whom Mooring does not have.
    let owned = |user: &str| {
        file(&format!(
            r#"{{"users": [{user}], "mcpServers": {{"a": {{"command": "x", "owner": "bob"}}}}}}"#
        ))
    };
    owned(r#"{"username": "bob", "isAdmin": true}"#).config();
    assert!(owned(r#"{"username": "bob", "isAdmin": false}"#).load().is_err());
    assert!(owned(r#"{"username": "eve", "isAdmin": true}"#).load().is_err());
}

#[test]
fn access_control_in_the_wrong_place_or_spelling_stops_mooring() {
    for (text, place, advice) in [
        (
            r#"{"systemConfig": {"routing": {"bearerKeys": ["0123456789abcdef"]}}}"#,
            "systemConfig.routing.bearerKeys",
            "write bearerKeys at the top of the file",
        ),
        (
            r#"{"systemConfig": {"bearerAuthKey": "0123456789abcdef"}}"#,
            "systemConfig.bearerAuthKey",
            "write bearerAuthKey in systemConfig.routing",
        ),
        (
            r#"{"enableBearerAuth": true}"#,
            "enableBearerAuth",
            "write enableBearerAuth in systemConfig.routing",
        ),
        (
            r#"{"systemConfig": {"routing": {"enableBearerauth": true}}}"#,
            "systemConfig.routing.enableBearerauth",
            "write enableBearerAuth in systemConfig.routing",
        ),
        (
            r#"{"systemConfig": {"routing": {"bearer_auth_key": "x"}}}"#,
            "systemConfig.routing.bearer_auth_key",
            "write bearerAuthKey in systemConfig.routing",
        ),
        (r#"{"bearerKey": [{}]}"#, "bearerKey", "write bearerKeys at the top of the file"),
        (r#"{"BearerKeys": [{}]}"#, "BearerKeys", "write bearerKeys at the top of the file"),
        (
            r#"{"systemConfig": {"forwardAuth": {"enabled": true}}}"#,
            "systemConfig.forwardAuth",
            "write forwardAuth in systemConfig.auth",
        ),
        (
            r#"{"routing": {"bearerAuthKey": "0123456789abcdef"}}"#,
            "routing",
            "write routing in systemConfig",
        ),
        (
            r#"{"systemconfig": {"routing": {"enableBearerAuth": true}}}"#,
            "systemconfig",
            "write systemConfig at the top of the file",
        ),
    ] {
        let errors = file(text).load().unwrap_err().errors;
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        let (found, said) = (errors[0].key.as_str(), errors[0].advice.as_str());
        assert_eq!((found, said), (place, advice), "{text}");
        file(text).allow_open().config();
    }
    for harmless in [
        r#"{"bearerKey": [], "systemConfig": {"bearerAuthKey": "", "routing": {"bearerKeys": []}}}"#,
        r#"{"systemconfig": {"listen": {"port": 5}}, "routing": {"enableGlobalRoute": false}}"#,
    ] {
        file(harmless).config();
    }
}
