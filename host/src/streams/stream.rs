//! One stream of a session: numbered messages, kept for a client that comes back
//! (2025-11-25, basic/transports, "Resumability and Redelivery").
//!
//! A message is kept before anybody reads it. Who reads is a [`Reader`]; one
//! that attaches later takes over, from where it says. A stream that a client
//! cannot resume, since it has seen no event id of it, forgets what was read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// Messages ahead of a reader, beyond which the server's pipe waits for it.
const AHEAD: u64 = 64;
/// The first message's number; 0 is the event that primes the stream.
const FIRST: u64 = 1;

/// How much of one stream is kept.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub events: usize,
    pub bytes: usize,
}

/// What a message is to the stream that carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Dropped when nobody reads and there are too many.
    Notice,
    /// The server waits for an answer to it: dropped last, and then it is said.
    Question,
    /// Answers a request of the client: never dropped.
    Answer,
}

/// What became of a request to a server that went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// It may have run.
    Perhaps,
    /// Not a byte of it was read.
    No,
}

#[derive(Debug, Clone)]
pub struct Item {
    pub number: u64,
    pub message: Bytes,
    pub part: Part,
}

pub struct Stream {
    pub number: u64,
    bounds: Bounds,
    /// Answers that it ends with.
    expected: Option<usize>,
    state: Mutex<State>,
}

struct State {
    kept: VecDeque<Item>,
    bytes: usize,
    next: u64,
    /// The next message that nobody has read.
    unread: u64,
    unread_bytes: usize,
    /// Answers still to come. None: the stream has no end of its own.
    owed: Option<usize>,
    ended: bool,
    /// Whether a client knows event ids of it.
    is_published: bool,
    /// Something unread had to be dropped.
    has_gap: bool,
    /// The answer is not the server's, which went away; and whether the request had
    /// reached it.
    lost: Option<Reached>,
    /// Counts readers; the latest is the reader.
    readers: u64,
    is_attached: bool,
    reader: Option<Waker>,
    writers: Vec<Waker>,
}

impl Stream {
    /// A stream that ends with the last of so many answers; with none it goes on.
    #[must_use]
    pub fn new(number: u64, owed: Option<usize>, bounds: Bounds) -> Arc<Self> {
        let state = State {
            kept: VecDeque::new(),
            bytes: 0,
            next: FIRST,
            unread: FIRST,
            unread_bytes: 0,
            owed,
            ended: false,
            is_published: false,
            has_gap: false,
            lost: None,
            readers: 0,
            is_attached: false,
            reader: None,
            writers: Vec::new(),
        };
        Arc::new(Self { number, bounds, expected: owed, state: Mutex::new(state) })
    }

    /// Keeps a message, once an attached reader has room for it. See [`Self::put`].
    pub async fn push(&self, message: Bytes, part: Part) -> Vec<Bytes> {
        self.room().await;
        self.put(message, part)
    }

    /// Waits until an attached reader has room for a message.
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

    /// Keeps a message at once, at the cost of the oldest that may be dropped. Gives
    /// the questions among them: whoever asked waits for an answer.
    pub fn put(&self, message: Bytes, part: Part) -> Vec<Bytes> {
        let mut state = self.locked();
        if state.ended {
            return Vec::new();
        }
        let number = state.next;
        state.next += 1;
        state.bytes += message.len();
        state.unread_bytes += message.len();
        state.kept.push_back(Item { number, message, part });
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
        unread
    }

    /// Answers in the place of a server that went away.
    pub fn put_lost(&self, answer: Bytes, reached: Reached) {
        self.locked().lost = Some(reached);
        self.put(answer, Part::Answer);
    }

    /// Whether the server went away before it answered.
    #[must_use]
    pub fn lost(&self) -> Option<Reached> {
        self.locked().lost
    }

    /// Nothing more comes.
    pub fn end(&self) {
        let mut state = self.locked();
        state.ended = true;
        state.wake_reader();
        state.wake_writers();
    }

