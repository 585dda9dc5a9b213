//! Who may come in: open, by keys of the file, or by a generated one.

use super::*;

const KEY: &str = "a-token-of-some-length";

/// The lock of a file, in a word, and the number of warnings.
fn lock(case: &Case) -> (String, usize) {
    let loaded = case.load().unwrap_or_else(|report| panic!("{report}"));
    let lock = match &loaded.config.access.lock {
        Lock::Open => "open".to_owned(),
        Lock::Generated => "generated".to_owned(),
        Lock::Tokens => "tokens".to_owned(),
        Lock::Keys(keys) => {
            let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
            names.join(" ")
        }
    };
    (lock, loaded.warnings.len())
}

fn routing(section: &str) -> String {
    format!(r#""systemConfig": {{"routing": {section}}}"#)
}

/// A list with one key.
fn keys(more: &str) -> String {
    format!(
        r#""bearerKeys": [{{"id": "1", "name": "laptop", "token": "{KEY}", "accessType": "all"{more}}}]"#
    )
}

#[test]
fn a_file_decides_who_may_come_in() {
    let users = r#""users": [{"username": "admin", "password": "x", "isAdmin": true}]"#;
    let oauth = r#""systemConfig": {"oauthServer": {"enabled": true, "accessTokenLifetime": 5}}"#;
    let old = format!(r#"{{"enableBearerAuth": true, "bearerAuthKey": "{KEY}"}}"#);
    let idle = format!(r#"{{"enableBearerAuth": false, "bearerAuthKey": "{KEY}"}}"#);
    let unasked = format!(r#"{{"bearerAuthKey": "{KEY}"}}"#);
    let open = r#"{"enableBearerAuth": false}"#;
    let empty = r#"{"enableBearerAuth": true, "bearerAuthKey": ""}"#;
    for (parts, expect, warnings) in [
        // No trace of access control.
        (vec![], "open", 0),
        (vec![routing("{}")], "open", 0),
        (vec![r#""systemConfig": {"oauthServer": {"enabled": false}}"#.into()], "open", 0),
        (vec![routing(r#"{"bearerAuthKey": ""}"#)], "open", 0),
        (vec![r#""oauthClients": [], "oauthTokens": [], "userConfigs": {}"#.into()], "open", 0),
        (vec![r#""users": null, "bearerKeys": null"#.into()], "open", 0),
        // Open, as the file says.
        (vec![routing(open)], "open", 1),
        (vec![routing(&idle)], "open", 1),
        (vec![routing(open), users.into()], "open", 1),
        (vec![routing(open), users.into(), keys("")], "open", 1),
        (vec![routing(r#"{"enableBearerAuth": false, "skipAuth": false}"#)], "open", 1),
        // A key of the file.
        (vec![routing(&old)], "bearer", 0),
        (vec![routing(&unasked)], "bearer", 0),
        (vec![routing(&old), users.into()], "bearer", 1),
        (vec![routing(&old), r#""users": []"#.into()], "bearer", 0),
        (vec![keys("")], "laptop", 0),
        (vec![keys(""), users.into(), oauth.into()], "laptop", 1),
        (vec![routing(r#"{"enableBearerAuth": true}"#), keys("")], "laptop", 0),
        (vec![routing(r#"{"enableBearerAuth": null}"#), keys("")], "laptop", 0),
        // The list has taken its place: no warning if the key is in the list.
        (vec![routing(&old), keys("")], "laptop", 0),
        (vec![routing(&old), r#""bearerKeys": []"#.into()], "bearer", 1),
        // A lock that is not ours, and no key.
        (vec![users.into()], "generated", 1),
        (vec![r#""users": []"#.into()], "generated", 1),
        (vec![oauth.into()], "generated", 1),
        (vec![users.into(), oauth.into(), r#""bearerKeys": []"#.into()], "generated", 1),
        (vec![r#""bearerKeys": []"#.into()], "generated", 1),
        (vec![keys(r#", "enabled": false"#)], "generated", 1),
        (vec![routing(&old), keys(r#", "enabled": false"#)], "generated", 2),
        (vec![routing(r#"{"enableBearerAuth": true}"#)], "generated", 1),
        (vec![routing(empty)], "generated", 1),
        (vec![r#""oauthClients": [{"clientId": "web"}]"#.into()], "generated", 1),
        (vec![r#""systemConfig": {"oauth": {"enabled": true}}"#.into()], "generated", 1),
        (vec![r#""userConfigs": {"eve": {}}"#.into()], "generated", 1),
    ] {
        let text = format!("{{{}}}", parts.join(", "));
        assert_eq!(lock(&file(&text)), (expect.to_owned(), warnings), "{text}");
    }
}

#[test]
fn the_warning_names_what_is_not_enforced_and_both_ways_out() {
    let both =
        r#"{"users": [{"username": "a"}], "systemConfig": {"oauthServer": {"enabled": true}}}"#;
    file(both).warns(&["1:11: users: the file tells of a lock that Mooring does not have (users, \
        systemConfig.oauthServer) and names no key: the gateway locks itself with a key of its own, \
        generated-key in the data folder; put a key of yours into bearerKeys or \
        routing.bearerAuthKey, or open the gateway with \"enableBearerAuth\": false in \
        systemConfig.routing"]);
    file(r#"{"users": [{"username": "a"}], "systemConfig": {"routing": {"enableBearerAuth": false}}}"#)
        .warns(&["1:81: systemConfig.routing.enableBearerAuth: is false: every program that \
            reaches the port may use all servers, and users keep no client out; set it to true \
            and name a key to lock the gateway"]);
    let text = format!(
        r#"{{"users": [{{"username": "a"}}], "systemConfig": {{"routing": {{"bearerAuthKey": "{KEY}"}}}}}}"#
    );
    file(&text).warns(&[
        "1:11: users: accounts of MCPHub, which Mooring does not have (users); clients come in by \
         the keys of the file alone",
    ]);
}

#[test]
fn a_lock_opens_the_gateway_to_other_machines() {
    for (text, host) in [
        (r#"{"users": [{"username": "a"}]}"#.to_owned(), "0.0.0.0"),
        (format!("{{{}}}", keys("")), "0.0.0.0"),
        (format!("{{{}}}", routing(r#"{"enableBearerAuth": false}"#)), "127.0.0.1"),
    ] {
        let config = file(&text).config();
        assert_eq!(config.listen.host, host, "{text}");
        let doors = open_doors(&config, "0.0.0.0");
        assert_eq!(doors.is_empty(), config.access.lock != Lock::Open, "{text}");
    }
}

#[test]
fn a_node_without_a_key_of_its_own_stays_closed() {
    let node = |more: &str, public: bool| {
        file(&format!(
            r#"{{{more}, "systemConfig": {{"cluster": {{"enabled": true, "mode": "node",
                "node": {{"coordinatorUrl": "http://c:3000", "public": {public}}}}}}}}}"#
        ))
    };
    let users = r#""users": [{"username": "a"}]"#;
    assert_eq!(lock(&node(users, false)), ("open".to_owned(), 0));
    assert!(node(users, false).config().is_closed());
    assert_eq!(lock(&node(users, true)), ("generated".to_owned(), 1));
    assert!(!node(users, true).config().is_closed());
    assert_eq!(lock(&node(&keys(""), false)), ("laptop".to_owned(), 0));
    assert!(!node(&keys(""), false).config().is_closed());
}

#[test]
fn allow_open_is_the_way_around_a_generated_key_and_not_around_a_key_of_the_file() {
    let users = file(r#"{"users": [{"username": "a"}]}"#).allow_open();
    assert_eq!(lock(&users), ("open".to_owned(), 1));
    assert_eq!(lock(&file(&format!("{{{}}}", keys(""))).allow_open()), ("laptop".to_owned(), 0));
    // What is malformed is ignored: here nothing is left.
    assert_eq!(lock(&file(r#"{"bearerKeys": ["x"]}"#).allow_open()), ("open".to_owned(), 2));
    let typed = file(r#"{"systemConfig": {"routing": {"enableBearerAuth": "yes"}}}"#);
    assert_eq!(lock(&typed.allow_open()), ("open".to_owned(), 1));
}

#[test]
fn the_header_of_the_key_can_have_another_name() {
    let header = |name: &str| {
        let text = routing(&format!(r#"{{"bearerAuthHeaderName": "{name}"}}"#));
        file(&format!("{{{text}}}"))
    };
    for (name, expect) in [
        ("", "authorization"),
        (" authorization ", "authorization"),
        ("X-Hub-Key", "x-hub-key"),
        (" x-api-key", "x-api-key"),
    ] {
        assert_eq!(header(name).warns(&[]).access.key_header.as_str(), expect);
    }
    for name in ["Cookie", "Mcp-Session-Id", "mooring-session", "a b", "Host", "Content-Length"] {
        let errors = header(name).load().unwrap_err().errors;
        assert!(errors[0].to_string().contains("bearerAuthHeaderName"), "{name}: {errors:?}");
        assert_eq!(lock(&header(name).allow_open()).0, "open", "{name}");
    }
}

const JWT: &str =
    r#""systemConfig": {"auth": {"jwt": {"issuer": "https://idp.example", "audience": "gw"}}}"#;

#[test]
fn issuers_of_tokens_lock_a_gateway_beside_keys_and_without() {
    let users = r#""users": [{"username": "admin", "password": "x", "isAdmin": true}]"#;
    for (parts, expect, warnings) in [
        (vec![JWT.to_owned()], "tokens", 0),
        (vec![JWT.to_owned(), keys("")], "laptop", 0),
        // The accounts of MCPHub keep nobody out, and issuers do.
        (vec![JWT.to_owned(), users.to_owned()], "tokens", 1),
        (vec![JWT.to_owned(), r#""bearerKeys": []"#.to_owned()], "tokens", 0),
    ] {
        let text = format!("{{{}}}", parts.join(", "));
        assert_eq!(lock(&file(&text)), (expect.to_owned(), warnings), "{text}");
    }
    let config = file(&format!("{{{JWT}}}")).load().unwrap().config;
    let [issuer] = &config.access.issuers[..] else { panic!("one issuer") };
    assert_eq!((issuer.name.as_str(), issuer.principal_claim.as_str()), ("jwt", "sub"));
    assert_eq!(issuer.audience, ["gw"]);
    assert_eq!(issuer.algorithms.len(), 10);
}

#[test]
fn issuers_in_a_gateway_that_is_told_to_be_open_are_a_mistake() {
    let jwt = r#""auth": {"jwt": {"issuer": "https://idp.example", "audience": "gw"}}"#;
    let text =
        format!(r#"{{"systemConfig": {{{jwt}, "routing": {{"enableBearerAuth": false}}}}}}"#);
    for case in [file(&text), file(&text).allow_open()] {
        let report = case.load().unwrap_err();
        assert_eq!(report.errors.len(), 1, "{report}");
        assert_eq!(report.errors[0].key, "systemConfig.auth.jwt");
    }
}
