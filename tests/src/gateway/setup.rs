//! What a gateway is started with.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::port::Port;

use super::{END, Gateway, SETTINGS, ended_within};

/// The settings, arguments and environment that a gateway is started with.
pub struct Setup {
    settings: String,
    port: Option<Port>,
    env: Vec<(String, String)>,
    args: Vec<String>,
    data: Option<PathBuf>,
    user: Option<u32>,
    within: Vec<String>,
}

impl Setup {
    #[must_use]
    pub fn new(settings: &Value) -> Self {
        Self::text(&settings.to_string())
    }

    /// A settings file, byte for byte.
    #[must_use]
    pub fn text(settings: &str) -> Self {
        Self {
            settings: settings.to_owned(),
            port: None,
            env: Vec::new(),
            args: Vec::new(),
            data: None,
            user: None,
            within: Vec::new(),
        }
    }

    /// Starts it by a program that becomes the gateway after it has given something up; the
    /// gateway's own command line follows these words.
    #[must_use]
    pub fn within(mut self, words: &[&str]) -> Self {
        self.within = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Runs it as this user, who may write into its folder; only root can do that.
    #[must_use]
    pub fn user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    #[must_use]
    pub fn port(mut self, port: Port) -> Self {
        self.port = Some(port);
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Sets a data folder shared with other gateways; by default each has its own.
    #[must_use]
    pub fn data(mut self, folder: &Path) -> Self {
        self.data = Some(folder.to_owned());
        self
    }

    /// Starts it and waits until it serves.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Gateway {
        let mut gateway = self.prepare();
        gateway.start();
        gateway
    }

    /// Prepares the port and the folder without starting the gateway.
    #[must_use]
    pub fn prepare(self) -> Gateway {
        let folder = tempfile::Builder::new().prefix("mooring-test-").tempdir().expect("a folder");
        std::fs::write(folder.path().join(SETTINGS), &self.settings).expect("settings");
        if self.user.is_some() {
            let open = std::fs::Permissions::from_mode(0o777);
            std::fs::set_permissions(folder.path(), open).expect("its folder");
        }
        Gateway {
            folder,
            port: self.port.unwrap_or_else(Port::reserve),
            env: self.env,
            args: self.args,
            data: self.data,
            user: self.user,
            within: self.within,
            child: None,
        }
    }

    /// Starts a gateway that must refuse to start; returns its output and exit code.
    #[must_use]
    #[track_caller]
    pub fn refused(self) -> Output {
        let gateway = self.prepare();
        let mut child =
            gateway.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let status = ended_within(&mut child, END);
        if status.is_none() {
            let _ = child.kill();
        }
        let output = child.wait_with_output().expect("its output");
        assert!(status.is_some(), "it started: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Runs a subcommand in a folder with these settings.
    #[must_use]
    pub fn run(self, args: &[&str]) -> Output {
        let gateway = self.prepare();
        let mut command = gateway.command();
        command.args(args).output().expect("mooring runs")
    }
}
