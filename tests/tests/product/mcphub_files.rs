//! Settings files as MCPHub's versions and their users leave them: each loads and lets in whom its
//! owner meant, or says by name what it needs.

use mooring_tests::{Gateway, Setup, servers, settings};
use serde_json::{Value, json};

const TOKEN: &str = "fedcba9876543210fedcba9876543210";

/// Whom a gateway with the file lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admits {
    Everybody,
    /// Who sends [`TOKEN`].
    Token,
    /// Who sends the generated key.
    Generated,
    /// Nobody: it does not start.
    Refused,
}

use Admits::{Everybody, Generated, Refused, Token};

fn users() -> Value {
    json!([{"username": "root", "password": "$2b$10$BBBBBBBBBBBBBBBBBBBB", "isAdmin": true}])
}

fn oauth_server() -> Value {
    json!({
        "enabled": true,
        "accessTokenLifetime": 900,
        "allowedScopes": ["read"],
        "dynamicRegistration": {"enabled": true, "requiresAuthentication": false},
    })
}

fn key(token: &str, more: Value) -> Value {
    let base = json!({
        "id": "11111111-2222-3333-4444-555555555555", "name": "desk", "token": token,
        "enabled": true, "accessType": "all", "allowedGroups": [], "allowedServers": [],
    });
    settings::merged(base, more)
}

/// The shapes: what the file has beside a server, whom it admits, and how many warnings the access
/// control of it gets.
fn shapes() -> Vec<(&'static str, Value, Admits, usize)> {
    let routing = |routing: Value| json!({"routing": routing});
    let open = routing(json!({"enableBearerAuth": false, "skipAuth": true}));
    let legacy = routing(json!({
        "enableGlobalRoute": true, "enableBearerAuth": true, "bearerAuthKey": TOKEN, "skipAuth": false,
    }));
    let with_oauth =
        |system: Value| settings::merged(json!({"oauthServer": oauth_server()}), system);
    vec![
        ("nothing of access control", json!({}), Everybody, 0),
        (
            "after a first start",
            json!({"users": users(), "systemConfig": with_oauth(json!({})), "bearerKeys": [], "prompts": [], "resources": []}),
            Generated,
            1,
        ),
        (
            "a key of an older version",
            json!({"users": users(), "systemConfig": with_oauth(legacy), "oauthClients": [{"clientId": "web"}]}),
            Token,
            1,
        ),
        ("users alone", json!({"users": users()}), Generated, 1),
        (
            "the sample that is shipped",
            json!({"users": [], "groups": [], "bearerKeys": [], "systemConfig": with_oauth(json!({}))}),
            Generated,
            1,
        ),
        ("a key in a variable", json!({"bearerKeys": [key("${HUB_KEY}", json!({}))]}), Token, 0),
        (
            "a part of a key in a variable",
            json!({"bearerKeys": [key("fedcba98${HALF_KEY}fedcba9876543210", json!({}))]}),
            Token,
            0,
        ),
        (
            "a key in an unset variable",
            json!({"bearerKeys": [key("${NO_KEY}", json!({}))]}),
            Generated,
            2,
        ),
        (
            "open as the file says",
            json!({"users": users(), "systemConfig": with_oauth(open), "bearerKeys": []}),
            Everybody,
            1,
        ),
        (
            "open beside a key",
            json!({"bearerKeys": [key(TOKEN, json!({}))], "systemConfig": routing(json!({"enableBearerAuth": false}))}),
            Everybody,
            1,
        ),
        (
            "all keys switched off",
            json!({"bearerKeys": [key(TOKEN, json!({"enabled": false}))]}),
            Generated,
            1,
        ),
        (
            "sign-in at a proxy",
            json!({"systemConfig": {"auth": {"forwardAuth": {"enabled": true, "mode": "jwks", "jwks": {"uri": "https://idp.example/keys"}}}}}),
            Refused,
            1,
        ),
        (
            "sign-in with accounts",
            json!({"users": users(), "systemConfig": {"auth": {"betterAuth": {"enabled": true}}}}),
            Refused,
            1,
        ),
        (
            "keys as plain texts",
            json!({"bearerKeys": [TOKEN], "systemConfig": {"routing": {"enableBearerAuth": true, "bearerKeys": [TOKEN]}, "oauthServer": {"enabled": false}}}),
            Refused,
            3,
        ),
        (
            "a server for its owner alone",
            json!({"mcpServers": {"counter": {"visibility": "private"}}, "bearerKeys": [key(TOKEN, json!({}))]}),
            Refused,
            1,
        ),
        (
            "a server and a group of a user, for everybody",
            json!({
                "mcpServers": {"counter": {"visibility": "public", "owner": "ann", "sharedWithUsers": ["bob"]}},
                "groups": [{"name": "g", "servers": ["counter"], "visibility": "public", "owner": "ann"}],
            }),
            Everybody,
            0,
        ),
        (
            "groups as an object",
            json!({"groups": {"work": {"name": "At Work", "description": "d", "servers": ["counter"]}}}),
            Everybody,
            0,
        ),
    ]
}

