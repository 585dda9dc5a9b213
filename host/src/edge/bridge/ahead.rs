//! How far what is made for a client may be ahead of what it reads: a few small messages, or a large one.

use tokio::sync::mpsc;

/// Messages that wait for the client to read them.
pub const AHEAD: usize = 16;
/// Bytes for each of these places.
const PLACE: usize = 16 * 1024;

/// Puts a message of so many bytes into a queue of [`AHEAD`], when there is room for its bytes: a large one
/// waits until those before it are read. False if nobody reads any more.
pub async fn put<T>(queue: &mpsc::Sender<T>, bytes: usize, message: T) -> bool {
    let Ok(mut places) = queue.reserve_many(places(bytes)).await else { return false };
    let Some(place) = places.next() else { return false };
    place.send(message);
    true
}

/// The same at once, or not at all.
///
/// # Errors
/// If there is no room, or nobody reads any more.
pub fn try_put<T>(
    queue: &mpsc::Sender<T>,
    bytes: usize,
    message: T,
) -> Result<(), mpsc::error::TrySendError<()>> {
    let mut places = queue.try_reserve_many(places(bytes))?;
    let place = places.next().ok_or(mpsc::error::TrySendError::Full(()))?;
    place.send(message);
    Ok(())
}

fn places(bytes: usize) -> usize {
    bytes.div_ceil(PLACE).clamp(1, AHEAD)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Bytes that wait in a queue that nobody reads, of messages of this size.
    fn waiting(size: usize) -> usize {
        let (queue, unread) = mpsc::channel(AHEAD);
        let mut taken = 0;
        while put(&queue, size, size).now_or_never() == Some(true) {
            taken += size;
        }
        assert!(matches!(try_put(&queue, size, size), Err(mpsc::error::TrySendError::Full(()))));
        drop(unread);
        assert_eq!(put(&queue, size, size).now_or_never(), Some(false));
        taken
    }

    #[test]
    fn little_waits_for_a_client_that_does_not_read() {
        for (size, expect) in [(1, AHEAD), (PLACE, AHEAD * PLACE), (1 << 20, 1 << 20)] {
            assert_eq!(waiting(size), expect, "{size}");
        }
        for size in (PLACE..40 * PLACE).step_by(1000) {
            assert!(waiting(size) <= 81 * PLACE, "{size}: {}", waiting(size));
        }
    }

    #[tokio::test]
    async fn what_is_read_makes_room() {
        let (queue, mut read) = mpsc::channel(AHEAD);
        for number in 0..3 {
            let large = AHEAD * PLACE;
            assert!(put(&queue, large, number).await);
            assert!(put(&queue, large, 9).now_or_never().is_none());
            assert_eq!(read.recv().await, Some(number));
        }
        assert!(try_put(&queue, 1, 7).is_ok());
    }
}
