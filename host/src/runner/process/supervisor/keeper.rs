//! The gateway's side: starts the supervisor, hands servers over to it, and starts another one
//! when it dies.
//!
//! Workers send the servers to start through a [`SupervisorLine`]; one task on the control runtime
//! owns the supervisor's socket. No worker thread ever blocks.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::sync::Locked;

use super::cgroup::{ControlGroup, ControlGroups};
use super::environment::DUMPABLE;
use super::held;
use super::hiding::HeldFile;
use super::{ARGUMENT, DESCRIPTORS, OPEN_FILES};

/// The running executable, even if its file has been replaced since.
pub const OWN_PROGRAM: &str = "/proc/self/exe";
/// Servers that may wait for the supervisor; beyond this the worker's task waits.
const QUEUE: usize = 256;
/// A supervisor that lived shorter is restarted only after `PAUSE`.
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// Pause before the next attempt to start a supervisor.
const PAUSE: Duration = Duration::from_millis(500);
/// Pause while the kernel refuses to carry more descriptors, until some have been received.
const CONGESTED: Duration = Duration::from_millis(2);
/// Longest wait for the supervisor at shutdown. Killing what is left takes milliseconds.
const END: Duration = Duration::from_secs(2);

/// A server's descriptors: its reaper's socket, stdin, stdout, stderr.
pub type Charged = [OwnedFd; DESCRIPTORS];

/// Sends servers to the supervisor that runs at the moment. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct SupervisorLine {
    charges: mpsc::Sender<Charged>,
    // Taken once, by `supervise`.
    queue: Arc<Locked<Option<mpsc::Receiver<Charged>>>>,
    /// Set by `supervise`; missing where no control groups are delegated.
    groups: Arc<OnceLock<ControlGroups>>,
}

impl Default for SupervisorLine {
    fn default() -> Self {
        let (charges, queue) = mpsc::channel(QUEUE);
        let queue = Arc::new(Locked::new(Some(queue)));
        Self { charges, queue, groups: Arc::default() }
    }
}

impl SupervisorLine {
    /// Queues a server to be started. The reaper reports on the server's socket, which closes if
    /// nothing was started.
    pub(super) async fn send(&self, charge: Charged) -> io::Result<()> {
        let gone = |_| io::Error::other("the gateway is shutting down");
        self.charges.send(charge).await.map_err(gone)
    }

    /// A control group for a new server, where the gateway can make some.
    pub(super) fn group(&self) -> Option<ControlGroup> {
        self.groups.get().map(ControlGroups::group)
    }

    /// Starts the supervisor and keeps one running. Call it once, on the main thread's runtime.
    /// Servers get `open_files` as their soft limit; if missing, the gateway's. `hidden` is held
    /// wherever it is moved from here on.
    pub fn supervise(&self, open_files: Option<u64>, hidden: &[PathBuf]) -> io::Result<Supervised> {
        match ControlGroups::open() {
            Ok(groups) => drop(self.groups.set(groups)),
            Err(why) => tracing::debug!("servers get no control groups: {why}"),
        }
        let queue = self.queue.lock().take();
        let queue = queue.ok_or_else(|| io::Error::other("the supervisor is already running"))?;
        let hidden = hidden.iter().filter(|path| path.exists());
        let held = hidden.map(|path| HeldFile::hold(path)).collect::<io::Result<_>>()?;
        let equipment = Equipment { open_files, held };
        let first = RunningSupervisor::start(&equipment)?;
        let (stop, stopped) = oneshot::channel();
        let keeper = Keeper { queue, waiting: None, equipment };
        let task = tokio::spawn(keeper.keep(first, stopped));
        Ok(Supervised { stop, task, groups: Arc::clone(&self.groups) })
    }
}

/// The running supervisor. Dropping it ends the supervisor without waiting.
pub struct Supervised {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    groups: Arc<OnceLock<ControlGroups>>,
}

impl Supervised {
    /// Ends the supervisor and everything still below it.
    pub async fn end(self) {
        let _ = self.stop.send(());
        let _ = tokio::time::timeout(END, self.task).await;
        self.groups.get().inspect(|groups| groups.close());
    }
}

struct Keeper {
    queue: mpsc::Receiver<Charged>,
    /// Taken from the queue and not handed over yet.
    waiting: Option<Charged>,
    equipment: Equipment,
}

