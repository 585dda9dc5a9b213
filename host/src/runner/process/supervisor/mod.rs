//! Ends everything that a server has started together with the server, whichever process dies.
//!
//! ```text
//! gateway ──► supervisor ──┬─► reaper ─► server ─► what it starts
//!    │ ▲                   └─► reaper ─► sh ─► npx ─► server
//!    │ └─ one socket each ───────┘
//!    └─── one socket
//! ```
//!
//! - The *supervisor* is this executable, started a second time with one thread and little
//!   memory, so that a fork never stalls a worker. All it does is fork: it receives a server's
//!   descriptors and forks a reaper that owns them.
//! - A *reaper* runs one server. It is a child subreaper: everything that the server starts stays
//!   below it, even after a double fork or `setsid`.
//! - Each reaper has its own socket to the gateway. So the supervisor relays nothing, parses
//!   nothing and cannot be blocked, and the worker that started a server gets the reports on it
//!   directly.
//!
//! | killed with SIGKILL | what happens |
//! |---|---|
//! | server | its reaper kills what is left below it, and ends |
//! | reaper, or stopped for good | the kernel kills the server; the supervisor inherits the rest and kills it |
//! | supervisor | every reaper's pipe closes: each kills what is below it; the gateway starts another supervisor |
//! | gateway | all sockets close: reapers and supervisor kill what is below them, and end |
//! | supervisor and all reapers | the kernel kills the servers; the gateway kills the rest by their control groups, where it has some |
//! | all of them | the kernel kills the servers; the next gateway ends the rest, where it has control groups |

mod below;
mod cgroup;
mod client;
mod confine;
mod environment;
mod held;
mod hiding;
mod keeper;
mod landlock;
mod namespace;
mod protocol;
mod reaper;
mod system;
mod walls;

pub use client::RunningServer;
pub use environment::{forget_variables, guard_memory};
pub use keeper::{Supervised, SupervisorLine};
pub use walls::walls;

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::Context as _;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SocketType, recvmsg, sockopt,
};
use rustix::process::{self, Pid, Resource, Rlimit, Signal};

use crate::model::visible::visible;

use self::hiding::Hiding;
use self::protocol::{ReaperReport, StartStep};
use self::reaper::Charge;
use self::system::{Fork, Signals, wait_for};

/// The only argument of a supervisor's command line; the gateway passes it, not a user.
const ARGUMENT: &str = "--supervise-children";
/// Set by the gateway for its supervisor: the soft limit of open files that servers get.
const OPEN_FILES: &str = "MOORING_SERVER_FILES";
/// Descriptors of one server: its reaper's socket, stdin, stdout and stderr.
const DESCRIPTORS: usize = 4;
/// Bytes of an error that is written to stderr.
const MAX_WHY: usize = 1024;

/// Runs the supervisor if this process was started as one; otherwise `None`. Call it first in
/// `main`, before there is a second thread.
#[must_use]
pub fn supervise_if_asked() -> Option<ExitCode> {
    if let Some(code) = walls::try_if_asked() {
        return Some(code);
    }
    let mut args = std::env::args_os().skip(1);
    if args.next()? != ARGUMENT {
        return None;
    }
    match supervise(args) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            // Plain text: only the gateway knows the configured log format.
            let why = format!("{error:#}");
            let why = visible(&why, MAX_WHY);
            let _ = writeln!(std::io::stderr(), "mooring: supervisor: {why}");
            Some(ExitCode::FAILURE)
        }
    }
}

struct Supervisor {
    /// Connects to the gateway. End-of-file means that the gateway is gone.
    socket: OwnedFd,
    signals: Signals,
    /// A pipe: reapers hold its read end, which signals when the supervisor dies.
    alive: (OwnedFd, OwnedFd),
    reapers: HashSet<Pid>,
    /// Missing where this system lets no files be hidden.
    hiding: Option<Hiding>,
}

