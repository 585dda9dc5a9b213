//! Idle connections: kept for the next request to the same target, and closed before their server
//! would close them.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::{Arc, MutexGuard, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::sync::Locked;

use super::socket::Socket;
use super::target::{OwnHash, Target};

/// How often idle connections are checked. The count of sweeps is the pool's clock, so that
/// calls need not read the time.
const SWEEP: Duration = Duration::from_secs(1);

/// How long a connection rests at most: with the sweep's second less than 4 s, which is below the
/// idle timeouts of common servers (Node's is 5 s).
pub const USUAL_REST: Duration = Duration::from_secs(3);

/// The most idle connections to one target in one worker's pool; further ones are closed.
const MAX_IDLE_CONNECTIONS: usize = 256;

struct Idle {
    socket: Box<Socket>,
    /// The count of sweeps when it came.
    since: u32,
}

/// The connections to one target.
#[derive(Default)]
struct AtTarget {
    idle: Vec<Idle>,
    /// When a response of it ended; `None` where nobody asks for that.
    heard: Option<Instant>,
}

#[derive(Default)]
struct Resting {
    idle: HashMap<Target, AtTarget, BuildHasherDefault<OwnHash>>,
    /// Whether a task is there that closes those that rest for too long.
    is_swept: bool,
    /// Sweeps so far.
    sweeps: u32,
    /// The longest rest, in sweeps.
    max_sweeps: u32,
    /// That of the introductions of all that rest.
    epoch: u64,
}

/// The idle connections of one pool.
pub struct IdleConnections(Locked<Resting>);

impl IdleConnections {
    /// `longest` is how long a connection may rest; fractions of a second are dropped.
    #[must_use]
    pub fn new(longest: Duration) -> Self {
        let max_sweeps = u32::try_from(longest.as_secs()).unwrap_or(u32::MAX);
        Self(Locked::new(Resting { max_sweeps, ..Resting::default() }))
    }

    /// The number of idle connections.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.lock().idle.values().map(|at| at.idle.len()).sum()
    }

    /// Whether any of them is still open, as far as this side knows.
    #[cfg(test)]
    pub fn has_open(&self) -> bool {
        let mut resting = self.lock();
        let mut all = resting.idle.values_mut().flat_map(|at| &mut at.idle);
        all.any(|idle| idle.socket.probe_rest())
    }

    /// Whether a task sweeps them.
    #[cfg(test)]
    pub fn is_swept(&self) -> bool {
        self.lock().is_swept
    }

    fn lock(&self) -> MutexGuard<'_, Resting> {
        self.0.lock()
    }

    /// The connection to the target that was used last, and when the target was heard last, if
    /// that is noted. Those of an earlier epoch are closed.
    pub fn pop(&self, target: &Target, epoch: u64) -> Option<(Box<Socket>, Option<Instant>)> {
        let mut resting = self.lock();
        if resting.epoch < epoch {
            resting.epoch = epoch;
            let earlier = std::mem::take(&mut resting.idle);
            drop(resting);
            // Closing is a system call, so not under the lock.
            drop(earlier);
            return None;
        }
        let at = resting.idle.get_mut(target)?;
        at.idle.pop().map(|idle| (idle.socket, at.heard))
    }

    /// Closes the connections to the target.
    pub fn forget(&self, target: &Target) {
        let forgotten = self.lock().idle.remove(target);
        // Closing is a system call, so not under the lock.
        drop(forgotten);
    }

    fn put(self: &Arc<Self>, home: &Home, mut socket: Box<Socket>) {
        let Home { target, epoch, .. } = home;
        let heard = home.notes_time.then(Instant::now);
        socket.rest();
        let mut resting = self.lock();
        // It may lead to another process than it would now.
        if *epoch < resting.epoch {
            drop(resting);
            return;
        }
        let since = resting.sweeps;
        let at = match resting.idle.get_mut(target) {
            Some(at) => at,
            None => resting.idle.entry(target.clone()).or_default(),
        };
        at.heard = heard;
        if at.idle.len() < MAX_IDLE_CONNECTIONS {
            at.idle.push(Idle { socket, since });
        }
        let is_swept = std::mem::replace(&mut resting.is_swept, true);
        drop(resting);
        if !is_swept {
            let sweeping = Sweeping(Some(Arc::downgrade(self)));
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(sweep(sweeping));
            }
        }
    }
}

/// Closes connections that rest for too long, until none are left. Nothing else reads from an
/// idle connection, so nothing else would see that its server has closed it.
async fn sweep(mut sweeping: Sweeping) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(shared) = sweeping.0.as_ref().and_then(Weak::upgrade) else { return };
        let mut closed = Vec::new();
        let mut resting = shared.lock();
        let Resting { idle, sweeps, max_sweeps, .. } = &mut *resting;
        *sweeps = sweeps.wrapping_add(1);
        idle.retain(|_, at| {
            let is_old = |idle: &mut Idle| sweeps.wrapping_sub(idle.since) > *max_sweeps;
            closed.extend(at.idle.extract_if(.., is_old));
            !at.idle.is_empty()
        });
        if idle.is_empty() {
            resting.is_swept = false;
            // From here on, another task may sweep.
            sweeping.0 = None;
            return;
        }
        drop(resting);
        // Closing is a system call, so not under the lock.
        drop(closed);
    }
}

/// Marks the pool as not swept if the task ends with its runtime.
struct Sweeping(Option<Weak<IdleConnections>>);

impl Drop for Sweeping {
    fn drop(&mut self) {
        if let Some(shared) = self.0.as_ref().and_then(Weak::upgrade) {
            shared.lock().is_swept = false;
        }
    }
}

/// Where a connection goes back to after its exchange.
pub struct Home {
    /// The pool that it came from.
    pub idle: Arc<IdleConnections>,
    /// The target that it is connected to.
    pub target: Target,
    /// That of its introduction, or an earlier one.
    pub epoch: u64,
    /// Whether the pool wants to know when the target was heard last.
    pub notes_time: bool,
}

impl Home {
    /// Puts a connection to rest on which nothing is left to read or to write.
    pub fn take_back(&self, socket: Box<Socket>) {
        self.idle.put(self, socket);
    }
}
