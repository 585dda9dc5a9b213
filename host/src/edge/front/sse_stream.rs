//! What waits for an HTTP+SSE client to read it, and the stream on which the client does.
//!
//! A client's connection breaks more often than its session ends: what waits stays here, and the
//! stream with which the client comes back reads on. Of two streams the newest reads, since the
//! connection of an older one may be dead without anybody knowing.
//!
//! Messages wait in a queue with a limit in messages and one in bytes; a task that adds to a full
//! queue waits.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, Sleep};

use crate::edge::connection::unread::Unread;
use crate::protocol::{splice, sse};
use crate::sync::Locked;

/// Most messages that wait for one client to read them.
const QUEUE: usize = 64;

/// The client has left for good, or the session is over for another reason.
#[derive(Debug)]
pub struct StreamGone;

/// The messages for one client.
pub struct Outbox {
    queue: mpsc::Sender<Waiting>,
    /// A permit for each byte that may still be added to the queue.
    room: Arc<Semaphore>,
    /// All permits of `room`.
    bytes: u32,
    unread: Arc<Unread>,
    read: Locked<ReadSide>,
    /// Whether the client has a stream.
    is_read: watch::Sender<bool>,
    keep_alive: Duration,
}

struct ReadSide {
    queue: mpsc::Receiver<Waiting>,
    /// The number of the client's newest stream.
    newest: u64,
    /// Ends it when it is dropped.
    ends: Option<oneshot::Sender<()>>,
}

/// An event, and the room that it takes until the client's connection takes it.
struct Waiting {
    event: Bytes,
    _room: OwnedSemaphorePermit,
}

impl Outbox {
    /// At most `bytes` wait, which `unread` counts. After `keep_alive` without a message, a stream
    /// gets a comment.
    pub fn new(bytes: u32, unread: Arc<Unread>, keep_alive: Duration) -> Arc<Self> {
        let (queue, receiver) = mpsc::channel(QUEUE);
        Arc::new(Self {
            queue,
            room: Arc::new(Semaphore::new(bytes as usize)),
            bytes,
            unread,
            read: Locked::new(ReadSide { queue: receiver, newest: 0, ends: None }),
            is_read: watch::Sender::new(false),
            keep_alive,
        })
    }

    /// A stream of the client, which begins with `first`. One that it had before ends.
    pub fn stream(self: &Arc<Self>, first: Bytes) -> ClientStream {
        let (ends, last) = oneshot::channel();
        let number = {
            let mut read = self.read.lock();
            read.newest += 1;
            // The one before wakes up, and finds that it is not the newest.
            read.ends = Some(ends);
            self.is_read.send_replace(true);
            read.newest
        };
        ClientStream {
            first: Some(first),
            outbox: Arc::clone(self),
            number,
            last,
            silence: Box::pin(tokio::time::sleep(self.keep_alive)),
        }
    }

    /// Puts a message onto the stream. Waits while the queue is full.
    pub async fn send(&self, message: Bytes) -> Result<(), StreamGone> {
        self.put(sse::event(&splice::on_one_line(message))).await
    }

    /// The same for the message with which the client learns how to name its session later.
    pub async fn send_named(&self, id: &str, message: Bytes) -> Result<(), StreamGone> {
        self.put(sse::event_with_id(id, &splice::on_one_line(message))).await
    }

    async fn put(&self, event: Bytes) -> Result<(), StreamGone> {
        let event = self.unread.counted(event);
        // A message that is larger than the whole room takes all of it.
        let weight = u32::try_from(event.len()).unwrap_or(u32::MAX).min(self.bytes);
        let room =
            Arc::clone(&self.room).acquire_many_owned(weight).await.map_err(|_| StreamGone)?;
        self.queue.send(Waiting { event, _room: room }).await.map_err(|_| StreamGone)
    }

    /// Waits until the client has no stream.
    pub async fn left(&self) {
        self.wait_for(false).await;
    }

