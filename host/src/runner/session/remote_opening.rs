//! `initialize` over Streamable HTTP: sent again to a server that is full for a moment, and what
//! came instead of a result.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

use crate::model::{SUBJECT_TOKEN, ServerName};
use crate::net::{Body, Failure, Pool, Proxy, collect, is_event_stream, name_events};
use crate::oauth::challenge::WantsToken;
use crate::protocol::jsonrpc::Envelope;
use crate::runner::admission::open_error::OpenError;
use crate::runner::channel::answer::{self, CallError};
use crate::runner::channel::judge::{self, Judged, ResponseHead};
use crate::runner::remote::upstream::{Came, Upstream, UpstreamClient};
use crate::seam::UserTokenRefused;
use crate::streams::response as events;

/// Bytes read of an answer to `initialize`.
const MAX_ANSWER: usize = 4 << 20;
/// When a server that refuses a token may take another one.
const REFUSED: Duration = Duration::from_secs(5);
/// First pause before another attempt, where the server has named none; it doubles.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a client waits in all for a server that is full.
const PATIENCE: Duration = Duration::from_secs(5);
/// Attempts, where the server has named no pause: it may be down.
const ATTEMPTS: u32 = 3;

/// Posts `initialize`. A server that can take no session just now is asked again, if it `waits`:
/// another session may end meanwhile.
///
/// # Errors
/// If an exchange fails.
pub async fn post(
    client: &UpstreamClient,
    pool: &Pool,
    message: &Bytes,
    forwarded: &HeaderMap,
    waits: bool,
) -> Result<Came, Failure> {
    let mut waited = Duration::ZERO;
    for attempt in 1.. {
        let came = client.post(pool, None, message.clone(), forwarded).await?;
        let head = ResponseHead::of(&came.response);
        let pause = head.retry_after.unwrap_or(PAUSE * 2_u32.saturating_pow(attempt - 1));
        // A server that says "at once" is not asked in a loop.
        let pause = pause.max(PAUSE);
        let is_over =
            waited + pause > PATIENCE || (head.retry_after.is_none() && attempt >= ATTEMPTS);
        if !waits || is_over || !judge::is_crowded(head.status) {
            return Ok(came);
        }
        tokio::time::sleep(pause).await;
        waited += pause.max(Duration::from_millis(1));
    }
    Err(Failure::NotSent("it is full".to_owned()))
}

/// Waits for an access token, if tokens are fetched for the server.
///
/// # Errors
/// Why there is none.
pub async fn wait_for_token(
    server: &ServerName,
    upstream: &Upstream,
    forwarded: &HeaderMap,
    pool: &Pool,
) -> Result<(), OpenError> {
    let Some(tokens) = &upstream.tokens else { return Ok(()) };
    let server = server.clone();
    if tokens.is_exchanged() && !forwarded.contains_key(SUBJECT_TOKEN) {
        // As where a client has to bring the server's own token: only with it can this be tried.
        let reason = "of each client: it gets what the client's own token is exchanged for, and this \
                      one came in without a token, or on a node that gets none";
        return Err(OpenError::NeedsOauth { server, reason: reason.to_owned() });
    }
    tokens.token(forwarded, pool).await.map(drop).map_err(|why| {
        let (reason, after) = (why.to_string(), why.after);
        OpenError::NoToken { server, reason, after }
    })
}

/// The error for a server that wants a token, or another one than it got; `has_token` if it got one of its
/// client's user.
#[must_use]
pub fn wants_token(
    server: &ServerName,
    (upstream, has_token): (&Upstream, bool),
    status: StatusCode,
    wanted: &WantsToken,
) -> OpenError {
    let server = server.clone();
    if upstream.is_of_users {
        if has_token {
            let scopes = wanted.lacking().unwrap_or_default().to_vec();
            return OpenError::UserToken { server, refused: UserTokenRefused { scopes } };
        }
        let reason = format!("of each user ({status}): who uses it logs in");
        return OpenError::NeedsOauth { server, reason };
    }
    if upstream.tokens.is_some() {
        let reason = format!(
            "it refuses the access token that was fetched ({status}); check scope, resource and \
             audience in its \"oauth\""
        );
        return OpenError::NoToken { server, reason, after: REFUSED };
    }
    let reason = format!("({status}): {}", wanted.advice());
    OpenError::NeedsOauth { server, reason }
}

/// What came instead of a result.
pub struct NoResult {
    pub status: StatusCode,
    /// What the server has done, behind its name or "it".
    pub why: String,
    /// Whether it was a JSON-RPC error: the server speaks the protocol.
    pub is_refusal: bool,
    /// When the server wants to be asked again.
    pub retry_after: Option<Duration>,
}

/// The result of `initialize`, which was sent with this id, perhaps through a proxy. `hear` gets
/// the server's requests that come before it.
///
/// # Errors
/// What came instead.
pub async fn result(
    server: &ServerName,
    id: &str,
    mut response: Response<Body>,
    proxy: Option<&Proxy>,
    hear: impl FnMut(&Envelope<'_>),
) -> Result<Bytes, NoResult> {
    let head = ResponseHead::of(&response).through(proxy);
    let (status, retry_after) = (head.status, head.retry_after);
    let other = |why: String| NoResult { status, why, is_refusal: false, retry_after };
    if status.is_success() {
        let begun = name_events(&mut response).await;
        begun.map_err(|error| other(format!("answers {status}: the body broke off: {error}")))?;
    }
    let answer = if status.is_success() && is_event_stream(&response) {
        response
    } else {
        let body = collect(response.into_body(), MAX_ANSWER).await;
        let body = body.map_err(|error| other(format!("answers {status}: {error}")))?;
        match judge::judge(server, id, &head, &body) {
            Judged::Answer(answer) => events::json(answer),
            Judged::Error(_) => return Err(other(judge::complaint(&head, &body))),
        }
    };
    answer::result_hearing(answer, hear).await.map_err(|error| match error {
        CallError::Refused(why, _) => NoResult { status, why, is_refusal: true, retry_after },
        unanswered @ CallError::Unanswered(_) => other(format!("gives {unanswered}")),
    })
}
