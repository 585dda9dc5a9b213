//! A background thread for work that the request path must not wait for:
//! replacing broken instances and dropping snapshots that were swapped out.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::instance::PluginInstance;
use super::pool::InstancePool;
use super::snapshot::Snapshot;
use super::stats::Counters;

/// Between two checks whether retired snapshots are still in use.
const SWEEP: Duration = Duration::from_millis(20);

/// Pause after a failed replacement, so that a plugin that no longer starts does
/// not keep a core busy.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) enum Chore {
    /// Drop the broken instance and give the worker's shard a fresh one.
    Refill { pool: Weak<InstancePool>, worker: usize, broken: Option<PluginInstance> },
    /// Drop the snapshot once it has no other reader: dropping a pool takes longer
    /// than the request that happens to read it last should wait.
    Retire(Arc<Snapshot>),
}

/// Handle to the thread, which ends when the handle is dropped.
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
        // Fails only if the thread has panicked. Then instances run out, and the
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
                // Frees its slot first: there may be no other for the new one.
                drop(broken);
                if let Some(pool) = pool.upgrade() {
                    refill(&pool, worker, counters);
                }
            }
            Ok(Chore::Retire(snapshot)) => retired.push(snapshot),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // A snapshot that was swapped out gets no new reader, so 1 stays 1.
        retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }
}

fn refill(pool: &InstancePool, worker: usize, counters: &Counters) {
    if let Err(unready) = pool.refill(worker) {
        if pool.plugin().blame(&unready, Instant::now()) {
            counters.of(worker).quarantines.count();
        }
        thread::sleep(PAUSE);
    }
}
