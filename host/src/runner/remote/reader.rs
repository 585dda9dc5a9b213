//! Reads an upstream's event streams into streams of the gateway.
//!
//! An upstream may close a stream before the answer has arrived. The reader then resumes it
//! (2025-11-25, basic/transports, "Resumability and Redelivery"), unseen by the client.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};

use crate::net::{Body, EventReader, Pool, Read, TooLong, Unanswered, collect, is_event_stream};
use crate::protocol::jsonrpc::{self, code};
use crate::protocol::sse::{Event, TooLarge};
use crate::runner::channel::timeout;
use crate::streams::Stream;

use super::errors;
use super::sending::LateResponse;
use super::session::UpstreamSession;
use super::taking::{take, tell};

/// Pause before a resumption, where the upstream has sent no `retry`.
const RETRY: Duration = Duration::from_secs(1);
/// Longest pause before a resumption, whatever `retry` the upstream sends.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// Resumptions in a row without an event, after which the calls fail.
const MAX_RESUMPTIONS: u32 = 8;

/// Why a call is given up whose client has left.
const TOO_MANY_LEFT: &str = "the call was cancelled, since its client had left and too many calls \
                             run without one; it may have run";

/// How far a stream has been read, and how to resume it.
#[derive(Default)]
struct StreamPosition {
    last_event_id: Option<String>,
    retry: Option<Duration>,
    /// Resumptions since the last event.
    resumptions: u32,
    /// The upstream has opened this stream before.
    is_there: bool,
}

impl StreamPosition {
    fn pause(&self) -> Duration {
        let retry = self.retry.unwrap_or(RETRY).min(LONGEST_RETRY);
        // First what the upstream asks for, then twice as long each time.
        (retry * 2_u32.saturating_pow(self.resumptions.saturating_sub(1))).min(LONGEST_RETRY)
    }

    fn note(&mut self, event: &Event) {
        self.resumptions = 0;
        if event.id.is_some() {
            self.last_event_id.clone_from(&event.id);
        }
        if let Some(ms) = event.retry {
            self.retry = Some(Duration::from_millis(ms));
        }
    }
}

/// Where the answers to a POST's requests are read from.
pub enum AnswerSource {
    /// The event stream in the response.
    Stream(Body),
    /// JSON with all the answers.
    Json(Body),
    /// A response whose head has not arrived yet.
    Late(Box<LateResponse>),
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
            AnswerSource::Json(body) => {
                take_all(&session, &pool, body, &stream).await?;
                None
            }
            AnswerSource::Late(sending) => {
                late_head(&session, &pool, sending, &stream, &ids).await?
            }
        };
        match body {
            Some(body) => read_answers(&session, &pool, body, &stream).await,
            None => Ok(()),
        }
    };
    let mut is_given_up = false;
    let ended = tokio::select! {
        ended = reading => ended,
        ended = unattended(&session, &stream) => {
            is_given_up = ended.is_err();
            ended
        }
        () = watch(&session, &pool, &ids, began) => Ok(()),
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
    sending: Box<LateResponse>,
    stream: &Arc<Stream>,
    ids: &[String],
) -> Result<Option<Body>, Instead> {
    let server = &session.server;
    let response = match sending.await {
        Ok(response) => response,
        Err(Unanswered::Stale(_)) => {
            return Err((code::SERVER_LOST, errors::not_sent(server, "the connection was closed")));
        }
        Err(Unanswered::Failed(failure)) => {
            return Err((code::SERVER_LOST, errors::unreachable(server, &failure)));
        }
    };
    session.client.received(&response);
    let status = response.status();
    if status == StatusCode::OK && is_stream(&response) {
        return Ok(Some(response.into_body()));
    }
    let refused = || (code::INTERNAL, errors::refused(server, status));
    if status == StatusCode::OK {
        take_all(session, pool, response.into_body(), stream).await?;
    } else if !status.is_success() {
        let text = errors::text(response).await;
        let is_answer = ids.iter().any(|id| errors::is_answer(&text, Some(id)));
        if session.is_forgotten_by(status, &text) && !is_answer {
            session.forget();
        } else if is_answer && !errors::is_about_credentials(status) {
            take(session, pool, stream, text).await;
        }
    }
    if stream.has_ended() { Ok(None) } else { Err(refused()) }
}

