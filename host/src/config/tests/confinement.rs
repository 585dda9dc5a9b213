//! `rlimits`, `user`, `allowPrivileges` and `sandbox`.

use super::servers::{only, server};
use super::*;

#[track_caller]
fn confinement(entry: &str) -> ConfinementSettings {
    match only(server(entry).warns(&[])).transport {
        Some(Transport::Stdio { confinement, .. }) => confinement,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_limit_is_read() {
    let read = confinement(
        r#"{"command": "x", "user": "1000:50",
            "rlimits": {"memory": 1073741824, "files": 64, "processes": 100, "cpuSeconds": 60}}"#,
    );
    let expected = ConfinementSettings {
        memory: Some(1 << 30),
        files: Some(64),
        processes: Some(100),
        cpu_seconds: Some(60),
        user: Some((1000, 50)),
        ..ConfinementSettings::default()
    };
    assert_eq!(read, expected);
    assert_eq!(confinement(r#"{"command": "x", "rlimits": {}}"#), ConfinementSettings::default());
}

#[test]
fn a_user_without_a_group_has_the_group_of_its_number() {
    for user in ["1000", "\"1000\""] {
        let read = confinement(&format!(r#"{{"command": "x", "user": {user}}}"#));
        assert_eq!(read.user, Some((1000, 1000)), "{user}");
    }
}

#[test]
fn mistakes_are_found_together() {
    server(
        r#"{"command": "x", "user": "www-data", "rlimits": {"memory": 5, "files": "8", "cpuSeconds": 0}}"#,
    )
    .warns_until("until then this server does not run", &[
        "1:47: mcpServers.a.user: is not a user id; write a number such as 1000, or a user and a \
         group such as \"1000:1000\"",
        "1:81: mcpServers.a.rlimits.memory: is too small; use a whole number from 1048576 to \
         9007199254740992",
        "1:93: mcpServers.a.rlimits.files: must be a number, not a string; use a whole number \
         from 8 to 1073741824",
        "1:112: mcpServers.a.rlimits.cpuSeconds: is too small; use a whole number from 1 to \
         31622400",
    ]);
    for user in ["", ":", "1:", "+1", "-1", "4294967295", "1:2:3"] {
        let config = server(&format!(r#"{{"command": "x", "user": "{user}"}}"#)).config();
        assert!(only(config).misconfigured.is_some(), "{user}");
    }
}

#[test]
fn a_slip_in_a_limit_and_limits_of_a_url_are_warned_about() {
    server(r#"{"command": "x", "rlimits": {"file": 64}}"#)
        .warns(&["1:51: mcpServers.a.rlimits.file: is not a known key; did you mean \"files\"?"]);
    server(r#"{"url": "http://b", "user": 1}"#)
        .warns(&["1:50: mcpServers.a.user: is not used by a server of this type; remove it"]);
}

#[test]
fn a_sandbox_names_paths_that_exist() {
    let read = confinement(
        r#"{"command": "x", "sandbox": {"read": ["/", "${ROOM:-/}usr"], "network": false}}"#,
    );
    let expected = SandboxSettings {
        read: vec!["/".into(), "/usr".into()],
        write: Vec::new(),
        network: false,
    };
    assert_eq!(read.sandbox, Some(expected));
    let all = SandboxSettings { network: true, ..SandboxSettings::default() };
    assert_eq!(confinement(r#"{"command": "x", "sandbox": {}}"#).sandbox, Some(all));
    // Relative to the folder of the settings file.
    let server = only(server(r#"{"command": "x", "sandbox": {"write": ["nowhere"]}}"#).warns(&[
        "1:61: mcpServers.a.sandbox.write[0]: /srv/nowhere does not exist; make it, or remove it \
             from the list; until then this server does not run",
    ]));
    assert_eq!(
        server.misconfigured.as_deref(),
        Some("sandbox.write[0] /srv/nowhere does not exist")
    );
}

#[test]
fn a_sandbox_that_cannot_be_meant_is_refused() {
    server(r#"{"command": "x", "sandbox": {"read": ["~/a", "", 1], "network": 0}}"#).warns_until("until then this server does not run", &[
        "1:60: mcpServers.a.sandbox.read[0]: begins with ~, which only a shell replaces; write \
         ${HOME} instead of ~",
        "1:67: mcpServers.a.sandbox.read[1]: is empty; write a path, or leave it out",
        "1:71: mcpServers.a.sandbox.read[2]: must be a string, not a number; write it in quotes",
        "1:86: mcpServers.a.sandbox.network: must be true or false, not a number; write true or \
         false without quotes",
    ]);
}

#[test]
fn privileges_and_a_sandbox_exclude_each_other() {
    assert!(confinement(r#"{"command": "x", "allowPrivileges": true}"#).allow_privileges);
    server(r#"{"command": "x", "allowPrivileges": true, "sandbox": {}}"#).warns_until("until then this server does not run", &[
        "1:58: mcpServers.a.allowPrivileges: contradicts \"sandbox\", which takes privileges away; \
         remove one of them",
    ]);
    let apart = r#"{"command": "x", "allowPrivileges": false, "sandbox": {}}"#;
    assert!(confinement(apart).sandbox.is_some());
}
