//! `mooring import`: the servers of clients' files become those of a settings file that passes.

use std::path::Path;
use std::process::{Command, Output};

use mooring_tests::{Setup, binaries};
use serde_json::{Value, json};

/// What each client writes, and where.
const FILES: [(&str, &str, &str); 7] = [
    (
        "claude-desktop",
        ".config/Claude/claude_desktop_config.json",
        r#"{"mcpServers": {"of-claude": {"command": "mooring-example-counter", "args": []}}, "globalShortcut": ""}"#,
    ),
    (
        "cursor",
        ".cursor/mcp.json",
        r#"{"mcpServers": {"of-cursor": {"url": "http://127.0.0.1:1/mcp", "headers": {"X": "${env:HOME}"}}}}"#,
    ),
    (
        "vscode",
        ".config/Code/User/mcp.json",
        "{\n  // with comments\n  \"inputs\": [{\"id\": \"api-key\", \"type\": \"promptString\"}],\n  \"servers\": {\"of-vscode\": {\"type\": \"stdio\", \"command\": \"mooring-example-notes\", \"env\": {\"KEY\": \"${input:api-key}\"}}},\n}",
    ),
    (
        "zed",
        ".config/zed/settings.json",
        r#"{"theme": "One", "context_servers": {"of-zed": {"source": "custom", "command": {"path": "mooring-example-clock", "args": ["--x"], "env": {"A": "b"}}}, "of-zed-new": {"command": "mooring-example-clock", "args": []}}}"#,
    ),
    (
        "windsurf",
        ".codeium/windsurf/mcp_config.json",
        r#"{"mcpServers": {"of-windsurf": {"serverUrl": "http://127.0.0.1:1/sse", "disabled": true}}}"#,
    ),
    (
        "codex",
        ".codex/config.toml",
        "model = \"o3\" # not ours\n[mcp_servers.of-codex]\ncommand = 'mooring-example-counter'\nargs = [\n  \"--x\", # one\n]\nenv = { \"A\" = \"b\" }\nenv_vars = [\"API_KEY\"]\n\n[mcp_servers.\"of-codex_far\"]\nurl = \"http://127.0.0.1:1/mcp\"\nbearer_token_env_var = \"API_KEY\"\nenabled = false\n",
    ),
    (
        "goose",
        ".config/goose/config.yaml",
        "GOOSE_MODEL: o3\nextensions:\n  developer:\n    enabled: true\n    type: builtin\n    name: developer\n    timeout: 300\n    bundled: true\n  of-goose:\n    enabled: true\n    type: stdio\n    name: of-goose\n    display_name: Of Goose\n    description: ''\n    cmd: mooring-example-counter\n    args:\n    - --x\n    envs: {A: b}\n    env_keys:\n    - API_KEY\n    timeout: 300\n    bundled: null\n    available_tools: []\n  of-goose-far:\n    enabled: false\n    type: streamable_http\n    name: of-goose-far\n    uri: http://127.0.0.1:1/mcp\n    headers: {}\n    timeout: 300\n",
    ),
];

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        for (_, path, text) in FILES {
            let file = home.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        std::fs::create_dir(home.path().join("work")).unwrap();
        Self(home)
    }

    fn import(&self, words: &[&str]) -> Output {
        Command::new(binaries::mooring())
            .arg("import")
            .args(words)
            .env("HOME", self.0.path())
            .current_dir(self.0.path().join("work"))
            .output()
            .unwrap()
    }

    fn settings(&self) -> String {
        std::fs::read_to_string(self.0.path().join("work/mcp_settings.json")).unwrap()
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_clients_servers_come_into_one_file_that_passes_check() {
    let home = Home::new();
    for (client, path, _) in FILES {
        let output = home.import(&["--from", client]);
        assert!(output.status.success(), "{client}: {}", errors(&output));
        assert!(errors(&output).contains(path), "{}", errors(&output));
    }
    let text = home.settings();
    let settings: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let servers = settings["mcpServers"].as_object().unwrap();
    let names: Vec<&str> = servers.keys().map(String::as_str).collect();
    for name in [
        "of-claude",
        "of-cursor",
        "of-vscode",
        "of-zed",
        "of-zed-new",
        "of-windsurf",
        "of-codex",
        "of-codex_far",
        "of-goose",
        "of-goose-far",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert_eq!(
        servers["of-zed"],
        json!({"command": "mooring-example-clock", "args": ["--x"], "env": {"A": "b"}})
    );
    assert_eq!(servers["of-vscode"]["env"]["KEY"], "${API_KEY}");
    assert_eq!(servers["of-codex"]["env"], json!({"A": "b", "API_KEY": "${API_KEY}"}));
    assert_eq!(servers["of-goose"]["envs"], json!({"A": "b", "API_KEY": "${API_KEY}"}));
    assert_eq!(servers["of-codex_far"]["headers"]["Authorization"], "Bearer ${API_KEY}");
    let checked = Setup::text(&text).env("API_KEY", "k").run(&["check"]);
    assert!(checked.status.success(), "{}", errors(&checked));
    let page = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(page.contains("SERVERS (10)"), "{page}");
    let gateway = Setup::text(&text).env("API_KEY", "k").start();
    for server in ["of-claude", "of-goose"] {
        assert_eq!(gateway.client(&format!("/mcp/{server}")).initialize().count("count"), 1);
    }
}

#[test]
fn what_a_client_has_built_in_is_left_out_and_told() {
    let home = Home::new();
    let output = home.import(&["--from", "goose"]);
    let told = errors(&output);
    assert!(told.contains("built in: developer\n"), "{told}");
    assert!(!home.settings().contains("developer"), "{}", home.settings());
}

#[test]
fn the_file_keeps_what_it_has_and_servers_of_a_known_name_stay() {
    let home = Home::new();
    let own = home.0.path().join("work/mcp_settings.json");
    let text = "// my settings\n{\n  \"mcpServers\": {\n    \"of-claude\": { \"command\": \"mine\" } // keep\n  },\n  \"systemConfig\": { \"nameSeparator\": \"_\" }\n}\n";
    std::fs::write(&own, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
    std::fs::set_permissions(&own, mode).unwrap();
    let output = home.import(&["--from", "claude-desktop"]);
    assert!(errors(&output).contains("left as they are: of-claude"), "{}", errors(&output));
    assert_eq!(home.settings(), text);
    let shown = home.import(&["--from", "zed", "--print"]);
    assert_eq!(home.settings(), text, "only printed");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("of-zed-new"));
    let output = home.import(&[home.0.path().join(FILES[2].1).to_str().unwrap()]);
    assert!(errors(&output).contains("API_KEY"), "{}", errors(&output));
    let made = home.settings();
    for part in [
        "// my settings",
        "// keep",
        "\"command\": \"mine\"",
        "\"nameSeparator\": \"_\"",
        "of-vscode",
    ] {
        assert!(made.contains(part), "{part}: {made}");
    }
    assert!(Setup::text(&made).env("API_KEY", "k").run(&["check"]).status.success(), "{made}");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&own).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn a_new_file_is_the_users_own_since_it_may_have_secrets() {
    let home = Home::new();
    let output = home.import(&["--from", "cursor", "--output", "new.json"]);
    assert!(output.status.success(), "{}", errors(&output));
    let file = home.0.path().join("work/new.json");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_without_servers_makes_none() {
    let home = Home::new();
    let empty = home.0.path().join("empty.json");
    std::fs::write(&empty, "{\"mcpServers\": {}}").unwrap();
    let output = home.import(&[empty.to_str().unwrap()]);
    assert!(output.status.success(), "{}", errors(&output));
    assert!(errors(&output).contains("nothing new"), "{}", errors(&output));
    assert!(!home.0.path().join("work/mcp_settings.json").exists());
}

#[test]
fn without_a_file_the_files_of_clients_are_listed() {
    let home = Home::new();
    let output = home.import(&[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", errors(&output));
    for (client, path, _) in FILES {
        assert!(said.lines().any(|line| line.starts_with(client) && line.contains(path)), "{said}");
    }
    assert!(!Path::new(&home.0.path().join("work/mcp_settings.json")).exists());
}

#[test]
fn what_is_no_clients_file_is_said() {
    let home = Home::new();
    let file = |name: &str, text: &str| {
        let path = home.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let of_servers = file("f.json", "{\"mcpServers\": {\"a\": {\"command\": \"x\"}}}");
    for (words, word) in [
        (vec!["--from".to_owned(), "netscape".to_owned()], "use one of claude-desktop"),
        (vec!["--from".to_owned(), "gemini".to_owned()], "looked for"),
        (vec![file("a.json", "{\"theme\": 1}")], "has no servers"),
        (vec![file("b.json", "{\"mcpServers\": ")], "is not JSON"),
        (vec![file("c.toml", "[mcp_servers.a]\ncommand = x")], "is not TOML: line 2"),
        (vec![file("d.yaml", "extensions:\n")], "has no servers"),
        (vec![file("e.yaml", "extensions:\n  a: {cmd: x\n")], "is not YAML: "),
        (vec!["none.json".to_owned()], "none.json"),
        (
            vec![of_servers, "--output".to_owned(), file("list.json", "{\"mcpServers\": []}")],
            "is not an object; write it as",
        ),
    ] {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = home.import(&words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(errors(&output).contains(word), "{words:?}: {}", errors(&output));
    }
}
