//! One stream of a session: numbered messages, kept for a client that comes back
//! (2025-11-25, basic/transports, "Resumability and Redelivery").
//!
//! Every message is kept first and read later, by a [`reader::Reader`]. A reader that attaches later
//! replaces the one before it, and begins where it asks to. A stream that no client can resume,
//! since none has an event id of it, forgets a message once it was read.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::sync::Locked;

use super::kept::KeptOfKey;

mod keeping;
pub mod reader;
mod waiting;

use keeping::{Account, Counted};

/// Unread messages at which [`Stream::room`] makes the server's pipe wait for the reader.
const AHEAD: u64 = 64;
/// The number of the first message; 0 is that of the event that primes the stream.
const FIRST: u64 = 1;

/// How much of one stream is kept. Beyond either bound, what may be dropped is dropped.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Messages, read or unread.
    pub events: usize,
    /// Bytes of their JSON; also the bytes that a reader may be behind.
    pub bytes: usize,
}

/// What a message is to the stream that carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Dropped first, if too much is kept.
    Notice,
    /// A request of the server, which waits for an answer. Dropped last, and then returned to
    /// the caller of [`Stream::put`].
    Question,
    /// Answers a request of the client: never dropped unread.
    Answer,
}

/// What had become of a request that the runner has answered in the server's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// The server went away before it answered; it may have run.
    Perhaps,
    /// The server has not read a byte of it.
    No,
    /// The server has refused the token of the client's user, and executed nothing.
    Refused,
    /// It does not matter: what the runner says is the answer, and nothing is tried again.
    Settled,
}

/// A message in its stream.
#[derive(Debug, Clone)]
pub struct StreamItem {
    /// Consecutive from 1; missing numbers were dropped.
    pub number: u64,
    /// One JSON-RPC message, possibly with raw line breaks.
    pub message: Bytes,
    /// Decides whether the message may be dropped unread.
    pub part: Part,
}

/// A stream with one writer side and at most one reader at a time.
pub struct Stream {
    /// Unique within its instance; 0 is the GET stream's.
    pub number: u64,
    bounds: Bounds,
    /// Answers after which it ends; `None` for a stream that belongs to no request.
    expected: Option<usize>,
    /// `None` if what it keeps is bounded by others.
    account: Option<Account>,
    state: Locked<StreamState>,
}

struct StreamState {
    kept: VecDeque<StreamItem>,
    /// Bytes of all kept messages.
    bytes: usize,
    /// The number of the next message to be put.
    next: u64,
    /// The number of the first unread message.
    unread: u64,
    /// Bytes of the kept messages that are unread.
    unread_bytes: usize,
    /// Answers still to come. `None` for a stream that belongs to no request.
    owed: Option<usize>,
    ended: bool,
    /// Whether a client has an event id of it, and can resume it.
    is_published: bool,
    counted: Counted,
    /// Its messages were dropped, since all streams together kept too much.
    gave_way: bool,
    /// An unread notice was dropped, and no reader knows of it yet.
    has_gap: bool,
    /// Set if an answer is not the server's, since that went away.
    instead: Option<Reached>,
    /// The count of readers so far. Only the latest one reads.
    readers: u64,
    is_attached: bool,
    reader: Option<Waker>,
    /// Of tasks that wait until a message was read, or the stream has ended.
    writers: Vec<Waker>,
}

impl Stream {
    /// A stream that ends with the last of `owed` answers. With `None` it goes on until
    /// [`Self::end`].
    #[must_use]
    pub fn new(number: u64, owed: Option<usize>, bounds: Bounds) -> Arc<Self> {
        Arc::new(Self::made(number, owed, bounds, None))
    }

