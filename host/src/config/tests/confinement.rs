//! `rlimits` and `user`.

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
    .errors(&[
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
        let finding = server(&format!(r#"{{"command": "x", "user": "{user}"}}"#)).load();
        assert!(finding.is_err(), "{user}");
    }
}

#[test]
fn a_slip_in_a_limit_and_limits_of_a_url_are_warned_about() {
    server(r#"{"command": "x", "rlimits": {"file": 64}}"#)
        .warns(&["1:51: mcpServers.a.rlimits.file: is not a known key; did you mean \"files\"?"]);
    server(r#"{"url": "http://b", "user": 1}"#)
        .warns(&["1:50: mcpServers.a.user: is not used by a server of this type; remove it"]);
}
