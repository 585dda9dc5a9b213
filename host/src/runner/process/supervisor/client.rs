//! One server as seen by the worker that started it: its pipes and the socket of its reaper.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{Notify, watch};

use crate::net::{SHORTAGE, SHORTAGE_PAUSE, is_shortage};
use crate::runner::process::program::{AFTER_EOF, AFTER_TERM, Pipes, Program};

use super::cgroup::ControlGroup;
use super::keeper::SupervisorLine;
use super::landlock;
use super::protocol::{END, ReaperReport, StartOrder, StartStep};
use super::system::REAPER;

/// Attempts to start one server: the supervisor may die while a start is on its way to it.
const ATTEMPTS: usize = 3;

/// From the request to end to the death of a reaper that does not get it done: a server of its user
/// may have stopped it.
const END_IN: Duration =
    AFTER_EOF.saturating_add(AFTER_TERM).saturating_add(Duration::from_secs(2));

/// A server that has been started, with the socket of its reaper.
pub struct RunningServer {
    pub pid: u32,
    /// Whether the gateway's own files are hidden from it.
    pub hidden: bool,
    reaper: UnixStream,
    reaper_pid: u32,
    group: Option<ControlGroup>,
}

impl RunningServer {
    /// Starts the server. Never blocks the thread: the supervisor does the fork.
    pub async fn start(program: &Program, line: &SupervisorLine) -> io::Result<(Self, Pipes)> {
        let sandbox = program.confinement.sandbox.as_ref();
        if let Some(why) = sandbox.and_then(landlock::missing) {
            return Err(io::Error::other(why));
        }
        let began = Instant::now();
        let mut attempts = 0;
        while attempts < ATTEMPTS {
            match attempt(program, line).await {
                Ok(Some(started)) => return Ok(started),
                Ok(None) => attempts += 1,
                // Descriptors come back when others end.
                Err(error) if is_shortage(&error) && began.elapsed() < SHORTAGE => {
                    tokio::time::sleep(SHORTAGE_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(
            "the supervisor has died, see the log for why; another one is being started",
        ))
    }

    /// Ends the server on request; resolves when nothing of it is left.
    pub async fn watch_over(self, end: &Notify, told: &watch::Sender<Option<String>>) {
        let Self { mut reaper, reaper_pid, group, .. } = self;
        watch_reaper(&mut reaper, reaper_pid, end, told).await;
        if let Some(group) = group {
            // Empty, unless the reaper was killed together with the supervisor.
            group.end().await;
        }
    }
}

/// Passes the request to end on to the reaper; resolves when the reaper has closed its socket.
async fn watch_reaper(
    reaper: &mut UnixStream,
    pid: u32,
    end: &Notify,
    told: &watch::Sender<Option<String>>,
) {
    let (mut from_reaper, mut to_reaper) = reaper.split();
    let ending = async {
        end.notified().await;
        // Fails if the reaper is gone, and the server with it.
        let _ = to_reaper.write_all(&[END]).await;
        tokio::time::sleep(END_IN).await;
        kill_reaper(pid);
        std::future::pending().await
    };
    let reports = async {
        let mut bytes = [0; ReaperReport::LENGTH];
        while from_reaper.read_exact(&mut bytes).await.is_ok() {
            if let Some(ReaperReport::Exited(status)) = ReaperReport::decode(bytes) {
                told.send_replace(Some(ExitStatus::from_raw(status).to_string()));
            }
        }
    };
    tokio::select! {
        () = ending => {}
        () = reports => {}
    }
    told.send_if_modified(|told| {
        let is_untold = told.is_none();
        told.get_or_insert_with(|| "killed together with its reaper process".to_owned());
        is_untold
    });
}

/// The supervisor then kills what is below it. Its number is not used again before its socket closes,
/// except for a moment; the name tells then.
fn kill_reaper(pid: u32) {
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid.filter(|_| name.trim_ascii() == REAPER.to_bytes()) {
        tracing::warn!("a server has not ended in time, its reaper is killed with it");
        // Fails if it is gone, which is the goal.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Tries one start. `None` if the supervisor or the reaper died before the first report: nothing
/// runs then, or it is being killed.
async fn attempt(
    program: &Program,
    line: &SupervisorLine,
) -> io::Result<Option<(RunningServer, Pipes)>> {
    let group = line.group();
    let order = StartOrder::of(program, group.as_ref().map(ControlGroup::folder)).encode();
    let (its_stdin, stdin) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stdout, its_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, its_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let pipes = Pipes {
        stdin: ChildStdin::from_std(stdin.into())?,
        stdout: ChildStdout::from_std(stdout.into())?,
        stderr: ChildStderr::from_std(stderr.into())?,
    };
    let (ours, its) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut reaper = UnixStream::from_std(ours)?;
    line.send([OwnedFd::from(its), its_stdin, its_stdout, its_stderr]).await?;
    // If the reaper is gone, the report below is missing too.
    let _ = reaper.write_all(&order).await;
    let mut report = [0; ReaperReport::LENGTH];
    if reaper.read_exact(&mut report).await.is_err() {
        return Ok(None);
    }
    match ReaperReport::decode(report) {
        Some(ReaperReport::Started { pid, reaper: reaper_pid, hidden }) => {
            Ok(Some((RunningServer { pid, hidden, reaper, reaper_pid, group }, pipes)))
        }
        Some(ReaperReport::Refused(StartStep::Program, errno)) => {
            Err(io::Error::from_raw_os_error(errno))
        }
        Some(ReaperReport::Refused(StartStep::Sandbox, errno)) => {
            let error = io::Error::from_raw_os_error(errno);
            Err(io::Error::other(format!("its \"sandbox\" cannot be set up: {error}")))
        }
        Some(ReaperReport::Refused(StartStep::Hiding, errno)) => {
            let error = io::Error::from_raw_os_error(errno);
            Err(io::Error::other(format!(
                "the gateway's settings file and data folder cannot be hidden from it ({error}); if \
                 one of them, or a folder above, was moved or removed, restart the gateway"
            )))
        }
        Some(ReaperReport::Refused(StartStep::Wall, errno)) => {
            let error = io::Error::from_raw_os_error(errno);
            Err(io::Error::other(format!(
                "the rules of Landlock that keep it from other processes cannot be set up: {error}"
            )))
        }
        Some(ReaperReport::Refused(StartStep::Exposed, _)) => Err(io::Error::other(
            "\"write\" of its \"sandbox\" names a folder around the gateway's settings file or data \
             folder, which this system does not let the gateway hide; name folders without them",
        )),
        Some(ReaperReport::Exited(_)) | None => Ok(None),
    }
}
