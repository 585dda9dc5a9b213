//! Each test loads a settings file and checks the configuration or the findings.

mod access;
mod bearer_keys;
mod children;
mod clients;
mod cluster;
mod confinement;
mod expansion;
mod files;
mod foreign_locks;
mod groups;
mod guide;
mod lock;
mod mcphub;
mod oauth;
mod page;
mod policy;
mod secret_files;
mod server_tls;
mod servers;
mod shown_items;
mod telemetry;
mod text;
mod transport;
mod values;

use std::collections::HashMap;
use std::path::Path;

use super::*;

/// A settings file, and the environment in which it is read.
pub(super) struct Case {
    text: String,
    env: HashMap<String, String>,
    allow_open: bool,
}

pub(super) fn file(text: &str) -> Case {
    Case { text: text.to_owned(), env: HashMap::new(), allow_open: false }
}

impl Case {
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn allow_open(mut self) -> Self {
        self.allow_open = true;
        self
    }

    pub fn load(&self) -> Result<Loaded, ConfigErrors> {
        let env = |name: &str| self.env.get(name).cloned();
        let sources = Sources {
            explicit: None,
            env: &env,
            cwd: "/srv".into(),
            allow_open: self.allow_open,
            dot_env: DotEnv::default(),
            secrets: SecretFiles::default(),
        };
        let settings = SettingsText {
            label: FILE_NAME.to_owned(),
            path: Some(Path::new("/srv").join(FILE_NAME)),
            text: self.text.clone(),
        };
        from_settings(settings, &sources)
    }

    /// The configuration of a file without errors.
    #[track_caller]
    pub fn config(&self) -> Config {
        match self.load() {
            Ok(loaded) => loaded.config,
            Err(report) => panic!("{report}"),
        }
    }

    /// Checks the errors of the file; none are expected of a file that loads.
    #[track_caller]
    pub fn errors(&self, expected: &[&str]) {
        let errors = self.load().err().map(|report| report.errors);
        assert_eq!(lines(&errors.unwrap_or_default()), expected);
    }

    /// Like `warns`, with these words behind each of them.
    #[track_caller]
    pub fn warns_until(&self, until: &str, expected: &[&str]) -> Config {
        let expected: Vec<String> =
            expected.iter().map(|finding| format!("{finding}; {until}")).collect();
        self.warns(&expected.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Loads the file and checks that it has exactly these warnings.
    #[track_caller]
    pub fn warns(&self, expected: &[&str]) -> Config {
        let loaded = self.load().unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(lines(&loaded.warnings), expected);
        loaded.config
    }
}

/// The findings without the file's name, which is the same in all of them.
fn lines(findings: &[Finding]) -> Vec<String> {
    let line = |finding: &Finding| {
        let line = finding.to_string();
        match line.strip_prefix("mcp_settings.json:") {
            Some(rest) => rest.trim_start().to_owned(),
            None => line,
        }
    };
    findings.iter().map(line).collect()
}