/// What each supervisor gets at its start.
struct Equipment {
    open_files: Option<u64>,
    held: Vec<HeldFile>,
}

impl Keeper {
    async fn keep(mut self, first: RunningSupervisor, mut stopped: oneshot::Receiver<()>) {
        let mut supervisor = first;
        loop {
            let why = tokio::select! {
                why = self.serve(&mut supervisor) => why,
                _ = &mut stopped => return supervisor.end().await,
            };
            tracing::error!(
                "the supervisor of the server processes has died ({why}): they end with it, and \
                 another supervisor is started"
            );
            if supervisor.since.elapsed() < SHORT_LIFE {
                tokio::time::sleep(PAUSE).await;
            }
            supervisor = started_again(&self.equipment).await;
        }
    }

    /// Hands servers over until the supervisor dies; returns how it died.
    async fn serve(&mut self, supervisor: &mut RunningSupervisor) -> String {
        loop {
            if self.waiting.is_none() {
                tokio::select! {
                    how = supervisor.death() => return how,
                    Some(charge) = self.queue.recv() => self.waiting = Some(charge),
                }
            }
            if let Some(charge) = &self.waiting {
                match supervisor.hand_over(charge).await {
                    Ok(()) => self.waiting = None,
                    // Keeps `waiting`: it goes to the next supervisor.
                    Err(error) if is_death(&error) => return supervisor.death().await,
                    Err(error) => {
                        tracing::error!("cannot hand a server over to the supervisor: {error}");
                        self.waiting = None;
                    }
                }
            }
        }
    }
}

struct RunningSupervisor {
    process: Child,
    socket: UnixStream,
    since: Instant,
}

impl RunningSupervisor {
    fn start(equipment: &Equipment) -> io::Result<Self> {
        let (ours, its) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = std::process::Command::new(OWN_PROGRAM);
        // Neither the supervisor nor the reapers need the gateway's secrets.
        command.arg0("mooring").arg(ARGUMENT).args(held::names(&equipment.held)).env_clear();
        held::send(&ours, &equipment.held)?;
        if let Some(value) = std::env::var_os(DUMPABLE) {
            command.env(DUMPABLE, value);
        }
        if let Some(open_files) = equipment.open_files {
            command.env(OPEN_FILES, open_files.to_string());
        }
        command.stdin(OwnedFd::from(its)).stdout(Stdio::null());
        let process = Command::from(command).spawn().map_err(named)?;
        let socket = UnixStream::from_std(ours)?;
        Ok(Self { process, socket, since: Instant::now() })
    }

    async fn hand_over(&self, charge: &Charged) -> io::Result<()> {
        loop {
            self.socket.writable().await?;
            match self.socket.try_io(Interest::WRITABLE, || send(&self.socket, charge)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if is_congestion(&error) => tokio::time::sleep(CONGESTED).await,
                done => return done,
            }
        }
    }

    async fn death(&mut self) -> String {
        match self.process.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    async fn end(self) {
        let Self { mut process, socket, .. } = self;
        drop(socket);
        let _ = process.wait().await;
    }
}

/// The error, with what this root file system lacks: an empty one has nothing but the program.
fn named(error: io::Error) -> io::Error {
    let missing = [OWN_PROGRAM, "/dev/null"].into_iter().find(|path| !Path::new(path).exists());
    match missing {
        Some(path) => io::Error::new(
            error.kind(),
            format!("there is no {path}: mount /proc and /dev, as every container engine does"),
        ),
        None => error,
    }
}

fn send(socket: &UnixStream, charge: &Charged) -> io::Result<()> {
    let descriptors = charge.each_ref().map(|fd| fd.as_fd());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    // Descriptors travel with at least one byte; the supervisor reads one byte at a time.
    sendmsg(socket, &[IoSlice::new(b"s")], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn is_death(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected)
}

/// Whether the kernel's limit on descriptors sent and not yet received is reached.
fn is_congestion(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    [Errno::TOOMANYREFS, Errno::NOBUFS].iter().any(|known| errno == Some(known.raw_os_error()))
}

async fn started_again(equipment: &Equipment) -> RunningSupervisor {
    loop {
        match RunningSupervisor::start(equipment) {
            Ok(supervisor) => return supervisor,
            Err(error) => {
                tracing::error!(
                    "cannot start the supervisor, so no server can run; trying again: {error}"
                );
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
