//! What nodes and coordinator send each other, as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Choice, Choices, Room, Selection};
use crate::protocol::version::Version;

/// `POST /api/cluster/register`. The guide's fields come first; the others have
/// defaults, so that a registration by hand works.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
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
    /// Random at each start of the node.
    #[serde(default)]
    pub incarnation: String,
    #[serde(default)]
    pub version: String,
    /// Nodes of earlier versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolReport>,
    /// Whether the operator gave the URL; else the peer's address counts.
    #[serde(default = "yes")]
    pub advertised: bool,
    #[serde(default)]
    pub zone: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub heartbeat_interval: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadReport>,
}

/// What a process speaks: to other nodes, and to clients at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolReport {
    pub seam: u32,
    pub mcp: String,
}

impl ProtocolReport {
    /// Of this process.
    #[must_use]
    pub fn own() -> Self {
        Self { seam: crate::seam::REVISION, mcp: Version::LATEST.as_str().to_owned() }
    }
}

/// `POST /api/cluster/heartbeat`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub incarnation: Option<String>,
    /// Absent: unchanged.
    #[serde(default)]
    pub servers: Option<Vec<ServerReport>>,
    #[serde(default)]
    pub draining: bool,
    /// Absent: unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadReport>,
}

/// What a node has to do, and what is left for more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadReport {
    pub room: RoomReport,
    /// Processes of sessions, and how many there may be.
    pub children: u32,
    pub slots: u32,
    /// Bytes that the machine or the container has.
    pub free_memory: Option<u64>,
    pub total_memory: Option<u64>,
    /// Of the last minute.
    pub load_average: Option<f64>,
    pub cpus: u32,
    /// By server.
    pub instances: BTreeMap<String, u32>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoomReport {
    #[default]
    Free,
    Full,
    LowMemory,
    /// Of a later version. Whoever cannot take a session refuses it.
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

/// A hosted server: its name alone, or with what the node knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ServerReport {
    Name(String),
    Full {
        name: String,
        #[serde(default = "one")]
        weight: u32,
        #[serde(default)]
        digest: Option<String>,
        /// Headers of clients that are let through to it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        passthrough: Vec<String>,
        /// Whether sessions end when the server's state is lost.
        #[serde(default)]
        ends_when_lost: bool,
        /// What the node's file hides or describes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        selection: Option<SelectionReport>,
    },
}

/// By the name of a tool or prompt, or the URI of a resource or template.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SelectionReport {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, ChoiceReport>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub prompts: BTreeMap<String, ChoiceReport>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, ChoiceReport>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChoiceReport {
    #[serde(default = "yes")]
    pub enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

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

/// `GET /cluster/proof?nonce=`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Proof {
    pub id: String,
    pub incarnation: String,
    pub proof: String,
}

/// `GET /cluster/bindings?after=`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BindingsPage {
    pub bindings: Vec<HeldSession>,
    /// Where the next page begins; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldSession {
    pub session: String,
    pub server: String,
    pub opened_at: u64,
    /// The log level that the client has asked for, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<String>,
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}
