//! What `mooring check` prints.

use super::*;

#[test]
fn a_node_with_every_kind_of_server() {
    let config = file(
        r#"{"mcpServers": {
            "files": {"command": "npx", "args": ["-y", "fs", "a b", "--api-key", "hunter2", "--token=hunter2", "https://u:hunter2@h/p?k=hunter2", "${SECRET}"],
                      "env": {"KEY": "hunter2", "MODE": "x"}},
            "far": {"url": "https://h/mcp?key=hunter2", "headers": {"Authorization": "Bearer hunter2"}},
            "old": {"type": "sse", "url": "https://h/sse", "enabled": false},
            "broken": {"command": "x", "args": ["${NOPE}"]}},
          "groups": [{"id": "7", "name": "all of it", "servers": ["files", {"name": "far", "tools": ["a"]}]}],
          "systemConfig": {"listen": {"host": "::"}, "allowedHosts": ["h"],
            "routing": {"enableBearerAuth": true, "bearerAuthKey": "hunter2-hunter2-hunter2", "enableGlobalRoute": false},
            "cluster": {"enabled": true, "mode": "node", "token": "hunter2-hunter2-hunter2",
              "node": {"coordinatorUrl": "http://c:3000", "zone": "eu", "labels": {"disk": "ssd"}, "registerOnStartup": false, "heartbeatInterval": 2500},
              "stickySession": {"strategy": "cookie", "signed": true}}}}"#,
    )
    .env("SECRET", "hunter2")
    .env("PORT", "0")
    .config();
    let page = describe(&config);
    assert!(!page.contains("hunter2"), "{page}");
    assert_eq!(
        page,
        "\
mode            node
listening       [::]:any free port
data folder     /srv/data
strategy        cookie MCPHUB_NODE, affinity ends after 1 h without use, signed
access          bearer key, hosts h, no global route
tool names      server-tool
cluster token   set
session secret  generated in the data folder
coordinator     http://c:3000/
node id         generated
node name       the hostname
heartbeat every 2500 ms
registers       only after mooring join
weight          1
zone            eu
labels          disk=ssd
own /mcp, /api  for clients with the bearer key

SERVERS (4)
  files   stdio        npx -y fs \"a b\" --api-key … --token=… https://…@h/p?… ${SECRET}  (a process for each session)  [KEY=…, MODE=…]
  far     http or sse  https://h/mcp?…  (a session there for each session)  [authorization: …]
  old     off          https://h/sse
  broken  broken       x ${NOPE}  MISCONFIGURED: environment variable NOPE is not set

GROUPS (1)
  all of it  7  files, far (1 tool)
"
    );
}

#[test]
fn each_server_that_runs_shows_how_its_sessions_are_kept_apart() {
    for (server, shown) in [
        (r#"{"command": "x"}"#, "x  (a process for each session)"),
        (r#"{"command": "x", "isolation": "auto"}"#, "x  (a process for each session)"),
        (r#"{"command": "x", "isolation": "session"}"#, "x  (a process for each session)"),
        (r#"{"command": "x", "isolation": "shared"}"#, "x  (one process for all sessions)"),
        (r#"{"command": "x", "perSessionClient": true}"#, "x  (a process for each session)"),
        (r#"{"url": "http://h/mcp"}"#, "http://h/mcp  (a session there for each session)"),
        (
            r#"{"type": "sse", "url": "http://h/s"}"#,
            "http://h/s  (a session there for each session)",
        ),
        (r#"{"command": "x", "enabled": false}"#, "x"),
        (
            r#"{"command": "${NOPE}"}"#,
            "${NOPE}  MISCONFIGURED: environment variable NOPE is not set",
        ),
    ] {
        let text = format!(r#"{{"mcpServers": {{"a": {server}}}}}"#);
        let page = describe(&file(&text).config());
        let row = page.lines().find_map(|line| line.strip_prefix("  a  ")).unwrap();
        assert_eq!(row.split_once("  ").unwrap().1.trim_start(), shown, "{server}");
    }
    let principal = file(r#"{"mcpServers": {"a": {"command": "x", "isolation": "principal"}}}"#);
    assert!(describe(&principal.config()).contains("  (one process for each principal"));
}

#[test]
fn what_looks_like_a_secret_is_masked_in_a_command() {
    for (args, shown) in [
        (
            r#""mcp-remote", "https://h/sse", "--header", "X: hunter2""#,
            "mcp-remote https://h/sse --header …",
        ),
        (r#""-H", "X: hunter2", "-v""#, "-H … -v"),
        (r#""Authorization: Bearer hunter2""#, "Authorization:…"),
        (r#""API_KEY=hunter2", "MODE=x""#, "API_KEY=… MODE=x"),
        (r#""redis://:hunter2@h:6379", 5, "a\nb c""#, "redis://…@h:6379 5 \"a\\nb c\""),
    ] {
        let text = format!(r#"{{"mcpServers": {{"a": {{"command": "x", "args": [{args}]}}}}}}"#);
        assert_eq!(file(&text).config().servers[0].shown, format!("x {shown}"));
    }
}

#[test]
fn a_coordinator_and_an_empty_standalone() {
    let text = r#"{"systemConfig": {"namePrefix": "never", "cluster": {"enabled": true, "mode": "coordinator",
        "coordinator": {"cleanupInterval": 120000}, "stickySession": {"enabled": false}}}}"#;
    let page = describe(&file(text).config());
    for line in [
        "mode            coordinator",
        "strategy        none: the least loaded replica",
        "tool names      tool",
        "cluster token   not set",
        "node timeout    15 s",
        "cleanup every   2 min",
        "SERVERS (0)",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    assert!(describe(&file("{}").config()).starts_with("mode            standalone\n"));
}

#[test]
fn the_keys_of_a_file_and_what_each_opens() {
    let page = |text: &str| describe(&file(text).config());
    let keys = page(
        r#"{"mcpServers": {"one": {"command": "x", "isolation": "principal"}}, "bearerKeys": [
            {"name": "all of it", "token": "hunter2-hunter2-hunter2", "accessType": "all"},
            {"name": "some", "token": "hunter3-hunter3-hunter3", "accessType": "custom",
             "allowedGroups": ["g"], "allowedServers": ["one"]},
            {"name": "none", "token": "hunter4-hunter4-hunter4", "accessType": "groups"}],
            "systemConfig": {"routing": {"bearerAuthHeaderName": "X-Key"}}}"#,
    );
    for line in [
        "access          3 bearer keys, sent as x-key",
        "  one  stdio  x  (one process for each key)",
        "KEYS (3)",
        "  all of it  all   the management API too",
        "  some       only  group g, server one",
        "  none       only  nothing",
    ] {
        assert!(keys.lines().any(|found| found == line), "{line}\n{keys}");
    }
    assert!(!keys.contains("hunter"), "{keys}");
    let generated = page(r#"{"users": [{"username": "a"}]}"#);
    let line = "access          a generated key, in generated-key of the data folder";
    assert!(generated.lines().any(|found| found == line), "{generated}");
}
