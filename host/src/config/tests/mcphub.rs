//! Every key of MCPHub's settings: each is honoured, warned of, or refuses the start. None is
//! ignored without a word.

use serde_json::{Value, json};

use super::*;

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Becomes {
    /// It changes the configuration.
    Honoured,
    /// A warning names it, or the section that it is in.
    Warned,
    /// It stops the start.
    Refused,
    /// It stops the server that has it.
    Stopped,
    /// It says nothing, in MCPHub as little as here.
    Idle,
}

use Becomes::{Honoured, Idle, Refused, Stopped, Warned};

/// A file in which every key below has its place.
fn base() -> Value {
    json!({
        "mcpServers": {"s": {"command": "x"}, "far": {"url": "http://h/mcp"}},
        "groups": [{"id": "1", "name": "g", "servers": [{"name": "s"}]}],
        "bearerKeys": [{"id": "1", "name": "", "token": "0123456789abcdef", "accessType": "custom", "allowedServers": ["s"]}],
        "systemConfig": {"routing": {}},
    })
}

/// Sets a value in a tree, by the path of its key.
fn set(tree: &mut Value, path: &str, value: Value) {
    let mut at = tree;
    for segment in path.split('.') {
        at = match segment.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[segment],
        };
    }
    *at = value;
}

fn keys() -> Vec<(&'static str, Value, Becomes)> {
    [of_file(), of_servers(), of_groups(), of_bearer_keys(), of_system()].concat()
}

fn of_file() -> Vec<(&'static str, Value, Becomes)> {
    vec![
        ("mcpServers", json!({}), Honoured),
        ("groups", json!([]), Honoured),
        ("systemConfig", json!({"nameSeparator": "_"}), Honoured),
        ("bearerKeys", json!([]), Honoured),
        ("users", json!([{"username": "admin", "password": "x", "isAdmin": true}]), Warned),
        ("userConfigs", json!({"eve": {"routing": {}}}), Warned),
        ("oauthClients", json!([{"clientId": "web", "grants": []}]), Warned),
        ("oauthTokens", json!([{"accessToken": "x"}]), Warned),
        ("prompts", json!([{"name": "p", "template": "x"}]), Warned),
        ("resources", json!([{"uri": "a://b", "content": "x"}]), Warned),
        ("credentialBindings", json!([{"serverName": "s", "username": "eve"}]), Warned),
    ]
}

fn of_servers() -> Vec<(&'static str, Value, Becomes)> {
    let entries = json!({"t": {"enabled": false, "description": "d"}});
    vec![
        ("mcpServers.far.type", json!("sse"), Honoured),
        ("mcpServers.far.url", json!("http://other/mcp"), Honoured),
        ("mcpServers.far.headers", json!({"X-A": "b"}), Honoured),
        ("mcpServers.far.passthroughHeaders", json!(["X-A"]), Honoured),
        ("mcpServers.s.command", json!("y"), Honoured),
        ("mcpServers.s.args", json!(["a"]), Honoured),
        ("mcpServers.s.env", json!({"A": "b"}), Honoured),
        ("mcpServers.s.enabled", json!(false), Honoured),
        ("mcpServers.s.tools", entries.clone(), Honoured),
        ("mcpServers.s.prompts", entries.clone(), Honoured),
        ("mcpServers.s.resources", entries, Honoured),
        ("mcpServers.s.options.timeout", json!(5000), Honoured),
        ("mcpServers.s.options.resetTimeoutOnProgress", json!(true), Honoured),
        ("mcpServers.s.options.maxTotalTimeout", json!(9000), Honoured),
        ("mcpServers.s.options.startOnDemand", json!(true), Warned),
        ("mcpServers.s.options.idleTimeoutMs", json!(60000), Warned),
        ("mcpServers.s.idleTimeoutMs", json!(60000), Honoured),
        ("mcpServers.s.startOnDemand", json!(true), Idle),
        ("mcpServers.s.perSessionClient", json!(true), Honoured),
        ("mcpServers.s.description", json!("what it is"), Warned),
        ("mcpServers.s.createdAt", json!("2026-01-01T00:00:00Z"), Warned),
        ("mcpServers.s.credentialTemplate", json!([{"target": "env", "name": "K"}]), Warned),
        ("mcpServers.far.enableKeepAlive", json!(true), Warned),
        ("mcpServers.far.keepAliveInterval", json!(60000), Warned),
        ("mcpServers.s.proxy", json!({"enabled": true, "host": "h", "port": 3128}), Honoured),
        ("mcpServers.far.oauth", json!({"clientId": "x"}), Warned),
        ("mcpServers.far.oauth", json!({"accessToken": "t"}), Honoured),
        (
            "mcpServers.far.oauth",
            json!({"clientId": "x", "clientSecret": "y", "tokenEndpoint": "https://l/t", "scopes": ["a"]}),
            Honoured,
        ),
        ("mcpServers.far.oauth", json!({"refreshToken": "t"}), Warned),
        (
            "mcpServers.far.oauth",
            json!({"clientId": "x", "refreshToken": "t", "accessToken": "a", "tokenEndpoint": "https://l/t"}),
            Honoured,
        ),
        ("mcpServers.s", json!({"type": "openapi", "openapi": {"url": "http://h/spec"}}), Stopped),
        ("mcpServers.s.owner", json!("admin"), Idle),
        ("mcpServers.s.owner", json!("eve"), Refused),
        ("mcpServers.s.visibility", json!("public"), Idle),
        ("mcpServers.s.visibility", json!("private"), Refused),
        ("mcpServers.s.visibility", json!("group"), Refused),
        ("mcpServers.s.sharedWithUsers", json!(["eve"]), Refused),
    ]
}

