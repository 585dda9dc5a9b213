//! Connections at rest: kept for the next request to the same target, closed before their
//! server would close them.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use super::socket::Socket;
use super::target::{OwnHash, Target};

/// How often it is looked for them: the pool's clock, which calls need not read.
const SWEEP: Duration = Duration::from_secs(1);

/// A connection rests for less than 4 s, which is shorter than the idle timeouts of
/// common servers: Node's is 5 s.
pub const USUAL_REST: Duration = Duration::from_secs(3);

/// Idle connections kept for one target, by worker.
const MAX_IDLE_CONNECTIONS: usize = 256;

struct Idle {
    socket: Box<Socket>,
    since: u32,
}

#[derive(Default)]
struct Resting {
    idle: HashMap<Target, Vec<Idle>, BuildHasherDefault<OwnHash>>,
    /// Whether a task closes those that nobody takes again.
    is_swept: bool,
    sweeps: u32,
    /// The longest rest.
    max_sweeps: u32,
}

/// The connections at rest of one pool.
pub struct IdleConnections(Mutex<Resting>);

impl IdleConnections {
    /// Connections rest so long at most, in whole seconds.
    #[must_use]
    pub fn new(longest: Duration) -> Self {
        let max_sweeps = u32::try_from(longest.as_secs()).unwrap_or(u32::MAX);
        Self(Mutex::new(Resting { max_sweeps, ..Resting::default() }))
    }

    /// How many connections rest.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.lock().idle.values().map(Vec::len).sum()
    }

    /// Whether any of them is still open at the other side, as far as is known here.
    #[cfg(test)]
    pub fn has_open(&self) -> bool {
        let mut resting = self.lock();
        resting.idle.values_mut().flatten().any(|idle| idle.socket.is_at_rest())
    }

    #[cfg(test)]
    pub fn is_swept(&self) -> bool {
        self.lock().is_swept
    }

    fn lock(&self) -> MutexGuard<'_, Resting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last.
    pub fn pop(&self, target: &Target) -> Option<Box<Socket>> {
        self.lock().idle.get_mut(target)?.pop().map(|idle| idle.socket)
    }

    fn put(self: &Arc<Self>, target: &Target, mut socket: Box<Socket>) {
        socket.rest();
        let mut resting = self.lock();
        let since = resting.sweeps;
        let idle = match resting.idle.get_mut(target) {
            Some(idle) => idle,
            None => resting.idle.entry(target.clone()).or_default(),
        };
        if idle.len() < MAX_IDLE_CONNECTIONS {
            idle.push(Idle { socket, since });
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

/// Closes connections that rest for too long, until there are none: nobody else
/// reads from one that rests, and would see that its server has closed it.
async fn sweep(mut sweeping: Sweeping) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(shared) = sweeping.0.as_ref().and_then(Weak::upgrade) else { return };
        let mut closed = Vec::new();
        let mut resting = shared.lock();
        let Resting { idle, sweeps, max_sweeps, .. } = &mut *resting;
        *sweeps = sweeps.wrapping_add(1);
        idle.retain(|_, idle| {
            let is_old = |idle: &mut Idle| sweeps.wrapping_sub(idle.since) > *max_sweeps;
            closed.extend(idle.extract_if(.., is_old));
            !idle.is_empty()
        });
        if idle.is_empty() {
            resting.is_swept = false;
            // From here on another task may sweep.
            sweeping.0 = None;
            return;
        }
        drop(resting);
        // Closing is a system call: not under the lock.
        drop(closed);
    }
}

/// Says so if the task ends with its runtime.
struct Sweeping(Option<Weak<IdleConnections>>);

impl Drop for Sweeping {
    fn drop(&mut self) {
        if let Some(shared) = self.0.as_ref().and_then(Weak::upgrade) {
            shared.lock().is_swept = false;
        }
    }
}

/// Where a connection belongs.
pub struct Home {
    pub idle: Arc<IdleConnections>,
    pub target: Target,
}

impl Home {
    pub fn take_back(&self, socket: Box<Socket>) {
        self.idle.put(&self.target, socket);
    }
}
