//! What this process's host has left for new sessions: told to the coordinator,
//! or to this process's own registry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::cluster::{LoadReport, Registry};
use crate::config::Config;
use crate::model::{NodeId, Room};
use crate::runner::{self, Memory, machine};

/// Memory is looked at so often; processes tell by themselves.
const TICK: Duration = Duration::from_secs(1);
/// Between two looks. Processes come and go by hundreds at a time, and this thread
/// hands them to their supervisor.
const PAUSE: Duration = Duration::from_millis(100);
/// Without `minFreeMemory`: so many percent of all, and no more than this. A
/// server takes some ten MiB, and what runs already grows.
const PERCENT: u64 = 5;
const MOST: u64 = 256 << 20;

pub struct Gauge {
    host: Arc<runner::Shared>,
    slots: usize,
    min_free: Option<u64>,
    told: watch::Sender<Room>,
}

impl Gauge {
    #[must_use]
    pub fn new(host: &Arc<runner::Shared>, config: &Config) -> Arc<Self> {
        Arc::new(Self {
            host: Arc::clone(host),
            slots: config.limits.children_per_node,
            min_free: config.min_free_memory,
            told: watch::Sender::new(Room::Free),
        })
    }

    /// Changes of what `report` has said about room.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Room> {
        self.told.subscribe()
    }

    #[must_use]
    pub fn report(&self) -> LoadReport {
        let (memory, tally) = (machine::memory(), self.host.tally());
        let runner::Tally { processes: children, instances } = tally;
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let instances: BTreeMap<String, u32> =
            instances.into_iter().map(|(server, count)| (server.to_string(), count)).collect();
        let room = room(children, self.slots, memory, self.min_free);
        // Whoever asks tells others: that has to be taken back even if it is over
        // before the next look.
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

    /// Keeps the own entry of the registry, and tells when there is room no more
    /// or again.
    pub async fn watch(self: Arc<Self>, registry: Arc<Registry>, id: NodeId) {
        let mut children = self.host.children().changes();
        let mut timer = tokio::time::interval(TICK);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            registry.set_local_load(&id, self.report());
            // What happens meanwhile is in the next report: the first of many changes
            // counts, and the last.
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
    let is_low = memory.is_some_and(|Memory { free, total }| {
        free < min_free.unwrap_or_else(|| (total / 100 * PERCENT).min(MOST))
    });
    if is_low { Room::LowMemory } else { Room::Free }
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
