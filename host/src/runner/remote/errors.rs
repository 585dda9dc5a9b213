//! Classifies an upstream's error responses and words them for the client.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::Body as _;

use crate::model::ServerName;
use crate::net::{Body, Failure};
use crate::protocol::jsonrpc::{Envelope, Kind, code};
use crate::protocol::objects::object_only;

/// Bytes read of a body that is no answer, and for how long: its first words are enough.
const BEGINNING: usize = 64 * 1024;
const BEGINNING_TIMEOUT: Duration = Duration::from_secs(5);

/// The beginning of a body that is not passed on, as far as it has come in time.
pub async fn beginning(mut body: Body) -> Bytes {
    let mut read = Vec::new();
    let reading = async {
        while read.len() < BEGINNING {
            let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await else {
                return;
            };
            if let Ok(data) = frame.into_data() {
                read.extend_from_slice(&data);
            }
        }
    };
    let _ = tokio::time::timeout(BEGINNING_TIMEOUT, reading).await;
    read.into()
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

/// The error text for an exchange without a response.
#[must_use]
pub fn unreachable(server: &ServerName, failure: &Failure) -> String {
    match failure {
        Failure::NotSent(why) | Failure::Short(why) => not_sent(server, why),
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
