//! The bounded queue of messages to a server that has one pipe.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Messages that wait for a server which does not read. Beyond either bound, its
/// clients wait.
const WRITE_QUEUE: usize = 256;
/// Bytes of these messages. A larger message takes all of the room.
const WRITE_BYTES: u32 = 32 << 20;

/// The messages that are not written to the server yet. Dropping a message's place frees its bytes.
pub type Unwritten = mpsc::Receiver<(Bytes, QueuePlace)>;

/// The place that a message takes until it is written.
#[derive(Debug)]
pub struct QueuePlace {
    room: OwnedSemaphorePermit,
    /// What its client has shown, where the server gets a token in exchange for it.
    subject: Option<Box<HeaderValue>>,
}

impl QueuePlace {
    /// Takes the place of another message too, which is written with this one.
    pub fn merge(&mut self, other: Self) {
        self.room.merge(other.room);
    }

    /// The token of the message's own client.
    #[must_use]
    pub fn subject(&self) -> Option<&HeaderValue> {
        self.subject.as_deref()
    }
}

/// The queue's sending side.
pub struct ToServer {
    queue: mpsc::Sender<(Bytes, QueuePlace)>,
    room: Arc<Semaphore>,
}

/// Room for one message, which is then sent without waiting.
pub struct QueueSlot<'a> {
    queue: mpsc::Permit<'a, (Bytes, QueuePlace)>,
    room: OwnedSemaphorePermit,
}

impl QueueSlot<'_> {
    /// Sends the message, with the token of its client if that is needed.
    pub fn send(self, message: Bytes, subject: Option<&HeaderValue>) {
        let subject = subject.cloned().map(Box::new);
        self.queue.send((message, QueuePlace { room: self.room, subject }));
    }
}

impl ToServer {
    #[must_use]
    pub fn new() -> (Self, Unwritten) {
        let (queue, outbox) = mpsc::channel(WRITE_QUEUE);
        (Self { queue, room: Arc::new(Semaphore::new(WRITE_BYTES as usize)) }, outbox)
    }

    /// Waits for room for a message of this many bytes. `None` if the server is gone.
    pub async fn reserve(&self, size: usize) -> Option<QueueSlot<'_>> {
        let size = bounded(size);
        // Mostly there is room, and nothing to wait for.
        let room = match Arc::clone(&self.room).try_acquire_many_owned(size) {
            Ok(room) => room,
            Err(_) => Arc::clone(&self.room).acquire_many_owned(size).await.ok()?,
        };
        let queue = match self.queue.try_reserve() {
            Ok(slot) => slot,
            Err(_) => self.queue.reserve().await.ok()?,
        };
        Some(QueueSlot { queue, room })
    }

    /// Sends the message without waiting; drops it if there is no room.
    pub fn try_send(&self, message: Bytes) {
        if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(bounded(message.len())) {
            let place = QueuePlace { room, subject: None };
            let _ = self.queue.try_send((message, place));
        }
    }
}

fn bounded(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(WRITE_BYTES).min(WRITE_BYTES)
}
