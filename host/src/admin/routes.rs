//! Every route of the management API, and who may use each. The router is made of this table, and so is
//! `mooring routes`: what is not in it does not exist.

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, get, post, put};

use super::{
    Admin, cluster, documents, drain, explain, health, instances, live, log_level, logs, metrics,
    nodes, page, reload, sessions,
};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiDoor {
    /// Everybody: probes of the machine.
    Probe,
    /// Everybody but pages of other sites: files of the page and documents, which hold nothing of this
    /// gateway.
    Site,
    /// Who may manage the gateway.
    Manager,
    /// The same, at a coordinator; elsewhere nobody.
    Coordinator,
    /// Nodes that prove themselves, at a coordinator.
    Node,
}

impl ApiDoor {
    /// Its name in the list of routes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Site => "site",
            Self::Manager => "manager",
            Self::Coordinator => "coordinator",
            Self::Node => "node",
        }
    }
}

/// One route.
pub struct ApiRoute {
    pub method: &'static str,
    pub path: &'static str,
    pub door: ApiDoor,
    serves: fn() -> MethodRouter<Arc<Admin>>,
}

const fn route(
    method: &'static str,
    path: &'static str,
    door: ApiDoor,
    serves: fn() -> MethodRouter<Arc<Admin>>,
) -> ApiRoute {
    ApiRoute { method, path, door, serves }
}

use ApiDoor::{Coordinator, Manager, Node, Probe, Site};

pub static ROUTES: [ApiRoute; 28] = [
    route("GET", "/health", Probe, || get(health::health)),
    route("GET", "/livez", Probe, || get(health::livez)),
    route("GET", "/readyz", Probe, || get(health::readyz)),
    route("GET", "/metrics", Probe, || get(metrics::metrics)),
    route("GET", "/api/cluster/status", Manager, || get(cluster::status)),
    route("GET", "/api/cluster/nodes", Coordinator, || get(cluster::nodes)),
    route("GET", "/api/cluster/servers/{name}/replicas", Coordinator, || get(cluster::replicas)),
    route("GET", "/api/cluster/sessions/{id}", Coordinator, || get(sessions::session)),
    route("GET", "/api/cluster/sessions", Manager, || get(sessions::sessions)),
    route("GET", "/api/cluster/instances", Manager, || get(instances::instances)),
    route("GET", "/api/cluster/explain", Manager, || get(explain::explain)),
    route("GET", "/api/logs", Manager, || get(logs::logs)),
    route("GET", "/api/log-level", Manager, || get(log_level::get)),
    route("PUT", "/api/log-level", Manager, || put(log_level::put)),
    route("GET", "/api/events", Manager, || get(live::events)),
    route("GET", "/api/schema", Site, || get(documents::schema)),
    route("GET", "/api/openapi.json", Site, || get(documents::openapi)),
    route("GET", "/ui", Site, || get(page::page)),
    route("GET", "/ui/", Site, || get(page::with_slash)),
    route("GET", "/ui/{name}", Site, || get(page::part)),
    route("GET", "/api/reload", Manager, || get(reload::last)),
    route("POST", "/api/reload", Manager, || post(reload::reload)),
    route("POST", "/api/cluster/nodes/{id}/drain", Coordinator, || post(drain::drain)),
    route("POST", "/api/cluster/nodes/{id}/undrain", Coordinator, || post(drain::undrain)),
    route("POST", "/api/cluster/register", Node, || post(nodes::register)),
    route("POST", "/api/cluster/heartbeat", Node, || post(nodes::heartbeat)),
    route("POST", "/api/cluster/deregister", Node, || post(nodes::deregister)),
    route("POST", "/api/cluster/join", Manager, || post(nodes::join)),
];

/// The router, without what it answers to everything else.
pub fn router() -> Router<Arc<Admin>> {
    ROUTES.iter().fold(Router::new(), |router, route| router.route(route.path, (route.serves)()))
}
