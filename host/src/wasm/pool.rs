//! Ready instances of one plugin for one topology, a few for each worker.
//!
//! ```text
//!   shard ──take──▶ Lease ──drop──▶ shard
//!                     └──condemn──▶ the janitor, which puts a fresh one there
//! ```
//!
//! A worker locks its own shard only to take an instance or to put it back. If
//! the shard is empty, the worker takes one from any shard that is not locked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::sync::Locked;

use super::bindings::Answer;
use super::conversing::ConversationAnswer;
use super::instance::{Fault, PluginInstance};
use super::plugin::{Plugin, Unready};
use super::vocabulary::{Request, Topology};

/// Instances for each worker. A call never waits while it holds one, so one would
/// do; the second stands in while a broken one is replaced.
const READY_PER_WORKER: usize = 2;

/// The same for a roomy plugin, whose instances take megabytes.
const READY_PER_WORKER_ROOMY: usize = 1;

pub(super) struct InstancePool {
    plugin: Arc<Plugin>,
    topology: Arc<Topology>,
    shards: Box<[Shard]>,
}

/// One worker's instances, aligned so that shards share no cache line.
#[repr(align(128))]
struct Shard {
    ready: Locked<Vec<PluginInstance>>,
    /// Whether an instance is missing and no replacement is ordered.
    short: AtomicBool,
}

impl InstancePool {
    /// The most instances that a strategy with this number of workers can have: two
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
                ready: Locked::new(ready.collect::<Result<_, _>>()?),
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

    /// `None` only if this shard is empty and no other has an instance to spare.
    pub(super) fn lease(&self, worker: usize) -> Option<Lease<'_>> {
        let home = self.shard(worker);
        let own = home.ready.lock().pop();
        let instance = own.or_else(|| self.borrow_elsewhere())?;
        Some(Lease { home, instance: Some(instance) })
    }

    fn borrow_elsewhere(&self) -> Option<PluginInstance> {
        let free = self.shards.iter().filter_map(|shard| shard.ready.try_lock());
        free.into_iter().find_map(|mut ready| ready.pop())
    }

    /// Whether to order a replacement now; true once after each failed refill.
    pub(super) fn take_short(&self, worker: usize) -> bool {
        let short = &self.shard(worker).short;
        short.load(Ordering::Relaxed) && short.swap(false, Ordering::Relaxed)
    }

    /// Starts an instance for the worker's shard: not for the request path. After an
    /// error the shard is marked short, so that a later question orders it again.
    pub(super) fn refill(&self, worker: usize) -> Result<(), Unready> {
        let shard = self.shard(worker);
        match self.plugin.ready(&self.topology) {
            Ok(instance) => {
                shard.ready.lock().push(instance);
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
        self.shards.iter().map(|shard| shard.ready.lock().len()).sum()
    }

    fn shard(&self, worker: usize) -> &Shard {
        &self.shards[worker % self.shards.len()]
    }
}

/// An instance taken from the pool. Dropping the lease puts it into the shard of
/// the worker that took it.
pub(super) struct Lease<'a> {
    home: &'a Shard,
    /// `None` once it is condemned.
    instance: Option<PluginInstance>,
}

impl Lease<'_> {
    pub(super) fn route(&mut self, request: &Request<'_>) -> Result<Answer, Fault> {
        match &mut self.instance {
            Some(instance) => instance.route(request),
            None => Err(Fault::Trap("the instance is condemned".to_owned())),
        }
    }

    pub(super) fn identify(
        &mut self,
        inputs: &[Option<&str>],
    ) -> Result<ConversationAnswer, Fault> {
        match &mut self.instance {
            Some(instance) => instance.identify(inputs),
            None => Err(Fault::Trap("the instance is condemned".to_owned())),
        }
    }

    /// Takes the instance out of the pool for good. The caller leaves it to the
    /// janitor, since dropping it costs microseconds.
    pub(super) fn condemn(mut self) -> Option<PluginInstance> {
        self.instance.take()
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // A panic in a call leaves the instance in an unknown state.
        if let Some(instance) = self.instance.take()
            && !thread::panicking()
        {
            self.home.ready.lock().push(instance);
        }
    }
}
