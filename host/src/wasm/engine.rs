//! wasmtime's settings, each chosen by measurement, and the clock that
//! interrupts loops.
//!
//! Two engines. The *pooled* one is for ordinary plugins: slots of 16 MiB laid
//! out once, so that an instance costs microseconds. The *roomy* one, built on
//! first use, is for plugins that do not fit there: interpreters compiled to
//! wasm, and guests of the WASI sandbox, whose calls run on fibers.
//!
//! A plugin's time is CPU time. wasmtime can only interrupt at *epochs*, which
//! a ticker thread counts up in wall time; a guest that was merely preempted
//! would look like one that loops. So an expired deadline first reads the
//! thread's CPU clock (see [`CpuBudget`]), and only a guest that has used up its
//! CPU time is interrupted. Ordinary calls never read that clock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{
    Config, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    UpdateDeadline,
};

/// Bytes of a plugin's memory. The built-ins use 0.3 MiB for sixteen nodes.
pub(super) const MEMORY_LIMIT: usize = 16 << 20;

/// The same in the roomy engine: a Python interpreter needs 13 MiB at rest.
pub(super) const ROOMY_MEMORY_LIMIT: usize = 128 << 20;

/// Bytes that a guest may pass to the gateway in one call. A plan or a log line
/// is less than a hundredth of that.
pub(super) const HOSTCALL_BYTES: usize = 64 << 10;

/// Bytes of stack for a call. Routing plugins hardly recurse, and the stack is
/// that of the calling worker.
const WASM_STACK: usize = 256 << 10;

/// Length of an epoch while plugins are called: the granularity of deadlines.
const TICK: Duration = Duration::from_millis(1);

/// Length of an epoch while none is called, so that an idle gateway rarely wakes.
const IDLE_TICK: Duration = Duration::from_millis(10);

/// Ticks without a call before the ticker slows down.
const TICKS_TO_IDLE: u32 = 100;

/// Ticks of a call until the CPU clock is read for the first time.
const DEADLINE_TICKS: u64 = 2;

/// The engines of one strategy. Each lives as long as a plugin compiled with it.
pub(super) struct Engines {
    pooled: Engine,
    roomy: OnceLock<Engine>,
    pulse: Pulse,
}

impl Engines {
    /// `instances` is the number that the pooled engine has room for at one time.
    pub(super) fn new(instances: u32) -> wasmtime::Result<Self> {
        let mut config = base_config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(slots(instances)));
        let pulse = Pulse::default();
        Ok(Self { pooled: ticking(&config, &pulse)?, roomy: OnceLock::new(), pulse })
    }

    pub(super) fn pooled(&self) -> &Engine {
        &self.pooled
    }

    pub(super) fn roomy(&self) -> wasmtime::Result<&Engine> {
        if let Some(engine) = self.roomy.get() {
            return Ok(engine);
        }
        let engine = ticking(&base_config(), &self.pulse)?;
        Ok(self.roomy.get_or_init(|| engine))
    }

    pub(super) fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }
}

pub(super) fn base_config() -> Config {
    let mut config = Config::new();
    config
        // The default, true, doubles the cost of every call.
        .concurrency_support(false)
        .epoch_interruption(true)
        .generate_address_map(false)
        // At wasmtime's default of 4 GiB a slot, the pool alone reserves a
        // terabyte and fails under any `ulimit -v`.
        .memory_reservation(16 << 20)
        .memory_guard_size(64 << 10)
        .max_wasm_stack(WASM_STACK)
        // Relaxed SIMD gives the same results on every machine.
        .relaxed_simd_deterministic(true);
    config
}

fn slots(instances: u32) -> PoolingAllocationConfig {
    let mut slots = PoolingAllocationConfig::default();
    slots
        .total_component_instances(instances)
        // A component with imports consists of three core instances.
        .total_core_instances(4 * instances)
        .total_memories(2 * instances)
        .total_tables(4 * instances)
        // Only the roomy engine runs fibers.
        .total_stacks(1)
        .max_memory_size(MEMORY_LIMIT)
        .linear_memory_keep_resident(256 << 10);
    slots
}

fn ticking(config: &Config, pulse: &Pulse) -> wasmtime::Result<Engine> {
    let engine = Engine::new(config)?;
    let (weak, pulse) = (engine.weak(), pulse.clone());
    // A plain thread: a timer on the runtime would stop exactly when a plugin
    // hogs the workers. It ends with the engine.
    thread::Builder::new().name("mooring-epochs".to_owned()).spawn(move || tick(&weak, &pulse))?;
    Ok(engine)
}

fn tick(engine: &EngineWeak, pulse: &Pulse) {
    let mut quiet = 0_u32;
    loop {
        let idle = quiet >= TICKS_TO_IDLE;
        thread::sleep(if idle { IDLE_TICK } else { TICK });
        let Some(engine) = engine.upgrade() else {
            return;
        };
        engine.increment_epoch();
        quiet = if pulse.take() { 0 } else { quiet.saturating_add(1) };
    }
}

/// Tells the ticker that plugins are being called.
#[derive(Clone, Default)]
pub(super) struct Pulse(Arc<AtomicBool>);

impl Pulse {
    pub(super) fn beat(&self) {
        // Read before writing: all workers share this cache line, and a write
        // takes it from the others. One write a tick is enough.
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// The CPU time that one call may use.
#[derive(Default)]
pub(super) struct CpuBudget {
    limit: Duration,
    /// The thread's CPU time when the call's deadline first expired.
    since: Option<Duration>,
}

impl CpuBudget {
    /// Starts the budget of one call. Required before any guest code runs,
    /// instantiation included: a store without an epoch deadline traps at once.
    pub(super) fn start<T: Budgeted>(store: &mut Store<T>, limit: Duration) {
        *store.data_mut().budget() = Self { limit, since: None };
        store.set_epoch_deadline(DEADLINE_TICKS);
    }

    /// Makes the store interrupt guests that exceed their budget.
    pub(super) fn enforce<T: Budgeted + 'static>(store: &mut Store<T>) {
        store.epoch_deadline_callback(|mut context| {
            let budget = context.data_mut().budget();
            let now = thread_cpu_time();
            let since = *budget.since.get_or_insert(now);
            Ok(if now.saturating_sub(since) > budget.limit {
                UpdateDeadline::Interrupt
            } else {
                UpdateDeadline::Continue(1)
            })
        });
    }
}

/// Data of a store that holds the running call's budget.
pub(super) trait Budgeted {
    fn budget(&mut self) -> &mut CpuBudget;
}

fn thread_cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_ticker_ends_with_its_engine() {
        let pulse = Pulse::default();
        let ticks = pulse.clone();
        let engine = ticking(&base_config(), &pulse).map_err(|e| e.to_string());
        drop((engine, pulse));
        let begun = Instant::now();
        // The ticker thread holds the second reference.
        while Arc::strong_count(&ticks.0) > 1 {
            assert!(begun.elapsed() < Duration::from_secs(20));
            thread::sleep(TICK);
        }
    }
}
