//! One child process: started without blocking the caller, ended gently and
//! surely.
//!
//! ```text
//! running ── stdin closed ──(2 s)── SIGTERM to all ──(2 s)── SIGKILL to all
//! ```
//!
//! "All" is everything that the child has started, at any depth: `npx`, `uvx`
//! and `sh` leave the server itself further down. On Linux the `supervisor` sees
//! to that.

use std::io;
use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::model::Principal;
use crate::runner::admission::caps::Permit;
use crate::sync::Locked;

use super::program::{Confinement, Pipes, Program, User};

#[cfg(target_os = "linux")]
use super::supervisor::{RunningServer, Supervised, SupervisorLine};
#[cfg(not(target_os = "linux"))]
use super::unsupervised::{RunningServer, Supervised, SupervisorLine};

#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot start {command:?}: {reason}")]
pub struct StartError {
    command: String,
    reason: String,
}

/// The children that have not ended yet. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Children {
    count: watch::Sender<usize>,
    line: SupervisorLine,
}

impl Default for Children {
    fn default() -> Self {
        Self { count: watch::Sender::new(0), line: SupervisorLine::default() }
    }
}

impl Children {
    #[must_use]
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Changes of the count.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// Resolves when the last one has ended, and all that they had started.
    pub async fn all_ended(&self) {
        // The sender is in self: it cannot be gone.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Starts what starts children; until then each waits. To be called once,
    /// on the main thread's runtime.
    ///
    /// # Errors
    /// If the supervisor cannot be started.
    pub fn supervise(&self) -> io::Result<Supervised> {
        self.line.supervise()
    }

    fn enter(&self) -> CountedChild {
        self.count.send_modify(|count| *count += 1);
        CountedChild(self.clone())
    }
}

/// Counts a child, on whatever path it ends.
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

/// The place that a child takes up, given back when nothing is left of it.
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
    /// Starts the program; the calling worker's runtime watches it. If the
    /// future is dropped, so is the child.
    pub async fn start(
        program: &Program,
        children: &Children,
    ) -> Result<(Self, Pipes), StartError> {
        let place = children.enter();
        let (running, pipes) =
            RunningServer::start(program, &children.line).await.map_err(|error| StartError {
                command: program.command.clone(),
                reason: explain(&error, program),
            })?;
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

    /// Has the child take up a place for as long as anything is left of it.
    pub fn hold(&self, permit: Permit) {
        self.hold.change(|held| {
            if !matches!(held, ProcessHandle::Over) {
                *held = ProcessHandle::Place(permit);
            }
        });
    }

    /// Whether it takes up a place of this principal's.
    #[must_use]
    pub fn is_of(&self, principal: &Principal) -> bool {
        self.hold
            .change(|held| matches!(held, ProcessHandle::Place(permit) if permit.is_of(principal)))
    }

    /// Begins the end, of which the module's head tells.
    pub fn end(&self) {
        self.end.notify_one();
        self.hold.change(|held| {
            if let ProcessHandle::Place(permit) = held {
                permit.mark_ending();
            }
        });
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

fn explain(error: &io::Error, program: &Program) -> String {
    match error.kind() {
        io::ErrorKind::NotFound if program.cwd.as_ref().is_some_and(|cwd| !cwd.is_dir()) => {
            "its working directory does not exist".to_owned()
        }
        io::ErrorKind::NotFound => {
            "no such program; give its full path, or put its folder on the PATH of the gateway \
             or into the server's \"env\""
                .to_owned()
        }
        // Only a change of the user and a raised limit give EPERM; see capabilities(7).
        _ if error.raw_os_error() == Some(libc::EPERM) => refusal(&program.confinement, error),
        _ => error.to_string(),
    }
}

fn refusal(confinement: &Confinement, error: &io::Error) -> String {
    match &confinement.user {
        Some(User { uid, gid }) if !rustix::process::geteuid().is_root() => format!(
            "it may not become user {uid}:{gid}; run the gateway as root, or take \"user\" out"
        ),
        _ if *confinement != Confinement::default() => format!(
            "a limit in \"rlimits\" is above what the gateway itself may have ({error}); lower \
             it, or raise the gateway's with ulimit"
        ),
        _ => error.to_string(),
    }
}