    /// Like [`Self::new`]. What it keeps counts for `of`, and it gives way if that is too much.
    #[must_use]
    pub fn counted(
        number: u64,
        owed: Option<usize>,
        bounds: Bounds,
        of: &Arc<KeptOfKey>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|stream| {
            let account = Account { of: Arc::clone(of), stream: Weak::clone(stream) };
            Self::made(number, owed, bounds, Some(account))
        })
    }

    fn made(number: u64, owed: Option<usize>, bounds: Bounds, account: Option<Account>) -> Self {
        let state = StreamState {
            kept: VecDeque::new(),
            bytes: 0,
            next: FIRST,
            unread: FIRST,
            unread_bytes: 0,
            owed,
            ended: false,
            is_published: false,
            counted: Counted::default(),
            gave_way: false,
            has_gap: false,
            instead: None,
            readers: 0,
            is_attached: false,
            reader: None,
            writers: Vec::new(),
        };
        Self { number, bounds, expected: owed, account, state: Locked::new(state) }
    }

    /// Keeps a message once an attached reader has room for it. See [`Self::put`].
    pub async fn push(&self, message: Bytes, part: Part) -> Vec<Bytes> {
        self.room().await;
        self.put(message, part)
    }

    /// Waits while a reader is attached that is too far behind: by 64 messages, or by more than
    /// the bounds' bytes.
    pub async fn room(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.locked();
            if state.is_attached && !state.ended && state.is_full(self.bounds) {
                state.wait(cx);
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Keeps a message at once; the oldest messages that may be dropped make room for it.
    /// Returns the questions among them, since their server waits for answers.
    pub fn put(&self, message: Bytes, part: Part) -> Vec<Bytes> {
        let mut state = self.locked();
        if state.ended {
            return Vec::new();
        }
        let number = state.next;
        state.next += 1;
        state.bytes += message.len();
        state.unread_bytes += message.len();
        state.kept.push_back(StreamItem { number, message, part });
        if part == Part::Answer
            && let Some(owed) = &mut state.owed
        {
            *owed = owed.saturating_sub(1);
            state.ended = *owed == 0;
        }
        if state.ended {
            state.wake_writers();
        }
        let unread = state.trim(self.bounds);
        state.wake_reader();
        let is_too_much = self.count(&mut state);
        drop(state);
        if is_too_much {
            self.relieve();
        }
        unread
    }

    /// Keeps an answer in the server's place.
    pub fn put_instead(&self, answer: Bytes, reached: Reached) {
        self.note_instead(reached);
        self.put(answer, Part::Answer);
    }

    /// Notes that the answer which follows is in the server's place.
    pub fn note_instead(&self, reached: Reached) {
        self.locked().instead = Some(reached);
    }

    /// Set if an answer is in the server's place.
    #[must_use]
    pub fn instead(&self) -> Option<Reached> {
        self.locked().instead
    }

    /// Ends the stream: later messages are ignored.
    pub fn end(&self) {
        let mut state = self.locked();
        state.ended = true;
        state.wake_reader();
        state.wake_writers();
    }

    /// From now on, messages are kept after they were read, for a client that comes back.
    pub fn publish(&self) {
        let mut state = self.locked();
        state.is_published = true;
        let is_too_much = self.count(&mut state);
        drop(state);
        if is_too_much {
            self.relieve();
        }
    }

    /// Whether read messages are kept.
    #[must_use]
    pub fn is_published(&self) -> bool {
        self.locked().is_published
    }

    /// Whether no more messages come; kept ones may still be unread.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.locked().ended
    }

    /// Whether it belongs to no request, so that no answer ends it.
    #[must_use]
    pub fn is_without_end(&self) -> bool {
        self.expected.is_none()
    }

    /// Whether exactly one answer ends it.
    #[must_use]
    pub fn has_single_answer(&self) -> bool {
        self.expected == Some(1)
    }

    /// Whether it has ended and no message is kept.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        let state = self.locked();
        state.ended && state.kept.is_empty()
    }

    /// Whether a reader is there.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.locked().is_attached
    }

    /// Whether a message that is put now can still be read.
    #[must_use]
    pub fn can_be_read(&self) -> bool {
        let state = self.locked();
        !state.ended && (state.is_attached || state.is_published)
    }

    fn locked(&self) -> MutexGuard<'_, StreamState> {
        self.state.lock()
    }
}

impl StreamState {
    fn is_full(&self, bounds: Bounds) -> bool {
        let ahead = self.next - self.unread;
        ahead >= AHEAD || (ahead > 0 && self.unread_bytes > bounds.bytes)
    }

    fn trim(&mut self, bounds: Bounds) -> Vec<Bytes> {
        let mut questions = Vec::new();
        while self.kept.len() > bounds.events || self.bytes > bounds.bytes {
            let was_read = |item: &StreamItem| item.number < self.unread;
            let found = match self.kept.front() {
                Some(item) if was_read(item) => Some(0),
                _ => {
                    let oldest = |part| self.kept.iter().position(|item| item.part == part);
                    let newest = self.kept.len().saturating_sub(1);
                    let notice = oldest(Part::Notice).filter(|index| *index < newest);
                    notice.or_else(|| oldest(Part::Question))
                }
            };
            // The newest message is the one that room is made for.
            let Some(item) = found
                .filter(|index| index + 1 < self.kept.len())
                .and_then(|index| self.kept.remove(index))
            else {
                break;
            };
            self.bytes -= item.message.len();
            if item.number >= self.unread {
                self.unread_bytes -= item.message.len();
                match item.part {
                    Part::Question => questions.push(item.message),
                    Part::Notice | Part::Answer => self.has_gap = true,
                }
            }
        }
        questions
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Has this task woken once a message was read, or the stream has ended.
    fn wait(&mut self, cx: &Context<'_>) {
        if !self.writers.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.writers.push(cx.waker().clone());
        }
    }

    fn wake_writers(&mut self) {
        for writer in self.writers.drain(..) {
            writer.wake();
        }
    }
}

#[cfg(test)]
mod tests;
