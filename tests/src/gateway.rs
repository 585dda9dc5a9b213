//! A gateway process: started in a folder with its `mcp_settings.json`, observed through its port
//! file, log and API, and ended with the test.

pub mod setup;

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::binaries;
use crate::deadline::{eventually, within};
use crate::http::{Request, Response};
use crate::mcp::Client;
use crate::port::Port;
use crate::process;

use self::setup::Setup;

/// Time between SIGTERM and SIGKILL when a gateway is dropped; shorter than its drain time.
const GRACE: Duration = Duration::from_secs(2);
/// Time between its first SIGTERM and its second.
const FIRST: Duration = Duration::from_millis(300);
/// Longest wait for a gateway to end: more than its drain time.
const END: Duration = Duration::from_secs(40);

/// The name of its settings file.
const SETTINGS: &str = "mcp_settings.json";

/// Log lines shown by a failed test.
const MAX_SHOWN: usize = 200;

/// Variables that must not reach the gateway from the environment of the tests.
const FOREIGN: [&str; 25] = [
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "PORT",
    "MOORING_HOST",
    "MOORING_DATA",
    "MOORING_CLUSTER_TOKEN",
    "MOORING_CLUSTER_TLS_CA",
    "MOORING_CLUSTER_TLS_CERT",
    "MOORING_CLUSTER_TLS_KEY",
    "MOORING_CLUSTER_TLS_REVOKED",
    "MOORING_SECRET",
    "MOORING_CLUSTER_TOKEN_FILE",
    "MOORING_SECRET_FILE",
    "MOORING_KEY_FILE",
    "MOORING_KEY",
    "MOORING_REDIS_URL",
    "MOORING_REDIS_URL_FILE",
    "MOORING_LOG",
    "MCPHUB_SETTING_PATH",
];

/// A gateway process, or one that has ended and can be started again.
pub struct Gateway {
    folder: TempDir,
    port: Port,
    env: Vec<(String, String)>,
    args: Vec<String>,
    data: Option<PathBuf>,
    user: Option<u32>,
    within: Vec<String>,
    child: Option<Child>,
}

impl Gateway {
    /// Starts a gateway with these settings and waits until it serves.
    #[must_use]
    #[track_caller]
    pub fn start_with(settings: &Value) -> Self {
        Setup::new(settings).start()
    }

    /// Starts it, or starts it again with the same folder, data and port.
    #[track_caller]
    pub fn start(&mut self) {
        self.spawn();
        let (file, number) = (self.port_file(), self.port.number().to_string());
        let served = within(END, "the gateway serves or ends", || {
            if std::fs::read_to_string(&file).is_ok_and(|text| text.trim() == number) {
                return Some(true);
            }
            self.child.as_mut()?.try_wait().expect("its state").map(|_| false)
        });
        assert!(served, "the gateway did not start:\n{}", self.log_tail());
    }

    /// Lets the next start run as another user, which only root can.
    pub fn run_as(&mut self, user: u32) {
        self.user = Some(user);
    }

    /// Starts the next process, which takes over, and waits until it serves. Returns the process of
    /// before.
    #[track_caller]
    pub fn hand_over(&mut self) -> Child {
        let before = self.child.take().expect("it runs");
        self.args.push("--take-over".to_owned());
        self.start();
        self.args.pop();
        before
    }

    /// Starts it to take over from none, and waits until it serves.
    #[track_caller]
    pub fn spawn_next(&mut self) {
        self.args.push("--take-over".to_owned());
        self.start();
        self.args.pop();
    }

    /// Starts a next process that does not come to serve. Returns how it has ended.
    #[track_caller]
    pub fn failing_hand_over(&mut self) -> ExitStatus {
        let mut next = self.start_next();
        ended_within(&mut next, END).expect("it ends")
    }

    /// Starts a next process, and waits for nothing.
    #[track_caller]
    pub fn start_next(&mut self) -> Child {
        let before = self.child.take();
        self.args.push("--take-over".to_owned());
        self.spawn();
        self.args.pop();
        std::mem::replace(&mut self.child, before).expect("it was started")
    }

    /// From now on the gateway is this process. Returns the one of before.
    #[track_caller]
    pub fn goes_on_as(&mut self, next: Child) -> Child {
        self.child.replace(next).expect("it was started")
    }

