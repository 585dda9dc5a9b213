//! The management API: cluster, instances, logs, health, metrics. Where the cluster
//! guide defines an answer, its shape is the guide's.

mod answer;
mod cluster;
mod documents;
mod drain;
mod explain;
mod extract;
mod health;
mod instances;
mod live;
mod local;
mod log_level;
mod logs;
mod metrics;
mod nodes;
mod page;
mod reload;
mod routes;
mod sessions;
mod still_admitted;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use tokio::sync::{Notify, mpsc, watch};
use tower::ServiceExt as _;

use crate::cluster::{Control, Joined, Registry, RunnerView};
use crate::edge::{Connections, Decisions, Leaving, ListenerTls, Manager, ManagerRefusal, Metrics};
use crate::model::{NodeId, Rights, ServerName, UnixMillis, visible};
use crate::net::{Body, BodyBudget, Intake};
use crate::protocol::headers;
use crate::protocol::seal::KeyRing;
use crate::runner;
use crate::seam::{self, Link};
use crate::store::sharing::Sharing;
use crate::store::{Bindings, Records, SessionStates};
use crate::telemetry::{AuditAction, AuditEntry, LogFilter, Telemetry};
use crate::wasm::Strategy;

use self::still_admitted::StillAdmitted;
pub use live::{LOG, Live, LogLines, watch_for_readers};

pub use local::Local;
pub use metrics::tell_metrics;
pub use reload::{Asked, ReloadOutcome, ReloadReport, Reloads, SettingsFacts};
pub use routes::ROUTES;

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
    pub telemetry: Arc<Telemetry>,
    pub log: Arc<dyn LogFilter>,
    pub decisions: Arc<Decisions>,
    /// What the operators' page reads.
    pub live: Live,
    /// Changes when there are newer settings.
    pub settings: watch::Receiver<u64>,
    pub connections: Arc<Connections>,
    /// What the port speaks TLS with.
    pub tls: Option<Arc<ListenerTls>>,
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
pub type AdmitFn = Box<
    dyn Fn(
            &http::HeaderMap,
            SocketAddr,
            SocketAddr,
        ) -> BoxFuture<'static, Result<Manager, ManagerRefusal>>
        + Send
        + Sync,
>;

/// The two addresses of a request's connection, and the link of the worker that
/// received it.
#[derive(Clone)]
pub struct ApiCaller {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub link: Link,
    /// The connection that the request's body comes over.
    pub intake: Option<Arc<Intake>>,
    /// Who it is; `None` until it is admitted.
    pub manager: Option<Manager>,
    /// The same, for what goes on after the answer has begun.
    pub admitted: Arc<OnceLock<Manager>>,
}

impl ApiCaller {
    /// What the caller may see; `None` if that is everything.
    #[must_use]
    pub fn rights(&self) -> Option<&Arc<Rights>> {
        self.manager.as_ref()?.rights.as_ref()
    }

    /// Whether a server exists for the caller.
    #[must_use]
    pub fn sees(&self, server: &ServerName) -> bool {
        self.rights().is_none_or(|rights| rights.has(server))
    }

    /// A line of the audit log about what the caller does.
    #[must_use]
    pub fn audited(&self, what: &'static str, allowed: bool, why: String) -> AuditEntry {
        let manager = self.manager.as_ref();
        AuditEntry {
            principal: manager.map(|manager| manager.principal.clone()),
            address: Some(self.peer.ip()),
            ruling: manager.and_then(|manager| manager.ruling.clone()),
            ..AuditEntry::of(AuditAction::Manage(what), allowed, why)
        }
    }

    /// The same for a name that another process gives.
    #[must_use]
    pub fn sees_named(&self, server: &str) -> bool {
        self.rights().is_none() || ServerName::parse(server).is_ok_and(|server| self.sees(&server))
    }
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
        let router = routes::router()
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
