//! The edge's settings, independent of the settings file.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderName;

use crate::config::{Eras, Secret};
use crate::edge::access::host::HostRules;
use crate::edge::access::identity::{CallerIdentity, PolicyTable};
use crate::edge::access::issuers::Issuers;
use crate::edge::access::rates::Rates;
use crate::model::{EntryKind, EntryRights, GroupName, Prefixes, Principal, Rights, ServerName};
use crate::oauth::LoginTerms;
use crate::streams::Bounds;

/// One server of a group or scope, and which of its entries are shown.
#[derive(Debug, Clone)]
pub struct Member {
    pub server: ServerName,
    /// Stands in the names of its tools and prompts instead of the server's name.
    pub alias: Option<String>,
    /// Names of the tools that are shown, with or without the name in front; `None` shows all, as
    /// in the other lists.
    pub tools: Option<Vec<String>>,
    pub prompts: Option<Vec<String>>,
    /// URIs of the resources and templates that are shown.
    pub resources: Option<Vec<String>>,
    /// What the operator's rules leave the scope's clients of it; `None` leaves everything.
    pub rights: Option<Arc<EntryRights>>,
}

impl Member {
    /// All of a server, under its own name.
    #[must_use]
    pub fn whole(server: ServerName) -> Self {
        Self { server, alias: None, tools: None, prompts: None, resources: None, rights: None }
    }

    /// The name of the server that clients of the scope see.
    #[must_use]
    pub fn shown_name(&self) -> &str {
        self.alias.as_deref().unwrap_or(self.server.as_str())
    }

    /// What may stand in front of the names of its tools and prompts.
    #[must_use]
    pub fn prefixes(&self, separator: &str) -> Prefixes {
        let prefixes = Prefixes::of(self.server.as_str(), separator);
        match &self.alias {
            Some(alias) => prefixes.and(alias, separator),
            None => prefixes,
        }
    }

    /// Whether the rules leave the scope's clients this tool or prompt, by its own name. A rule may
    /// name it as the server does, or with a prefix.
    #[must_use]
    pub fn leaves(&self, kind: EntryKind, own: &str, prefixes: &Prefixes) -> bool {
        let Some(rights) = &self.rights else { return true };
        let spellings: Vec<String> = prefixes.spellings(own).collect();
        let spellings: Vec<&str> = spellings.iter().map(String::as_str).collect();
        rights.allow(kind, &spellings)
    }
}

/// A named set of servers with a URL of its own.
#[derive(Debug, Clone)]
pub struct Group {
    /// Whether URLs may use the name; otherwise only the id.
    pub by_name: bool,
    pub name: GroupName,
    pub id: Option<String>,
    pub members: Vec<Member>,
}

/// A key that lets clients in.
#[derive(Debug, Clone)]
pub struct ClientKey {
    pub token: Secret,
    /// Whom it makes of its holder.
    pub principal: Principal,
    /// What its holder sees; `None` if that is everything.
    pub view: Option<Arc<KeyView>>,
    /// What rules decide by; `None` where there are none.
    pub identity: Option<Arc<CallerIdentity>>,
}

/// What a caller may reach: what its key opens, and of that what the operator's rules allow. `None` is
/// everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallerReach<'a> {
    pub view: Option<&'a Arc<KeyView>>,
    pub rights: Option<&'a Arc<Rights>>,
}

/// What the holder of a restricted key sees.
#[derive(Debug)]
pub struct KeyView {
    pub principal: Principal,
    /// Groups whose URLs work.
    pub groups: Vec<GroupName>,
    /// Servers whose URLs work.
    pub servers: Vec<ServerName>,
    /// What `/mcp` shows: these servers, and the members of the groups.
    pub members: Vec<Member>,
}

/// The edge's settings.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// The keys of which clients must send one; if there are none, everybody is let in.
    pub keys: Vec<ClientKey>,
    /// Whether clients come in by certificates: without one, a key is needed.
    pub wants_certificate: bool,
    /// Whether clients without a key need a token of an issuer, where there are no keys.
    pub wants_token: bool,
    /// What rules decide by for clients without a credential; `None` where there are none.
    pub anyone: Option<Arc<CallerIdentity>>,
    /// Who may use what.
    pub policy: Arc<PolicyTable>,
    /// The issuers whose tokens let clients in; `None` if there are none.
    pub issuers: Option<Arc<Issuers>>,
    /// How often clients may ask; `None` if nothing is counted.
    pub rates: Option<Arc<Rates>>,
    /// How users log in at servers that want that.
    pub logins: BTreeMap<ServerName, Arc<LoginTerms>>,
    /// Whether any server gets what clients' tokens are exchanged for.
    pub exchanges_tokens: bool,
    /// The URL under which clients reach the gateway, without a path; `None`: what their requests say.
    pub public_url: Option<String>,
    /// The tokens of these keys, which no server gets.
    pub tokens: Vec<Arc<str>>,
    /// The header that carries the key.
    pub key_header: HeaderName,
    /// Values of the Host header that are let in.
    pub hosts: HostRules,
    /// Client headers with credentials that a server on another node gets.
    pub credentials: BTreeMap<ServerName, Vec<HeaderName>>,
    /// The cookie and the header that name a session's node.
    pub affinity_cookie: String,
    pub affinity_header: String,
    /// Origins that are allowed beside those on loopback names.
    pub allowed_origins: Vec<String>,
    /// Proxies that are believed whom a request is for.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Whether `/mcp` and `/sse` without a name are served.
    pub global_route: bool,
    pub groups: Vec<Group>,
    /// Servers of this process's own file, in file order; lists keep that order.
    pub order: Vec<ServerName>,
    /// Stands between a server's name and the name of its tool or prompt.
    pub separator: String,
    pub prefix: PrefixMode,
    /// Which eras are served, and how conversations without sessions are told apart.
    pub eras: Eras,
    /// Whether the strategy chooses nodes; otherwise the least loaded node is taken.
    pub sticky: bool,
    /// Whether affinity tokens are signed.
    pub signed: bool,
    /// Largest request body, in bytes.
    pub request_body: usize,
    /// Largest request body that is kept, so that it can be sent again, in bytes.
    pub kept_body: usize,
    /// Largest request line and headers together, in bytes.
    pub header_block: usize,
    /// Largest message of a server, in bytes.
    pub line: usize,
    /// Most requests of one HTTP+SSE session at once, and most messages of one batch.
    pub in_flight: usize,
    /// Most bytes of one HTTP+SSE stream that wait for the client to read.
    pub buffered_bytes: usize,
    /// Most entries on one page of a list.
    pub page_size: usize,
    /// How much of an aggregate's GET stream is kept for a client that comes back.
    pub kept_events: Bounds,
    /// Silence on a stream after which a keep-alive comment is sent.
    pub keep_alive: std::time::Duration,
    /// Least bytes of a request body in each second.
    pub body_rate: u64,
    /// What stands in front of every path, without a slash behind it; empty for nothing.
    pub base_path: String,
    /// Whether clients are refused, since only the coordinator may use this node.
    pub closed: bool,
}

/// When the name of a tool or prompt is prefixed with that of its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrefixMode {
    Always,
    /// If two servers of the scope have the name.
    OnCollision,
    Never,
}
