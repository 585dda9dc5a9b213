//! The room that this process has left for new sessions, reported to the coordinator
//! and to the process's own registry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::cluster::{LoadReport, Registry};
use crate::config::Config;
use crate::edge::Connections;
use crate::model::{NodeId, Room};
use crate::runner::{self, Memory, Pressure, Reading, machine, open_files};

/// Time between two reports if the number of processes does not change: memory has
/// to be polled.
const TICK: Duration = Duration::from_secs(1);
/// Shortest time between two reports. Processes start and end by the hundred, and
/// this thread also hands them to their supervisor.
const PAUSE: Duration = Duration::from_millis(100);
/// Free memory below which there is no room, unless `minFreeMemory` is set: this
/// percentage of all memory, but at most [`MOST`]. A server takes tens of MiB, and
/// those that run already grow.
const PERCENT: u64 = 5;
/// Bytes. A large machine need not keep gigabytes free.
const MOST: u64 = 256 << 20;

pub struct CapacityGauge {
    runner: Arc<runner::SharedRunner>,
    slots: usize,
    min_free: Option<u64>,
    told: watch::Sender<Room>,
    pressure: Arc<Pressure>,
    connections: Arc<Connections>,
}

impl CapacityGauge {
    #[must_use]
    pub fn new(
        runner: &Arc<runner::SharedRunner>,
        config: &Config,
        pressure: &Arc<Pressure>,
        connections: &Arc<Connections>,
    ) -> Arc<Self> {
        Arc::new(Self {
            pressure: Arc::clone(pressure),
            connections: Arc::clone(connections),
            runner: Arc::clone(runner),
            slots: config.limits.children_per_node,
            min_free: config.min_free_memory,
            told: watch::Sender::new(Room::Free),
        })
    }

    /// Notifies of each change of the room that `report` returned.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Room> {
        self.told.subscribe()
    }

    #[must_use]
    pub fn report(&self) -> LoadReport {
        let (memory, tally) = (machine::memory(), self.runner.tally());
        let runner::Tally { processes: children, instances } = tally;
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let instances: BTreeMap<String, u32> =
            instances.into_iter().map(|(server, count)| (server.to_string(), count)).collect();
        let room = match self.pressure.is_short_of_files() {
            true => Room::Full,
            false => room(children, self.slots, memory, self.min_free),
        };
        // The caller passes the report on. If the room changes back before the next
        // report, that is then a change too.
        self.told.send_if_modified(|told| std::mem::replace(told, room) != room);
        LoadReport {
            room: room.into(),
            children: number(children),
            slots: number(self.slots),
            free_memory: memory.map(|memory| memory.free),
            total_memory: memory.map(|memory| memory.total),
            load_average: machine::load_average(),
            cpus: std::thread::available_parallelism().map_or(0, |cpus| number(cpus.get())),
            instances,
        }
    }

    /// Looks what this process is short of. Without descriptors, silent connections of clients
    /// give way to what sessions need.
    fn look(&self) {
        let memory = machine::memory();
        let is_low = is_low(memory, self.min_free);
        self.pressure.note(Reading { open_files: open_files(), memory, is_low });
        if self.pressure.is_short_of_files() {
            self.connections.make_room();
        }
    }

    /// Keeps the load in this node's registry entry up to date, and notifies when the
    /// room changes.
    pub async fn watch(self: Arc<Self>, registry: Arc<Registry>, id: NodeId) {
        let mut children = self.runner.children().changes();
        let mut timer = tokio::time::interval(TICK);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.look();
            registry.set_local_load(&id, self.report());
            // Changes during the pause are in the next report: of many in a row, the
            // first and the last are reported.
            tokio::time::sleep(PAUSE).await;
            tokio::select! {
                _ = timer.tick() => {}
                changed = children.changed() => if changed.is_err() { return },
            }
        }
    }
}

fn room(children: usize, slots: usize, memory: Option<Memory>, min_free: Option<u64>) -> Room {
    if children >= slots {
        return Room::Full;
    }
    if is_low(memory, min_free) { Room::LowMemory } else { Room::Free }
}

fn is_low(memory: Option<Memory>, min_free: Option<u64>) -> bool {
    memory.is_some_and(|Memory { free, total }| {
        free < min_free.unwrap_or_else(|| (total / 100 * PERCENT).min(MOST))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_and_memory_take_up_the_room() {
        let memory = |free: u64, total: u64| Some(Memory { free: free << 20, total: total << 20 });
        for (children, memory, min_free, expect) in [
            (1, memory(900, 1000), None, Room::Free),
            (2, memory(900, 1000), None, Room::Full),
            (2, memory(1, 1000), None, Room::Full),
            (0, memory(49, 1000), None, Room::LowMemory),
            (0, memory(51, 1000), None, Room::Free),
            // A large machine need not keep gigabytes free.
            (0, memory(300, 100_000), None, Room::Free),
            (0, memory(51, 1000), Some(60 << 20), Room::LowMemory),
            (0, memory(0, 1000), Some(0), Room::Free),
            (0, None, Some(60 << 20), Room::Free),
        ] {
            assert_eq!(room(children, 2, memory, min_free), expect, "{children} {memory:?}");
        }
    }
}
