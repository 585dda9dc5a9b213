//! What handlers extract from a request. Every rejection uses the API's envelope.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::StatusCode;
use http::request::Parts;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;

use crate::cluster::{Control, NodeMessage, NodeRequest, ProvedMessage, Rejected};
use crate::edge::ManagerRefusal;
use crate::net::{Kept, TooLong};
use crate::telemetry::AuditEntry;
use crate::tls::ClusterPeer;

use super::answer::{ApiAnswer, refusal};
use super::{Admin, ApiCaller, MAX_BODY, ProcessRole};

/// What a closed node answers to everybody.
const STATUS: &str = "/api/cluster/status";
/// What is answered to everybody, if with less.
const HEALTH: &str = "/health";
/// What the audit log calls refusals.
const MANAGEMENT: &str = "management";
const FOR_SOME: &str = "Forbidden: this is about all servers, and the operator's rules \
                        (systemConfig.policy) open only some to this credential";

pub const ONLY_COORDINATOR: &str = "This endpoint is only available on coordinator nodes";

/// A caller that may use `/api`. A handler must extract this first, so that other
/// callers learn nothing about the rest of their request.
pub struct AdmittedCaller(pub ApiCaller);

impl FromRequestParts<Arc<Admin>> for AdmittedCaller {
    type Rejection = ApiAnswer;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, ApiAnswer> {
        let caller = caller(parts)?;
        match (admin.admit)(&parts.headers, caller.peer, caller.local).await {
            Ok(manager) => {
                let _ = caller.admitted.set(manager.clone());
                Ok(Self(ApiCaller { manager: Some(manager), ..caller }))
            }
            Err(refusal) => {
                let ManagerRefusal { status, text, principal, ruling } = refusal;
                audit(admin, parts, || AuditEntry {
                    principal,
                    ruling,
                    ..caller.audited(MANAGEMENT, false, text.clone())
                });
                Err(ApiAnswer::failure(status, text))
            }
        }
    }
}

/// Adds a line about a refused request to the audit log, if there is one. What is answered nevertheless
/// was not refused.
fn audit(admin: &Admin, parts: &Parts, line: impl FnOnce() -> AuditEntry) {
    let path = parts.uri.path();
    let is_node = matches!(admin.role, ProcessRole::Node { .. });
    let is_answered = path == HEALTH || (path == STATUS && is_node);
    if let Some(audit) = admin.telemetry.audit.as_ref().filter(|_| !is_answered) {
        audit.add(AuditEntry { method: Some(path.to_owned()), ..line() });
    }
}

/// A caller to whom the operator's rules leave every server: what concerns all of them is for no other.
pub struct WholeCaller(pub ApiCaller);

impl FromRequestParts<Arc<Admin>> for WholeCaller {
    type Rejection = ApiAnswer;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, ApiAnswer> {
        let AdmittedCaller(caller) = AdmittedCaller::from_request_parts(parts, admin).await?;
        if caller.rights().is_none() {
            return Ok(Self(caller));
        }
        audit(admin, parts, || caller.audited(MANAGEMENT, false, FOR_SOME.to_owned()));
        Err(ApiAnswer::failure(StatusCode::FORBIDDEN, FOR_SOME))
    }
}

/// A caller by a name of this gateway, and no page of another origin: for what needs no key.
pub struct SiteCaller;

impl FromRequestParts<Arc<Admin>> for SiteCaller {
    type Rejection = ApiAnswer;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, ApiAnswer> {
        let caller = caller(parts)?;
        match (admin.check_site)(&parts.headers, caller.local) {
            Ok(()) => Ok(Self),
            Err((status, text)) => {
                audit(admin, parts, || caller.audited(MANAGEMENT, false, text.clone()));
                Err(ApiAnswer::failure(status, text))
            }
        }
    }
}

/// What the refusal of a closed node says, and no other.
const OF_CLOSED_NODE: &str = "this node serves its coordinator only";

/// A caller of `/api/cluster/status`, which a node without a key answers to everyone but pages of
/// other sites: it says only that the process is a node, and how many servers and sessions it has.
/// `None`: everyone.
pub struct StatusCaller(pub Option<ApiCaller>);

impl FromRequestParts<Arc<Admin>> for StatusCaller {
    type Rejection = ApiAnswer;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, ApiAnswer> {
        SiteCaller::from_request_parts(parts, admin).await?;
        let admitted = AdmittedCaller::from_request_parts(parts, admin).await;
        match (&admin.role, admitted) {
            // A restricted key is refused with the same status, and is no key for the API.
            (ProcessRole::Node { .. }, Err(ApiAnswer::Failure(StatusCode::FORBIDDEN, text)))
                if text.contains(OF_CLOSED_NODE) =>
            {
                Ok(Self(None))
            }
            (_, admitted) => admitted.map(|caller| Self(Some(caller.0))),
        }
    }
}

