//! Which settings file is read.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A temporary folder, removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "mooring-config-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn with(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn load(&self, explicit: Option<&str>, variable: Option<&str>) -> Result<Loaded, ConfigErrors> {
        let env =
            |name: &str| variable.filter(|_| name == "MCPHUB_SETTING_PATH").map(str::to_owned);
        load(&Sources {
            explicit: explicit.map(PathBuf::from),
            env: &env,
            cwd: self.0.clone(),
            allow_open: false,
            dot_env: DotEnv::default(),
            secrets: SecretFiles::default(),
        })
    }

    /// The port of the file that was read: each file has a different one.
    #[track_caller]
    fn port(&self, explicit: Option<&str>, variable: Option<&str>) -> u16 {
        self.load(explicit, variable).unwrap().config.listen.port
    }

    #[track_caller]
    fn error(&self, explicit: &str) -> String {
        self.load(Some(explicit), None).unwrap_err().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn port(port: u16) -> String {
    format!(r#"{{"systemConfig": {{"listen": {{"port": {port}}}}}}}"#)
}

#[test]
fn the_argument_goes_before_the_variable_before_the_working_directory() {
    let folder = Folder::new()
        .with("mcp_settings.json", port(1))
        .with("b.json", port(2))
        .with("c/mcp_settings.json", port(3));
    assert_eq!(folder.port(None, None), 1);
    assert_eq!(folder.port(None, Some("")), 1);
    assert_eq!(folder.port(None, Some("b.json")), 2);
    assert_eq!(folder.port(None, Some("c")), 3);
    assert_eq!(folder.port(Some("c/mcp_settings.json"), Some("b.json")), 3);
    let loaded = folder.load(Some("c"), None).unwrap();
    assert_eq!(loaded.path, Some(folder.0.join("c/mcp_settings.json")));
}

#[test]
fn the_data_folder_is_looked_into_at_last() {
    let folder = Folder::new().with("data/mcp_settings.json", port(4));
    assert_eq!(folder.port(None, None), 4);
    let loaded = folder.load(None, None).unwrap();
    assert_eq!(loaded.path, Some(folder.0.join("data/mcp_settings.json")));
    let folder = folder.with("mcp_settings.json", port(1));
    assert_eq!(folder.port(None, None), 1);
    let error = Folder::new().with("data/mcp_settings.json", "{").load(None, None).unwrap_err();
    assert!(error.to_string().starts_with("data/mcp_settings.json:1:2: not valid JSON"), "{error}");
}

#[test]
fn a_dot_env_beside_the_file_is_for_references_alone() {
    let text = r#"{"mcpServers": {"a": {"command": "${CMD}", "args": ["${BOTH:-d}", "${PORT}"]}}}"#;
    let folder = Folder::new()
        .with("c/mcp_settings.json", text)
        .with("c/.env", "CMD=run\nPORT=9\nMOORING_HOST=::\nMCPHUB_SETTING_PATH=x\nBOTH=of file\n")
        .with(".env", "CMD=wrong\n");
    let loaded = folder.load(Some("c"), None).unwrap();
    let Some(Transport::Stdio { command, args, env, .. }) = &loaded.config.servers[0].transport
    else {
        panic!("{:?}", loaded.config)
    };
    assert_eq!(
        (command.as_str(), args.as_slice()),
        ("run", ["of file", "9"].map(String::from).as_slice())
    );
    assert_eq!((env.len(), loaded.config.listen.port), (0, 3000));
    assert_eq!(loaded.config.listen.host, "127.0.0.1");
    let folder = folder.with("c/.env", [0xff, b'\n']);
    let loaded = folder.load(Some("c"), None).unwrap();
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings[0], ".env: is not UTF-8 text; variables in it have no value");
}

#[test]
fn no_file_at_all_is_all_defaults_with_a_warning() {
    let folder = Folder::new();
    let loaded = folder.load(None, None).unwrap();
    assert_eq!((loaded.config.listen.port, loaded.path), (3000, None));
    let [warning] = loaded.warnings.as_slice() else {
        panic!("{:?}", loaded.warnings);
    };
    assert_eq!(
        warning.to_string(),
        format!(
            "mcp_settings.json: no settings file at {}, so every default applies; \
             name the file with --config or MCPHUB_SETTING_PATH",
            folder.0.join("mcp_settings.json").display()
        )
    );
}

#[test]
fn a_file_that_was_named_must_be_readable_text() {
    let folder = Folder::new()
        .with("latin1.json", b"{} // \xe4")
        .with("wide.json", b"\xff\xfe{\0}\0")
        .with("wide-without-mark.json", b"{\0}\0")
        .with("empty/x", "")
        .with("big.json", vec![b' '; (4 << 20) + 1]);
    assert_eq!(
        folder.error("nope.json"),
        "nope.json: cannot be read: No such file or directory (os error 2); check the path and its permissions"
    );
    assert_eq!(
        folder.error("latin1.json"),
        "latin1.json: is not UTF-8 text: the byte at offset 6 is not valid; save it as UTF-8"
    );
    for name in ["wide.json", "wide-without-mark.json"] {
        let expect = format!("{name}: is UTF-16 text, as Windows writes it; save it as UTF-8");
        assert_eq!(folder.error(name), expect);
    }
    assert_eq!(
        folder.error("empty"),
        "empty: is a folder without a mcp_settings.json; name the file; Docker creates a folder when a mounted file is missing: check the mount"
    );
    assert_eq!(
        folder.error("big.json"),
        "big.json: is larger than 4 MiB; check that it is a settings file"
    );
    assert!(folder.error("/dev/zero").starts_with("/dev/zero: is larger than 4 MiB"));
}

#[test]
fn a_folder_in_the_place_of_the_file_is_no_reason_to_start_empty() {
    let folder = Folder::new().with("mcp_settings.json/x", "");
    let error = folder.load(None, None).unwrap_err().to_string();
    assert!(error.starts_with("mcp_settings.json: is a folder without"), "{error}");
}

#[test]
fn a_finding_names_the_file_as_it_was_given() {
    let folder = Folder::new().with("c/mcp_settings.json", "{\n \"systemConfig\": 1\n}");
    assert_eq!(
        folder.error("c"),
        "c/mcp_settings.json:2:18: systemConfig: must be an object, not a number; write { … }"
    );
}

#[test]
fn a_plugin_is_found_beside_the_file_that_names_it() {
    let text = r#"{"systemConfig": {"cluster": {"stickySession": {"strategy": "zone.wasm"}}}}"#;
    let folder = Folder::new().with("c/mcp_settings.json", text);
    assert_eq!(
        folder.error("c"),
        format!(
            "c/mcp_settings.json:1:61: systemConfig.cluster.stickySession.strategy: names {}, which \
             cannot be read: No such file or directory (os error 2); check the path, which starts at \
             the folder of this file",
            folder.0.join("c/zone.wasm").display()
        )
    );
    let folder = folder.with("c/zone.wasm", "");
    let loaded = folder.load(Some("c"), None).unwrap();
    assert_eq!(loaded.config.sticky.strategy, folder.0.join("c/zone.wasm").display().to_string());
}
