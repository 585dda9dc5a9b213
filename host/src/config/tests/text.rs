//! The file as text: syntax, unknown keys, and hostile files.

use super::*;

#[test]
fn json_with_comments_trailing_commas_and_a_bom() {
    let text = "\u{feff}{ // one\n /* two */ \"mcpServers\": {\"a\": {\"command\": \"x\", \"args\": [\"y\",],},},\n}";
    assert_eq!(file(text).warns(&[]).servers.len(), 1);
}

#[test]
fn a_syntax_error_says_where() {
    let advice = "write plain JSON; only comments and trailing commas are allowed beyond it";
    for (text, at, problem) in [
        ("{\n  \"a\": 1,,\n}", "2:10", "unexpected token in object"),
        ("{\n  \"a\" 1\n}", "2:7", "expected colon after the string or word in object property"),
        ("{\n  \"a\": 1\n  \"b\": 2\n}", "2:9", "expected comma"),
        ("{\n  a: 1\n}", "2:3", "expected string for object property"),
        ("{'a': 1}", "1:2", "single-quoted strings are not allowed"),
        ("{\"ä\": 0x1}", "1:7", "hexadecimal numbers are not allowed"),
        ("{\"a\": NaN}", "1:7", "unexpected token"),
        ("{} {}", "1:4", "text cannot contain more than one JSON value"),
    ] {
        file(text).errors(&[&format!("{at}: not valid JSON: {problem}; {advice}")]);
    }
}

#[test]
fn a_file_that_ends_too_early_says_what_is_open() {
    let advice = "close it; perhaps a part of the file is missing";
    for (text, at, open) in [
        ("{\n", "1:2", "{ of 1:1"),
        ("{\n  \"mcpServers\": {\n    \"a\": {\"command\": \"x\"}\n  }\n", "4:4", "{ of 1:1"),
        ("{\"mcpServers\": {\"a\": {\"command\": \"x\"", "1:37", "{ of 1:22"),
        ("{\"mcpServers\": {\"a\": {\"command\": \"x\",\n\"args\": [\"y\", ", "2:14", "[ of 2:9"),
        ("{\"mcpServers\": ", "1:15", "{ of 1:1"),
        ("{\"mcpServers\"", "1:14", "{ of 1:1"),
        ("{\"mcpServers\": {\"a\": {\"command\": \"x", "1:36", "string of 1:34"),
        ("{ /* {} ", "1:8", "comment of 1:3"),
    ] {
        let expect = format!(
            "{at}: not valid JSON: the file ends here, and the {open} is still open; {advice}"
        );
        file(text).errors(&[&expect]);
    }
    for (text, at, closer, open) in [
        ("{\"a\": [\"x\"}", "1:11", "}", "[ of 1:7"),
        ("{\n \"a\": {\"b\": [1, 2]\n ]\n}", "3:2", "]", "{ of 2:7"),
    ] {
        file(text).errors(&[&format!(
            "{at}: not valid JSON: {closer} closes nothing here, since the {open} is open; close that one \
             before it"
        )]);
    }
    // Here not the end is wrong.
    for text in ["{\"a\": [}", "{\"a\": 1}}"] {
        let error = file(text).load().unwrap_err().to_string();
        assert!(!error.contains("ends here"), "{text}: {error}");
    }
}

#[test]
fn a_comment_of_another_kind_is_named() {
    for (text, at) in
        [("#a\n{}", "1:1"), ("{\n  # a\n  \"b\": 1\n}", "2:3"), ("\u{feff}# x\n", "1:1")]
    {
        file(text).errors(&[&format!(
            "{at}: not valid JSON: # begins no comment; begin comments with // or remove them"
        )]);
    }
}