fn of_groups() -> Vec<(&'static str, Value, Becomes)> {
    vec![
        ("groups.0.id", json!("2"), Honoured),
        ("groups.0.name", json!("h"), Honoured),
        ("groups.0.description", json!("d"), Honoured),
        ("groups.0.servers", json!(["s", "far"]), Honoured),
        ("groups.0.servers.0.name", json!("far"), Honoured),
        ("groups.0.servers.0.tools", json!(["a"]), Honoured),
        ("groups.0.servers.0.prompts", json!(["a"]), Honoured),
        ("groups.0.servers.0.resources", json!([]), Honoured),
        ("groups.0.servers.0.alias", json!("other"), Honoured),
        ("groups.0.createdAt", json!("2026-01-01T00:00:00Z"), Warned),
        ("groups.0.members", json!(["eve"]), Warned),
        ("groups.0.owner", json!("eve"), Refused),
        ("groups.0.visibility", json!("private"), Refused),
        ("groups.0.sharedWithUsers", json!(["eve"]), Refused),
    ]
}

fn of_bearer_keys() -> Vec<(&'static str, Value, Becomes)> {
    vec![
        ("bearerKeys.0.id", json!("2"), Honoured),
        ("bearerKeys.0.name", json!("k"), Honoured),
        ("bearerKeys.0.token", json!("fedcba9876543210"), Honoured),
        ("bearerKeys.0.enabled", json!(false), Honoured),
        ("bearerKeys.0.accessType", json!("all"), Honoured),
        ("bearerKeys.0.allowedGroups", json!(["g"]), Honoured),
        ("bearerKeys.0.allowedServers", json!(["far"]), Honoured),
        ("bearerKeys.0.kind", json!("system"), Idle),
        ("bearerKeys.0.kind", json!("user"), Refused),
        ("bearerKeys.0.owner", json!("admin"), Idle),
    ]
}

fn of_system() -> Vec<(&'static str, Value, Becomes)> {
    let on = json!({"enabled": true});
    vec![
        ("systemConfig.routing.enableGlobalRoute", json!(false), Honoured),
        ("systemConfig.routing.enableGroupNameRoute", json!(false), Honoured),
        ("systemConfig.routing.enableBearerAuth", json!(false), Honoured),
        ("systemConfig.routing.bearerAuthKey", json!("another-key-0123"), Warned),
        ("systemConfig.routing.bearerAuthHeaderName", json!("X-Key"), Honoured),
        ("systemConfig.routing.jsonBodyLimit", json!("1mb"), Warned),
        ("systemConfig.routing.skipAuth", json!(true), Warned),
        ("systemConfig.install", json!({"npmRegistry": "https://r"}), Honoured),
        ("systemConfig.smartRouting", on.clone(), Warned),
        ("systemConfig.toolResultCompression", on.clone(), Warned),
        ("systemConfig.mcpRouter", json!({"apiKey": "x"}), Warned),
        ("systemConfig.nameSeparator", json!("_"), Honoured),
        ("systemConfig.oauth", on.clone(), Warned),
        ("systemConfig.oauthServer", on.clone(), Warned),
        ("systemConfig.enableSessionRebuild", json!(true), Warned),
        ("systemConfig.auth.betterAuth", on.clone(), Refused),
        ("systemConfig.auth.forwardAuth", on.clone(), Refused),
        ("systemConfig.discovery", on.clone(), Warned),
        ("systemConfig.activityLog", json!({"storeToolPayload": false}), Warned),
        ("systemConfig.email", on.clone(), Warned),
        ("systemConfig.exposeHttp", json!(true), Warned),
        ("systemConfig.httpPort", json!(3001), Warned),
        ("systemConfig.modelscope", on, Warned),
    ]
}

#[test]
fn every_key_is_honoured_warned_of_or_refused() {
    let without = file(&base().to_string()).warns(&[]);
    for (path, value, expect) in keys() {
        let mut tree = base();
        set(&mut tree, path, value);
        let key =
            path.split('.').fold(String::new(), |key, segment| match segment.parse::<usize>() {
                Ok(index) => format!("{key}[{index}]"),
                Err(_) if key.is_empty() => segment.to_owned(),
                Err(_) => format!("{key}.{segment}"),
            });
        let names =
            |finding: &Finding| key.starts_with(&finding.key) || finding.key.starts_with(&key);
        let became = match file(&tree.to_string()).load() {
            Err(report) if report.errors.iter().any(names) => Refused,
            Err(report) => panic!("{path}: {report}"),
            Ok(loaded) if loaded.config.servers.iter().any(|s| s.misconfigured.is_some()) => {
                Stopped
            }
            Ok(loaded) if loaded.config != without => Honoured,
            Ok(loaded) if loaded.warnings.iter().any(names) => Warned,
            Ok(loaded) if loaded.warnings.is_empty() => Idle,
            Ok(loaded) => panic!("{path}: {:?}", loaded.warnings),
        };
        assert_eq!(became, expect, "{tree}");
    }
}
