//! A reaper: the process between the supervisor and one server.
//!
//! ```text
//! Running ── END ──► Closing ──(2 s)── SIGTERM ──► Terminating ──(2 s)──┐
//!    │ the server has ended │                          │ all have ended │
//!    └──────────────────────┴──────────► killing ◄─────┴────────────────┘
//! ```
//!
//! Everything that the server starts stays below its reaper, a child subreaper, so `npx`, `sh -c`,
//! background jobs and daemons end with the server. In any state killing starts at once when the
//! gateway's socket or the supervisor's pipe closes, which the kernel does however they die.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::process::{self, Pid, Signal};

use crate::runner::process::program::{AFTER_EOF, AFTER_TERM, User};

use super::below::{self, Left};
use super::cgroup;
use super::confine::{self, StartFailure};
use super::hiding::Hiding;
use super::protocol::{END, ReaperReport, StartOrder, StartStep};
use super::system::{PARENT_GONE, REAPER, Signals, wait_for};

/// The descriptors that the gateway hands over to start a server.
pub struct Charge {
    /// The reaper's socket to the gateway.
    pub control: OwnedFd,
    /// The server's ends: stdin, stdout, stderr.
    pub pipes: [OwnedFd; 3],
}

#[derive(Clone, Copy)]
enum ReaperStage {
    Running,
    /// The gateway has closed the server's stdin; SIGTERM follows at this time.
    Closing(Instant),
    /// SIGTERM was sent to all; SIGKILL follows at this time.
    Terminating(Instant),
}

impl ReaperStage {
    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Running => None,
            Self::Closing(until) | Self::Terminating(until) => Some(until),
        }
    }
}

struct Reaper {
    control: UnixStream,
    /// The read end of a pipe that closes when the supervisor dies.
    supervisor: OwnedFd,
    signals: Signals,
    /// The server, until it has been reaped.
    server: Option<Pid>,
}

/// Runs one server; returns when nothing of it is left.
pub fn run(charge: Charge, supervisor: OwnedFd, hiding: Option<&Hiding>) -> io::Result<()> {
    let _ = rustix::thread::set_name(REAPER);
    let own = process::getpid();
    process::set_child_subreaper(Some(own))?;
    let signals = Signals::take_over()?;
    let mut control = UnixStream::from(charge.control);
    let order = StartOrder::read(&mut control)?;
    let hidden = match hide(&order, hiding) {
        Ok(hidden) => hidden,
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::ENOENT);
            return control.write_all(&ReaperReport::Refused(StartStep::Hiding, errno).encode());
        }
    };
    // Entering namespaces has reset it. If the supervisor died before, its pipe tells.
    process::set_parent_process_death_signal(Some(PARENT_GONE))?;
    let group = order.group.clone();
    let server = match confine::start(&order, charge.pipes, own, hidden) {
        Ok(server) => server,
        Err(StartFailure(step, error)) => {
            group.as_deref().inspect(|group| cgroup::remove(group));
            let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
            return control.write_all(&ReaperReport::Refused(step, errno).encode());
        }
    };
    drop(order);
    let mut reaper = Reaper { control, supervisor, signals, server: Some(server) };
    let pid = server.as_raw_nonzero().get().unsigned_abs();
    let own = own.as_raw_nonzero().get().unsigned_abs();
    reaper.tell(ReaperReport::Started { pid, reaper: own, hidden });
    reaper.watch_over();
    let Reaper { control, signals, server, .. } = &mut reaper;
    below::kill_all(signals, |pid, status| report_exit(control, server, pid, status));
    group.as_deref().inspect(|group| cgroup::remove(group));
    Ok(())
}

/// Hides the gateway's own files from what this process starts; false where that is not possible,
/// or not asked for. What is possible and fails must not start.
fn hide(order: &StartOrder, hiding: Option<&Hiding>) -> io::Result<bool> {
    let Some(hiding) = hiding else { return Ok(false) };
    let user = order.confinement.user.as_ref();
    let keeps_its_user = user.is_none_or(is_own) || hiding.keeps_users();
    if order.confinement.allow_privileges || !keeps_its_user {
        return Ok(false);
    }
    hiding.hide(&order.hidden).map(|()| true)
}

/// Whether the entry names the user that the gateway has anyway.
fn is_own(user: &User) -> bool {
    let (own, group) = (process::geteuid().as_raw(), process::getegid().as_raw());
    (user.uid, user.gid) == (own, group)
}

impl Reaper {
    /// Returns when nothing is left, or when what is left must be killed.
    fn watch_over(&mut self) {
        let mut stage = ReaperStage::Running;
        loop {
            let timeout =
                stage.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let fds = [self.control.as_fd(), self.supervisor.as_fd(), self.signals.fd()];
            let [spoken, supervisor_gone, _] = wait_for(fds, timeout);
            if supervisor_gone || self.signals.take().parent_gone {
                return;
            }
            let left = self.reap();
            let wrapper_waits = matches!(stage, ReaperStage::Terminating(_));
            // A wrapper such as `npx` may die of SIGTERM while the server is still saving: wait.
            if left == Left::Nobody || (self.server.is_none() && !wrapper_waits) {
                return;
            }
            if spoken {
                match (self.read_order(), stage) {
                    (false, _) => return,
                    (true, ReaperStage::Running) => stage = ReaperStage::Closing(after(AFTER_EOF)),
                    (true, _) => {}
                }
            }
            if stage.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
                if wrapper_waits {
                    return;
                }
                below::signal_all(Signal::TERM, |_| false);
                stage = ReaperStage::Terminating(after(AFTER_TERM));
            }
        }
    }

    /// Whether END was sent. Otherwise the gateway has closed the socket: kill now.
    fn read_order(&mut self) -> bool {
        let mut byte = [0];
        matches!(self.control.read(&mut byte), Ok(1)) && byte == [END]
    }

    fn reap(&mut self) -> Left {
        let Self { control, server, .. } = self;
        below::reap(|pid, status| report_exit(control, server, pid, status))
    }

    fn tell(&mut self, report: ReaperReport) {
        tell(&mut self.control, report);
    }
}

fn report_exit(control: &mut UnixStream, server: &mut Option<Pid>, pid: Pid, status: i32) {
    if *server == Some(pid) {
        *server = None;
        tell(control, ReaperReport::Exited(status));
    }
}

/// Sends a report; the error of a gateway that is gone is ignored.
fn tell(control: &mut UnixStream, report: ReaperReport) {
    let _ = control.write_all(&report.encode());
}

fn after(time: Duration) -> Instant {
    Instant::now() + time
}
