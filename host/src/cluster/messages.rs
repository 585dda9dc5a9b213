//! The JSON messages between nodes and coordinator.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Choice, Choices, Room, Selection};
use crate::protocol::objects::object_only;
use crate::protocol::version::Version;

use super::state_report::StateReport;
use super::trouble::{FlawReport, TroubleReport};

/// Body of `POST /api/cluster/register`. Required are `id`, `name`, `url` and `incarnation`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default)]
    pub servers: Vec<ServerReport>,
    /// A random id, new at each start of the node, which only its coordinator learns.
    #[serde(default)]
    pub incarnation: String,
    /// What the node proves itself by where there is no token: random, new at each start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    #[serde(default)]
    pub version: String,
    /// Absent from nodes of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolReport>,
    /// Whether the operator set `url`. If not, the coordinator replaces its host by the
    /// peer's address.
    #[serde(default = "yes")]
    pub advertised: bool,
    #[serde(default)]
    pub zone: String,
    /// Whether the node registers with several coordinators. Sessions whose streams are not open
    /// at one of them may have them open at another.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub several: bool,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// In milliseconds; 0 counts as 5000.
    #[serde(default)]
    pub heartbeat_interval: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadReport>,
    /// Absent while the node takes sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainReport>,
    /// Servers that cannot be used on the node now; absent from nodes of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<TroubleReport>,
    /// What is wrong with servers that run there; absent from nodes of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flaws: Vec<FlawReport>,
}
object_only!(both Registration);

/// The protocol revisions of a process: both sides of the cluster should agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct ProtocolReport {
    /// Between edge and runner.
    pub seam: u32,
    /// The latest MCP revision that clients may negotiate.
    pub mcp: String,
}
object_only!(both ProtocolReport);

impl ProtocolReport {
    /// The revisions of this process.
    #[must_use]
    pub fn own() -> Self {
        Self { seam: crate::seam::REVISION, mcp: Version::LATEST.as_str().to_owned() }
    }
}

/// Body of `POST /api/cluster/heartbeat` and `POST /api/cluster/deregister`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub incarnation: String,
    /// All hosted servers; absent if unchanged.
    #[serde(default)]
    pub servers: Option<Vec<ServerReport>>,
    #[serde(default)]
    pub draining: bool,
    /// Absent if unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadReport>,
    /// Absent while the node takes sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainReport>,
    /// As in the registration: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<TroubleReport>,
    /// The same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flaws: Vec<FlawReport>,
}
object_only!(both Heartbeat);

/// Data of the answer to a heartbeat.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatAnswer {
    /// To a node that drains: its servers that no other node takes sessions of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only_here: Vec<String>,
}
object_only!(both HeartbeatAnswer);

/// How far the drain of a node has come. Times are Unix ms of its clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase", default)]
pub struct DrainReport {
    pub since: u64,
    /// When idle sessions leave whose state is lost with that.
    pub deadline: u64,
    /// Whether the process ends after it.
    pub ends: bool,
    /// Whether no session is left.
    pub drained: bool,
    pub waits: DrainWaits,
}
object_only!(both DrainReport);

/// Sessions that a draining node still has, by what they wait for. One at two servers counts twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase", default)]
pub struct DrainWaits {
    /// The end of a request.
    pub request: u64,
    /// The client's answer to a question of its server.
    pub question: u64,
    /// The deadline: the client listens to the session's stream.
    pub stream: u64,
    /// The deadline: the server holds state for it.
    pub state: u64,
    /// Another node that runs the server.
    pub last_replica: u64,
}
object_only!(both DrainWaits);

impl DrainWaits {
    #[must_use]
    pub fn sessions(&self) -> u64 {
        let Self { request, question, stream, state, last_replica } = self;
        let counts = [question, stream, state, last_replica];
        counts.into_iter().fold(*request, |sum, count| sum.saturating_add(*count))
    }
}

/// A node's load, and its room for more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase", default)]
pub struct LoadReport {
    pub room: RoomReport,
    /// Running server processes.
    pub children: u32,
    /// The most server processes that the node runs.
    pub slots: u32,
    /// Free bytes of the machine or the container.
    pub free_memory: Option<u64>,
    /// All bytes of the machine or the container.
    pub total_memory: Option<u64>,
    /// Load average of the last minute.
    pub load_average: Option<f64>,
    pub cpus: u32,
    /// Number of instances of each server.
    pub instances: BTreeMap<String, u32>,
}
object_only!(both LoadReport);

