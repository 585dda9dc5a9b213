//! The management API: cluster, health, metrics. Shapes are the guide's.

mod answer;
mod cluster;
mod health;
mod metrics;
mod nodes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use http::{Request, Response};
use tokio::sync::{Notify, watch};
use tower::ServiceExt as _;

use crate::cluster::{Control, Gate, Joined, Registry};
use crate::edge::Metrics;
use crate::host;
use crate::model::{NodeId, UnixMillis};
use crate::protocol::seal::KeyRing;
use crate::seam::{Body, Link};
use crate::store::Bindings;
use crate::wasm::Strategy;

/// A heartbeat of a node with ten thousand servers fits.
const MAX_BODY: usize = 1 << 20;
/// A list of ten thousand nodes fits.
const MAX_ANSWER: usize = 64 << 20;

/// The role of this process, with what only that role has.
#[derive(Clone)]
pub enum Role {
    Standalone,
    Coordinator { control: Arc<Control>, gate: Gate },
    Node { join: Arc<Notify>, joined: watch::Receiver<Joined> },
}

/// What the management API looks at.
pub struct Admin {
    pub role: Role,
    pub node_id: NodeId,
    pub registry: Arc<Registry>,
    pub bindings: Arc<Bindings>,
    pub keys: KeyRing,
    pub affinity_timeout: Duration,
    pub edge_metrics: Arc<Metrics>,
    pub host: Arc<host::Shared>,
    pub strategy: Strategy,
    pub started_at: UnixMillis,
    /// Lets a request to `/api` in, or says with status and text why not.
    pub admit: AdmitFn,
}

/// Status and text of a refusal.
pub type Denied = (http::StatusCode, String);
pub type AdmitFn = Box<dyn Fn(&http::HeaderMap, SocketAddr) -> Result<(), Denied> + Send + Sync>;

/// Whom a request came from and to which address, and the worker's link.
#[derive(Clone)]
pub struct Caller {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub link: Link,
}

/// Cloning is cheap.
#[derive(Clone)]
pub struct Api(Router);

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
            .route("/api/cluster/sessions/{id}", get(cluster::session))
            .route("/api/cluster/register", post(nodes::register))
            .route("/api/cluster/heartbeat", post(nodes::heartbeat))
            .route("/api/cluster/deregister", post(nodes::deregister))
            .route("/api/cluster/join", post(nodes::join))
            .fallback(answer::not_found)
            .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
            .with_state(admin);
        Self(router)
    }

    #[must_use]
    pub fn serves(path: &str) -> bool {
        path.starts_with("/api/") || matches!(path, "/health" | "/livez" | "/readyz" | "/metrics")
    }

    /// Answers one request.
    pub async fn answer(self, request: Request<Body>, caller: Caller) -> Response<Body> {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(caller);
        // A router never fails: its error type has no value.
        let Ok(response) = self.0.oneshot(request).await;
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, MAX_ANSWER).await.unwrap_or_default();
        Response::from_parts(parts, Body::from(bytes))
    }
}
