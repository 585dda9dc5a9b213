//! The nodes, as the page shows them.

use serde_json::{Value, json};

use crate::admin::Admin;
use crate::admin::cluster::drain;
use crate::admin::explain::health;
use crate::cluster::NodeEntry;
use crate::model::{Health, Node, Room};

/// One word for people in a hurry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageState {
    Ok,
    Degraded,
    Failed,
}

impl PageState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
}

/// A node without what changes with each heartbeat.
pub fn shown(admin: &Admin, entry: &NodeEntry, node: Option<&Node>) -> Value {
    let health_of = node.map_or(Health::Inactive, |node| node.health);
    let room = node.map_or(Room::Free, |node| node.room);
    let (state, why) = state_of(health_of, room);
    let load = entry.load.as_ref().map(|load| {
        json!({
            "children": load.children,
            "slots": load.slots,
            "freeMemory": load.free_memory,
            "totalMemory": load.total_memory,
            "loadAverage": load.load_average.map(|load| (load * 10.0).round() / 10.0),
            "cpus": load.cpus,
        })
    });
    json!({
        "id": entry.id.as_str(),
        "name": entry.name,
        "url": entry.url,
        "version": entry.version,
        "zone": entry.zone,
        "state": state.as_str(),
        "health": health(health_of),
        "why": why,
        "awaySince": node.and_then(|node| node.away).map(|away| away.since.0),
        "draining": entry.is_draining(),
        "drain": entry.drain.as_ref().map(drain),
        "registeredAt": entry.registered_at.0,
        "servers": entry.servers.len(),
        "bindings": admin.bindings.load(entry.id.as_str()),
        "load": load,
    })
}

/// How well a node is, and why it is not.
pub fn state_of(health: Health, room: Room) -> (PageState, Option<&'static str>) {
    match (health, room) {
        (Health::Healthy, Room::Free) => (PageState::Ok, None),
        (Health::Healthy, Room::Full) => (PageState::Degraded, Some("runs all it may")),
        (Health::Healthy, Room::LowMemory) => (PageState::Degraded, Some("is short of memory")),
        (Health::Suspect, _) => (PageState::Degraded, Some("a request to it failed")),
        (Health::Draining, _) => (PageState::Degraded, Some("drains: takes no new sessions")),
        (Health::Silent, _) => (PageState::Failed, Some("does not answer")),
        (Health::Unhealthy, _) => (PageState::Failed, Some("has not been heard in time")),
        (Health::Inactive, _) => (PageState::Failed, Some("has signed off")),
    }
}