/// Like [`AdmittedCaller`], for endpoints that only a coordinator answers; 403 elsewhere.
pub struct AtCoordinator(pub ApiCaller);

impl FromRequestParts<Arc<Admin>> for AtCoordinator {
    type Rejection = ApiAnswer;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, ApiAnswer> {
        let only_coordinator = || ApiAnswer::failure(StatusCode::FORBIDDEN, ONLY_COORDINATOR);
        let admitted = AdmittedCaller::from_request_parts(parts, admin).await;
        match (&admin.role, admitted) {
            (ProcessRole::Coordinator { .. }, admitted) => admitted.map(|caller| Self(caller.0)),
            // Which endpoints a node has is no secret, and the guide names this answer.
            (ProcessRole::Node { .. }, Err(ApiAnswer::Failure(StatusCode::FORBIDDEN, _))) => {
                Err(only_coordinator())
            }
            (_, Err(denied)) => Err(denied),
            (_, Ok(_)) => Err(only_coordinator()),
        }
    }
}

/// The query parameters.
pub struct QueryParams<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryParams<T> {
    type Rejection = ApiAnswer;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiAnswer> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(wrong) => Err(ApiAnswer::failure(wrong.status(), wrong.body_text())),
        }
    }
}

/// The name or id in the path.
pub struct PathName(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathName {
    type Rejection = ApiAnswer;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiAnswer> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(wrong) => Err(ApiAnswer::failure(wrong.status(), wrong.body_text())),
        }
    }
}

/// A message of a node, with its proof.
pub struct FromNode<T> {
    pub control: Arc<Control>,
    pub caller: ApiCaller,
    pub proved: ProvedMessage<T>,
}

impl<T: NodeMessage> FromRequest<Arc<Admin>> for FromNode<T> {
    type Rejection = ApiAnswer;

    async fn from_request(request: Request, admin: &Arc<Admin>) -> Result<Self, ApiAnswer> {
        let ProcessRole::Coordinator { control } = &admin.role else {
            return Err(ApiAnswer::failure(StatusCode::FORBIDDEN, ONLY_COORDINATOR));
        };
        let (parts, body) = request.into_parts();
        let caller = caller(&parts)?;
        let (proofs, peer) = (&control.proofs, caller.peer.ip());
        let refused = |why: Rejected| {
            audit(admin, &parts, || caller.audited("node", false, why.to_string()));
            refusal(&why)
        };
        let certified = parts.extensions.get::<Arc<ClusterPeer>>().cloned();
        let certified = certified.as_deref();
        proofs.admit(&parts.headers, peer, certified).await.map_err(refused)?;
        let body = whole(body, &caller).await?;
        let (headers, method, path) = (&parts.headers, parts.method.as_str(), parts.uri.path());
        let request = NodeRequest { headers, method, path, body: &body, peer, certified };
        let proved = proofs.open(request).map_err(refused)?;
        Ok(Self { control: Arc::clone(control), caller, proved })
    }
}

/// The whole body, in the memory that all bodies share.
async fn whole(mut body: Body, caller: &ApiCaller) -> Result<Bytes, ApiAnswer> {
    // What announces too much need not come.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(unreadable(&TooLong::Limit(MAX_BODY)));
    }
    let mut kept = Kept::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unreadable(&error.into_inner().into()))?;
        let Ok(data) = frame.into_data() else { continue };
        if kept.len() + data.len() > MAX_BODY {
            return Err(unreadable(&TooLong::Limit(MAX_BODY)));
        }
        let added = kept.add(data, caller.intake.as_ref(), MAX_BODY);
        added.map_err(|error| unreadable(&error))?;
    }
    kept.whole().map_err(|error| unreadable(&error))
}

fn unreadable(error: &TooLong) -> ApiAnswer {
    let status = match error {
        TooLong::Limit(_) => StatusCode::PAYLOAD_TOO_LARGE,
        TooLong::NoRoom(_) => StatusCode::SERVICE_UNAVAILABLE,
        TooLong::Stalled(_) => StatusCode::REQUEST_TIMEOUT,
        TooLong::Broken(_) => StatusCode::BAD_REQUEST,
    };
    ApiAnswer::failure(status, error.to_string())
}

/// The caller, which [`super::Api::answer`] attaches to every request.
fn caller(parts: &Parts) -> Result<ApiCaller, ApiAnswer> {
    let caller = parts.extensions.get::<ApiCaller>().cloned();
    caller.ok_or_else(|| {
        ApiAnswer::failure(StatusCode::INTERNAL_SERVER_ERROR, "the caller's address is unknown")
    })
}
