//! What goes wrong in one simulation, and when.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::chance::Chance;
use super::plan::{COORDINATOR, NODES};
use super::process;
use super::world::{CLIENTS, World};

/// Faults of one simulation.
const MOST_FAULTS: u64 = 5;
/// The time before the first fault, in which sessions begin.
const BEFORE: u64 = 1500;

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The process is killed, and started again.
    Killed(usize),
    /// The process stands still.
    Paused(usize),
    /// Nothing passes between the coordinator and a node, in one direction or both.
    Cut(usize),
    /// Messages are lost, late and doubled.
    Storm,
    /// The process's time of day jumps, by so many milliseconds.
    Jump(usize, i64),
    /// A server's process dies.
    ServerDied(usize),
    /// The node leaves, ends, and is started again.
    Left(usize),
}

impl Fault {
    fn draw(chance: &mut Chance) -> Self {
        let node = 1 + chance.index(NODES.len());
        let any = chance.index(1 + NODES.len());
        match chance.below(12) {
            0 | 1 => Self::Killed(node),
            2 => Self::Killed(COORDINATOR),
            3 | 4 => Self::Paused(any),
            5 | 6 => Self::Cut(node),
            7 | 8 => Self::Storm,
            9 => {
                let millis = i64::try_from(chance.below(4_000_000)).unwrap_or_default();
                Self::Jump(any, millis - 2_000_000)
            }
            10 => Self::ServerDied(node),
            _ => Self::Left(node),
        }
    }

    /// The process that something is wrong with.
    fn process(self) -> Option<usize> {
        match self {
            Self::Killed(process) | Self::Paused(process) | Self::Cut(process) => Some(process),
            Self::Jump(process, _) | Self::Left(process) => Some(process),
            Self::Storm | Self::ServerDied(_) => None,
        }
    }

    async fn happen(self, world: &Arc<World>, folder: &Path) {
        world.trace(|| format!("fault: {self:?}"));
        let who = format!("{self:?}");
        let lasts = world.chance(&who, |chance| chance.millis(50, 5000));
        if let Some(process) = self.process() {
            world.witness.fails(process);
        }
        match self {
            Self::Killed(process) => {
                world.kill(process);
                tokio::time::sleep(lasts).await;
                process::start(world, process, folder);
            }
            Self::Paused(process) => {
                world.pause(process, true);
                tokio::time::sleep(lasts).await;
                world.pause(process, false);
            }
            Self::Cut(node) => {
                match world.chance(&who, |chance| chance.below(3)) {
                    0 => world.cut(node, COORDINATOR),
                    1 => world.cut(COORDINATOR, node),
                    _ => {
                        world.cut(node, COORDINATOR);
                        world.cut(COORDINATOR, node);
                    }
                }
                tokio::time::sleep(lasts).await;
                world.heal();
            }
            Self::Storm => {
                world.is_stormy.store(true, Ordering::Relaxed);
                tokio::time::sleep(lasts).await;
                world.is_stormy.store(false, Ordering::Relaxed);
            }
            Self::Jump(process, millis) => {
                world.processes[process].clock.set_ahead(millis);
                tokio::time::sleep(lasts).await;
                world.processes[process].clock.set_ahead(0);
            }
            Self::ServerDied(node) => {
                let which = world.chance(&who, |chance| chance.index(64));
                world.servers.end_one(node, which);
            }
            Self::Left(node) => {
                world.ask_to_leave(node);
                tokio::time::sleep(lasts.min(process::LEAVES_WITHIN * 2)).await;
                world.kill(node);
                tokio::time::sleep(lasts / 4).await;
                process::start(world, node, folder);
            }
        }
        world.trace(|| format!("over: {self:?}"));
        if let Some(process) = self.process() {
            world.witness.recovers(process);
        }
    }
}

/// Lets the faults of this simulation happen, partly at the same time. Afterwards all is well.
pub async fn run(world: &Arc<World>, folder: &Path) {
    tokio::time::sleep(Duration::from_millis(BEFORE)).await;
    let count = world.chance("faults", |chance| 1 + chance.below(MOST_FAULTS));
    let faults: Vec<(Duration, Fault)> = (0..count)
        .map(|_| world.chance("faults", |chance| (chance.millis(0, 9000), Fault::draw(chance))))
        .collect();
    // Of faults of one process, one after the other.
    let mut by_process: std::collections::BTreeMap<usize, Vec<(Duration, Fault)>> =
        std::collections::BTreeMap::new();
    for (at, fault) in faults {
        by_process.entry(fault.process().unwrap_or(CLIENTS)).or_default().push((at, fault));
    }
    let happening = by_process.into_values().map(|mut faults| async move {
        faults.sort_by_key(|(at, _)| *at);
        let begun = tokio::time::Instant::now();
        for (at, fault) in faults {
            tokio::time::sleep_until(begun + at).await;
            fault.happen(world, folder).await;
        }
    });
    futures_util::future::join_all(happening).await;
    world.trace(|| "nothing fails any more".to_owned());
    world.is_calm.store(true, Ordering::Relaxed);
}