/// Takes all the answers from a JSON body.
async fn take_all(
    session: &UpstreamSession,
    pool: &Pool,
    body: Body,
    stream: &Arc<Stream>,
) -> Result<(), Instead> {
    let server = &session.server;
    let broken = |error: TooLong| {
        (code::SERVER_LOST, format!("server {server}: {error}; the call may have run"))
    };
    let answer = collect(body, session.rules.line).await.map_err(broken)?;
    take(session, pool, stream, answer).await;
    if stream.has_ended() {
        return Ok(());
    }
    Err((code::INTERNAL, errors::refused(server, StatusCode::OK)))
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
                Ok(response) if is_stream(&response) => break response.into_body(),
                Ok(response) if response.status().is_client_error() => {
                    let status = response.status();
                    return Err(lost(&format!("its stream cannot be resumed ({status})")));
                }
                Ok(_) | Err(_) => {}
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

/// Reads the upstream's GET stream for as long as the session lives.
pub async fn listen(session: Weak<UpstreamSession>, pool: Pool, forwarded: HeaderMap) {
    let mut place = StreamPosition::default();
    loop {
        let Some(held) = session.upgrade() else { return };
        let mut closing = held.closing.watch();
        let stream = Arc::clone(held.mailbox().unrelated());
        let last = place.last_event_id.clone();
        let reading = async {
            let answered = held.client.get(&pool, last.as_deref(), &forwarded).await;
            held.heard.raise();
            match answered {
                Ok(response) if is_stream(&response) => {
                    let body = response.into_body();
                    place.is_there = true;
                    if let Err(why) = read(&held, &pool, body, &stream, &mut place).await {
                        tracing::warn!(server = %held.server, "the upstream's GET stream failed: {why}");
                        return false;
                    }
                    true
                }
                Ok(response) if response.status().is_client_error() => {
                    // The upstream has no GET stream or refuses it. If it had opened one before,
                    // the status may mean that the session is lost.
                    let status = response.status();
                    if place.is_there && held.is_forgotten_by(status, &errors::text(response).await)
                    {
                        held.forget();
                    }
                    false
                }
                Ok(_) | Err(_) => true,
            }
        };
        let goes_on = tokio::select! {
            goes_on = reading => goes_on,
            () = closing.raised() => false,
        };
        if !goes_on {
            return;
        }
        drop(held);
        place.resumptions = (place.resumptions + 1).min(MAX_RESUMPTIONS);
        tokio::select! {
            () = tokio::time::sleep(place.pause()) => {}
            () = closing.raised() => return,
        }
    }
}

fn is_stream(response: &http::Response<Body>) -> bool {
    response.status().is_success() && is_event_stream(response)
}

/// Reads one response to its end, or until the stream has all its answers. Fails only if an event
/// is too large.
async fn read(
    session: &UpstreamSession,
    pool: &Pool,
    body: Body,
    stream: &Arc<Stream>,
    place: &mut StreamPosition,
) -> Result<(), String> {
    let mut events = EventReader::new(body, session.rules.line);
    while let Some(read) = events.next().await {
        match read {
            Read::Event(event) => {
                place.note(&event);
                if event.has_message() {
                    take(session, pool, stream, event.data.into()).await;
                }
            }
            Read::Comment => {}
            Read::Broken(error) if error.is::<TooLarge>() => return Err(error.to_string()),
            // The caller may resume it.
            Read::Broken(_) => return Ok(()),
        }
        if stream.has_ended() && !events.has_ready() {
            return Ok(());
        }
    }
    Ok(())
}
