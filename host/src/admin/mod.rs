//! The management API: cluster, instances, logs, health, metrics. Where the cluster
//! guide defines an answer, its shape is the guide's.

mod answer;
mod cluster;
mod drain;
mod explain;
mod extract;
mod health;
mod instances;
mod live;
mod local;
mod logs;
mod metrics;
mod nodes;
mod page;
mod reload;
mod server_metrics;
mod sessions;
mod still_admitted;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use tokio::sync::{Notify, mpsc, watch};
use tower::ServiceExt as _;

use crate::cluster::{Control, Joined, Registry, RunnerView};
use crate::edge::{Connections, Decisions, Leaving, Metrics};
use crate::model::{NodeId, UnixMillis, visible};
use crate::net::{Body, BodyBudget, Intake};
use crate::protocol::headers;
use crate::protocol::seal::KeyRing;
use crate::runner;
use crate::seam::{self, Link};
use crate::store::sharing::Sharing;
use crate::store::{Bindings, Records, SessionStates};
use crate::wasm::Strategy;

use self::still_admitted::StillAdmitted;
pub use live::{LOG, Live, LogLines, watch_for_readers};

pub use local::Local;
pub use reload::{Asked, ReloadOutcome, ReloadReport, Reloads, SettingsFacts};

/// Bytes of a request body. A heartbeat of a node with 10,000 servers fits.
const MAX_BODY: usize = 1 << 20;
/// Bytes of an answer that is not a stream. A list of 10,000 nodes fits.
const MAX_ANSWER: usize = 64 << 20;

/// What nodes call. The answers name the revision of the seam, so that a node knows a coordinator
/// of an earlier version.
const NODES_CALLS: [&str; 3] =
    ["/api/cluster/register", "/api/cluster/heartbeat", "/api/cluster/deregister"];

/// The role of this process, with the parts that only this role has.
#[derive(Clone)]
pub enum ProcessRole {
    Standalone,
    Coordinator { control: Arc<Control> },
    Node { join: Arc<Notify>, joined: watch::Receiver<Joined> },
}

/// The parts that the management API reads.
pub struct Admin {
    pub role: ProcessRole,
    pub node_id: NodeId,
    pub registry: Arc<Registry>,
    pub bindings: Arc<Bindings>,
    pub records: Arc<Records>,
    /// What is shared with other coordinators, if there may be any.
    pub sharing: Option<Arc<Sharing>>,
    pub states: Arc<SessionStates>,
    pub keys: KeyRing,
    pub affinity_timeout: Duration,
    pub edge_metrics: Arc<Metrics>,
    pub decisions: Arc<Decisions>,
    /// What the operators' page reads.
    pub live: Live,
    /// Changes when there are newer settings.
    pub settings: watch::Receiver<u64>,
    pub connections: Arc<Connections>,
    pub bodies: Arc<BodyBudget>,
    pub leaving: Arc<Leaving>,
    pub pressure: Arc<runner::Pressure>,
    pub runner: Arc<runner::SharedRunner>,
    /// The same runner, as the endpoints for instances and logs see it.
    pub view: Arc<dyn RunnerView>,
    pub strategy: Strategy,
    pub started_at: UnixMillis,
    pub reloads: Arc<Reloads>,
    /// Admits a request to `/api` by its headers, the caller's address and our own, or returns the
    /// status and text of the refusal.
    pub admit: AdmitFn,
    /// Checks Host and Origin alone, by the headers and our own address.
    pub check_site: SiteFn,
}

/// Status and text of a refusal.
pub type ApiDenied = (http::StatusCode, String);
pub type SiteFn = Box<dyn Fn(&http::HeaderMap, SocketAddr) -> Result<(), ApiDenied> + Send + Sync>;
pub type AdmitFn =
    Box<dyn Fn(&http::HeaderMap, SocketAddr, SocketAddr) -> Result<(), ApiDenied> + Send + Sync>;

/// The two addresses of a request's connection, and the link of the worker that
/// received it.
#[derive(Clone)]
pub struct ApiCaller {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub link: Link,
    /// The connection that the request's body comes over.
    pub intake: Option<Arc<Intake>>,
}

