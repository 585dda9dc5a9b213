//! What nodes and coordinator send each other, as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// Whether the operator gave the URL; else the peer's address counts.
    #[serde(default = "yes")]
    pub advertised: bool,
    #[serde(default)]
    pub zone: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub heartbeat_interval: u64,
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
    },
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
