//! A replica's response for the client of an aggregate. Its messages are rewritten, its event ids
//! carry the server's name, and it ends with an error if the connection breaks before the answer.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http::Response;

use crate::edge::relay::relay;
use crate::model::ServerName;
use crate::net::{Body, EventReader, Read, collect, is_event_stream};
use crate::protocol::sse::{self, Event};

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
    let response = relay(response);
    // Few answers need them.
    let last_words = |server: &ServerName| last_words.map(|words| words(server));
    if is_event_stream(&response) {
        return response.map(|body| {
            let events = EventReader::new(body, limit);
            let ready = VecDeque::new();
            let last_words = last_words(&rewriter.server);
            Body::Stream(Box::pin(Rewritten { events, ready, rewriter, last_words, over: false }))
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
    over: bool,
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
            match std::task::ready!(this.events.poll_next(cx)) {
                Some(Read::Event(event)) => this.ready.push_back(written(&this.rewriter, event)),
                Some(Read::Comment) => this.ready.push_back(Bytes::from_static(sse::KEEP_ALIVE)),
                Some(Read::Broken(error)) => {
                    tracing::debug!(
                        server = %this.rewriter.server,
                        "the server's stream broke: {error}"
                    );
                    this.over = true;
                    this.ready.extend(this.last_words.take().map(|words| sse::event(&words)));
                }
                None => this.over = true,
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