    /// Waits until nothing more comes.
    pub async fn over(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.locked();
            if state.ended {
                return Poll::Ready(());
            }
            state.wait(cx);
            Poll::Pending
        })
        .await;
    }

    /// From now on what was read is kept too, for a client that comes back.
    pub fn publish(&self) {
        self.locked().is_published = true;
    }

    #[must_use]
    pub fn is_published(&self) -> bool {
        self.locked().is_published
    }

    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.locked().ended
    }

    /// Whether it is no request's.
    #[must_use]
    pub fn is_without_end(&self) -> bool {
        self.expected.is_none()
    }

    /// Whether it carries the answer of one request alone.
    #[must_use]
    pub fn is_of_one(&self) -> bool {
        self.expected == Some(1)
    }

    /// Whether it has ended, and nothing of it is left.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        let state = self.locked();
        state.ended && state.kept.is_empty()
    }

    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.locked().is_attached
    }

    /// Whether somebody can still read what is put.
    #[must_use]
    pub fn can_be_read(&self) -> bool {
        let state = self.locked();
        !state.ended && (state.is_attached || state.is_published)
    }

    /// Reads from the first message that nobody has read.
    #[must_use]
    pub fn read_on(self: &Arc<Self>) -> Reader {
        let unread = self.locked().unread;
        self.read_after(unread - 1)
    }

    /// Reads what came after the message with this number.
    #[must_use]
    pub fn read_after(self: &Arc<Self>, number: u64) -> Reader {
        let mut state = self.locked();
        state.readers += 1;
        state.is_attached = true;
        // The reader before this one learns that it is none any more.
        state.wake_reader();
        let position = number.saturating_add(1).clamp(FIRST, state.next);
        let has_gap = state.kept.front().map_or(state.next, |item| item.number) > position
            || std::mem::take(&mut state.has_gap);
        let known = if has_gap { state.next } else { FIRST };
        let stream = Arc::clone(self);
        Reader { stream, place: state.readers, position, has_gap, known, has_missed: false }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_full(&self, bounds: Bounds) -> bool {
        let ahead = self.next - self.unread;
        ahead >= AHEAD || (ahead > 0 && self.unread_bytes > bounds.bytes)
    }

    fn trim(&mut self, bounds: Bounds) -> Vec<Bytes> {
        let mut questions = Vec::new();
        while self.kept.len() > bounds.events || self.bytes > bounds.bytes {
            let was_read = |item: &Item| item.number < self.unread;
            let found = match self.kept.front() {
                Some(item) if was_read(item) => Some(0),
                _ => {
                    let oldest = |part| self.kept.iter().position(|item| item.part == part);
                    let newest = self.kept.len().saturating_sub(1);
                    let notice = oldest(Part::Notice).filter(|index| *index < newest);
                    notice.or_else(|| oldest(Part::Question))
                }
            };
            // The newest is what this is about.
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

    /// Wakes whoever waits here when something was read, or the stream has ended.
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

/// The one who reads a stream now.
pub struct Reader {
    stream: Arc<Stream>,
    place: u64,
    position: u64,
    /// What is read does not begin where the reader asked to.
    pub has_gap: bool,
    /// Of what is before this number the reader knows that something is missing.
    known: u64,
    /// Something was dropped since, before it was read.
    has_missed: bool,
}

impl Reader {
    #[must_use]
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The number before the next message's.
    #[must_use]
    pub fn after(&self) -> u64 {
        self.position - 1
    }

    /// The next message; none at the stream's end, or if another reads it now.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
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
        }
        state.wake_writers();
        Poll::Ready(Some(item))
    }

    /// Whether something that came before the last item was dropped since it was
    /// last asked: a reader that is slow misses what one that is not there misses.
    pub fn take_missed(&mut self) -> bool {
        std::mem::take(&mut self.has_missed)
    }

    pub async fn next(&mut self) -> Option<Item> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Waits until there is something to read; gives the answer if that is all
    /// there will ever be, and takes nothing otherwise.
    pub async fn only_answer(&mut self) -> Option<Bytes> {
        std::future::poll_fn(|cx| {
            let mut state = self.stream.locked();
            if state.kept.is_empty() && !state.ended {
                state.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let is_all = state.ended && state.kept.len() == 1;
            Poll::Ready(is_all.then(|| state.kept.pop_front()).flatten().map(|item| item.message))
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
        }
    }
}

#[cfg(test)]
mod tests;