#[test]
fn a_file_in_another_language_is_named() {
    for (text, language) in [
        ("[mcp_servers.a]\ncommand = \"npx\"\n", "TOML"),
        ("model = \"x\"\n", "TOML"),
        ("extensions:\n  a:\n    cmd: uvx\n", "YAML"),
        ("name: x\nmcpServers:\n", "YAML"),
        ("---\nmcpServers:\n", "YAML"),
    ] {
        let errors = file(text).load().unwrap_err().to_string();
        assert!(errors.contains(&format!("it looks like {language}")), "{text}: {errors}");
    }
    for text in ["[1, 2", "{\"a\": x}", "nonsense"] {
        assert!(!file(text).load().unwrap_err().to_string().contains("looks like"), "{text}");
    }
}

#[test]
fn an_empty_file_is_all_defaults() {
    for text in ["", "\u{feff}", " \n// nothing\n"] {
        file(text).warns(&["1:1: the file is empty; every default applies"]);
    }
    file("[]").errors(&["1:1: must be an object, not a list; write { … }"]);
    file("null").errors(&["1:1: must be an object, not null; write { … }"]);
}

#[test]
fn a_key_given_twice_is_refused_with_both_places() {
    file("{\n  \"systemConfig\": {\n    \"routing\": {},\n    \"routing\": {}\n  }\n}")
        .errors(&["4:5: systemConfig.routing: is given twice, first at 3:5; keep one of them"]);
}

#[test]
fn every_mistake_is_reported_at_once_in_the_order_of_the_file() {
    file(
        r#"{
  "systemConfig": {
    "cluster": {
      "enabled": true,
      "mode": "coordnator",
      "stickySession": { "strategy": 7 }
    },
    "allowedHosts": 1
  },
  "mcpServers": { "a": {} }
}"#,
    )
    .errors(&[
        "5:15: systemConfig.cluster.mode: \"coordnator\" is not a mode; \
         use one of standalone, coordinator, node (did you mean \"coordinator\"?)",
        "6:38: systemConfig.cluster.stickySession.strategy: must be a string, not a number; write it in quotes",
        "8:21: systemConfig.allowedHosts: must be a list, not a number; write [ … ]",
    ]);
}

