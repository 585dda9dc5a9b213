//! The runner's answers to requests that it cannot serve.

use std::time::Duration;

use http::{Response, StatusCode, header};

use crate::model::{Epoch, ServerName};
use crate::net::{Body, TooLong};
use crate::protocol::headers;
use crate::protocol::jsonrpc::{self, Malformed, code};
use crate::seam::{Outcome, UserTokenRefused, write_epoch, write_token_refused};
use crate::streams::response as events;

use super::admission::open_error::OpenError;
use super::channel::answer::{RunnerAnswer, mark_own};

/// The answer to a message that cannot be read.
pub fn malformed(error: &Malformed, id: Option<&str>) -> Response<Body> {
    let mut response = events::json(jsonrpc::error(id, error.code(), &error.to_string()));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    mark_own(&mut response, error.code());
    response
}

/// The answer to a message of a session that is not open here.
pub fn unknown_session() -> Response<Body> {
    let mut response = plain(StatusCode::NOT_FOUND, "no such session on this node");
    Outcome::UnknownSession.write(response.headers_mut());
    response
}

/// The answer to a message for a server that is none of this runner's.
pub fn not_hosted(server: &ServerName) -> Response<Body> {
    let text = format!("server {server} is not hosted on this node");
    let mut response = plain(StatusCode::NOT_FOUND, &text);
    Outcome::NotSent.write(response.headers_mut());
    response
}

/// The answer to an open by an edge whose binding is older than the instance.
pub fn newer(epoch: Epoch) -> Response<Body> {
    let mut response = plain(StatusCode::CONFLICT, "the session is open here by a later binding");
    Outcome::NotSent.write(response.headers_mut());
    write_epoch(response.headers_mut(), Some(epoch));
    response
}

/// The answer to an open that has failed.
pub fn cannot_open(error: &OpenError) -> Response<Body> {
    let text = error.to_string();
    let message = match error {
        OpenError::UserToken { refused, .. } => refused.error_with(None, &text),
        _ => jsonrpc::error(None, code::UNAVAILABLE, &text),
    };
    let mut response = events::json(message);
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    Outcome::NotSent.write(response.headers_mut());
    if matches!(error, OpenError::UserToken { .. }) {
        write_token_refused(response.headers_mut());
    }
    if let Some(after) = error.retry_after() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(header::RETRY_AFTER, headers::whole_seconds(after));
    }
    response
}

/// The answer to a message whose server does not take the token of its client's user.
pub fn token_refused(
    server: &ServerName,
    id: Option<&str>,
    refused: &UserTokenRefused,
) -> Response<Body> {
    let mut response = events::json(refused.error(id, server));
    Outcome::NotSent.write(response.headers_mut());
    write_token_refused(response.headers_mut());
    response
}

/// The answer to a body that has not come whole.
pub fn unreadable(error: &TooLong, id: Option<&str>) -> Response<Body> {
    let status = match error {
        TooLong::Limit(_) => StatusCode::PAYLOAD_TOO_LARGE,
        TooLong::Stalled(_) => StatusCode::REQUEST_TIMEOUT,
        TooLong::Broken(_) => StatusCode::BAD_REQUEST,
        TooLong::NoRoom(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = events::json(jsonrpc::error(id, code::TRANSPORT, &error.to_string()));
    *response.status_mut() = status;
    // Not counted: the edge may have refused the same body.
    response.extensions_mut().insert(RunnerAnswer);
    if matches!(error, TooLong::NoRoom(_)) {
        let soon = headers::whole_seconds(Duration::from_secs(2));
        response.headers_mut().insert(header::RETRY_AFTER, soon);
    }
    response
}

/// An error without an id.
pub fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = events::json(jsonrpc::error(None, code::TRANSPORT, text));
    *response.status_mut() = status;
    response
}
