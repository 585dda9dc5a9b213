//! Reads the answers to a POST into a stream of the gateway, which outlives the exchange.
//!
//! An upstream may close a stream before the answer has arrived. It is then resumed (2025-11-25,
//! basic/transports, "Resumability and Redelivery"), unseen by the client.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Response, StatusCode};

use crate::net::{Body, Failure, Pool, TooLong, Unanswered, collect, is_like_events};
use crate::protocol::answer;
use crate::protocol::jsonrpc::{self, code};
use crate::runner::channel::judge::{self, Judged, ResponseHead};
use crate::runner::channel::timeout;
use crate::streams::Stream;

use super::errors;
use super::reader::{MAX_RESUMPTIONS, StreamPosition, is_refused, is_stream, read};
use super::redirects;
use super::sending::LateResponse;
use super::session::UpstreamSession;
use super::taking::{take, take_one, tell};

/// Why a call is given up whose client has left.
const TOO_MANY_LEFT: &str = "the call was cancelled, since its client had left and too many calls \
                             run without one; it may have run";

/// How long a stream with all its answers is read on, for what the server says after them. It
/// should close the stream (2025-11-25, basic/transports, "Sending Messages to the Server").
const READ_ON: Duration = Duration::from_secs(1);

/// Where the answers to a POST's requests are read from.
pub enum AnswerSource {
    /// The event stream in the response.
    Stream(Body),
    /// JSON with all the answers, and the head that it came with.
    Json(Box<ResponseHead>, Body),
    /// A response whose head has not arrived yet, and what was posted.
    Late(Box<(LateResponse, Bytes, HeaderMap)>),
}

/// The error for requests that were not answered: its code and text.
type Instead = (i64, String);

/// Reads the answers to requests that have run since `began`, and answers the rest with an error.
pub async fn answer(
    session: Arc<UpstreamSession>,
    pool: Pool,
    source: AnswerSource,
    stream: Arc<Stream>,
    ids: Vec<String>,
    began: Instant,
) {
    let mut closing = session.closing.watch();
    let reading = async {
        let body = match source {
            AnswerSource::Stream(body) => Some(body),
            AnswerSource::Json(head, body) => {
                take_all(&session, &pool, &head, body, &stream, &ids).await?;
                None
            }
            AnswerSource::Late(sent) => late_head(&session, &pool, sent, &stream, &ids).await?,
        };
        let Some(mut body) = body else { return Ok(()) };
        // Some servers call an answer a stream that is none.
        let _ = poll_fn(|cx| body.poll_begun(cx)).await;
        if matches!(body.beginning().trim_ascii_start().first(), Some(b'{' | b'[')) {
            let head = ResponseHead::of(&Response::new(Body::Empty));
            return take_all(&session, &pool, &head, body, &stream, &ids).await;
        }
        read_answers(&session, &pool, body, &stream).await
    };
    let mut is_given_up = false;
    let over = async {
        tokio::select! {
            biased;
            ended = unattended(&session, &stream) => ended?,
            () = watch(&session, &pool, &ids, began) => {}
        }
        tokio::time::sleep(READ_ON).await;
        Ok(())
    };
    let ended = tokio::select! {
        biased;
        ended = reading => ended,
        ended = over => {
            is_given_up = ended.is_err();
            ended
        }
        () = closing.raised() => {
            Err((code::SERVER_LOST, format!("server {}: the session has ended", session.server)))
        }
    };
    if let Err((code, text)) = ended {
        for id in &ids {
            let was_in_flight = session.mailbox().answer_for_server(id, code, &text);
            if was_in_flight && is_given_up {
                tell(&session, &pool, jsonrpc::cancelled(id, &text));
            }
        }
    }
}

/// Resolves when the stream has ended: the requests were cancelled, or answered by the gateway.
/// Fails when they are given up, since nobody waits for the answers and too many calls run so.
async fn unattended(session: &UpstreamSession, stream: &Stream) -> Result<(), Instead> {
    let given_up = |why| (code::SERVER_LOST, format!("server {}: {why}", session.server));
    loop {
        let has_ended = stream.over_or_left().await;
        if stream.has_given_way() {
            return Err(given_up("what it has sent was not read, and was dropped"));
        }
        if has_ended {
            return Ok(());
        }
        let mut place = session.left.call();
        tokio::select! {
            biased;
            _ = stream.over_or_read() => {}
            () = place.given_up() => return Err(given_up(TOO_MANY_LEFT)),
        }
    }
}