    /// Starts it without waiting for anything.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let _ = std::fs::remove_file(self.port_file());
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log");
        let child = self
            .command()
            .stdout(log.try_clone().expect("the log"))
            .stderr(log)
            .spawn()
            .expect("mooring starts");
        self.child = Some(child);
    }

    /// The folder of the programs, which a gateway of another user must be able to enter.
    fn programs(&self) -> PathBuf {
        if self.user.is_none() {
            return binaries::folder();
        }
        let folder = self.folder.path().join("programs");
        let settings = std::fs::read_to_string(self.folder.path().join("mcp_settings.json"));
        binaries::provide(&folder, &settings.expect("its settings"));
        folder
    }

    fn command(&self) -> Command {
        let programs = self.programs();
        let own = programs.join("mooring");
        let mut command = match self.within.split_first() {
            None => Command::new(own),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(own);
                command
            }
        };
        for name in FOREIGN {
            command.env_remove(name);
        }
        command
            .current_dir(self.folder.path())
            .env("PATH", binaries::path_with(&programs))
            .env("PORT", self.port.number().to_string())
            .env("MOORING_HOST", "127.0.0.1")
            .env("MOORING_DATA", self.data_folder())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .args(&self.args)
            .arg("--port-file")
            .arg(self.port_file())
            .stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    #[must_use]
    pub fn data_folder(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| self.folder.path().join("data"))
    }

    /// A client of one scope, such as `/mcp/counter`.
    #[must_use]
    pub fn client(&self, path: &str) -> Client {
        Client::new(self.address(), path)
    }

    #[must_use]
    pub fn get(&self, path: &str) -> Response {
        Request::get(path).send(self.address())
    }

    #[must_use]
    pub fn post(&self, path: &str, body: &Value) -> Response {
        Request::post(path).json(body).send(self.address())
    }

    /// `data` of a successful call of the management API.
    #[must_use]
    #[track_caller]
    pub fn data(&self, path: &str) -> Value {
        let body = self.get(path).expect(200).json();
        assert_eq!(body["success"], true, "{path}: {body}");
        body["data"].clone()
    }

    /// Replaces its settings file, as an editor does. The gateway notices it by itself before long.
    #[track_caller]
    pub fn rewrite(&self, settings: &Value) {
        self.rewrite_text(&settings.to_string());
    }

    /// The same, byte for byte.
    #[track_caller]
    pub fn rewrite_text(&self, settings: &str) {
        let (new, file) = (self.folder.path().join("new"), self.folder.path().join(SETTINGS));
        std::fs::write(&new, settings).expect("the new settings");
        std::fs::rename(&new, &file).expect("their place");
    }

    /// Replaces its settings file, and has it reloaded. Returns what became of it.
    #[track_caller]
    pub fn reload(&self, settings: &Value) -> Value {
        self.rewrite(settings);
        let key = format!("Bearer {}", self.local_key());
        let post = Request::post("/api/reload").header("Authorization", &key);
        post.send(self.address()).json()["data"].clone()
    }

    /// The key of its local command line, as it is sent.
    fn local_key(&self) -> String {
        let bytes = std::fs::read(self.data_folder().join("local-key")).expect("its local key");
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The same, which must be applied.
    #[track_caller]
    pub fn apply(&self, settings: &Value) -> Value {
        let report = self.reload(settings);
        assert_eq!(report["outcome"], "applied", "{report}");
        report
    }

    /// The log of all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last `MAX_SHOWN` lines of the log.
    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(MAX_SHOWN)..].join("\n")
    }

    /// Waits for a log line that contains `part`, and returns it.
    #[track_caller]
    pub fn wait_for_log(&self, part: &str) -> String {
        eventually(&format!("the log says {part:?}"), || {
            self.log().lines().find(|line| line.contains(part)).map(str::to_owned)
        })
    }

    /// Waits until these servers' lists are known.
    #[track_caller]
    pub fn wait_until_discovered(&self, names: &[&str]) {
        eventually(&format!("{names:?} have been discovered"), || {
            let health = self.get("/health").json();
            let servers = health["servers"].as_array()?;
            let is_known = |name: &&str| {
                let is_it = |server: &&Value| server["name"] == **name;
                servers.iter().find(is_it).is_some_and(|server| server["discovered"] == true)
            };
            names.iter().all(is_known).then_some(())
        });
    }

    /// Ends it with SIGKILL and waits until it is gone.
    pub fn kill9(&mut self) {
        self.end_by(Signal::KILL);
    }

    /// Ends it with SIGTERM and waits until it is gone.
    pub fn terminate(&mut self) -> ExitStatus {
        self.end_by(Signal::TERM)
    }

    pub fn signal(&self, signal: Signal) {
        process::signal(self.pid(), signal);
    }

    /// Ends it with the signal and starts it again.
    #[track_caller]
    pub fn restart_after(&mut self, signal: Signal) {
        self.end_by(signal);
        self.start();
    }

    /// Sends the signal, and waits until the process is gone.
    pub fn end_by(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.wait_for_end_after(&format!("{signal:?}"))
    }

    /// Waits until the process is gone by itself.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        self.wait_for_end_after("what it was told")
    }

    fn wait_for_end_after(&mut self, what: &str) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        match ended_within(&mut child, END) {
            Some(status) => status,
            None => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("it did not end after {what}");
            }
        }
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn port_file(&self) -> PathBuf {
        self.folder.path().join("port")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the gateway at {}\n{}", self.address(), self.log_tail());
        }
        let Some(mut child) = self.child.take() else { return };
        process::signal(child.id(), Signal::TERM);
        if ended_within(&mut child, FIRST).is_some() {
            return;
        }
        // It may wait for sessions: a second one ends it at once.
        process::signal(child.id(), Signal::TERM);
        if ended_within(&mut child, GRACE).is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ended_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait().expect("its state") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}
