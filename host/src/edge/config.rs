//! What the operator decides about the edge.

use crate::model::{GroupName, ServerName};
use crate::streams::Bounds;

/// A group of servers, or what of one server is shown.
#[derive(Debug, Clone)]
pub struct Member {
    pub server: ServerName,
    /// Names that are shown; none means all.
    pub tools: Option<Vec<String>>,
    pub prompts: Option<Vec<String>>,
    /// URIs of resources and templates.
    pub resources: Option<Vec<String>>,
}

#[derive(Debug, Clone)]
pub struct Group {
    /// Whether the name works in URLs, and not only the id.
    pub by_name: bool,
    pub name: GroupName,
    pub id: Option<String>,
    pub members: Vec<Member>,
}

/// What the operator decides about the edge.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    pub bearer: Option<crate::config::Secret>,
    pub allowed_hosts: Vec<String>,
    pub allowed_origins: Vec<String>,
    /// Whether `/mcp` without a name is served.
    pub global_route: bool,
    pub groups: Vec<Group>,
    /// Servers of this process's own file, in file order: lists keep it.
    pub order: Vec<ServerName>,
    pub separator: String,
    pub prefix: PrefixMode,
    /// Whether the strategy is asked at all.
    pub sticky: bool,
    pub signed: bool,
    pub request_body: usize,
    pub kept_body: usize,
    pub header_block: usize,
    /// Bytes of one event of a server.
    pub line: usize,
    /// Requests of one session that are under way.
    pub in_flight: usize,
    /// Bytes of one stream of HTTP+SSE that wait for the client to read.
    pub buffered_bytes: usize,
    /// Entries of one page of a list.
    pub page_size: usize,
    /// Of an aggregate's GET stream, for a client that comes back.
    pub kept_events: Bounds,
    /// Silence on a stream before a keep-alive comment.
    pub keep_alive: std::time::Duration,
    /// Live sessions of one principal.
    pub sessions_per_principal: usize,
    /// Only the coordinator may use `/mcp` of this process.
    pub closed: bool,
}

/// When a name carries its server's in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrefixMode {
    Always,
    /// Only names that two servers of the scope have.
    OnCollision,
    Never,
}
