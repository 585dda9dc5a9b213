//! Asks a server what it offers in the revision without sessions. Its answer also shows whether it
//! serves that revision at all (2026-07-28, basic/versioning, "Backward Compatibility").

use bytes::Bytes;
use http::Uri;

use crate::model::ServerName;
use crate::protocol::era::methods::DISCOVER;
use crate::protocol::era::outgoing::{self, Introduction, OfRequest};
use crate::protocol::era::{REVISION, answered, discovered};
use crate::protocol::initialize::{self, ClientSet};
use crate::protocol::jsonrpc::{self, Envelope, code};
use crate::runner::admission::open_error::OpenError;
use crate::runner::channel::judge::ResponseHead;
use crate::runner::session::remote_opening;

use super::exchange::Outgoing;
use super::server::{Exchange, ModernServer};

/// Why it is not known what a server offers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotDiscovered {
    /// It does not serve the revision.
    #[error("it does not serve revision {REVISION}: {0}")]
    OtherEra(String),
    /// Anything else, which says nothing of its era.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// What a server offers.
pub struct Found {
    /// The result of `server/discover`.
    pub result: Bytes,
    /// Where redirects have led to.
    pub moved: Option<Uri>,
}

/// The result of `server/discover`, asked for as the gateway itself. A server that does not serve
/// the revision and names it all the same is asked once more.
///
/// # Errors
/// Why there is none.
pub async fn ask(server: &ServerName, at: &ModernServer) -> Result<Found, NotDiscovered> {
    let mut is_second = false;
    loop {
        let mut exchange = sent(at).await;
        let answer = exchange.answer().await.map_err(|unanswered| unanswered.why);
        let names_it = answer.as_ref().is_ok_and(names_revision);
        if names_it && !std::mem::replace(&mut is_second, true) {
            continue;
        }
        if let (ModernServer::Http(at), Some(head)) = (at, exchange.head())
            && let Some(wanted) = at.wanted(head)
        {
            let about = (at.upstream(), at.has_user_token());
            return Err(remote_opening::wants_token(server, about, head.status, &wanted).into());
        }
        let result = judged(server, exchange.head(), answer)?;
        return Ok(Found { result, moved: exchange.moved() });
    }
}

/// Whether an answer is an error that names the revision as one that is served.
fn names_revision(answer: &Bytes) -> bool {
    let error = Envelope::parse(answer).ok().and_then(|answer| answer.error);
    let error = error.map_or("", |error| error.get());
    discovered::error_serves_revision(error.as_bytes()) == Some(true)
}

/// Sends the question.
async fn sent(at: &ModernServer) -> Exchange {
    let own = initialize::own_params(ClientSet::default(), None);
    let said = Introduction::of(own.as_bytes());
    let number = at.number();
    let params = outgoing::params(None, &said, OfRequest::default()).unwrap_or_default();
    let message = jsonrpc::request(&number.to_string(), DISCOVER, &params);
    let headers = outgoing::headers(DISCOVER, None, &[]);
    at.send(Outgoing { number, message, headers, takes_logs: false }).await
}

/// What the answer says.
///
/// # Errors
/// If it is no result, or that of a server of other revisions.
fn judged(
    server: &ServerName,
    head: Option<&ResponseHead>,
    answer: Result<Bytes, String>,
) -> Result<Bytes, NotDiscovered> {
    let failed = |reason: String| OpenError::Start { server: server.clone(), reason };
    let status = head.map(|head| head.status);
    let answer = answer.map_err(failed)?;
    let envelope = Envelope::parse(&answer).map_err(|error| failed(error.to_string()))?;
    if let Some(result) = envelope.result {
        let result = answer.slice_ref(result.get().as_bytes());
        return match discovered::serves_revision(&result) {
            Some(true) => Ok(result),
            Some(false) => Err(NotDiscovered::OtherEra("it names only others".to_owned())),
            None => Err(NotDiscovered::OtherEra("its answer names no revision".to_owned())),
        };
    }
    let error = envelope.error.map_or("", |error| error.get()).to_owned();
    if let Some(after) = head.and_then(|head| head.retry_after) {
        let (server, reason) = (server.clone(), error);
        return Err(OpenError::Busy { server, reason, after }.into());
    }
    let is_unclear = status.is_some_and(|status| {
        status.is_server_error() || matches!(status.as_u16(), 401 | 403 | 407 | 408 | 429)
    });
    if is_unclear {
        return Err(failed(error).into());
    }
    // It knows the revision, and says what is wrong with the request: the gateway has made it.
    let its_code = envelope.error.and_then(answered::code_of);
    let knows = matches!(its_code, Some(code::HEADER_MISMATCH | code::MISSING_CAPABILITY))
        || discovered::error_serves_revision(error.as_bytes()) == Some(true);
    if knows {
        return Err(OpenError::Refused { server: server.clone(), reason: error }.into());
    }
    Err(NotDiscovered::OtherEra(error))
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;
    use crate::net::Body;

    fn check(status: Option<u16>, answer: &str, expect: &str) {
        let head = status.map(|status| {
            ResponseHead::of(&Response::builder().status(status).body(Body::Empty).unwrap())
        });
        let answer = Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":1,{answer}}}"#));
        let server = ServerName::parse("s").unwrap();
        let got = match judged(&server, head.as_ref(), Ok(answer.clone())) {
            Ok(_) => "modern",
            Err(NotDiscovered::OtherEra(_)) => "other",
            Err(NotDiscovered::Open(_)) => "unclear",
        };
        assert_eq!(got, expect, "{status:?} {answer:?}");
    }

    #[test]
    fn only_an_answer_about_revisions_shows_the_era() {
        let found = r#""result":{"supportedVersions":["2026-07-28"],"capabilities":{}}"#;
        check(None, found, "modern");
        check(Some(200), found, "modern");
        check(Some(200), r#""result":{"supportedVersions":["2027-01-01"]}"#, "other");
        check(Some(200), r#""result":{}"#, "other");
        let error = |code: i64, data: &str| {
            format!(r#""error":{{"code":{code},"message":"m","data":{data}}}"#)
        };
        check(None, &error(-32601, "null"), "other");
        check(Some(400), &error(-32000, "null"), "other");
        check(Some(404), &error(-32601, "null"), "other");
        check(Some(400), &error(-32022, r#"{"supported":["2027-01-01"]}"#), "other");
        check(Some(400), &error(-32022, r#"{"supported":["2026-07-28"]}"#), "unclear");
        check(Some(400), &error(-32020, "null"), "unclear");
        check(Some(503), &error(-32000, "null"), "unclear");
        check(Some(403), &error(-32000, "null"), "unclear");
    }
}
