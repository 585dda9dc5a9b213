//! The variables of child processes: inherited, handed over by the file, and their own.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mooring_tests::gateway::setup::Setup;
use mooring_tests::{Canned, eventually, settings};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A server that writes its variables into a file, under the name of a program.
struct Program {
    folder: TempDir,
    server: Canned,
}

impl Program {
    fn new() -> Self {
        let server = Canned::new().answers("tools/list", json!({"tools": []}));
        Self { folder: TempDir::new().unwrap(), server }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.env"))
    }

    /// An entry whose command is called like this.
    fn entry(&self, name: &str, more: Value) -> Value {
        let path = self.folder.path().join(name);
        let (draft, file) = (self.file("draft"), self.file(name));
        let script = format!(
            "#!/bin/sh\nenv > {draft}.$$ && mv {draft}.$$ {file}\nexec mooring-verbatim-server stdio\n",
            draft = draft.display(),
            file = file.display(),
        );
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let entry = settings::merged(self.server.entry(), json!({"command": path, "args": []}));
        settings::merged(entry, more)
    }

    fn variables(&self, name: &str) -> BTreeMap<String, String> {
        let file = self.file(name);
        let text = eventually(&format!("{} has started", file.display()), || {
            std::fs::read_to_string(&file).ok()
        });
        let lines = text.lines().filter_map(|line| line.split_once('='));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

fn value<'v>(variables: &'v BTreeMap<String, String>, name: &str) -> Option<&'v str> {
    variables.get(name).map(String::as_str)
}

const PROXY: &str = "http://user:pa%40ss@proxy.example:3128";

#[test]
fn what_servers_need_is_inherited_and_nothing_else() {
    let program = Program::new();
    let inherited = [
        ("HTTPS_PROXY", PROXY),
        ("http_proxy", PROXY),
        ("NO_PROXY", "localhost,10.0.0.0/8"),
        ("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
        ("NODE_EXTRA_CA_CERTS", "/etc/ssl/extra.pem"),
        ("REQUESTS_CA_BUNDLE", "/etc/ssl/extra.pem"),
        ("LC_ALL", "C.UTF-8"),
        ("TZ", "Europe/Berlin"),
        ("npm_config_registry", "https://npm.example/"),
        ("UV_DEFAULT_INDEX", "https://pypi.example/simple"),
        ("PIP_INDEX_URL", "https://pypi.example/simple"),
        ("WANTED", "yes"),
        ("UNWANTED", "no"),
        ("GITHUB_TOKEN", "secret"),
    ];
    let own = json!({"env": {"https_proxy": "", "TOKEN": "${WANTED}", "TZ": "UTC"}});
    let mut setup = Setup::new(&json!({
        "mcpServers": {
            "plain": program.entry("plain", json!({})),
            "own": program.entry("own", own),
            "direct": program.entry("direct", json!({"proxy": "none"})),
            "through": program.entry("through", json!({"proxy": "http://u:p@other.example:1"})),
        },
        "systemConfig": {"inheritEnv": ["WANTED", "GITHUB_TOKEN", "MOORING_SECRET", "ABSENT"]},
    }));
    for (name, value) in inherited {
        setup = setup.env(name, value);
    }
    let gateway = setup.env("MOORING_SECRET", "the-gateways-own-secret").start();
    let plain = program.variables("plain");
    for (name, expect) in inherited.into_iter().filter(|(name, _)| *name != "UNWANTED") {
        assert_eq!(value(&plain, name), Some(expect), "{name}");
    }
    for name in ["UNWANTED", "MOORING_SECRET", "MOORING_DATA", "PORT", "ABSENT"] {
        assert_eq!(value(&plain, name), None, "{name}");
    }
    let own = program.variables("own");
    assert_eq!(value(&own, "https_proxy"), Some(""));
    assert_eq!(value(&own, "HTTPS_PROXY"), None, "its own, in other letters, wins");
    assert_eq!((value(&own, "TOKEN"), value(&own, "WANTED")), (Some("yes"), Some("yes")));
    assert_eq!((value(&own, "TZ"), value(&own, "http_proxy")), (Some("UTC"), Some(PROXY)));
    let direct = program.variables("direct");
    for name in ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"] {
        assert_eq!(value(&direct, name), None, "{name}");
    }
    let through = program.variables("through");
    for name in ["HTTPS_PROXY", "http_proxy"] {
        assert_eq!(value(&through, name), Some("http://u:p@other.example:1"), "{name}");
    }
    let log = gateway.log();
    assert!(!log.contains("pa%40ss") && !log.contains("u:p@"), "{log}");
    assert!(log.contains("\"ABSENT\" is not set") && log.contains("\"MOORING_SECRET\""), "{log}");
}

#[test]
fn registries_of_the_file_go_to_npx_and_uvx() {
    let program = Program::new();
    let gateway = Setup::new(&json!({
        "mcpServers": {
            "npx": program.entry("npx", json!({})),
            "uvx": program.entry("uvx", json!({})),
            "own": program.entry("bunx", json!({"env": {"NPM_CONFIG_REGISTRY": "https://own.example"}})),
            "other": program.entry("other", json!({})),
        },
        "systemConfig": {"install": {
            "npmRegistry": "https://u:secret@npm.mirror.example",
            "pythonIndexUrl": "https://pypi.mirror.example/simple",
        }},
    }))
    .env("NPM_CONFIG_REGISTRY", "https://inherited.example")
    .start();
    let npx = program.variables("npx");
    assert_eq!(value(&npx, "npm_config_registry"), Some("https://u:secret@npm.mirror.example"));
    assert_eq!(value(&npx, "NPM_CONFIG_REGISTRY"), None, "the file goes before the gateway's own");
    let uvx = program.variables("uvx");
    for name in ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"] {
        assert_eq!(value(&uvx, name), Some("https://pypi.mirror.example/simple"), "{name}");
    }
    let own = program.variables("bunx");
    assert_eq!(value(&own, "NPM_CONFIG_REGISTRY"), Some("https://own.example"));
    assert_eq!(value(&own, "npm_config_registry"), None);
    let other = program.variables("other");
    assert_eq!(value(&other, "npm_config_registry"), None);
    assert_eq!(value(&other, "NPM_CONFIG_REGISTRY"), Some("https://inherited.example"));
    assert!(!gateway.log().contains("secret"), "{}", gateway.log());
}

#[test]
fn check_names_commands_that_are_not_there() {
    let folder = TempDir::new().unwrap();
    let settings = json!({"mcpServers": {
        "windows": {"command": "cmd", "args": ["/c", "npx", "-y", "x"]},
        "drive": {"command": "C:/Program Files/nodejs/npx.cmd"},
        "docker": {"command": "docker", "args": ["run"], "env": {"PATH": folder.path()}},
        "argument": {"command": "sh", "args": ["C:\\Users\\ann\\index.js"]},
        "file": {"command": folder.path().join("absent")},
        "sh": {"command": "sh"},
        "off": {"command": "never-installed", "enabled": false},
    }});
    let checked = Setup::new(&settings).run(&["check"]);
    let text = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success(), "{text}");
    for part in [
        "mcpServers.windows.command: cmd is a program of Windows",
        "mcpServers.drive: C: is a drive of Windows",
        "mcpServers.docker.command: PATH has no \"docker\"",
        "mcpServers.argument: C: is a drive of Windows",
        "mcpServers.file.command: there is no program",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("mcpServers.sh") && !text.contains("mcpServers.off"), "{text}");
    assert!(!Path::new(folder.path()).join("docker").exists());
}