fn setup(more: &Value, mode: &Value) -> Setup {
    let base = settings::merged(
        settings::standalone(json!({"counter": servers::counter()})),
        mode.clone(),
    );
    Setup::new(&settings::merged(base, more.clone()))
        .env("HUB_KEY", TOKEN)
        .env("HALF_KEY", "76543210")
}

fn admits(gateway: &Gateway, key: Option<&str>) -> bool {
    let mut client = gateway.client("/mcp");
    if let Some(key) = key {
        client = client.header("Authorization", &format!("Bearer {key}"));
    }
    match client.try_initialize().status {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

/// Lines about access control: those of other keys are counted elsewhere.
fn about_access(stderr: &str) -> Vec<&str> {
    let words = [
        "users",
        "oauthServer",
        "bearer",
        "Bearer",
        "auth.",
        "visibility",
        "generated-key",
        "locked",
    ];
    let is_meant = |line: &&str| {
        words.iter().any(|word| line.contains(word)) && !line.contains("not used yet")
    };
    stderr.lines().filter(is_meant).collect()
}

#[test]
fn each_shape_lets_in_whom_its_owner_meant() {
    let coordinator =
        json!({"systemConfig": {"cluster": {"enabled": true, "mode": "coordinator"}}});
    for mode in [json!({}), coordinator] {
        for (shape, more, expect, findings) in shapes() {
            let checked = setup(&more, &mode).run(&["check"]);
            let says = String::from_utf8_lossy(&checked.stderr).into_owned();
            let code = if expect == Refused { 2 } else { 0 };
            assert_eq!(checked.status.code(), Some(code), "{shape}: {says}");
            assert_eq!(about_access(&says).len(), findings, "{shape}: {says}");
            assert!(!says.contains(TOKEN), "{shape}: {says}");
            if expect == Refused {
                let refused = setup(&more, &mode).refused();
                let says = String::from_utf8_lossy(&refused.stderr).into_owned();
                assert_eq!(refused.status.code(), Some(2), "{shape}: {says}");
                continue;
            }
            let gateway = setup(&more, &mode).start();
            let file = gateway.data_folder().join("generated-key");
            let generated = std::fs::read_to_string(&file).ok();
            let generated = generated.as_deref().map(str::trim);
            assert_eq!(admits(&gateway, None), expect == Everybody, "{shape}");
            assert_eq!(
                admits(&gateway, Some(TOKEN)),
                [Everybody, Token].contains(&expect),
                "{shape}"
            );
            assert_eq!(generated.is_some(), expect == Generated, "{shape}");
            if let Some(key) = generated {
                assert!(admits(&gateway, Some(key)), "{shape}");
            }
        }
    }
}

#[test]
fn a_group_of_an_object_is_reached_by_its_key_and_by_its_name() {
    let groups = json!({"groups": {"work": {"name": "At Work", "servers": ["counter"]}}});
    let gateway = setup(&groups, &json!({})).start();
    for path in ["/mcp/work", "/mcp/At%20Work"] {
        assert_eq!(gateway.client(path).initialize().count("counter-count"), 1, "{path}");
    }
    let log = gateway.log();
    assert_eq!(log.matches("is an object where MCPHub has a list").count(), 1, "{log}");
}
