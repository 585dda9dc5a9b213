//! Modes and the guide's own files.

use std::time::Duration;

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

#[test]
fn the_guides_coordinator_file_loads_verbatim() {
    let config = file(GUIDE_COORDINATOR).warns(&[]);
    let Mode::Coordinator(coordinator) = &config.mode else {
        panic!("{:?}", config.mode);
    };
    assert_eq!(coordinator.node_timeout, Duration::from_secs(15));
    assert_eq!(coordinator.cleanup_interval, Duration::from_secs(30));
    assert_eq!(coordinator.sticky_session_timeout, Duration::from_hours(1));
    assert_eq!(config.servers[0].shown, "npx -y example-mcp-server");
    println!("{}", describe(&config));
}