/// The routes of the management API. Cloning is cheap.
#[derive(Clone)]
pub struct Api {
    router: Router,
    admin: Arc<Admin>,
}

impl Api {
    #[must_use]
    pub fn new(admin: Arc<Admin>) -> Self {
        let router = Router::new()
            .route("/health", get(health::health))
            .route("/livez", get(health::livez))
            .route("/readyz", get(health::readyz))
            .route("/metrics", get(metrics::metrics))
            .route("/api/cluster/status", get(cluster::status))
            .route("/api/cluster/nodes", get(cluster::nodes))
            .route("/api/cluster/servers/{name}/replicas", get(cluster::replicas))
            .route("/api/cluster/sessions/{id}", get(sessions::session))
            .route("/api/cluster/sessions", get(sessions::sessions))
            .route("/api/cluster/instances", get(instances::instances))
            .route("/api/cluster/explain", get(explain::explain))
            .route("/api/logs", get(logs::logs))
            .route("/api/events", get(live::events))
            .route("/ui", get(page::page))
            .route("/ui/", get(page::with_slash))
            .route("/ui/{name}", get(page::part))
            .route("/api/reload", get(reload::last).post(reload::reload))
            .route("/api/cluster/nodes/{id}/drain", post(drain::drain))
            .route("/api/cluster/nodes/{id}/undrain", post(drain::undrain))
            .route("/api/cluster/register", post(nodes::register))
            .route("/api/cluster/heartbeat", post(nodes::heartbeat))
            .route("/api/cluster/deregister", post(nodes::deregister))
            .route("/api/cluster/join", post(nodes::join))
            .fallback(answer::not_found)
            .method_not_allowed_fallback(answer::method_not_allowed)
            .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
            .with_state(Arc::clone(&admin));
        Self { router, admin }
    }

    #[must_use]
    pub fn serves(path: &str) -> bool {
        let is_of_page =
            || path.strip_prefix("/ui").is_some_and(|r| r.is_empty() || r.starts_with('/'));
        path.starts_with("/api/") || Self::is_of_health(path) || path == "/metrics" || is_of_page()
    }

    /// Whether the path is a health check.
    #[must_use]
    pub fn is_of_health(path: &str) -> bool {
        matches!(path, "/health" | "/livez" | "/readyz")
    }

    /// Whether a node calls the path to be in the cluster.
    #[must_use]
    pub fn is_of_nodes(path: &str) -> bool {
        NODES_CALLS.contains(&path)
    }

    /// Answers one request.
    pub async fn answer(self, request: Request<Body>, caller: ApiCaller) -> Response<Body> {
        let is_nodes = Self::is_of_nodes(request.uri().path());
        let admission = StillAdmitted::of(&self.admin, &request, &caller);
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(caller);
        // A router never fails: its error type has no value.
        let Ok(response) = self.router.oneshot(request).await;
        let (mut parts, body) = response.into_parts();
        if is_nodes {
            parts.headers.insert(headers::seam::REVISION, HeaderValue::from(seam::REVISION));
        }
        if parts.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == headers::EVENT_STREAM) {
            return Response::from_parts(parts, passed_on(body, admission));
        }
        let mut bytes = axum::body::to_bytes(body, MAX_ANSWER).await.unwrap_or_default();
        if parts.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == headers::JSON)
            && let Ok(text) = std::str::from_utf8(&bytes)
            && let Cow::Owned(shown) = visible::json(text)
        {
            parts.headers.remove(CONTENT_LENGTH);
            bytes = shown.into();
        }
        Response::from_parts(parts, Body::from(bytes))
    }
}

/// Forwards a stream chunk by chunk, no faster than its reader reads, and ends when
/// the reader leaves or its key is not good any more.
fn passed_on(mut body: axum::body::Body, mut admission: StillAdmitted) -> Body {
    let (writer, passed) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = writer.closed() => return,
                () = admission.ended() => return,
            };
            let Some(Ok(frame)) = frame else { return };
            if let Ok(data) = frame.into_data()
                && writer.send(data).await.is_err()
            {
                return;
            }
        }
    });
    Body::Channel(passed)
}
