//! The reader of a stream: one at a time.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::{FIRST, Stream, StreamItem};

/// Reads a stream until another reader replaces it or the stream ends.
pub struct Reader {
    stream: Arc<Stream>,
    /// Its place in the count of readers.
    place: u64,
    /// The number of the next message.
    position: u64,
    /// Whether messages are missing from where the reader asked to begin.
    pub has_gap: bool,
    /// Messages missing before this number are covered by `has_gap`.
    known: u64,
    /// Whether further messages were dropped before they were read.
    has_missed: bool,
}

impl Stream {
    /// A reader from the first unread message on.
    #[must_use]
    pub fn read_on(self: &Arc<Self>) -> Reader {
        let unread = self.locked().unread;
        self.read_after(unread - 1)
    }

    /// A reader from the message after this number on. It replaces the present reader.
    #[must_use]
    pub fn read_after(self: &Arc<Self>, number: u64) -> Reader {
        let mut state = self.locked();
        state.readers += 1;
        state.is_attached = true;
        // The replaced reader learns that it has ended.
        state.wake_reader();
        state.wake_writers();
        let position = number.saturating_add(1).clamp(FIRST, state.next);
        let has_gap = state.kept.front().map_or(state.next, |item| item.number) > position
            || std::mem::take(&mut state.has_gap);
        let known = if has_gap { state.next } else { FIRST };
        let stream = Arc::clone(self);
        Reader { stream, place: state.readers, position, has_gap, known, has_missed: false }
    }
}

impl Reader {
    /// The stream that is read.
    #[must_use]
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The number before that of the next message.
    #[must_use]
    pub fn after(&self) -> u64 {
        self.position - 1
    }

    /// The next message; `None` at the stream's end, or once another reader has replaced this
    /// one.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<StreamItem>> {
        let mut state = self.stream.locked();
        if state.readers != self.place {
            return Poll::Ready(None);
        }
        let index = state.kept.partition_point(|item| item.number < self.position);
        let Some(item) = state.kept.get(index).cloned() else {
            if state.ended {
                return Poll::Ready(None);
            }
            if !state.reader.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                state.reader = Some(cx.waker().clone());
            }
            return Poll::Pending;
        };
        if item.number > self.position && item.number >= self.known {
            self.has_missed = true;
            state.has_gap = false;
        }
        self.position = item.number + 1;
        if item.number >= state.unread {
            state.unread = item.number + 1;
            state.unread_bytes -= item.message.len();
        }
        if !state.is_published {
            state.bytes -= item.message.len();
            state.kept.remove(index);
            self.stream.count(&mut state);
        }
        state.wake_writers();
        Poll::Ready(Some(item))
    }

    /// Whether messages before the last item were dropped since the last call: a slow reader
    /// misses what an absent one misses.
    pub fn take_missed(&mut self) -> bool {
        std::mem::take(&mut self.has_missed)
    }

    /// Waits for the next message, as [`Self::poll_next`] gives it.
    pub async fn next(&mut self) -> Option<StreamItem> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Waits until there is a message. Takes it if the stream has ended with it alone; otherwise
    /// takes nothing and gives `None`.
    pub async fn only_answer(&mut self) -> Option<Bytes> {
        std::future::poll_fn(|cx| {
            let mut state = self.stream.locked();
            if state.kept.is_empty() && !state.ended {
                state.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let is_all = state.ended && state.kept.len() == 1;
            let Some(only) = is_all.then(|| state.kept.pop_front()).flatten() else {
                return Poll::Ready(None);
            };
            state.bytes -= only.message.len();
            self.stream.count(&mut state);
            Poll::Ready(Some(only.message))
        })
        .await
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.stream.locked();
        if state.readers == self.place {
            state.is_attached = false;
            state.reader = None;
            state.wake_writers();
            let is_too_much = self.stream.count(&mut state);
            drop(state);
            if is_too_much {
                self.stream.relieve();
            }
        }
    }
}
