//! One child process: started without blocking the caller, and ended gently at first, then by
//! force.
//!
//! ```text
//! running ── stdin closed ──(2 s)── SIGTERM to all ──(2 s)── SIGKILL to all
//! ```
//!
//! "All" is the child and everything that it has started, at any depth: below `npx`, `uvx` and
//! `sh` the server itself is a grandchild. On Linux the `supervisor` finds them all.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use crate::model::QuotaKey;
use crate::net::is_shortage;
use crate::runner::admission::caps::Permit;
use crate::sync::{Locked, Seldom};

use super::program::{Confinement, Pipes, Program, User};

#[cfg(target_os = "linux")]
use super::supervisor::{RunningServer, Supervised, SupervisorLine};
#[cfg(not(target_os = "linux"))]
use super::unsupervised::{RunningServer, Supervised, SupervisorLine};

/// Between two lines about servers that can read the gateway's own files. The start has named them.
const UNHIDDEN: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot start {command:?}: {reason}")]
pub struct StartError {
    command: String,
    reason: String,
    /// Whether this process or machine lacks what a start takes: no fault of the server.
    pub is_shortage: bool,
}

/// Counts the children that have not ended yet and starts new ones. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Children {
    count: watch::Sender<usize>,
    line: SupervisorLine,
    unhidden: Arc<Seldom>,
    /// Files with secrets of the settings in force, which no child may read.
    secrets: Arc<ArcSwap<Vec<PathBuf>>>,
}

impl Default for Children {
    fn default() -> Self {
        Self {
            count: watch::Sender::new(0),
            line: SupervisorLine::default(),
            unhidden: Arc::new(Seldom::every(UNHIDDEN)),
            secrets: Arc::default(),
        }
    }
}

impl Children {
    #[must_use]
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Notifies of each change of the count.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// Resolves when no child is left, nor anything that they started.
    pub async fn all_ended(&self) {
        // Cannot fail: `self` holds the sender.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Starts the supervisor, which starts the children; until then each start waits. Call it
    /// once, on the main thread's runtime.
    ///
    /// Children get `open_files` as their soft limit of open files; if missing, the gateway's own.
    /// `hidden` are the gateway's own files, which may be hidden from them.
    ///
    /// # Errors
    /// If the supervisor cannot be started.
    pub fn supervise(&self, open_files: Option<u64>, hidden: &[PathBuf]) -> io::Result<Supervised> {
        self.line.supervise(open_files, hidden)
    }

    /// Hides these files, too, from children that are started from now on.
    pub fn hide(&self, files: &[PathBuf]) {
        self.secrets.store(Arc::new(files.to_vec()));
    }

    /// The program, from which all is hidden that is to be.
    fn shielded<'p>(&self, program: &'p Program) -> Cow<'p, Program> {
        let secrets = self.secrets.load();
        if secrets.is_empty() {
            return Cow::Borrowed(program);
        }
        let mut program = program.clone();
        program.hidden.extend(secrets.iter().cloned());
        Cow::Owned(program)
    }

    fn enter(&self) -> CountedChild {
        self.count.send_modify(|count| *count += 1);
        CountedChild(self.clone())
    }
}

/// Counts one child until it is dropped.
struct CountedChild(Children);

impl Drop for CountedChild {
    fn drop(&mut self) {
        self.0.count.send_modify(|count| *count -= 1);
    }
}

/// A handle to a running child. Dropping it ends the child.
pub struct Child {
    pub pid: u32,
    end: Arc<Notify>,
    exit: watch::Receiver<Option<String>>,
    hold: Arc<Hold>,
}

/// The child's place under the process caps, released when nothing of the child is left.
#[derive(Default)]
struct Hold(Locked<ProcessHandle>);

#[derive(Default)]
enum ProcessHandle {
    #[default]
    Nothing,
    Place(Permit),
    Over,
}

impl Hold {
    fn change<T>(&self, change: impl FnOnce(&mut ProcessHandle) -> T) -> T {
        change(&mut self.0.lock())
    }
}

