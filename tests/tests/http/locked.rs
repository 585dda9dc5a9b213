//! A file that tells of a lock and names no key: the gateway locks itself. And files whose lock it
//! does not have: it does not start.

use std::os::unix::fs::PermissionsExt as _;

use mooring_tests::{Gateway, OverSse, Request, Setup, servers, settings};
use serde_json::{Value, json};

fn users() -> Value {
    json!([{"username": "admin", "password": "x", "isAdmin": true}])
}

/// A standalone gateway, and a coordinator: both serve clients.
fn setups(more: &Value) -> [Value; 2] {
    let servers = json!({"counter": servers::counter()});
    let coordinator =
        settings::merged(settings::coordinator(json!({})), json!({"mcpServers": servers}));
    [settings::standalone(servers), coordinator].map(|base| settings::merged(base, more.clone()))
}

fn key_in(gateway: &Gateway) -> String {
    std::fs::read_to_string(gateway.data_folder().join("generated-key")).unwrap().trim().to_owned()
}

#[test]
fn it_locks_itself_with_a_key_of_its_own() {
    for settings in setups(&json!({"users": users(), "bearerKeys": []})) {
        let mut gateway = Gateway::start_with(&settings);
        let key = key_in(&gateway);
        let file = gateway.data_folder().join("generated-key");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let log = gateway.log();
        assert_eq!(log.matches(&key).count(), 1, "{log}");
        for part in
            ["generated-key", "bearerKeys", "\"enableBearerAuth\": false", "(users, bearerKeys)"]
        {
            assert!(log.contains(part), "{part}: {log}");
        }
        for path in ["/mcp", "/mcp/counter"] {
            gateway.client(path).try_initialize().expect(401);
            gateway
                .client(path)
                .header("Authorization", "Bearer wrong")
                .try_initialize()
                .expect(401);
        }
        gateway.get("/sse").expect(401);
        gateway.get("/api/cluster/instances").expect(401);
        gateway.get("/health").expect(200);
        let bearer = format!("Bearer {key}");
        let client = gateway.client("/mcp").header("Authorization", &bearer);
        let session = client.initialize();
        assert_eq!(session.count("counter-count"), 1);
        let mut sse = OverSse::open_with(gateway.address(), "/sse", &[("Authorization", &bearer)]);
        sse.begin();
        let api = Request::get("/api/cluster/instances").header("Authorization", &bearer);
        api.send(gateway.address()).expect(200);
        // The next start tells where the key is, and not the key.
        drop(sse);
        gateway.restart_after(rustix::process::Signal::TERM);
        let log = gateway.log();
        assert_eq!((key_in(&gateway), log.matches(&key).count()), (key, 1), "{log}");
        assert!(log.contains("locked with the generated key in"), "{log}");
        // Its server has begun anew; the session is the same.
        assert_eq!(session.count("counter-count"), 1);
    }
}

#[test]
fn a_key_that_cannot_be_kept_is_told_at_each_start() {
    let settings = settings::merged(
        settings::standalone(json!({"counter": servers::counter()})),
        json!({"systemConfig": {"oauthServer": {"enabled": true}}}),
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("no-folder");
    std::fs::write(&file, "").unwrap();
    let mut gateway = Setup::new(&settings).data(&file).start();
    let told = |gateway: &Gateway| -> Vec<String> {
        let log = gateway.log();
        let told = log.split("Bearer ").skip(1).filter_map(|rest| rest.split('"').next());
        told.filter(|key| key.len() == 64).map(str::to_owned).collect()
    };
    let first = told(&gateway);
    assert_eq!(first.len(), 1, "{}", gateway.log());
    let bearer = format!("Bearer {}", first[0]);
    gateway.client("/mcp").header("Authorization", &bearer).try_initialize().expect(200);
    gateway.restart_after(rustix::process::Signal::TERM);
    let both = told(&gateway);
    assert_eq!(both.len(), 2);
    assert_ne!(both[0], both[1]);
    gateway.client("/mcp").header("Authorization", &bearer).try_initialize().expect(401);
}

#[test]
fn both_ways_out_work() {
    let base = settings::merged(
        settings::standalone(json!({"counter": servers::counter()})),
        json!({"users": users(), "bearerKeys": []}),
    );
    let open = json!({"systemConfig": {"routing": {"enableBearerAuth": false}}});
    let gateway = Gateway::start_with(&settings::merged(base.clone(), open));
    assert_eq!(gateway.client("/mcp").initialize().count("counter-count"), 1);
    assert!(!gateway.data_folder().join("generated-key").exists());
    let log = gateway.log();
    assert_eq!(log.matches(" WARN ").count(), 1, "{log}");
    let keys = json!({"bearerKeys": [
        {"id": "1", "name": "k", "token": "0123456789abcdef", "enabled": true, "accessType": "all"},
    ]});
    let gateway = Gateway::start_with(&settings::merged(base.clone(), keys));
    gateway.client("/mcp").try_initialize().expect(401);
    let client = gateway.client("/mcp").header("Authorization", "Bearer 0123456789abcdef");
    assert_eq!(client.initialize().count("counter-count"), 1);
    assert!(!gateway.data_folder().join("generated-key").exists());
    let mut gateway = Setup::new(&base).arg("--allow-open").start();
    for start in 1..=2 {
        assert_eq!(gateway.client("/mcp").initialize().count("counter-count"), 1);
        assert_eq!(gateway.log().matches("--allow-open: access rules").count(), start);
        gateway.restart_after(rustix::process::Signal::TERM);
    }
}

#[test]
fn a_node_is_opened_by_no_key_that_it_makes() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let servers = json!({"counter": servers::counter()});
    for (public, status) in [(false, 403), (true, 401)] {
        let node = settings::node(coordinator.port(), json!({"public": public}), servers.clone());
        let node = settings::merged(node, json!({"users": users()}));
        let node = Gateway::start_with(&node);
        assert_eq!(node.client("/mcp").try_initialize().status, status);
        assert_eq!(node.data_folder().join("generated-key").exists(), public);
    }
}

#[test]
fn what_cannot_be_enforced_refuses_the_start_by_name() {
    let auth = |name: &str| json!({"systemConfig": {"auth": {name: {"enabled": true}}}});
    for (more, name) in [
        (auth("betterAuth"), "systemConfig.auth.betterAuth"),
        (auth("forwardAuth"), "systemConfig.auth.forwardAuth"),
        (
            json!({"mcpServers": {"counter": {"visibility": "private"}}}),
            "mcpServers.counter.visibility",
        ),
        (
            json!({"groups": [{"name": "g", "servers": [], "visibility": "group"}]}),
            "groups[0].visibility",
        ),
        (json!({"bearerKeys": ["0123456789abcdef"]}), "bearerKeys[0]"),
        (
            json!({"systemConfig": {"routing": {"bearerKeys": ["0123456789abcdef"]}}}),
            "systemConfig.routing.bearerKeys",
        ),
    ] {
        for settings in setups(&more) {
            let output = Setup::new(&settings).refused();
            let says = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{says}");
            assert!(says.contains(name), "{says}");
            assert!(!says.contains("0123456789abcdef"), "{says}");
            let open = Setup::new(&settings).arg("--allow-open").start();
            assert_eq!(open.client("/mcp").initialize().count("counter-count"), 1);
        }
    }
    for variable in ["BETTER_AUTH_ENABLED", "FORWARD_AUTH_ENABLED"] {
        let settings = settings::standalone(json!({"counter": servers::counter()}));
        let output = Setup::new(&settings).env(variable, "true").refused();
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && says.contains(variable), "{says}");
    }
}
