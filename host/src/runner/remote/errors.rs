//! Classifies an upstream's error responses and words them for the client.

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::model::ServerName;
use crate::net::{Body, Failure, Proxy, Target, collect};
use crate::protocol::jsonrpc::{Envelope, Kind, code};
use crate::protocol::objects::object_only;

use super::challenge::WantsToken;

/// Bytes read of an error response's body.
const ERROR_BODY: usize = 64 * 1024;

/// The body of an error response; empty if it is too long or breaks off.
pub async fn text(response: Response<Body>) -> Bytes {
    collect(response.into_body(), ERROR_BODY).await.unwrap_or_default()
}

/// Whether the body is a JSON-RPC answer to this request. One with the code of a lost session is
/// not: the server has not processed the request.
#[must_use]
pub fn is_answer(text: &[u8], id: Option<&str>) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(remote = "Self")]
    struct Error {
        code: i64,
    }
    object_only!(Error);
    Envelope::parse(text).is_ok_and(|answer| {
        let error = answer.error.and_then(|error| serde_json::from_str::<Error>(error.get()).ok());
        answer.kind() == Kind::Response
            && id.is_some()
            && answer.id_text() == id
            && error.is_none_or(|error| error.code != code::SESSION)
    })
}

/// Whether the response means that the upstream's session is lost. The specification demands 404;
/// several servers send 400 and mention the session in the body.
#[must_use]
pub fn is_lost(status: StatusCode, text: &[u8]) -> bool {
    match status {
        StatusCode::NOT_FOUND => true,
        StatusCode::BAD_REQUEST => {
            let text = String::from_utf8_lossy(text).to_ascii_lowercase();
            text.contains("session") || text.contains("not initialized")
        }
        _ => false,
    }
}

/// Whether the status is 401 or 403: about the gateway's credentials, never the client's.
#[must_use]
pub fn is_about_credentials(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// The error text for a response that does not answer the request; `wanted` is its demand for a
/// token, and `proxy` may have answered in the server's place.
#[must_use]
pub fn refused(
    server: &ServerName,
    status: StatusCode,
    wanted: Option<&WantsToken>,
    proxy: Option<&Proxy>,
) -> String {
    if let Some(wanted) = wanted {
        return format!("server {server} needs OAuth ({status}): {}", wanted.advice());
    }
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
        && let Some(proxy) = proxy
    {
        return not_sent(server, &proxy.wants_credentials());
    }
    if is_about_credentials(status) {
        return format!(
            "server {server} refuses the gateway's credentials ({status}); check its \"headers\""
        );
    }
    if status.is_success() {
        return format!("server {server} answered {status} without an answer to the request");
    }
    format!("server {server} answers {status}")
}

/// Why a session cannot be opened after a response with this status, behind the server's name: its
/// credentials are refused, or the proxy's. `None` for any other status.
#[must_use]
pub fn refused_to_open(target: &Target, status: StatusCode) -> Option<String> {
    if is_about_credentials(status) {
        return Some(format!("it refuses the gateway's credentials ({status}); check \"headers\""));
    }
    let is_of_proxy = status == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
    target.forwarder().filter(|_| is_of_proxy).map(Proxy::wants_credentials)
}

/// The error text for an exchange without a response.
#[must_use]
pub fn unreachable(server: &ServerName, failure: &Failure) -> String {
    match failure {
        Failure::NotSent(why) => not_sent(server, why),
        Failure::Broken(why) => format!(
            "the connection to server {server} broke while the call was under way; it may have \
             run: {why}"
        ),
    }
}

#[must_use]
pub fn not_sent(server: &ServerName, why: &str) -> String {
    format!("server {server} cannot be reached: {why}")
}