#[test]
fn a_wrong_section_is_reported_once() {
    file(r#"{"systemConfig": [], "mcpServers": 1, "groups": 1}"#)
        .errors(&["1:18: systemConfig: must be an object, not a list; write { … }"]);
}

#[test]
fn servers_that_are_no_object_stop_nothing() {
    for (value, kind) in [("1", "a number"), ("[]", "a list"), ("\"x\"", "a string")] {
        let finding = format!(
            "1:16: mcpServers: must be an object, not {kind}; write {{ \"name\": {{ … }} }}; no server runs until then"
        );
        let config = file(&format!(r#"{{"mcpServers": {value}}}"#)).warns(&[&finding]);
        assert!(config.servers.is_empty());
    }
}

#[test]
fn an_unknown_key_gets_a_suggestion_or_its_home() {
    file(
        r#"{
  "cluster": { "enabled": true },
  "mcpServer": {"a": 1},
  "systemConfig": {
    "cluster": {
      "nodeTimeout": 1,
      "coordinator": { "nodeTimeOut": 1, "stickySession": {"x": 1} }
    },
    "token": "x"
  },
  "mcpServers": { "a": { "command": "x", "arg": [1], "nodeTimeout": 1 } }
}"#,
    )
    .warns(&[
        "2:3: cluster: is not a known key; it belongs in systemConfig",
        "3:3: mcpServer: is not a known key; did you mean \"mcpServers\"?",
        "6:7: systemConfig.cluster.nodeTimeout: is not a known key; it belongs in systemConfig.cluster.coordinator",
        "7:24: systemConfig.cluster.coordinator.nodeTimeOut: is not a known key; did you mean \"nodeTimeout\"?",
        "7:42: systemConfig.cluster.coordinator.stickySession: is not a known key; it belongs in systemConfig.cluster",
        "9:5: systemConfig.token: is not a known key; it belongs in systemConfig.cluster",
        "11:42: mcpServers.a.arg: is not a known key; did you mean \"args\"?",
        "11:54: mcpServers.a.nodeTimeout: is not a known key",
    ]);
}

#[test]
fn a_key_of_mcphub_is_accepted_with_one_warning() {
    let unused = "is a setting of MCPHub that is accepted but not used yet";
    file(
        r#"{
  "credentialBindings": {"x": {"anything": 1}},
  "systemConfig": { "routing": { "skipAuth": false }, "install": { "baseUrl": "x" }, "smartRouting": {"x": 1} },
  "mcpServers": {
    "a": { "command": "x", "keepAliveInterval": 1 },
    "b": { "command": "x", "keepAliveInterval": 1 },
    "c": { "command": "x", "keepAliveInterval": 1, "openapi": { "anything": {} } }
  }
}"#,
    )
    .warns(&[
        &format!("2:3: credentialBindings: {unused}"),
        &format!("3:68: systemConfig.install.baseUrl: {unused}"),
        &format!("3:86: systemConfig.smartRouting: {unused}"),
        &format!("5:28: mcpServers.a.keepAliveInterval: {unused}, here and in 2 more places"),
    ]);
}

#[test]
fn null_is_as_good_as_absent() {
    file(r#"{"mcpServers": null, "groups": null, "systemConfig": {"cluster": null, "routing": {"enableGlobalRoute": null}}}"#)
        .warns(&[]);
}

#[test]
fn findings_are_bounded_and_readable() {
    let many: Vec<_> = (0..5000).map(|i| format!("\"s{i}\": {{}}")).collect();
    let loaded = file(&format!("{{\"mcpServers\": {{{}}}}}", many.join(","))).load().unwrap();
    assert_eq!((loaded.warnings.len(), loaded.config.servers.len()), (100, 5000));
    assert!(loaded.warnings[99].to_string().ends_with("(more are not shown)"));

    let long = "x".repeat(10_000);
    let loaded = file(&format!(r#"{{"mcpServers": {{"{long}\u001b": {{}}}}}}"#)).load().unwrap();
    let printed = loaded.warnings[0].to_string();
    assert!(printed.len() < 400 && !printed.contains(char::is_control), "{printed}");
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    let deep = format!("{{\"mcpServers\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let report = file(&deep).load().unwrap_err();
    assert!(report.to_string().contains("nesting depth"), "{report}");
    let allowed =
        format!("{{\"systemConfig\": {{\"install\": {}{}}}}}", "[".repeat(500), "]".repeat(500));
    file(&allowed).config();
}

/// Cuts a file that uses every reader at every third byte, and inserts odd text there:
/// loading must always return, with a configuration or a report.
#[test]
fn no_mutilation_panics() {
    let text = r#"{"mcpServers":{"a":{"command":"$X${Y:-z}","args":[1,"b"],"env":{"K":"v"},"tools":{"t":{"enabled":true}},"options":{"timeout":5}},
"b":{"url":"http://h:1/p?q","headers":{"H":"v"},"passthroughHeaders":["x"],"weight":3}},
"groups":[{"id":"1","name":"g","servers":["a",{"name":"b","tools":["x"]}],"owner":"admin"}],"users":[],"bearerKeys":[],
"systemConfig":{"listen":{"host":"::","port":1},"allowedHosts":["a:1"],"allowedOrigins":["http://a"],"nameSeparator":"-","namePrefix":"never",
"limits":{"line":100000},"routing":{"enableBearerAuth":true,"bearerAuthKey":"k"},"cluster":{"enabled":true,"mode":"node","token":"0123456789abcdef",
"node":{"id":"n","coordinatorUrl":"http://c","labels":{"a":"b"}},"coordinator":{"zone":"z"},"stickySession":{"strategy":"header","x":[{}]}}}}"#;
    file(text).config();
    for at in (0..text.len()).step_by(3) {
        let (head, tail) = text.split_at(at);
        let tail = tail.get(1..).unwrap_or("");
        let _ = file(head).load();
        for odd in ["", "\"", "{", "[", "null", "-1", "é", "\u{0}", "$", "1e999", "\\"] {
            if let Ok(loaded) = file(&format!("{head}{odd}{tail}")).load() {
                describe(&loaded.config);
            }
        }
    }
}
