//! One child process: started in a group of its own, ended gently and surely.
//!
//! ```text
//! running ── stdin closed ──(2 s)── SIGTERM to the group ──(2 s)── SIGKILL to the group
//! ```
//!
//! The group is signalled because `npx`, `uvx` and `sh` leave the server itself
//! one process further down. If the gateway dies, the kernel ends the child.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{Notify, watch};

/// What a child sees of the gateway's own environment.
const INHERITED: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "TMPDIR"];
/// Node's and Python's SDK servers are gone 25 ms after end-of-file.
const AFTER_EOF: Duration = Duration::from_secs(2);
const AFTER_TERM: Duration = Duration::from_secs(2);

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub command: String,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: Option<PathBuf>,
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot start {command:?}: {reason}")]
pub struct StartError {
    command: String,
    reason: String,
}

/// The children that have not ended yet. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Children(watch::Sender<usize>);

impl Default for Children {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Children {
    #[must_use]
    pub fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Resolves when the last one has ended.
    pub async fn all_ended(&self) {
        // The sender is in self: it cannot be gone.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// Counts a child, and clears its group away on whatever path it ends.
struct Group {
    pid: u32,
    children: Children,
}

impl Group {
    fn enter(pid: u32, children: &Children) -> Self {
        children.0.send_modify(|count| *count += 1);
        Self { pid, children: children.clone() }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        signal_group(self.pid, Signal::KILL);
        self.children.0.send_modify(|count| *count -= 1);
    }
}

pub struct Pipes {
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
    pub stderr: ChildStderr,
}

/// A handle to a running child. Dropping it ends the child.
pub struct Child {
    pub pid: u32,
    end: Arc<Notify>,
    exit: watch::Receiver<Option<String>>,
}

impl Child {
    /// Starts the program on the calling worker, whose runtime watches it.
    pub fn start(program: &Program, children: &Children) -> Result<(Self, Pipes), StartError> {
        let failed = |reason: String| StartError { command: program.command.clone(), reason };
        let mut command = command(program);
        let mut child = command.spawn().map_err(|error| failed(explain(&error, program)))?;
        let pid = child.id().ok_or_else(|| failed("it ended at once".into()))?;
        let group = Group::enter(pid, children);
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed("its pipes are missing".into()));
        };
        let end = Arc::new(Notify::new());
        let (told, exit) = watch::channel(None);
        tokio::spawn(watch_over(child, group, Arc::clone(&end), told));
        Ok((Self { pid, end, exit }, Pipes { stdin, stdout, stderr }))
    }

    /// Begins the end, of which the module's head tells.
    pub fn end(&self) {
        self.end.notify_one();
    }

    /// Becomes how it ended when the process has gone.
    #[must_use]
    pub fn exit(&self) -> watch::Receiver<Option<String>> {
        self.exit.clone()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

fn command(program: &Program) -> Command {
    let mut command = Command::new(&program.command);
    command.args(&program.args).env_clear();
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.envs(&program.env);
    if let Some(cwd) = &program.cwd {
        command.current_dir(cwd);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    die_with_parent(&mut command);
    command
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "the only way to run code between fork and exec")]
fn die_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only async-signal-safe calls are allowed;
    // prctl is a plain system call and allocates nothing.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}

async fn watch_over(
    mut child: tokio::process::Child,
    group: Group,
    end: Arc<Notify>,
    told: watch::Sender<Option<String>>,
) {
    let how = tokio::select! {
        status = child.wait() => status,
        () = end.notified() => finish(&mut child, group.pid).await,
    };
    // Whatever the child left in its group goes with it.
    drop(group);
    let _ = told.send(Some(match how {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }));
}

/// Its stdin is closed already: the handle that held it is gone.
async fn finish(
    child: &mut tokio::process::Child,
    pid: u32,
) -> std::io::Result<std::process::ExitStatus> {
    if let Ok(status) = tokio::time::timeout(AFTER_EOF, child.wait()).await {
        return status;
    }
    signal_group(pid, Signal::TERM);
    if let Ok(status) = tokio::time::timeout(AFTER_TERM, child.wait()).await {
        return status;
    }
    signal_group(pid, Signal::KILL);
    child.wait().await
}

fn signal_group(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // An empty group is what we want; there is nothing to do about it.
        let _ = kill_process_group(pid, signal);
    }
}

fn explain(error: &std::io::Error, program: &Program) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound if program.cwd.as_ref().is_some_and(|cwd| !cwd.is_dir()) => {
            "its working directory does not exist".to_owned()
        }
        std::io::ErrorKind::NotFound => {
            "no such program; give its full path, or put its folder on the PATH of the gateway \
             or into the server's \"env\""
                .to_owned()
        }
        _ => error.to_string(),
    }
}
