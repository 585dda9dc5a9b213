//! Reads an upstream's event streams into streams of the gateway.
//!
//! Here are the parts that every such stream needs, and the session's GET stream; `answers` reads
//! the streams that answer a POST.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use tokio::runtime::Handle;

use crate::net::{Body, EventReader, Pool, Read, is_event_stream};
use crate::protocol::jsonrpc::{self, Envelope, Kind};
use crate::protocol::methods;
use crate::protocol::sse::{Event, TooLarge};
use crate::runner::channel::judge::{self, Head};
use crate::streams::{Part, Stream};

use super::errors;
use super::session::UpstreamSession;

/// Pause before a resumption, where the upstream has sent no `retry`.
const RETRY: Duration = Duration::from_secs(1);
/// Longest pause before a resumption, whatever `retry` the upstream sends.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// Resumptions in a row without an event, after which the calls fail.
pub const MAX_RESUMPTIONS: u32 = 8;
/// Longest wait until an upstream accepts a message of the gateway's own.
const TOLD: Duration = Duration::from_secs(30);

/// How far a stream has been read, and how to resume it.
#[derive(Default)]
pub struct StreamPosition {
    pub last_event_id: Option<String>,
    retry: Option<Duration>,
    /// Resumptions since the last event.
    pub resumptions: u32,
    /// When the upstream wants to be asked again.
    pub wait: Option<Duration>,
    /// The upstream has opened this stream before.
    is_there: bool,
}

