//! The edge: the part that faces clients.
//!
//! A request passes these steps, each a room of this folder:
//!
//! ```text
//! 1 accept    connection    worker, connection, limits
//! 2 admit     access        Host, Origin and credentials → principal
//! 3 classify  scope         path → scope; sealed id → session
//!             front         the client's transport: Streamable HTTP, or HTTP+SSE
//! 4 resolve   pass_through  one server behind the URL: the scope names it
//!             aggregate     several: envelope → local answer, or (server, rewritten bytes)
//!             bridge        clients without sessions: a session of the gateway's own
//! 5 bind      routing       live binding, or the strategy's choice
//! 6 send      delivery      to the replica; if surely nothing was sent, to the next one
//! 7 relay     relay         status, headers and frames, as they arrive
//! 8 settle    connection    by Drop: requests in progress
//!             observed      each call: counts, the access log, the audit log
//! ```
//!
//! Beside the steps, `logins` has the tokens of users who log in at servers, `catalog` knows what each scope offers, and `session` what a client's
//! session is, and `state` brings along what a server holds for one.
//!
//! An error at any step is a refusal; one table (`refusal`) turns it into a response. The edge
//! starts no process and knows no cluster: it sees a topology snapshot, a strategy and a
//! [`crate::seam::Link`].

mod absent_server;
mod access;
mod aggregate;
mod bridge;
mod catalog;
mod client_request;
mod config;
mod connection;
mod delivery;
mod front;
mod leaving;
mod logins;
mod metrics;
mod observed;
mod pass_through;
mod refusal;
mod refusal_reason;
mod relay;
mod routing;
mod scope;
mod session;
mod state;
mod worker;

pub use access::audience::Audience;
pub use access::fair_share::FairShare;
pub use access::forwarded::is_trusted;
pub use access::host::HostRules;
pub use access::identity::{CallerIdentity, PolicyTable};
pub use access::issuer::IssuerSettings;
pub use access::issuer_fetch::keep_keys;
pub use access::issuers::Issuers;
pub use access::local_key::LocalKey;
pub use access::management::for_management as admit_management;
pub use access::management::site_for_management as check_site_of_management;
pub use access::management::{Manager, ManagerRefusal};
pub use access::rates::{CountedBy, RateLimit, Rates};
pub use access::resource_metadata::ROUTES as METADATA_ROUTES;
pub use aggregate::found_owners::FoundOwners;
pub use bridge::session_feeds::SessionFeeds;
pub use bridge::timers::Suspended;
pub use catalog::cache::Catalogs;
pub use catalog::kept::FILE as CATALOGS;
pub use catalog::naming::name_of;
pub use catalog::pages::ListSnapshots;
pub use config::PrefixMode;
pub use config::{CallerReach, ClientKey, EdgeConfig, Group, KeyView, Member};
pub use connection::accept::serve;
pub use connection::client_certificates::ClientRules;
#[cfg(target_os = "linux")]
pub use connection::listener::is_taken;
pub use connection::listener::{Listeners, SharedSockets, bind as listen, bind_file as listen_at};
#[cfg(test)]
pub use connection::server::answer;
pub use connection::server::{Ends, OtherRoutes};
pub use connection::streams::Listening;
pub use connection::table::{ConnectionBounds, Connections, IsProxy};
pub use connection::tls::{ListenerTls, TlsRules};
pub use delivery::doubts::Doubts;
pub use delivery::own_ids::OwnIds;
pub use front::legacy_sse::MOST_POSTED;
pub use front::modern::listener_place::MOST_LISTENED;
pub use front::sse_session::SseSessions;
pub use leaving::Leaving;
pub use logins::login_routes::ROUTES as LOGIN_ROUTES;
pub use logins::user_tokens::UserTokens;
pub use metrics::{CountedError, Metrics};
pub use routing::cold_start::ColdStart;
pub use routing::decision::{
    Attempt, AttemptOutcome, Candidate, ChosenBy, Decision, DecisionResult, InputValue,
};
pub use routing::decisions::Decisions;
pub use scope::Entrance;
pub use session::get_streams::AggregateStreams;
pub use session::last_start::LastStarts;
pub use session::opened::OpenedServers;
pub use state::kept_state::KeptState;
pub use worker::{Edge, LatestEdge, Worker};
