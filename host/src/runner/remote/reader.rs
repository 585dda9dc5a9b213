//! Reads an upstream's event streams into streams of the gateway.
//!
//! Here are the parts that every such stream needs, and the session's GET stream; `answers` reads
//! the streams that answer a POST.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::{HeaderMap, Response, StatusCode};
use tokio::runtime::Handle;

use crate::net::{Body, EventReader, Pool, Read, is_event_stream};
use crate::protocol::sse::{Event, TooLarge};
use crate::runner::channel::judge::{self, ResponseHead};
use crate::streams::Stream;

use super::errors;
use super::session::UpstreamSession;
use super::taking::take;

/// Pause before a resumption, where the upstream has sent no `retry`.
const RETRY: Duration = Duration::from_secs(1);
/// Shortest pause before a resumption, whatever `retry` the upstream sends.
const SHORTEST_RETRY: Duration = Duration::from_millis(100);
/// How long a GET stream is open that does not count as one that ends at once.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// Most GET streams in a row, each ending at once without a message, that make the next pause longer.
const MOST_SHORT: u32 = 6;
/// Longest pause before a resumption, whatever `retry` the upstream sends.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// Resumptions in a row without an event, after which the calls fail.
pub const MAX_RESUMPTIONS: u32 = 8;

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
    /// Whether a message has come since this was last set to false.
    has_message: bool,
    /// GET streams in a row that have ended at once without a message.
    short: u32,
}

impl StreamPosition {
    /// How long to wait before the next resumption.
    pub fn pause(&mut self) -> Duration {
        let retry = self.retry.unwrap_or(RETRY).clamp(SHORTEST_RETRY, LONGEST_RETRY);
        // First what the upstream asks for, then twice as long each time.
        let pause = retry * 2_u32.saturating_pow(self.resumptions.saturating_sub(1));
        // A stream that only ends and ends again is asked for less and less often.
        let rest = match self.short {
            0 | 1 => Duration::ZERO,
            short => SHORTEST_RETRY * 5 * 2_u32.saturating_pow(short.min(MOST_SHORT) - 2),
        };
        pause.max(rest).max(self.wait.take().unwrap_or_default()).min(LONGEST_RETRY)
    }

    /// Notes that a GET stream has ended which was open since then.
    fn has_ended(&mut self, opened: Instant) {
        let is_short = !std::mem::take(&mut self.has_message) && opened.elapsed() < SHORT_LIFE;
        self.short = if is_short { self.short + 1 } else { 0 };
    }

    fn note(&mut self, event: &Event) {
        self.resumptions = 0;
        self.has_message |= event.has_message();
        if event.id.is_some() {
            self.last_event_id.clone_from(&event.id);
        }
        if let Some(ms) = event.retry {
            self.retry = Some(Duration::from_millis(ms));
        }
    }
}

/// Reads the upstream's GET stream for as long as the session lives.
pub async fn listen(session: Weak<UpstreamSession>, pool: Pool, mut forwarded: HeaderMap) {
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
                    let opened = Instant::now();
                    if let Err(why) = read(&held, &pool, body, &stream, &mut place).await {
                        tracing::warn!(server = %held.server, "the upstream's GET stream failed: {why}");
                        return false;
                    }
                    place.has_ended(opened);
                    true
                }
                Ok(response) if refuses_user(&held, &response) => true,
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
                    place.wait = ResponseHead::of(&response).retry_after;
                    true
                }
                Err(_) => true,
            }
        };
        let goes_on = tokio::select! {
            biased;
            goes_on = reading => goes_on,
            () = closing.raised() => false,
        };
        if !goes_on {
            return;
        }
        // From then on it carries what the client's last message has brought: its token may be another.
        forwarded.clear();
        drop(held);
        place.resumptions = (place.resumptions + 1).min(MAX_RESUMPTIONS);
        tokio::select! {
            biased;
            () = tokio::time::sleep(place.pause()) => {}
            () = closing.raised() => return,
        }
    }
}

/// Whether the upstream refuses the token of its client's user: a later message may bring another.
fn refuses_user(session: &UpstreamSession, response: &Response<Body>) -> bool {
    response.status() == StatusCode::UNAUTHORIZED && session.client.upstream().is_of_users
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
            biased;
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

/// Reads one response to its end. Fails only if an event is too large.
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
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str, retry: Option<u64>) -> Event {
        Event { data: text.as_bytes().to_vec(), retry, ..Event::default() }
    }

    #[test]
    fn a_stream_that_ends_at_once_is_asked_for_less_and_less_often() {
        let mut place = StreamPosition::default();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            place.note(&event("", Some(0)));
            place.has_ended(Instant::now());
            place.resumptions = 1;
            pauses.push(place.pause().as_millis());
        }
        assert_eq!(pauses, [100, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        // One with a message, or with a life, does no harm.
        place.note(&event("{}", None));
        place.has_ended(Instant::now());
        assert_eq!(place.pause().as_millis(), 100);
    }
}