    /// Waits until the client has a stream.
    pub async fn came_back(&self) {
        self.wait_for(true).await;
    }

    async fn wait_for(&self, is_read: bool) {
        // An error would mean that the sender is gone, which this value has.
        let _ = self.is_read.subscribe().wait_for(|now| *now == is_read).await;
    }

    /// Takes no more messages.
    pub fn close(&self) {
        self.room.close();
        self.read.lock().queue.close();
    }

    /// Ends the stream; messages that wait are sent first.
    pub fn end(&self) {
        self.read.lock().ends = None;
    }

    fn closed(&self, number: u64) {
        let read = self.read.lock();
        if read.newest == number {
            self.is_read.send_replace(false);
        }
    }
}

/// The stream that the client reads. Dropped with the client's connection.
pub struct ClientStream {
    first: Option<Bytes>,
    outbox: Arc<Outbox>,
    number: u64,
    /// Resolves when the stream has to end.
    last: oneshot::Receiver<()>,
    silence: Pin<Box<Sleep>>,
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.outbox.closed(self.number);
    }
}

impl Stream for ClientStream {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(first));
        }
        {
            let mut read = this.outbox.read.lock();
            if read.newest != this.number {
                return Poll::Ready(None);
            }
            if let Poll::Ready(waiting) = read.queue.poll_recv(cx) {
                this.silence.as_mut().reset(Instant::now() + this.outbox.keep_alive);
                return Poll::Ready(waiting.map(|waiting| waiting.event));
            }
        }
        if Pin::new(&mut this.last).poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if this.silence.as_mut().poll(cx).is_ready() {
            this.silence.as_mut().reset(Instant::now() + this.outbox.keep_alive);
            return Poll::Ready(Some(Bytes::from_static(sse::KEEP_ALIVE)));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::StreamExt as _;

    use super::*;

    fn outbox() -> Arc<Outbox> {
        Outbox::new(1000, Unread::of(usize::MAX), Duration::from_secs(60))
    }

    fn next(stream: &mut ClientStream) -> Option<Option<String>> {
        let next = stream.next().now_or_never()?;
        Some(next.map(|event| String::from_utf8_lossy(&event).into_owned()))
    }

    #[tokio::test]
    async fn what_waits_is_read_by_the_stream_that_comes_back() {
        let outbox = outbox();
        let mut first = outbox.stream("a".into());
        assert_eq!(next(&mut first), Some(Some("a".into())));
        assert_eq!(next(&mut first), None);
        drop(first);
        outbox.left().await;
        outbox.send("{}".into()).await.unwrap();
        let mut second = outbox.stream("b".into());
        outbox.came_back().await;
        assert_eq!(next(&mut second), Some(Some("b".into())));
        assert!(next(&mut second).unwrap().unwrap().contains("data: {}"));
    }

    #[tokio::test]
    async fn of_two_streams_the_newest_reads_and_the_other_ends() {
        let outbox = outbox();
        let mut old = outbox.stream("a".into());
        assert!(next(&mut old).is_some() && next(&mut old).is_none());
        let mut new = outbox.stream("b".into());
        outbox.send("{}".into()).await.unwrap();
        assert_eq!(next(&mut old), Some(None));
        drop(old);
        assert!(outbox.left().now_or_never().is_none(), "the newest is open");
        assert!(next(&mut new).is_some());
        assert!(next(&mut new).unwrap().unwrap().contains("data: {}"));
    }

    #[tokio::test]
    async fn a_stream_ends_after_what_waits_and_a_closed_one_takes_nothing() {
        let outbox = outbox();
        let mut stream = outbox.stream("a".into());
        outbox.send("{}".into()).await.unwrap();
        outbox.end();
        assert!(next(&mut stream).is_some());
        assert!(next(&mut stream).unwrap().is_some());
        assert_eq!(next(&mut stream), Some(None));
        outbox.close();
        assert!(outbox.send("{}".into()).await.is_err());
    }
}
