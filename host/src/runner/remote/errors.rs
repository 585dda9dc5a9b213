//! What an upstream's refusals mean, and what its client is told of them.

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::model::ServerName;
use crate::net::{Body, Failure, collect};
use crate::protocol::jsonrpc::{Envelope, Kind, code};

/// What an upstream may say when it refuses something.
const ERROR_BODY: usize = 64 * 1024;

/// What it says.
pub async fn text(response: Response<Body>) -> Bytes {
    collect(response.into_body(), ERROR_BODY).await.unwrap_or_default()
}

/// Whether the body answers this very request: then the server has seen it, and
/// only says "session not found" for a session that is lost.
#[must_use]
pub fn is_answer(text: &[u8], id: Option<&str>) -> bool {
    #[derive(serde::Deserialize)]
    struct Error {
        code: i64,
    }
    Envelope::parse(text).is_ok_and(|answer| {
        let error = answer.error.and_then(|error| serde_json::from_str::<Error>(error.get()).ok());
        answer.kind() == Kind::Response
            && id.is_some()
            && answer.id_text() == id
            && error.is_none_or(|error| error.code != code::SESSION)
    })
}

/// The specification says 404; several servers say 400 with a word about it.
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

/// A 401 or 403 is between gateway and upstream.
#[must_use]
pub fn is_about_credentials(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// A response that is no answer, in our words.
#[must_use]
pub fn refused(server: &ServerName, status: StatusCode) -> String {
    if is_about_credentials(status) {
        return format!(
            "server {server} refuses the gateway's credentials ({status}); check its \"headers\""
        );
    }
    if status.is_success() {
        return format!("server {server} answers {status} and nothing to the request");
    }
    format!("server {server} answers {status}")
}

/// An exchange without a response.
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