impl Child {
    /// Starts the program; the calling worker's runtime watches it. Dropping the future ends the
    /// child.
    pub async fn start(
        program: &Program,
        children: &Children,
    ) -> Result<(Self, Pipes), StartError> {
        let program = children.shielded(program);
        let program = &*program;
        let place = children.enter();
        let (running, pipes) =
            RunningServer::start(program, &children.line).await.map_err(|error| StartError {
                command: program.command.clone(),
                is_shortage: is_shortage(&error),
                reason: explain(&error, program),
            })?;
        let Confinement { user, sandbox, allow_privileges, .. } = &program.confinement;
        if !running.hidden && !allow_privileges && user.is_none() && sandbox.is_none() {
            let command = &program.command;
            children.unhidden.warn(|| {
                format!("the gateway's own files are not hidden from the server {command:?}")
            });
        }
        let (end, pid) = (Arc::new(Notify::new()), running.pid);
        let (told, exit) = watch::channel(None);
        let (ended, hold) = (Arc::clone(&end), Arc::<Hold>::default());
        let held = Arc::clone(&hold);
        tokio::spawn(async move {
            running.watch_over(&ended, &told).await;
            held.change(|held| *held = ProcessHandle::Over);
            drop(place);
        });
        Ok((Self { pid, end, exit, hold }, pipes))
    }

    /// Keeps the permit until nothing of the child is left.
    pub fn hold(&self, permit: Permit) {
        self.hold.change(|held| {
            if !matches!(held, ProcessHandle::Over) {
                *held = ProcessHandle::Place(permit);
            }
        });
    }

    /// Whom the child counts for; `None` if it is not counted.
    #[must_use]
    pub fn counts_for(&self) -> Option<QuotaKey> {
        self.hold.change(|held| match held {
            ProcessHandle::Place(permit) => Some(permit.key().clone()),
            ProcessHandle::Nothing | ProcessHandle::Over => None,
        })
    }

    /// Starts the shutdown described at the top of this module.
    pub fn end(&self) {
        self.end.notify_one();
        self.hold.change(|held| {
            if let ProcessHandle::Place(permit) = held {
                permit.mark_ending();
            }
        });
    }

    /// How the process ended, once it has; `None` until then.
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

fn explain(error: &io::Error, program: &Program) -> String {
    match error.kind() {
        io::ErrorKind::NotFound if program.cwd.as_ref().is_some_and(|cwd| !cwd.is_dir()) => {
            "its working directory does not exist".to_owned()
        }
        io::ErrorKind::NotFound if is_hidden(&program.command, program) => {
            "its program is one of the gateway's own files, or in its data folder, which servers \
             cannot see; move it elsewhere"
                .to_owned()
        }
        io::ErrorKind::NotFound => {
            "no such program; give its full path, or put its folder on the PATH of the gateway \
             or into the server's \"env\""
                .to_owned()
        }
        // Only changing the user and raising a limit can fail with EPERM; see capabilities(7).
        _ if error.raw_os_error() == Some(libc::EPERM) => refusal(&program.confinement, error),
        // What changing the user fails with where it is none of the user namespace's.
        _ if error.raw_os_error() == Some(libc::EINVAL) => {
            let confinement = &program.confinement;
            confinement.user.as_ref().map_or_else(|| error.to_string(), |user| unknown(user, error))
        }
        _ => error.to_string(),
    }
}

fn is_hidden(command: &str, program: &Program) -> bool {
    let command = std::path::Path::new(command);
    program.hidden.iter().any(|hidden| command.starts_with(hidden))
}

fn unknown(User { uid, gid }: &User, error: &io::Error) -> String {
    format!(
        "the gateway may not switch to user {uid}:{gid} ({error}); if it runs in a container or \
         user namespace, choose a user and a group that exist in there"
    )
}

fn refusal(confinement: &Confinement, error: &io::Error) -> String {
    match &confinement.user {
        Some(User { uid, gid }) if !rustix::process::geteuid().is_root() => format!(
            "the gateway may not switch to user {uid}:{gid}; run the gateway as root, or remove \
             \"user\""
        ),
        _ if has_limits(confinement) => format!(
            "a limit in \"rlimits\" is above the gateway's own limit ({error}); lower it, or raise \
             the gateway's with ulimit"
        ),
        Some(User { uid, gid }) => format!(
            "the gateway may not switch to user {uid}:{gid} ({error}); give it the capabilities \
             SETUID and SETGID, or remove \"user\""
        ),
        None => error.to_string(),
    }
}

fn has_limits(confinement: &Confinement) -> bool {
    let Confinement { memory, files, processes, cpu_seconds, .. } = confinement;
    [memory, files, processes, cpu_seconds].iter().any(|limit| limit.is_some())
}
