//! A replica's response for the client of an aggregate. Its messages are rewritten, its event ids
//! carry the server's name, and it ends with an error if the connection breaks before the answer.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http::Response;
use tokio::task::JoinHandle;

use crate::edge::logins::late_refusal::{LateRefusal, SentAgain};
use crate::edge::relay::relay;
use crate::model::ServerName;
use crate::net::{Body, EventReader, Read, collect, is_event_stream};
use crate::protocol::sse::{self, Event};
use crate::seam::UserTokenRefused;

use super::rewrite::Rewriter;
use super::server_ids;

/// The response as the client of an aggregate sees it. `last_words` is the answer that is sent if
/// the connection breaks.
pub async fn rewritten(
    response: Response<Body>,
    rewriter: Rewriter,
    last_words: Option<impl FnOnce(&ServerName) -> Bytes>,
    limit: usize,
) -> Response<Body> {
    rewritten_unless(None, response, rewriter, last_words, limit).await
}

/// The same; where the server refuses the call on its stream, another response takes its place.
pub async fn rewritten_unless(
    late: Option<Box<LateRefusal>>,
    response: Response<Body>,
    rewriter: Rewriter,
    last_words: Option<impl FnOnce(&ServerName) -> Bytes>,
    limit: usize,
) -> Response<Body> {
    let response = relay(response);
    // Few answers need them.
    let last_words = |server: &ServerName| last_words.map(|words| words(server));
    if is_event_stream(&response) {
        return response.map(|body| {
            let events = EventReader::new(body, limit);
            let ready = VecDeque::new();
            let last_words = last_words(&rewriter.server);
            let again = Again { late, sending: None, limit };
            Body::Stream(Box::pin(Rewritten {
                events,
                ready,
                rewriter,
                last_words,
                again,
                over: false,
            }))
        });
    }
    if !rewriter.changes_answers() {
        return response;
    }
    let (parts, body) = response.into_parts();
    match collect(body, limit).await {
        Ok(message) => {
            let message = rewriter.message(message).map_or(Body::Empty, Body::from);
            Response::from_parts(parts, message)
        }
        Err(error) => {
            tracing::debug!(
                server = %rewriter.server,
                "the server's answer cannot be read: {error}"
            );
            let words = last_words(&rewriter.server);
            Response::from_parts(parts, words.map_or(Body::Empty, Body::from))
        }
    }
}

struct Rewritten {
    events: EventReader,
    ready: VecDeque<Bytes>,
    rewriter: Rewriter,
    /// The answer that is sent if the connection breaks.
    last_words: Option<Bytes>,
    again: Again,
    over: bool,
}

/// A call that is sent again if the server refuses it late.
struct Again {
    late: Option<Box<LateRefusal>>,
    /// While it is, with the event that has told so.
    sending: Option<(JoinHandle<SentAgain>, Event)>,
    limit: usize,
}

impl Again {
    /// The event, unless it tells of a refusal after which the call is sent again.
    fn unless_refused(&mut self, event: Event) -> Option<Event> {
        match self.late.take_if(|_| LateRefusal::is_told_by(&event)) {
            None => Some(event),
            Some(late) => {
                let refused = UserTokenRefused::read(&event.data);
                self.sending = Some((late.send_again(refused, self.limit), event));
                None
            }
        }
    }

    /// The stream has ended without a refusal.
    fn note_end(&mut self) {
        if let Some(late) = self.late.take() {
            late.note_accepted();
        }
    }

    /// What has come of it, if it was sent again.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Option<SentAgain>, Event)>> {
        let Some((sending, _)) = &mut self.sending else { return Poll::Ready(None) };
        let sent = std::task::ready!(Pin::new(sending).poll(cx)).ok();
        Poll::Ready(self.sending.take().map(|(_, event)| (sent, event)))
    }
}

impl Stream for Rewritten {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        loop {
            if let Some(bytes) = this.ready.pop_front() {
                return Poll::Ready(Some(bytes));
            }
            if this.over {
                return Poll::Ready(None);
            }
            match std::task::ready!(this.again.poll(cx)) {
                Some((Some(SentAgain::Events(body)), _)) => {
                    this.events = EventReader::new(body, this.again.limit);
                }
                Some((Some(SentAgain::Message(data)), event)) => {
                    this.over = true;
                    let event = Event { data: data.to_vec(), ..event };
                    this.ready.push_back(written(&this.rewriter, event));
                    continue;
                }
                Some((None, _)) => {
                    this.over = true;
                    this.ready.extend(this.last_words.take().map(|words| sse::event(&words)));
                    continue;
                }
                None => {}
            }
            match std::task::ready!(this.events.poll_next(cx)) {
                Some(Read::Event(event)) => {
                    let event = this.again.unless_refused(event);
                    this.ready.extend(event.map(|event| written(&this.rewriter, event)));
                }
                Some(Read::Comment) => this.ready.push_back(Bytes::from_static(sse::KEEP_ALIVE)),
                Some(Read::Broken(error)) => {
                    tracing::debug!(
                        server = %this.rewriter.server,
                        "the server's stream broke: {error}"
                    );
                    this.over = true;
                    this.ready.extend(this.last_words.take().map(|words| sse::event(&words)));
                }
                None => {
                    this.again.note_end();
                    this.over = true;
                }
            }
        }
    }
}

fn written(rewriter: &Rewriter, event: Event) -> Bytes {
    let id = event.id.as_deref().map(|id| {
        let mark = rewriter.mark.as_ref().and_then(|mark| mark.of(id));
        server_ids::marked_event(&rewriter.server, id, mark.as_deref())
    });
    let retry = event.retry;
    let message = if event.has_message() { rewriter.message(event.data.into()) } else { None };
    let Some(message) = message else {
        return match id {
            Some(id) => sse::priming(&id, retry),
            None => Bytes::from_static(sse::KEEP_ALIVE),
        };
    };
    match id {
        Some(id) => sse::event_with_id(&id, &message),
        None => sse::event(&message),
    }
}