/// Waits for a late response. Returns its body if it is an event stream; takes the answers from
/// any other.
async fn late_head(
    session: &UpstreamSession,
    pool: &Pool,
    sent: Box<(LateResponse, Bytes, HeaderMap)>,
    stream: &Arc<Stream>,
    ids: &[String],
) -> Result<Option<Body>, Instead> {
    let (sending, message, forwarded) = *sent;
    let (token, client) = (sending.token.clone(), &session.client);
    let server = &session.server;
    let lost = |failure: &Failure| (code::SERVER_LOST, errors::unreachable(server, failure));
    let mut response = match sending.await {
        Ok(response) => response,
        Err(Unanswered::Stale(_)) => {
            return Err((code::SERVER_LOST, errors::not_sent(server, "the connection was closed")));
        }
        Err(Unanswered::Failed(failure)) => return Err(lost(&failure)),
    };
    if response.status() == StatusCode::UNAUTHORIZED
        && let Some(sent) = &token
    {
        let next = sent.another(pool).await;
        let next = next.map_err(|why| (code::UNAVAILABLE, format!("server {server}: {why}")))?;
        if next.is_some() {
            let again = client.post(pool, None, message.clone(), &forwarded).await;
            response = again.map_err(|failure| lost(&failure))?.response;
        }
    }
    let has_user_token = client.upstream().is_of_users && forwarded.contains_key(AUTHORIZATION);
    if has_user_token {
        let upstream = client.upstream();
        if let Some(refused) = upstream.refuses_user(&upstream.head_of(&response)) {
            // The edge finds another one.
            ids.iter().for_each(|id| session.mailbox().refused(id, server, &refused));
            return Ok(None);
        }
    }
    if redirects::is_redirect(response.status()) {
        let following = client.follow_post(pool, response, (message, &forwarded), token);
        response = following.await.map_err(|failure| lost(&failure))?;
    }
    let is_unnamed = response.status().is_success() && is_like_events(response.body());
    if is_unnamed || is_stream(&response) {
        return Ok(Some(response.into_body()));
    }
    let head = session.client.upstream().head_of(&response);
    if head.status.is_success() {
        take_all(session, pool, &head, response.into_body(), stream, ids).await?;
        return Ok(None);
    }
    let text = errors::beginning_or_answer(response.into_body(), session.rules.line).await;
    let is_answer = ids.iter().any(|id| errors::is_answer(&text, Some(id)));
    if session.is_forgotten_by(head.status, &text) && !is_answer {
        session.forget();
        return Ok(None);
    }
    take_judged(session, pool, &head, &text, stream, ids).await;
    Ok(None)
}

/// Takes all the answers from a JSON body.
async fn take_all(
    session: &UpstreamSession,
    pool: &Pool,
    head: &ResponseHead,
    body: Body,
    stream: &Arc<Stream>,
    ids: &[String],
) -> Result<(), Instead> {
    let server = &session.server;
    let broken = |error: TooLong| {
        (code::SERVER_LOST, format!("server {server}: {error}; the call may have run"))
    };
    let answer = collect(body, session.rules.line).await.map_err(broken)?;
    take_judged(session, pool, head, &answer, stream, ids).await;
    Ok(())
}

/// Takes what a whole body is to each of the requests.
async fn take_judged(
    session: &UpstreamSession,
    pool: &Pool,
    head: &ResponseHead,
    body: &Bytes,
    stream: &Arc<Stream>,
    ids: &[String],
) {
    if head.status.is_success() {
        if matches!(jsonrpc::batch(body), Ok(Some(_))) {
            take(session, pool, stream, body.clone()).await;
        } else if let Some(several) = answer::several(body) {
            // What comes with the answer, in the order in which it came.
            for value in several {
                let message = Bytes::copy_from_slice(value.get().as_bytes());
                take(session, pool, stream, message).await;
            }
        }
    }
    for id in ids {
        if stream.has_ended() {
            return;
        }
        // One that was answered already is not in flight any more, and gets nothing.
        match judge::judge(&session.server, id, head, body) {
            Judged::Answer(message) => take_one(session, pool, stream, message).await,
            Judged::Error(message) => session.mailbox().answer_instead(id, message),
        }
    }
}

async fn read_answers(
    session: &UpstreamSession,
    pool: &Pool,
    mut body: Body,
    stream: &Arc<Stream>,
) -> Result<(), Instead> {
    let server = &session.server;
    let lost =
        |why: &str| (code::SERVER_LOST, format!("server {server}: {why}; the call may have run"));
    let mut place = StreamPosition::default();
    loop {
        read(session, pool, body, stream, &mut place)
            .await
            .map_err(|why| (code::SERVER_LOST, format!("server {server}: {why}")))?;
        if stream.has_ended() {
            return Ok(());
        }
        if place.last_event_id.is_none() {
            return Err(lost("its stream ended without an answer"));
        }
        body = loop {
            place.resumptions += 1;
            if place.resumptions > MAX_RESUMPTIONS {
                return Err(lost("its stream ended without an answer, and could not be resumed"));
            }
            tokio::time::sleep(place.pause()).await;
            if stream.has_ended() {
                return Ok(());
            }
            let last = place.last_event_id.as_deref();
            match session.client.get(pool, last, &HeaderMap::new()).await {
                Ok(came) if is_stream(&came.response) => break came.response.into_body(),
                Ok(came) if is_refused(&came.response) => {
                    let status = came.response.status();
                    return Err(lost(&format!("its stream cannot be resumed ({status})")));
                }
                Ok(came) => place.wait = ResponseHead::of(&came.response).retry_after,
                Err(_) => {}
            }
        };
    }
}

/// Answers requests that reach their time limit with an error. Resolves when all have ended;
/// never, if there is no limit.
async fn watch(session: &UpstreamSession, pool: &Pool, ids: &[String], began: Instant) {
    let timeouts = session.rules.timeouts;
    if !timeouts.are_set() {
        return std::future::pending().await;
    }
    let watching = ids.iter().map(|id| async move {
        let last_progress = || session.mailbox().last_progress(id);
        let Some(expired) = timeout::expired(timeouts, began, last_progress).await else { return };
        let text = format!("server {}: {expired}", session.server);
        if session.mailbox().answer_for_server(id, code::TIMED_OUT, &text) {
            tracing::info!("{text}");
            tell(session, pool, jsonrpc::cancelled(id, &text));
        }
    });
    futures_util::future::join_all(watching).await;
}
