//! One node, as the registry knows it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::cluster::messages::{DrainReport, LoadReport, ProtocolReport};
use crate::cluster::trouble::ServerNotes;
use crate::config::Secret;
use crate::model::{
    Absence, Away, Health, Node, NodeId, Reach, Replica, Room, ServerName, UnixMillis,
};
use crate::sync::now;

use super::bounds::size_beside_servers;
use super::liveness::Liveness;
use super::replays::OwnReplays;

/// The state of a node's lease, drawn in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseStatus {
    /// Registered, and heard from within the node timeout.
    Active,
    /// The node has deregistered.
    Inactive,
    /// No heartbeat came within the node timeout.
    Unhealthy,
}

impl LeaseStatus {
    /// As the management API spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One node, as the registry knows it.
#[derive(Debug, Clone)]
pub struct NodeEntry {
    pub id: NodeId,
    /// For people.
    pub name: String,
    /// How the coordinator reaches it; empty for the coordinator's own runner.
    pub url: String,
    pub host: String,
    pub port: u16,
    /// Random at each start of the node; nobody else may learn it. Empty for the coordinator's
    /// own runner.
    pub incarnation: Secret,
    /// What the node has registered with where there is no token.
    pub secret: Option<Secret>,
    /// The requests that it has proved.
    pub replays: OwnReplays,
    /// The address that has registered it; `None` for the coordinator's own runner.
    pub from: Option<IpAddr>,
    /// Version of mooring.
    pub version: String,
    /// `None` for nodes of earlier versions.
    pub protocol: Option<ProtocolReport>,
    pub reach: Reach,
    pub servers: BTreeMap<ServerName, Replica>,
    /// Bytes that these take, about; 0 for a node of this process.
    pub size: usize,
    /// Bytes of labels, load and notes, about; set by the registry.
    pub beside: usize,
    pub zone: String,
    /// Whether it registers with other coordinators, too.
    pub has_several: bool,
    pub labels: Vec<(String, String)>,
    pub heartbeat_interval: Duration,
    pub status: LeaseStatus,
    /// A node of an earlier version says no more of its drain than this.
    pub draining: bool,
    /// Serves its sessions, but takes no new ones, and lets them go.
    pub drain: Option<DrainReport>,
    /// Whether it answers.
    pub liveness: Liveness,
    /// Since when it is away, and the same on a clock that never jumps.
    pub away: Option<(Away, Instant)>,
    /// `None` for nodes of earlier versions.
    pub load: Option<LoadReport>,
    /// What is wrong with its servers.
    pub notes: ServerNotes,
    pub last_heartbeat: UnixMillis,
    /// Start of the lease: the last heartbeat, or the last question that it has answered, on a
    /// clock that never jumps.
    pub last_seen: Instant,
    pub registered_at: UnixMillis,
}

impl NodeEntry {
    /// A node that is active from now on, without anything that a registration may
    /// leave out.
    #[must_use]
    pub fn new(id: NodeId, name: String, reach: Reach, host: String, port: u16) -> Self {
        let url = match &reach {
            Reach::Local => String::new(),
            Reach::Remote(url) => url.to_string(),
        };
        Self {
            id,
            name,
            url,
            host,
            port,
            incarnation: Secret::new(""),
            secret: None,
            replays: OwnReplays::default(),
            from: None,
            version: String::new(),
            protocol: None,
            reach,
            servers: BTreeMap::new(),
            size: 0,
            beside: 0,
            zone: String::new(),
            has_several: false,
            labels: Vec::new(),
            heartbeat_interval: Duration::ZERO,
            status: LeaseStatus::Active,
            draining: false,
            drain: None,
            liveness: Liveness::default(),
            away: None,
            load: None,
            notes: ServerNotes::default(),
            last_heartbeat: UnixMillis::now(),
            last_seen: now(),
            registered_at: UnixMillis::now(),
        }
    }

    /// Whether this is the start of the node that has the incarnation.
    #[must_use]
    pub fn is_start(&self, incarnation: &str) -> bool {
        !incarnation.is_empty() && self.incarnation.matches(incarnation.as_bytes())
    }

    /// Whether it serves its sessions, but takes no new ones.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining || self.drain.is_some()
    }

    /// Notes that the node is away.
    pub(super) fn leave(&mut self, how: Absence, since: UnixMillis, now: Instant) {
        self.away = Some((Away { since, how, is_listed: true }, now));
    }

    /// The same, for one that is not known to be away.
    pub(super) fn goes_away(&mut self, how: Absence, now: Instant) {
        if self.away.is_none() {
            self.leave(how, UnixMillis::now(), now);
        }
    }

    /// Its absence, as long as it does not go on for longer than that.
    pub(super) fn is_listed_for(&self, limit: Duration, now: Instant) -> bool {
        let absent = self.away.filter(|(away, _)| away.is_listed);
        absent.is_some_and(|(_, at)| now.saturating_duration_since(at) <= limit)
    }

    /// Bytes of all but its servers, about, with this load and these notes.
    pub(super) fn beside(&self, load: Option<&LoadReport>, notes: &ServerNotes) -> usize {
        size_beside_servers(&self.labels, load) + notes.size()
    }

    /// Whether it serves sessions, takes new ones, or neither.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.status {
            LeaseStatus::Inactive => Health::Inactive,
            LeaseStatus::Unhealthy => Health::Unhealthy,
            LeaseStatus::Active if self.liveness.is_silent() => Health::Silent,
            LeaseStatus::Active if self.is_draining() => Health::Draining,
            LeaseStatus::Active if self.liveness.is_suspect() => Health::Suspect,
            LeaseStatus::Active => Health::Healthy,
        }
    }

    pub(super) fn room(&self) -> Room {
        self.load.as_ref().map(|load| load.room.into()).unwrap_or_default()
    }

    /// Whether [`Self::node`] would give this.
    pub(super) fn is_seen_as(&self, node: &Node) -> bool {
        let Node { id, name, reach, health, away, room, zone, labels, servers } = node;
        *id == self.id
            && **name == *self.name
            && *reach == self.reach
            && *health == self.health()
            && *away == self.away.map(|(away, _)| away)
            && *room == self.room()
            && **zone == *self.zone
            && *labels == self.labels
            && *servers == self.servers
    }

    pub(super) fn node(&self) -> Node {
        Node {
            id: self.id.clone(),
            name: self.name.as_str().into(),
            reach: self.reach.clone(),
            health: self.health(),
            away: self.away.map(|(away, _)| away),
            room: self.room(),
            zone: self.zone.as_str().into(),
            labels: self.labels.clone(),
            servers: self.servers.clone(),
        }
    }
}
