//! The bytes of answers that wait until their clients read them. When they are too many, clients
//! that read nothing are cut off sooner.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Bytes of an answer that are not worth counting: the buffers of a connection are as large.
const SMALL: usize = 64 * 1024;

/// Counts the bytes of unread answers.
#[derive(Debug)]
pub struct Unread {
    bytes: AtomicUsize,
    limit: usize,
}

impl Unread {
    /// More than `limit` bytes are too many.
    #[must_use]
    pub fn of(limit: usize) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicUsize::new(0), limit })
    }

    /// The bytes that wait now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn is_too_much(&self) -> bool {
        self.bytes() > self.limit
    }

    /// Counts a piece of an answer, if it is not small, until its last byte was written.
    #[must_use]
    pub fn counted(self: &Arc<Self>, piece: Bytes) -> Bytes {
        if piece.len() <= SMALL { piece } else { self.count(piece) }
    }

    fn count(self: &Arc<Self>, piece: Bytes) -> Bytes {
        self.bytes.fetch_add(piece.len(), Ordering::Relaxed);
        Bytes::from_owner(UnreadBytes { piece, unread: Arc::clone(self) })
    }
}

struct UnreadBytes {
    piece: Bytes,
    unread: Arc<Unread>,
}

impl AsRef<[u8]> for UnreadBytes {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

impl Drop for UnreadBytes {
    fn drop(&mut self) {
        self.unread.bytes.fetch_sub(self.piece.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_answer_counts_until_its_last_clone_is_gone() {
        let unread = Unread::of(100_000);
        assert_eq!(unread.counted(Bytes::from(vec![7; SMALL])).len(), SMALL);
        assert_eq!(unread.bytes(), 0);
        let piece = unread.counted(Bytes::from(vec![7; 100_001]));
        assert!(unread.is_too_much() && piece.iter().all(|byte| *byte == 7));
        let clone = piece.slice(5..);
        drop(piece);
        assert_eq!(unread.bytes(), 100_001);
        drop(clone);
        assert!(!unread.is_too_much() && unread.bytes() == 0);
    }
}
