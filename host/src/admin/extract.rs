//! What handlers extract from a request. Every rejection uses the API's envelope.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::cluster::Control;

use super::answer::Answer;
use super::{Admin, Caller, Role};

pub const ONLY_COORDINATOR: &str = "This endpoint is only available on coordinator nodes";

/// A caller that may use `/api`. A handler must extract this first, so that other
/// callers learn nothing about the rest of their request.
pub struct Admitted(pub Caller);

impl FromRequestParts<Arc<Admin>> for Admitted {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, Answer> {
        let caller = caller(parts)?;
        match (admin.admit)(&parts.headers, caller.local) {
            Ok(()) => Ok(Self(caller)),
            Err((status, text)) => Err(Answer::failure(status, text)),
        }
    }
}

/// Like [`Admitted`], for endpoints that only a coordinator answers; 403 elsewhere.
pub struct AtCoordinator(pub Caller);

impl FromRequestParts<Arc<Admin>> for AtCoordinator {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, Answer> {
        let Admitted(caller) = Admitted::from_request_parts(parts, admin).await?;
        match admin.role {
            Role::Coordinator { .. } => Ok(Self(caller)),
            Role::Standalone | Role::Node { .. } => {
                Err(Answer::failure(StatusCode::FORBIDDEN, ONLY_COORDINATOR))
            }
        }
    }
}

/// The query parameters.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Answer> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(wrong) => Err(Answer::failure(wrong.status(), wrong.body_text())),
        }
    }
}

/// The name or id in the path.
pub struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Answer> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(wrong) => Err(Answer::failure(wrong.status(), wrong.body_text())),
        }
    }
}

/// A message from a node that the cluster's gate let in.
pub struct FromNode<T> {
    pub control: Arc<Control>,
    pub caller: Caller,
    pub message: T,
}

impl<T: DeserializeOwned> FromRequest<Arc<Admin>> for FromNode<T> {
    type Rejection = Answer;

    async fn from_request(request: Request, admin: &Arc<Admin>) -> Result<Self, Answer> {
        let Role::Coordinator { control, gate } = &admin.role else {
            return Err(Answer::failure(StatusCode::FORBIDDEN, ONLY_COORDINATOR));
        };
        let (parts, body) = request.into_parts();
        let caller = caller(&parts)?;
        gate.check(&parts.headers, caller.peer.ip()).await.map_err(|denied| {
            let status =
                if gate.token.is_some() { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN };
            Answer::failure(status, denied.to_string())
        })?;
        let body = Bytes::from_request(Request::from_parts(parts, body), admin)
            .await
            .map_err(|wrong| Answer::failure(wrong.status(), wrong.body_text()))?;
        let message = serde_json::from_slice(&body).map_err(|error| {
            let text = format!("the body is not a valid message: {error}");
            Answer::failure(StatusCode::BAD_REQUEST, text)
        })?;
        Ok(Self { control: Arc::clone(control), caller, message })
    }
}

/// The caller, which [`super::Api::answer`] attaches to every request.
fn caller(parts: &Parts) -> Result<Caller, Answer> {
    let caller = parts.extensions.get::<Caller>().cloned();
    caller.ok_or_else(|| {
        Answer::failure(StatusCode::INTERNAL_SERVER_ERROR, "the caller's address is unknown")
    })
}
