//! `groups`.

use super::*;

const SERVERS: &str = r#""mcpServers": {"one": {"command": "x"}, "two": {"command": "y"}}"#;

/// A file with two servers and these groups, which start on line 2.
fn groups(list: &str) -> Case {
    file(&format!("{{{SERVERS}, \"groups\":\n{list}}}"))
}

#[test]
fn a_group_names_servers_and_what_it_shows_of_them() {
    let config = groups(
        r#"[{"id": "g-1", "name": "dev tools", "description": "All\nof it", "servers": ["one",
             {"name": "two", "tools": ["read", "write"], "prompts": "all", "resources": []}]},
            {"name": "empty"}]"#,
    )
    .warns(&[]);
    let [group, empty] = config.groups.as_slice() else {
        panic!("{config:?}");
    };
    assert_eq!(group.name.as_str(), "dev tools");
    assert_eq!(group.id.as_deref(), Some("g-1"));
    assert_eq!(group.description.as_deref(), Some("All\nof it"));
    let [one, two] = group.servers.as_slice() else {
        panic!("{group:?}");
    };
    assert_eq!((one.name.as_str(), &one.tools), ("one", &GroupEntries::All));
    assert!(two.tools.contains("read") && !two.tools.contains("delete"));
    assert!(two.prompts.contains("anything") && !two.resources.contains("anything"));
    assert!(empty.id.is_none() && empty.servers.is_empty());
}

#[test]
fn names_and_ids_are_unique() {
    groups(
        r#"[{"name": "g", "id": "1"}, {"name": "g", "id": "2"}, {"name": "h", "id": "1"},
            {"name": "i", "servers": ["one", {"name": "one", "tools": ["a"]}]}]"#,
    )
    .warns_until("until then this group is left out", &[
        "2:37: groups[1].name: \"g\" is already used by groups[0].name; give each group a unique name",
        "2:74: groups[2].id: \"1\" is already used by groups[0].id; give each group a unique id",
        "3:46: groups[3].servers[1]: \"one\" is listed twice; keep one of them",
    ]);
}

#[test]
fn a_server_listed_twice_alike_is_in_the_group_once() {
    let config = groups(r#"[{"name": "g", "servers": ["one", {"name": "one"}, "one"]}]"#).warns(&[
        "2:35: groups[0].servers[1]: \"one\" is listed twice; remove one of them",
        "2:52: groups[0].servers[2]: \"one\" is listed twice; remove one of them",
    ]);
    assert_eq!(config.groups[0].servers.len(), 1);
}

#[test]
fn groups_that_are_no_list_are_none() {
    let config = groups("5").warns(&[
        "2:1: groups: must be a list, not a number; write [ … ]; no group exists until then",
    ]);
    assert!(config.groups.is_empty());
}

#[test]
fn a_group_that_makes_no_sense_is_left_out() {
    let config = groups(r#"[{"servers": ["one"]}, {"name": "a/b", "id": ""}, "g", {"name": "x", "servers": [1, {"tools": "all"}, {"name": "one", "tools": "some"}, "two\t"]}]"#)
        .warns_until("until then this group is left out", &[
            "2:2: groups[0].name: is missing; give the group a name",
            "2:33: groups[1].name: has the character '/', which is not allowed here; choose a name that fits in a URL",
            "2:46: groups[1].id: is empty; leave it out, or use letters and digits",
            "2:51: groups[2]: must be an object, not a string; write { … }",
            "2:82: groups[3].servers[0]: must be a server's name or an object, not a number; write \"name\"",
            "2:85: groups[3].servers[1].name: is missing; name the server",
            "2:128: groups[3].servers[2].tools: must be \"all\" or a list of names, not a string; use one of the two",
            "2:137: groups[3].servers[3]: contains control characters; remove them",
        ]);
    assert!(config.groups.is_empty(), "{config:?}");
}

#[test]
fn a_server_that_is_not_here_may_be_on_a_node() {
    groups(r#"[{"name": "g", "servers": ["one", "tow", "three"]}]"#)
        .warns(&["2:2: groups[0]: this file has no server tow, three; add them to mcpServers"]);
    file(
        r#"{"groups": [{"name": "g", "servers": ["far"]}],
            "systemConfig": {"cluster": {"enabled": true, "mode": "coordinator"}}}"#,
    )
    .warns(&[
        "1:13: groups[0]: this file has no server far; no action is needed if nodes provide them",
    ]);
}

#[test]
fn a_group_goes_before_a_server_of_its_name() {
    groups(r#"[{"name": "one", "servers": ["two"]}]"#).warns(&[
        "2:2: groups[0]: \"one\" is also the name of a server; /mcp/{name} reaches the group; rename one of them",
    ]);
}

#[test]
fn an_object_of_groups_is_taken_with_one_warning() {
    let warning = "2:1: groups: is an object where MCPHub has a list; write a list of groups; each \
        key is taken as the group's id, and as its name where it has none";
    let config = groups(
        r#"{"production": {"name": "Production Tools", "servers": ["one"]},
            "dev": {"servers": [{"name": "two", "tools": ["read"]}], "description": "d"},
            "other": {"id": "7", "name": "x", "servers": []}}"#,
    )
    .warns(&[warning]);
    let read: Vec<_> = config
        .groups
        .iter()
        .map(|group| (group.name.as_str(), group.id.as_deref(), group.servers.len()))
        .collect();
    assert_eq!(
        read,
        [("Production Tools", Some("production"), 1), ("dev", Some("dev"), 1), ("x", Some("7"), 0)]
    );
    groups(r#"{"g": {"servers": ["one"], "nmae": "x", "owner": "admin"}}"#)
        .warns(&[warning, "2:28: groups.g.nmae: is not a known key; did you mean \"name\"?"]);
    groups(r#"{"g": ["one"], "a/b": {}, "h": {"visibility": "private"}}"#).errors(&[
        "2:47: groups.h.visibility: a restriction to certain users, which Mooring does not enforce; \
         remove it, or start with --allow-open to ignore it",
    ]);
    groups(r#""g""#).warns(&[
        "2:1: groups: must be a list, not a string; write [ … ]; no group exists until then",
    ]);
}

#[test]
fn a_server_of_a_group_may_have_another_name_there() {
    let config = groups(
        r#"[{"name": "g", "servers": [{"name": "one", "alias": " first "}, {"name": "two", "alias": " "}]}]"#,
    )
    .warns(&[]);
    let aliases: Vec<_> = config.groups[0].servers.iter().map(|s| s.alias.as_deref()).collect();
    assert_eq!(aliases, [Some("first"), None]);
    groups(r#"[{"name": "g", "servers": [{"name": "one"}, {"name": "two", "alias": "one"}]}]"#)
        .warns(&["2:2: groups[0]: shows two servers under the name \"one\"; tools of the second one get -2 where names are equal; choose another alias"]);
}