/// `args` name the gateway's own files.
fn supervise(args: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    system::close_all_but_standard_streams();
    let socket = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)
        .context("duplicate the gateway's socket")?;
    if sockopt::socket_type(&socket) != Ok(SocketType::STREAM) {
        anyhow::bail!("{ARGUMENT} is internal: mooring itself starts this process");
    }
    system::empty_standard_input().context("replace standard input")?;
    restore_open_files();
    // Ctrl-C in a terminal must reach only the gateway, which then ends the rest in order.
    process::setsid().context("start a process session")?;
    process::set_child_subreaper(Some(process::getpid())).context("become a child subreaper")?;
    let held = held::receive(&socket, args).context("take over the gateway's own files")?;
    // Before the signals, since it ends children of its own.
    let hiding = Hiding::find(held).ok();
    let signals = Signals::take_over().context("take over signals")?;
    let alive =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("create a pipe")?;
    let reapers = HashSet::new();
    let mut supervisor = Supervisor { socket, signals, alive, reapers, hiding };
    while let Some(charge) = supervisor.next_charge() {
        supervisor = supervisor.fork_reaper(charge)?;
    }
    below::kill_all(&supervisor.signals, |_, _| {});
    Ok(())
}

/// Takes back what the gateway has changed in its own limit of open files. Servers inherit it.
fn restore_open_files() {
    let soft = std::env::var(OPEN_FILES).ok().and_then(|text| text.parse().ok());
    if let Some(soft) = soft {
        let Rlimit { maximum, .. } = process::getrlimit(Resource::Nofile);
        let soft = maximum.map_or(soft, |most: u64| most.min(soft));
        // Lowering a soft limit is always allowed.
        let _ = process::setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum });
    }
}

impl Supervisor {
    /// Waits for the next server to start; `None` if the gateway is gone.
    fn next_charge(&mut self) -> Option<Charge> {
        loop {
            let [spoken, signalled] = wait_for([self.socket.as_fd(), self.signals.fd()], None);
            if signalled && self.signals.take().child {
                self.reap();
            }
            if spoken {
                match self.receive() {
                    Ok(ReceivedOrder::Charge(charge)) => return Some(charge),
                    Ok(ReceivedOrder::Nothing) => {}
                    Err(GatewayGone) => return None,
                }
            }
        }
    }

    /// Reaps ended children. A reaper exits with 0 when nothing is left below it. If one was
    /// killed, its descendants are children of the supervisor now and are killed here.
    fn reap(&mut self) {
        let mut strays = false;
        below::reap_and_kill_stopped(|pid, status| {
            let is_reaper = self.reapers.remove(&pid);
            strays |= !is_reaper || status != 0;
        });
        if strays {
            below::signal_all(Signal::KILL, |pid| self.reapers.contains(&pid));
        }
    }

    fn receive(&self) -> Result<ReceivedOrder, GatewayGone> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut slices = [IoSliceMut::new(&mut byte)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let message = match recvmsg(&self.socket, &mut slices, &mut ancillary, flags) {
            Ok(message) if message.bytes == 0 => return Err(GatewayGone),
            Ok(message) => message,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                return Ok(ReceivedOrder::Nothing);
            }
            Err(_) => return Err(GatewayGone),
        };
        if message.flags.contains(ReturnFlags::CTRUNC) {
            // Too few free descriptors in this process. Those received are closed, which shows
            // the gateway that nothing was started.
            return Ok(ReceivedOrder::Nothing);
        }
        let mut descriptors = Vec::with_capacity(DESCRIPTORS);
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        Ok(match <[OwnedFd; DESCRIPTORS]>::try_from(descriptors) {
            Ok([control, stdin, stdout, stderr]) => {
                ReceivedOrder::Charge(Charge { control, pipes: [stdin, stdout, stderr] })
            }
            Err(_) => ReceivedOrder::Nothing,
        })
    }

    /// Forks a reaper. Returns the supervisor in this process; never returns in the new one.
    fn fork_reaper(mut self, charge: Charge) -> anyhow::Result<Self> {
        match system::fork() {
            Ok(Fork::Parent(reaper)) => {
                self.reapers.insert(reaper);
                Ok(self)
            }
            Ok(Fork::Child) => {
                let (supervisor, held) = self.alive;
                // A reaper that held these would keep them open after the supervisor's death.
                drop((self.socket, self.signals, self.reapers, held));
                reaper::run(charge, supervisor, self.hiding.as_ref())?;
                std::process::exit(0);
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EAGAIN);
                let mut control = UnixStream::from(charge.control);
                let _ =
                    control.write_all(&ReaperReport::Refused(StartStep::Program, errno).encode());
                Ok(self)
            }
        }
    }
}

enum ReceivedOrder {
    Charge(Charge),
    /// No message yet, or one without all descriptors.
    Nothing,
}

/// The gateway has closed its end.
struct GatewayGone;
