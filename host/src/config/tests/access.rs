//! Access rules: none is ignored silently.

use super::*;

fn routing(section: &str) -> Case {
    file(&format!(r#"{{"systemConfig": {{"routing": {section}}}}}"#))
}

#[test]
fn everything_is_open_by_default() {
    let access = file("{}").warns(&[]).access;
    assert_eq!(access.bearer, None);
    assert!(access.allowed_hosts.is_empty() && access.allowed_origins.is_empty());
    assert!(access.enable_global_route && access.enable_group_name_route);
}

#[test]
fn bearer_authentication_needs_its_key() {
    let config = routing(r#"{"enableBearerAuth": true, "bearerAuthKey": "a-key-of-some-length"}"#)
        .warns(&[]);
    let bearer = config.access.bearer.unwrap();
    assert!(bearer.matches(b"a-key-of-some-length"));
    assert!(!bearer.matches(b"a-key-of-some-lengtH") && !bearer.matches(b""));

    routing(r#"{"enableBearerAuth": true}"#)
        .errors(&["1:30: systemConfig.routing.bearerAuthKey: is required by enableBearerAuth; \
         set the key, or \"enableBearerAuth\": false"]);
    routing(r#"{"enableBearerAuth": true, "bearerAuthKey": ""}"#).errors(&[
        "1:74: systemConfig.routing.bearerAuthKey: is empty; give it a value, or leave the key out",
    ]);
    routing(r#"{"enableBearerAuth": "true", "bearerAuthKey": "a-key-of-some-length"}"#).errors(&[
        "1:51: systemConfig.routing.enableBearerAuth: must be true or false, not a string; \
         write true or false without quotes",
    ]);
}

#[test]
fn a_key_that_is_not_asked_for_is_pointed_out() {
    routing(r#"{"enableBearerAuth": false, "bearerAuthKey": "x"}"#).warns(&[]);
    routing(r#"{"bearerAuthKey": "x"}"#).warns(&[
        "1:48: systemConfig.routing.bearerAuthKey: is not required of clients; add \"enableBearerAuth\": true",
    ]);
}

#[test]
fn routes_can_be_switched_off() {
    let access =
        routing(r#"{"enableGlobalRoute": false, "enableGroupNameRoute": false}"#).warns(&[]).access;
    assert!(!access.enable_global_route && !access.enable_group_name_route);
}

const UNBUILT: [(&str, &str); 12] = [
    (
        r#"{"mcpServers": {"a": {"command": "x", "visibility": ["public"]}}}"#,
        "1:53: mcpServers.a.visibility: a restriction to certain users",
    ),
    (r#"{"systemConfig": {"oauthServer": true}}"#, "1:34: systemConfig.oauthServer: OAuth"),
    (r#"{"users": [{"username": "admin"}]}"#, "1:11: users: user accounts"),
    (
        r#"{"bearerKeys": [{"enabled": false}, {"token": "x"}]}"#,
        "1:37: bearerKeys[1]: bearer key 2",
    ),
    (r#"{"bearerKeys": [{"enabled": "false"}]}"#, "1:17: bearerKeys[0]: bearer key 1"),
    (r#"{"systemConfig": {"oauth": {"enabled": true}}}"#, "1:28: systemConfig.oauth: OAuth"),
    (
        r#"{"systemConfig": {"oauthServer": {"enabled": 1}}}"#,
        "1:34: systemConfig.oauthServer: OAuth",
    ),
    (
        r#"{"systemConfig": {"auth": {"betterAuth": {"enabled": true}}}}"#,
        "1:42: systemConfig.auth.betterAuth: sign-in with Better Auth",
    ),
    (
        r#"{"mcpServers": {"a": {"command": "x", "visibility": "private"}}}"#,
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
];

#[test]
fn a_rule_that_is_not_built_stops_mooring() {
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
fn what_restricts_nobody_is_no_obstacle() {
    for text in [
        r#"{"users": [], "bearerKeys": []}"#,
        r#"{"bearerKeys": [{"enabled": false, "token": "x"}]}"#,
        r#"{"systemConfig": {"oauth": {"enabled": false}, "oauthServer": {"accessTokenLifetime": 5}}}"#,
        r#"{"mcpServers": {"a": {"command": "x", "visibility": "public", "owner": "admin"}}}"#,
        r#"{"mcpServers": {"a": {"command": "x", "visibility": "private", "enabled": false}}}"#,
        r#"{"mcpServers": {"a": {"command": "x", "sharedWithUsers": []}}}"#,
    ] {
        file(text).warns(&[]);
    }
}

#[test]
fn proxies_are_addresses_and_networks() {
    let config = file(
        r#"{"systemConfig": {"trustedProxies": ["10.0.0.7", "192.168.1.9/16", "fd00::/8", "::1", "::ffff:10.1.0.0/112"]}}"#,
    )
    .warns(&[]);
    let shown: Vec<String> =
        config.access.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.7/32", "192.168.0.0/16", "fd00::/8", "::1/128", "10.1.0.0/16"]);
    assert!(file("{}").warns(&[]).access.trusted_proxies.is_empty());

    let advice = "is not an address or a network; write it like 10.0.0.7, 10.0.0.0/8 or fd00::/8";
    let all =
        "would believe every client whatever it says; name the networks that your proxies are in";
    file(r#"{"systemConfig": {"trustedProxies": ["proxy.example", "10.0.0.0/33", "10.0.0", "0.0.0.0/0", "::/0"]}}"#)
        .errors(&[
            &format!("1:38: systemConfig.trustedProxies[0]: {advice}"),
            &format!("1:55: systemConfig.trustedProxies[1]: {advice}"),
            &format!("1:70: systemConfig.trustedProxies[2]: {advice}"),
            &format!("1:80: systemConfig.trustedProxies[3]: {all}"),
            &format!("1:93: systemConfig.trustedProxies[4]: {all}"),
        ]);
}

#[test]
fn hosts_and_origins_must_be_able_to_match() {
    let config = file(
        r#"{"systemConfig": {"allowedHosts": ["Example.com", "a.b:8080"], "allowedOrigins": ["https://App.example.com"]}}"#,
    )
    .warns(&[]);
    assert_eq!(config.access.allowed_hosts, ["example.com", "a.b:8080"]);
    assert_eq!(config.access.allowed_origins, ["https://app.example.com"]);

    file(r#"{"systemConfig": {"allowedHosts": ["http://a", "*", ""], "allowedOrigins": ["a.com", "https://a/", "*"]}}"#)
        .errors(&[
            "1:36: systemConfig.allowedHosts[0]: can never match; write it like example.com",
            "1:48: systemConfig.allowedHosts[1]: can never match; write it like example.com",
            "1:53: systemConfig.allowedHosts[2]: can never match; write it like example.com",
            "1:77: systemConfig.allowedOrigins[0]: can never match; write it like https://example.com, without a path",
            "1:86: systemConfig.allowedOrigins[1]: can never match; write it like https://example.com, without a path",
            "1:100: systemConfig.allowedOrigins[2]: can never match; write it like https://example.com, without a path",
        ]);
}
