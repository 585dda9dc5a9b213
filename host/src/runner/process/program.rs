//! How a child process is started: its command, environment and confinement.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

/// The variables that a child inherits from the gateway's own environment. Proxies may carry
/// credentials, which are there to be used by whoever needs the network.
pub const INHERITED: [&str; 68] = [
    // Who it is, and where.
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "TMPDIR",
    // Language and time.
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NUMERIC",
    "LC_TIME",
    "TZ",
    "TZDIR",
    // Proxies.
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "NODE_USE_ENV_PROXY",
    // Certificate authorities.
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "NODE_USE_SYSTEM_CA",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "UV_NATIVE_TLS",
    "UV_SYSTEM_CERTS",
    // Registries, and where packages are kept.
    "npm_config_registry",
    "NPM_CONFIG_REGISTRY",
    "npm_config_cafile",
    "NPM_CONFIG_CAFILE",
    "npm_config_proxy",
    "NPM_CONFIG_PROXY",
    "npm_config_https_proxy",
    "NPM_CONFIG_HTTPS_PROXY",
    "npm_config_noproxy",
    "NPM_CONFIG_NOPROXY",
    "npm_config_cache",
    "NPM_CONFIG_CACHE",
    "npm_config_userconfig",
    "NPM_CONFIG_USERCONFIG",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_INSECURE_HOST",
    "UV_PYTHON_INSTALL_MIRROR",
    "UV_CACHE_DIR",
    "UV_TOOL_DIR",
    "UV_PYTHON_INSTALL_DIR",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_CONFIG_FILE",
    "PIP_CACHE_DIR",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
];

/// From closing stdin to SIGTERM. Servers of the Node and Python SDKs exit within 25 ms of
/// end-of-file.
pub const AFTER_EOF: Duration = Duration::from_secs(2);

/// From SIGTERM to SIGKILL.
pub const AFTER_TERM: Duration = Duration::from_secs(2);

/// A program to start, with its environment and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub command: String,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// Inherited variables that it does not get.
    pub kept_from: Vec<&'static str>,
    pub cwd: Option<PathBuf>,
    pub confinement: Confinement,
    /// The gateway's own files and folders, which the child must not read.
    pub hidden: Vec<PathBuf>,
}

/// The resources that a child may use, and the user it runs as. A missing limit means the
/// gateway's own limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Address space of each process, in bytes.
    pub memory: Option<u64>,
    /// Open files in each process.
    pub files: Option<u64>,
    /// Processes and threads of the child's user on the whole machine.
    pub processes: Option<u64>,
    /// CPU time of each process, in seconds.
    pub cpu_seconds: Option<u64>,
    /// The user it runs as, without supplementary groups; if missing, the gateway's user.
    pub user: Option<User>,
    /// Whether it keeps every right of the gateway's user: setuid programs work, and the
    /// gateway's own files are not hidden from it.
    pub allow_privileges: bool,
    /// The files and networks that it may use; if missing, those of its user.
    pub sandbox: Option<Sandbox>,
}

/// What a child may reach; everything else is denied by the kernel (Landlock).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Files and folders that it may read and execute, with everything below them.
    pub read: Vec<PathBuf>,
    /// Files and folders that it may also change, with everything below them.
    pub write: Vec<PathBuf>,
    /// Whether it may open and accept TCP connections.
    pub network: bool,
}

/// What this system has to keep the gateway's secrets from its servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Walls {
    /// Whether the gateway's own files can be hidden from servers of its user.
    pub hides_files: bool,
    /// Whether servers of one user cannot read each other's memory and environment.
    pub separates_servers: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

pub struct Pipes {
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
    pub stderr: ChildStderr,
}

/// The complete environment of a child: inherited variables, then its own.
pub fn environment(program: &Program) -> BTreeMap<OsString, OsString> {
    let inherited = INHERITED.into_iter().filter(|name| !program.kept_from.contains(name));
    let inherited = inherited.filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
    let own = program.env.iter().map(|(name, value)| (name.into(), value.into()));
    inherited.chain(own).collect()
}
