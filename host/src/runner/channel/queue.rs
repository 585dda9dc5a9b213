//! The way to a server that has one pipe, within bounds.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Messages waiting for a server that does not read, and their bytes; then its
/// clients wait.
const WRITE_QUEUE: usize = 256;
const WRITE_BYTES: u32 = 32 << 20;

/// Messages on their way to the server; each frees its room when it is dropped.
pub type Unwritten = mpsc::Receiver<(Bytes, OwnedSemaphorePermit)>;

/// The way to a server, within bounds.
pub struct ToServer {
    queue: mpsc::Sender<(Bytes, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

/// Room for one message: what is put there is sent at once.
pub struct QueueSlot<'a> {
    queue: mpsc::Permit<'a, (Bytes, OwnedSemaphorePermit)>,
    room: OwnedSemaphorePermit,
}

impl QueueSlot<'_> {
    pub fn send(self, message: Bytes) {
        self.queue.send((message, self.room));
    }
}

impl ToServer {
    #[must_use]
    pub fn new() -> (Self, Unwritten) {
        let (queue, outbox) = mpsc::channel(WRITE_QUEUE);
        (Self { queue, room: Arc::new(Semaphore::new(WRITE_BYTES as usize)) }, outbox)
    }

    /// Waits for room for a message of this size; none if the server is gone.
    pub async fn reserve(&self, size: usize) -> Option<QueueSlot<'_>> {
        let room = Arc::clone(&self.room).acquire_many_owned(bounded(size)).await.ok()?;
        Some(QueueSlot { queue: self.queue.reserve().await.ok()?, room })
    }

    /// Drops the message if there is no room.
    pub fn try_send(&self, message: Bytes) {
        if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(bounded(message.len())) {
            let _ = self.queue.try_send((message, room));
        }
    }
}

fn bounded(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(WRITE_BYTES).min(WRITE_BYTES)
}