impl StreamPosition {
    /// How long to wait before the next resumption.
    pub fn pause(&mut self) -> Duration {
        let retry = self.retry.unwrap_or(RETRY).min(LONGEST_RETRY);
        // First what the upstream asks for, then twice as long each time.
        let pause = retry * 2_u32.saturating_pow(self.resumptions.saturating_sub(1));
        pause.max(self.wait.take().unwrap_or_default()).min(LONGEST_RETRY)
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
            match answered.map(|came| came.response) {
                Ok(response) if is_stream(&response) => {
                    let body = response.into_body();
                    place.is_there = true;
                    if let Err(why) = read(&held, &pool, body, &stream, &mut place).await {
                        tracing::warn!(server = %held.server, "the upstream's GET stream failed: {why}");
                        return false;
                    }
                    true
                }
                Ok(response) if is_refused(&response) => {
                    // The upstream has no GET stream or refuses it. If it had opened one before,
                    // the status may mean that the session is lost.
                    let status = response.status();
                    let text = errors::beginning(response.into_body()).await;
                    if place.is_there && held.is_forgotten_by(status, &text) {
                        held.forget();
                    }
                    false
                }
                Ok(response) => {
                    place.wait = Head::of(&response).retry_after;
                    true
                }
                Err(_) => true,
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

/// Whether another attempt would be answered alike.
pub fn is_refused(response: &Response<Body>) -> bool {
    response.status().is_client_error() && !judge::is_crowded(response.status())
}

/// Reads, on a task, an event stream that no request has asked for.
pub fn hear(session: Arc<UpstreamSession>, pool: Pool, body: Body) {
    let Ok(runtime) = Handle::try_current() else { return };
    let mut given_up = session.left.note();
    let mut closing = session.closing.watch();
    runtime.spawn(async move {
        let stream = Arc::clone(session.mailbox().unrelated());
        let mut place = StreamPosition::default();
        tokio::select! {
            _ = read(&session, &pool, body, &stream, &mut place) => {}
            () = given_up.given_up() => {}
            () = closing.raised() => {}
        }
    });
}

/// Whether the response opens an event stream.
pub fn is_stream(response: &Response<Body>) -> bool {
    response.status().is_success() && is_event_stream(response)
}

/// Reads one response to its end, or until the stream has all its answers. Fails only if an event
/// is too large.
pub async fn read(
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

/// Takes a message, or a batch, that has come on this stream.
pub async fn take(session: &UpstreamSession, pool: &Pool, stream: &Arc<Stream>, data: Bytes) {
    if let Ok(Some(batch)) = jsonrpc::batch(&data) {
        for message in batch {
            let message = Bytes::copy_from_slice(message.get().as_bytes());
            take_one(session, pool, stream, message).await;
        }
        return;
    }
    take_one(session, pool, stream, data).await;
}

/// Takes one message that has come on this stream.
pub async fn take_one(
    session: &UpstreamSession,
    pool: &Pool,
    stream: &Arc<Stream>,
    message: Bytes,
) {
    let Ok(envelope) = Envelope::parse(&message) else {
        tracing::debug!(server = %session.server, bytes = message.len(), "dropped an event that is not a JSON-RPC message");
        return;
    };
    let (message, part) = match envelope.kind() {
        Kind::Response => {
            // An answer may arrive on any stream of the session. It is dropped if its request is
            // not in flight.
            if let Some((asked, answer)) = answered(session, stream, &message, &envelope) {
                asked.push(answer, Part::Answer).await;
            }
            return;
        }
        Kind::Request => {
            let answer = session.mailbox().answer_at_once(&envelope);
            if let Some(answer) = answer {
                tell(session, pool, answer);
                return;
            }
            session.mailbox().questions.ask(&envelope);
            (message.clone(), Part::Question)
        }
        Kind::Notification if envelope.method() == methods::PROGRESS => {
            let found = session.mailbox().progress(message.clone(), &envelope);
            match found {
                Ok((stream, progress)) => put(session, pool, &stream, progress, Part::Notice).await,
                // On the stream of a request, that one is in flight, or is answered.
                Err(progress) if stream.is_without_end() => {
                    session.mailbox().hold_progress(progress, &envelope);
                }
                Err(_) => {}
            }
            return;
        }
        Kind::Notification => {
            if methods::is_list_changed(envelope.method()) && !session.list_changes.heard() {
                return;
            }
            let notice = session.mailbox().with_question(message.clone(), &envelope);
            (notice, Part::Notice)
        }
    };
    let stream = session.mailbox().beside_answers(stream);
    put(session, pool, &stream, message, part).await;
}

/// The stream that an answer goes to, and the answer as that request's client is to see it.
fn answered(
    session: &UpstreamSession,
    stream: &Arc<Stream>,
    message: &Bytes,
    envelope: &Envelope<'_>,
) -> Option<(Arc<Stream>, Bytes)> {
    let has_id = envelope.id_text().is_some_and(|id| id != "null");
    if has_id {
        return session.mailbox().answer(message.clone(), envelope);
    }
    // On the stream of one request it is about that one.
    session.mailbox().answer_on(stream, envelope.error?.get())
}

async fn put(
    session: &UpstreamSession,
    pool: &Pool,
    stream: &Arc<Stream>,
    message: Bytes,
    part: Part,
) {
    let unread = if stream.is_without_end() {
        // Never waits: a client that does not read its GET stream must not block this reader.
        stream.put(message, part)
    } else {
        stream.push(message, part).await
    };
    for question in unread {
        let answer = session.mailbox().unread(&question);
        answer.into_iter().for_each(|answer| tell(session, pool, answer));
    }
}

/// Sends a message on its own task; failures are only logged.
pub fn tell(session: &UpstreamSession, pool: &Pool, message: Bytes) {
    let (client, pool) = (session.client.clone(), pool.clone());
    let server = session.server.clone();
    let mut place = session.left.note();
    let telling = async move {
        let none = HeaderMap::new();
        let posting = client.post(&pool, None, message, &none);
        let told = tokio::select! {
            told = tokio::time::timeout(TOLD, posting) => told,
            () = place.given_up() => return,
        };
        match told {
            Ok(Ok(_)) => {}
            Ok(Err(failure)) => tracing::debug!(server = %server, "{failure}"),
            Err(_) => tracing::debug!(server = %server, "a message was not accepted in time"),
        }
    };
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(telling);
    }
}
