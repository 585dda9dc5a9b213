//! Servers as direct children of the gateway, on systems other than Linux. Each is the leader of
//! a process group; a process that leaves the group is not ended with the server.

use std::io;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;
use tokio::sync::{Notify, watch};

use super::program::{AFTER_EOF, AFTER_TERM, Confinement, Pipes, Program, Walls, environment};

/// Stands in for the connection to the supervisor, which exists on Linux only.
#[derive(Debug, Clone, Default)]
pub struct SupervisorLine;

impl SupervisorLine {
    /// # Errors
    /// Never.
    pub fn supervise(&self, _: Option<u64>, _: &[std::path::PathBuf]) -> io::Result<Supervised> {
        Ok(Supervised)
    }
}

pub struct Supervised;

impl Supervised {
    pub async fn end(self) {}
}

/// `None`: without Linux no process is a supervisor.
#[must_use]
pub fn supervise_if_asked() -> Option<std::process::ExitCode> {
    None
}

/// What protects the gateway from its servers on this system.
#[must_use]
pub fn walls() -> Walls {
    Walls::default()
}

/// Nothing to do: no process is protected here.
pub fn guard_memory() {}

/// Nothing to do: the first environment stays as it is here.
pub fn forget_variables<'n>(_: impl IntoIterator<Item = &'n str>) {}

pub struct RunningServer {
    /// Whether the gateway's own files are hidden from it.
    pub hidden: bool,
    pub pid: u32,
    child: tokio::process::Child,
}

/// Kills what is left of the process group when dropped.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        signal_group(self.0, Signal::KILL);
    }
}

impl RunningServer {
    pub async fn start(program: &Program, _: &SupervisorLine) -> io::Result<(Self, Pipes)> {
        if program.confinement != Confinement::default() {
            let text = "\"rlimits\", \"user\", \"sandbox\" and \"allowPrivileges\" work on Linux \
                        only; remove them";
            return Err(io::Error::other(text));
        }
        let mut child = command(program).spawn()?;
        let missing = || io::Error::other("it ended right after its start");
        let pid = child.id().ok_or_else(missing)?;
        let pipes = Pipes {
            stdin: child.stdin.take().ok_or_else(missing)?,
            stdout: child.stdout.take().ok_or_else(missing)?,
            stderr: child.stderr.take().ok_or_else(missing)?,
        };
        Ok((Self { hidden: false, pid, child }, pipes))
    }

    /// Ends the server on request; resolves when nothing of its group is left.
    pub async fn watch_over(mut self, end: &Notify, told: &watch::Sender<Option<String>>) {
        let group = Group(self.pid);
        let how = tokio::select! {
            status = self.child.wait() => status,
            () = end.notified() => finish(&mut self.child, self.pid).await,
        };
        drop(group);
        told.send_replace(Some(match how {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }));
    }
}

fn command(program: &Program) -> Command {
    let mut command = Command::new(&program.command);
    command.args(&program.args).env_clear().envs(environment(program));
    if let Some(cwd) = &program.cwd {
        command.current_dir(cwd);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    command
}

/// Waits for the child to exit, then signals its group. The child's stdin is closed already: its
/// only handle has been dropped.
async fn finish(
    child: &mut tokio::process::Child,
    pid: u32,
) -> io::Result<std::process::ExitStatus> {
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
        // Fails if the group is empty, which is the goal.
        let _ = kill_process_group(pid, signal);
    }
}
