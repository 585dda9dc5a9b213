//! Whether a server of sessions answers by now where one without was: then the session is lost, and the
//! next one is opened in the other era.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use crate::protocol::era::{answered, discovered};
use crate::protocol::jsonrpc::{Envelope, code};
use crate::runner::channel::judge::ResponseHead;
use crate::runner::channel::sink::MessageSink as _;

use super::discover::{self, NotDiscovered};
use super::talk::Talk;

/// What has become of the session.
pub const REPLACED: &str = "it does not serve requests without a session any more";

/// How long the server may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether an answer may be that of a server of sessions: servers without any have other words for
/// what is wrong (2026-07-28, basic/transports/streamable-http, "Server Validation").
#[must_use]
pub fn may_be(head: Option<&ResponseHead>, answer: &Bytes) -> bool {
    let Some(head) = head else { return false };
    let error = Envelope::parse(answer).ok().and_then(|said| said.error);
    let is =
        |codes: &[i64]| error.and_then(answered::code_of).is_some_and(|it| codes.contains(&it));
    match head.status {
        StatusCode::BAD_REQUEST => {
            let error = error.map_or("", |error| error.get());
            let serves = discovered::error_serves_revision(error.as_bytes()) == Some(true);
            !serves && !is(&[code::HEADER_MISMATCH, code::MISSING_CAPABILITY])
        }
        StatusCode::NOT_FOUND => !is(&[code::METHOD_NOT_FOUND]),
        StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::NOT_ACCEPTABLE
        | StatusCode::GONE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE => true,
        _ => false,
    }
}

impl Talk {
    /// Asks the server what it is, after an answer that is odd. If it has no requests without a session,
    /// the session is lost.
    pub async fn has_been_replaced(&self) -> bool {
        let asked = tokio::time::timeout(PATIENCE, discover::ask(&self.server, &self.at)).await;
        let Ok(Err(NotDiscovered::OtherEra(why))) = asked else { return false };
        tracing::info!(server = %self.server, "{REPLACED}: {why}");
        self.eras.doubt(&self.server);
        // First that it is lost: whoever sends the request again must not find this session.
        self.pipe.mark_lost(REPLACED);
        self.replaced.raise();
        true
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;
    use crate::net::Body;

    #[test]
    fn only_an_answer_that_no_server_without_sessions_gives_is_odd() {
        for (status, code, data, expect) in [
            (400, -32600, "null", true),
            (400, -32000, "null", true),
            (400, -32602, "null", true),
            (400, -32022, r#"{"supported":["2025-11-25"]}"#, true),
            (400, -32022, r#"{"supported":["2026-07-28"]}"#, false),
            (400, -32020, "null", false),
            (400, -32021, "null", false),
            (404, -32001, "null", true),
            (404, -32601, "null", false),
            (405, -32603, "null", true),
            (200, -32602, "null", false),
            (500, -32603, "null", false),
            (401, -32603, "null", false),
        ] {
            let response = Response::builder().status(status).body(Body::Empty).unwrap();
            let error = format!(r#"{{"code":{code},"message":"m","data":{data}}}"#);
            let answer = Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#));
            let head = ResponseHead::of(&response);
            assert_eq!(may_be(Some(&head), &answer), expect, "{status} {error}");
            assert!(!may_be(None, &answer), "over stdio");
        }
    }
}
