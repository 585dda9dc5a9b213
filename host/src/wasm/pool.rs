//! Ready instances of one plugin for one topology, a few for every worker.
//!
//! ```text
//!   shard ──take──▶ Lease ──drop──▶ shard
//!                     └──condemn──▶ the janitor, who puts a fresh one there
//! ```
//!
//! A worker locks only its own shard, and only to take or put back. When that
//! is empty it tries its neighbours, and waits for nobody.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::bindings::Answer;
use super::instance::{Fault, Instance};
use super::plugin::{Plugin, Unready};
use super::vocabulary::{Request, Topology};

/// A call never waits while it holds an instance, so one would do; the second
/// steps in while a broken one is replaced.
const READY_PER_WORKER: usize = 2;

/// A roomy plugin's instance takes megabytes.
const READY_PER_WORKER_ROOMY: usize = 1;

pub(super) struct Pool {
    plugin: Arc<Plugin>,
    topology: Arc<Topology>,
    shards: Box<[Shard]>,
}

/// Kept apart from its neighbours' cache lines.
#[repr(align(128))]
struct Shard {
    ready: Mutex<Vec<Instance>>,
    /// An instance is missing that nobody is replacing.
    short: AtomicBool,
}

impl Pool {
    /// How many instances can exist of a strategy with so many workers: two
    /// whole pools while they are swapped, two more being retired, and some for
    /// admission.
    pub(super) fn most_instances(workers: usize) -> u32 {
        let most = workers.saturating_mul(READY_PER_WORKER * 4) + 16;
        u32::try_from(most).unwrap_or(u32::MAX).max(48)
    }

    pub(super) fn build(
        plugin: &Arc<Plugin>,
        topology: &Arc<Topology>,
        workers: usize,
    ) -> Result<Self, Unready> {
        let per_worker =
            if plugin.blueprint().is_roomy() { READY_PER_WORKER_ROOMY } else { READY_PER_WORKER };
        let shard = |_| {
            let ready = (0..per_worker).map(|_| plugin.ready(topology));
            Ok(Shard {
                ready: Mutex::new(ready.collect::<Result<_, _>>()?),
                short: AtomicBool::new(false),
            })
        };
        Ok(Self {
            plugin: Arc::clone(plugin),
            topology: Arc::clone(topology),
            shards: (0..workers.max(1)).map(shard).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// None only if this worker and all others have nothing to spare.
    pub(super) fn lease(&self, worker: usize) -> Option<Lease<'_>> {
        let home = self.shard(worker);
        let own = home.lock().pop();
        let instance = own.or_else(|| self.borrow_elsewhere())?;
        Some(Lease { home, instance: Some(instance) })
    }

    fn borrow_elsewhere(&self) -> Option<Instance> {
        let free = self.shards.iter().filter_map(|s| s.ready.try_lock().ok());
        free.into_iter().find_map(|mut ready| ready.pop())
    }

    /// Whether to ask for a replacement now; true once for every one missing.
    pub(super) fn take_short(&self, worker: usize) -> bool {
        let short = &self.shard(worker).short;
        short.load(Ordering::Relaxed) && short.swap(false, Ordering::Relaxed)
    }

    /// Off the request path. After an error the shard stays short.
    pub(super) fn refill(&self, worker: usize) -> Result<(), Unready> {
        let shard = self.shard(worker);
        match self.plugin.ready(&self.topology) {
            Ok(instance) => {
                shard.lock().push(instance);
                Ok(())
            }
            Err(unready) => {
                shard.short.store(true, Ordering::Relaxed);
                Err(unready)
            }
        }
    }

    #[cfg(test)]
    pub(super) fn ready(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(&self, worker: usize) -> &Shard {
        &self.shards[worker % self.shards.len()]
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Vec<Instance>> {
        // A push or pop leaves the list whole whatever happens.
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An instance taken from its shard, to which it returns by itself.
pub(super) struct Lease<'a> {
    home: &'a Shard,
    /// None once it is condemned.
    instance: Option<Instance>,
}

impl Lease<'_> {
    pub(super) fn route(&mut self, request: &Request<'_>) -> Result<Answer, Fault> {
        match &mut self.instance {
            Some(instance) => instance.route(request),
            None => Err(Fault::Trap("the instance is condemned".to_owned())),
        }
    }

    /// The instance must not be used again; dropping it costs microseconds that
    /// are not the caller's to spend.
    pub(super) fn condemn(mut self) -> Option<Instance> {
        self.instance.take()
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // A panic in a call leaves the instance in an unknown state.
        if let Some(instance) = self.instance.take()
            && !thread::panicking()
        {
            self.home.lock().push(instance);
        }
    }
}