/// Whether a node can take another session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoomReport {
    #[default]
    Free,
    Full,
    LowMemory,
    /// A value of a later version. Counts as free: a node without room refuses the
    /// session itself.
    #[serde(other)]
    Unknown,
}

impl From<RoomReport> for Room {
    fn from(report: RoomReport) -> Self {
        match report {
            RoomReport::Free | RoomReport::Unknown => Self::Free,
            RoomReport::Full => Self::Full,
            RoomReport::LowMemory => Self::LowMemory,
        }
    }
}

impl From<Room> for RoomReport {
    fn from(room: Room) -> Self {
        match room {
            Room::Free => Self::Free,
            Room::Full => Self::Full,
            Room::LowMemory => Self::LowMemory,
        }
    }
}

/// A hosted server: only its name, or with what the node knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ServerReport {
    Name(String),
    Full {
        name: String,
        /// Share of sessions relative to other replicas; clamped to 1..=1000.
        #[serde(default = "one")]
        weight: u32,
        /// Hash of the server's catalog, once it is known.
        #[serde(default)]
        digest: Option<String>,
        /// Names of client headers that are passed on to the server.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        passthrough: Vec<String>,
        /// Whether a session ends when its state in this server is lost.
        #[serde(default)]
        ends_when_lost: bool,
        /// Entries that the node's settings file hides or describes anew.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        selection: Option<SelectionReport>,
        /// Which state comes along to a new instance.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<Box<StateReport>>,
    },
}

/// Choices by the name of a tool or prompt, or by the URI of a resource or template.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(default)]
pub struct SelectionReport {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, ChoiceReport>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub prompts: BTreeMap<String, ChoiceReport>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, ChoiceReport>,
}
object_only!(both SelectionReport);

/// What the settings file says of one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct ChoiceReport {
    /// `false` hides the entry.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Replaces the server's own description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}
object_only!(both ChoiceReport);

impl From<&Selection> for SelectionReport {
    fn from(selection: &Selection) -> Self {
        let reports = |choices: &Choices| {
            let report = |(name, choice): (&String, &Choice)| {
                let Choice { enabled, description } = choice.clone();
                (name.clone(), ChoiceReport { enabled, description })
            };
            choices.iter().map(report).collect()
        };
        Self {
            tools: reports(&selection.tools),
            prompts: reports(&selection.prompts),
            resources: reports(&selection.resources),
        }
    }
}

impl From<SelectionReport> for Selection {
    fn from(report: SelectionReport) -> Self {
        let choices = |reports: BTreeMap<String, ChoiceReport>| {
            let choice = |(name, report): (String, ChoiceReport)| {
                let ChoiceReport { enabled, description } = report;
                (name, Choice { enabled, description })
            };
            reports.into_iter().map(choice).collect()
        };
        Self {
            tools: choices(report.tools),
            prompts: choices(report.prompts),
            resources: choices(report.resources),
        }
    }
}

/// Answer to `GET /cluster/bindings?after=`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct BindingsPage {
    pub bindings: Vec<HeldSession>,
    /// Value of `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Absent while the node takes sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainReport>,
}
object_only!(both BindingsPage);

/// `POST /cluster/streams`: a coordinator says that it is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase")]
pub struct StreamsMessage {
    /// Its start.
    pub start: u64,
    /// How long that counts.
    pub lease_ms: u64,
    /// Sessions of HTTP+SSE whose clients have come back to it from another one.
    #[serde(default)]
    pub sessions: Vec<String>,
}
object_only!(both StreamsMessage);

/// A session that has a server open on a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase")]
pub struct HeldSession {
    pub session: String,
    pub server: String,
    /// Unix ms.
    pub opened_at: u64,
    /// Rises with each binding of the session's server; absent from nodes of earlier versions, and
    /// of what coordinators of earlier versions have opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The start of the gateway that has the stream of this session of HTTP+SSE; absent for other
    /// sessions, and from nodes of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<u64>,
    /// The log level that the client has set, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// URIs of resources that the client subscribed to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<String>,
}
object_only!(both HeldSession);

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}
