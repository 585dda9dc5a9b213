//! The modes, and the example files of the cluster guide.

use std::time::Duration;

use super::cluster::{cluster, node_of};
use super::*;

const GUIDE_COORDINATOR: &str = r#"{
"mcpServers": {
// Optional: coordinator can also run MCP servers
"example": {
"command": "npx",
"args": ["-y", "example-mcp-server"]
}
},
"systemConfig": {
"cluster": {
"enabled": true,
"mode": "coordinator",
"coordinator": {
"nodeTimeout": 15000,
"cleanupInterval": 30000,
"stickySessionTimeout": 3600000
},
"stickySession": {
"enabled": true,
"strategy": "consistent-hash",
"cookieName": "MCPHUB_NODE",
"headerName": "X-MCPHub-Node"
}
}
}
}"#;

/// The settings file of the guide's worker node.
const GUIDE_NODE: &str = r#"{
"mcpServers": {
"amap": {
"command": "npx",
"args": ["-y", "@amap/amap-maps-mcp-server"]
},
"playwright": {
"command": "npx",
"args": ["@playwright/mcp@latest", "--headless"]
}
},
"systemConfig": {
"cluster": {
"enabled": true,
"mode": "node",
"node": {
"id": "node-1",
"name": "Worker Node 1",
"coordinatorUrl": "http://coordinator:3000",
"heartbeatInterval": 5000,
"registerOnStartup": true
}
}
}
}"#;

#[track_caller]
fn coordinator_of(config: Config) -> Coordinator {
    match config.mode {
        Mode::Coordinator(coordinator) => coordinator,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_guides_coordinator_file_loads_verbatim_with_its_comment() {
    let config = file(GUIDE_COORDINATOR).warns(&[]);
    assert_eq!(config.servers[0].name.as_str(), "example");
    assert_eq!(config.sticky.strategy, "consistent-hash");
    let coordinator = coordinator_of(config);
    assert_eq!(coordinator.node_timeout, Duration::from_secs(15));
    assert_eq!(coordinator.cleanup_interval, Duration::from_secs(30));
    assert_eq!(coordinator.sticky_session_timeout, Duration::from_hours(1));
}

#[test]
fn the_guides_node_file_loads_verbatim() {
    let config = file(GUIDE_NODE).warns(&[]);
    assert_eq!(config.servers.len(), 2);
    let node = node_of(config);
    assert_eq!(node.id.as_ref().map(|id| id.as_str()), Some("node-1"));
    assert_eq!(node.name.as_deref(), Some("Worker Node 1"));
    assert_eq!(node.coordinator_urls, ["http://coordinator:3000/"]);
    assert_eq!(node.heartbeat_interval, Duration::from_secs(5));
    assert!(node.register_on_startup);
}

#[test]
fn scenario_3_has_no_servers_and_no_sections() {
    let config = cluster(r#"{"enabled": true, "mode": "coordinator"}"#).warns(&[]);
    let defaults = file(GUIDE_COORDINATOR).config();
    assert_eq!(config.mode, defaults.mode);
    assert_eq!(config.sticky, defaults.sticky);

    let config = file(
        r#"{
            "mcpServers": { "server1": { "command": "..." } },
            "systemConfig": { "cluster": { "enabled": true, "mode": "node",
                "node": { "coordinatorUrl": "http://192.168.1.100:3000" } } }
        }"#,
    )
    .warns(&[]);
    assert_eq!(config.servers[0].shown, "...");
    let node = node_of(config);
    assert_eq!((node.id, node.name, node.advertise_url), (None, None, None));
    assert_eq!((node.zone.as_str(), node.weight, node.public), ("", 1, false));
    assert_eq!(node.heartbeat_interval, Duration::from_secs(5));
    assert!(node.register_on_startup);
}

#[test]
fn standalone_is_the_default_and_what_a_disabled_cluster_is() {
    for text in [
        "{}",
        r#"{"systemConfig": {}}"#,
        r#"{"systemConfig": null}"#,
        r#"{"systemConfig": {"cluster": {"enabled": true}}}"#,
        r#"{"systemConfig": {"cluster": {"enabled": false, "mode": "coordinator"}}}"#,
        r#"{"systemConfig": {"cluster": {"enabled": false, "mode": "node"}}}"#,
    ] {
        assert_eq!(file(text).warns(&[]).mode, Mode::Standalone, "{text}");
    }
}

#[test]
fn what_the_mode_does_not_use_cannot_stop_it() {
    cluster(r#"{"enabled": false, "token": ""}"#).config();
    cluster(r#"{"enabled": false, "mode": "nude", "node": {"coordinatorUrl": "x"}}"#).warns(&[
        "1:57: systemConfig.cluster.mode: \"nude\" is not a mode; \
         use one of standalone, coordinator, node (did you mean \"node\"?)",
        "1:92: systemConfig.cluster.node.coordinatorUrl: \
         lacks http:// or https:// in front; write it like http://coordinator:3000",
    ]);
}

#[test]
fn a_mode_without_enabled_is_pointed_out() {
    let config = cluster(r#"{"mode": "coordinator"}"#).warns(&[
        "1:30: systemConfig.cluster.enabled: is not set, so this process runs standalone; \
         add \"enabled\": true to the cluster section",
    ]);
    assert_eq!(config.mode, Mode::Standalone);
}
