//! How a child process is started: its command, environment and confinement.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

/// What a child sees of the gateway's own environment.
const INHERITED: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "TMPDIR"];

/// Node's and Python's SDK servers are gone 25 ms after end-of-file.
pub const AFTER_EOF: Duration = Duration::from_secs(2);

pub const AFTER_TERM: Duration = Duration::from_secs(2);

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub command: String,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: Option<PathBuf>,
    pub confinement: Confinement,
}

/// What a child may use. A limit that is not there is the gateway's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Bytes of address space of each process.
    pub memory: Option<u64>,
    /// Open files of each process.
    pub files: Option<u64>,
    /// Processes and threads of its user, all there are on the machine.
    pub processes: Option<u64>,
    /// Seconds of CPU time of each process.
    pub cpu_seconds: Option<u64>,
    /// Whom it runs as, without further groups; else as the gateway does.
    pub user: Option<User>,
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

/// All variables of a child.
pub fn environment(program: &Program) -> BTreeMap<OsString, OsString> {
    let inherited =
        INHERITED.into_iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
    let own = program.env.iter().map(|(name, value)| (name.into(), value.into()));
    inherited.chain(own).collect()
}
