//! What the request path leaves behind, done by a thread of its own: instances
//! to throw away and to replace, and snapshots that were swapped out.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::instance::Instance;
use super::pool::Pool;
use super::snapshot::Snapshot;
use super::stats::Counters;

/// How often it looks whether a retired snapshot is still read.
const SWEEP: Duration = Duration::from_millis(20);

/// After a failed replacement, so that a plugin that no longer starts does not
/// keep a core busy.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) enum Chore {
    /// Give the worker's shard a fresh instance.
    Refill { pool: Weak<Pool>, worker: usize, broken: Option<Instance> },
    /// Drop it once nobody reads it any more: dropping a pool takes longer than
    /// the request that happens to be its last reader should wait.
    Retire(Arc<Snapshot>),
}

/// The thread ends when this is dropped.
pub(super) struct Janitor(Sender<Chore>);

impl Janitor {
    pub(super) fn start(counters: Arc<Counters>) -> io::Result<Self> {
        let (sender, chores) = channel();
        thread::Builder::new()
            .name("mooring-janitor".to_owned())
            .spawn(move || work(&chores, &counters))?;
        Ok(Self(sender))
    }

    pub(super) fn leave(&self, chore: Chore) {
        // Fails only if the thread panicked; then instances run out and the
        // fallback decides.
        let _ = self.0.send(chore);
    }
}

fn work(chores: &Receiver<Chore>, counters: &Counters) {
    let mut retired: Vec<Arc<Snapshot>> = Vec::new();
    loop {
        let chore = if retired.is_empty() {
            chores.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            chores.recv_timeout(SWEEP)
        };
        match chore {
            Ok(Chore::Refill { pool, worker, broken }) => {
                // Its slot first: there may be no other.
                drop(broken);
                if let Some(pool) = pool.upgrade() {
                    refill(&pool, worker, counters);
                }
            }
            Ok(Chore::Retire(snapshot)) => retired.push(snapshot),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // Nobody can begin to read what was swapped out, so 1 stays 1.
        retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }
}

fn refill(pool: &Pool, worker: usize, counters: &Counters) {
    if let Err(unready) = pool.refill(worker) {
        if pool.plugin().blame(&unready, Instant::now()) {
            counters.of(worker).quarantines.count();
        }
        thread::sleep(PAUSE);
    }
}
