//! Spare processes: started in advance, with nothing written to them yet. The next session that
//! opens the server takes one and saves the start-up time.
//!
//! The control runtime keeps them. The worker that takes one moves its pipes to its own runtime
//! and serves them like those of any other process.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::Notify;

use crate::model::ServerName;
use crate::runner::admission::backoff;
use crate::runner::admission::caps::SparePermit;
use crate::runner::admission::starts::Starts;
use crate::runner::process::child::Children;
use crate::runner::process::program::Program;
use crate::runner::stderr::journal::Journal;
use crate::sync::{Locked, Signal};

use super::running::StartedProcess;

/// Pause between two checks whether the spares still run and still have room.
const LOOK: Duration = Duration::from_millis(500);
/// A spare older than this has survived its start and resets the count of failures.
const STEADY: Duration = Duration::from_secs(10);

struct Spare {
    process: StartedProcess,
    since: Instant,
    _place: SparePermit,
}

impl Spare {
    fn lives(&self) -> bool {
        self.process.child.exit().borrow().is_none()
    }
}

#[derive(Default)]
struct SparePool {
    ready: Locked<VecDeque<Spare>>,
    taken: Notify,
    stopped: Signal,
}

impl SparePool {
    /// Ends its spares, and the task that keeps them.
    fn stop(&self) {
        self.stopped.raise();
        // Dropped after the lock is released.
        let ended = std::mem::take(&mut *self.ready());
        drop(ended);
    }

    fn ready(&self) -> MutexGuard<'_, VecDeque<Spare>> {
        self.ready.lock()
    }
}

/// The spares of all servers that are configured to have some.
pub struct Spares {
    pools: Locked<BTreeMap<ServerName, Arc<SparePool>>>,
    stopped: Signal,
}

impl std::fmt::Debug for Spares {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.pools.lock().keys()).finish()
    }
}

impl Spares {
    #[must_use]
    pub fn none() -> Arc<Self> {
        Arc::new(Self { pools: Locked::default(), stopped: Signal::default() })
    }

    /// Ends the spares of one server, for good.
    pub fn end_of(&self, server: &ServerName) {
        let pool = self.pools.lock().remove(server);
        if let Some(pool) = pool {
            pool.stop();
        }
    }

    fn pool(&self, server: &ServerName) -> Option<Arc<SparePool>> {
        self.pools.lock().get(server).map(Arc::clone)
    }

    /// Takes a running spare over to the calling worker's runtime.
    #[must_use]
    pub fn take(&self, server: &ServerName) -> Option<StartedProcess> {
        let pool = self.pool(server)?;
        loop {
            let spare = pool.ready().pop_front()?;
            pool.taken.notify_one();
            if spare.lives()
                && let Ok(process) = here(spare.process)
            {
                return Some(process);
            }
        }
    }

    /// The number of running spares.
    #[must_use]
    pub fn count(&self, server: &ServerName) -> usize {
        self.pool(server)
            .map_or(0, |pool| pool.ready().iter().filter(|spare| spare.lives()).count())
    }

    /// The processes of the running spares of these servers, with how long they have run.
    #[must_use]
    pub fn running(&self, only: Option<&ServerName>) -> Vec<(ServerName, u32, Duration)> {
        let pools = self.pools.lock().clone();
        let pools = pools.iter().filter(|(server, _)| only.is_none_or(|only| only == *server));
        let running = |(server, pool): (&ServerName, &Arc<SparePool>)| {
            let ready = pool.ready();
            let lives = ready.iter().filter(|spare| spare.lives());
            let seen =
                lives.map(|spare| (server.clone(), spare.process.child.pid, spare.since.elapsed()));
            seen.collect::<Vec<_>>()
        };
        pools.flat_map(running).collect()
    }

    /// Ends all spares, for good.
    pub fn stop(&self) {
        self.stopped.raise();
        let pools = std::mem::take(&mut *self.pools.lock());
        pools.values().for_each(|pool| pool.stop());
    }

    /// A new pool for the server; `None` once the spares are stopped.
    fn begin(&self, server: &ServerName) -> Option<Arc<SparePool>> {
        let pool = Arc::<SparePool>::default();
        let before = {
            let mut pools = self.pools.lock();
            // `stop` raises the signal first and takes this lock then.
            if self.stopped.is_raised() {
                return None;
            }
            pools.insert(server.clone(), Arc::clone(&pool))
        };
        before.iter().for_each(|before| before.stop());
        Some(pool)
    }

    /// Keeps `wanted` spares of the server running until they are stopped.
    pub async fn keep(
        self: Arc<Self>,
        server: ServerName,
        program: Program,
        wanted: usize,
        starts: Arc<Starts>,
        children: Children,
        journal: Journal,
    ) {
        let Some(pool) = self.begin(&server) else { return };
        let mut stopped = pool.stopped.watch();
        let (mut failures, mut not_before) = (0, Instant::now());
        loop {
            let died = bury(&mut pool.ready());
            if starts.caps.is_crowded() {
                // Dropped after the lock is released: dropping it takes another lock.
                let one = pool.ready().pop_back();
                drop(one);
            }
            if died {
                failures += 1;
            } else if pool.ready().front().is_some_and(|spare| spare.since.elapsed() > STEADY) {
                failures = 0;
            }
            let is_missing = pool.ready().len() < wanted && !died;
            if is_missing && Instant::now() >= not_before && starts.is_well(&server) {
                let starting = start(&server, &program, &starts, &children, &journal);
                let started = tokio::select! {
                    started = starting => started,
                    () = stopped.raised() => return,
                };
                match started {
                    Ok(Some(spare)) => {
                        let mut ready = pool.ready();
                        // `stop` raises the signal first and takes this lock then.
                        if pool.stopped.is_raised() {
                            return;
                        }
                        ready.push_back(spare);
                        continue;
                    }
                    Ok(None) => {}
                    Err(why) => {
                        failures += 1;
                        tracing::warn!(server = %server, "cannot start a spare process: {why}");
                        not_before = after(failures);
                    }
                }
            }
            if died {
                tracing::warn!(server = %server, failures, "a spare process has ended by itself");
                not_before = after(failures);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = pool.taken.notified() => {}
                () = stopped.raised() => return,
            }
        }
    }
}

fn after(failures: u32) -> Instant {
    Instant::now() + backoff::delay(failures, 1.0).unwrap_or_default()
}

/// Removes spares that have ended by themselves; returns whether there were any.
fn bury(ready: &mut VecDeque<Spare>) -> bool {
    let before = ready.len();
    ready.retain(Spare::lives);
    ready.len() < before
}

/// Starts one spare. `None` if the node has no room for it now.
async fn start(
    server: &ServerName,
    program: &Program,
    starts: &Starts,
    children: &Children,
    journal: &Journal,
) -> Result<Option<Spare>, String> {
    let Some(place) = starts.caps.enter_spare() else { return Ok(None) };
    let Ok(_turn) = starts.turn(None).await else { return Ok(None) };
    let process = StartedProcess::start(server, program, children, journal).await;
    let process = process.map_err(|error| error.to_string())?;
    Ok(Some(Spare { process, since: Instant::now(), _place: place }))
}

/// Registers the process's pipes with the calling runtime.
fn here(process: StartedProcess) -> io::Result<StartedProcess> {
    let StartedProcess { child, stdin, stdout, tail } = process;
    let stdin = ChildStdin::from_std(stdin.into_owned_fd()?.into())?;
    let stdout = ChildStdout::from_std(stdout.into_owned_fd()?.into())?;
    Ok(StartedProcess { child, stdin, stdout, tail })
}
