//! What a stream keeps, counted with that of all others; and how it gives it up.

use std::sync::{Arc, Weak};

use crate::streams::kept::{Keeper, KeptOfKey, Rank};

use super::{Part, Stream, StreamState};

/// Bytes that are not worth counting while a client reads the stream.
const SMALL: usize = 16 * 1024;
/// Bytes that a message takes beside its text.
const EACH: usize = 128;

/// Whom a stream counts for.
pub(super) struct Account {
    pub(super) of: Arc<KeptOfKey>,
    pub(super) stream: Weak<Stream>,
}

/// What is counted of a stream so far.
#[derive(Default)]
pub(super) struct Counted {
    bytes: usize,
    /// Set once it may give way.
    place: Option<u64>,
}

impl Stream {
    /// Counts what is kept now. Returns whether all streams together keep too much.
    pub(super) fn count(&self, state: &mut StreamState) -> bool {
        let Some(account) = &self.account else { return false };
        let keeps = state.bytes + state.kept.len() * EACH;
        // One that a client reads, and cannot come back to, is soon empty.
        let may_rest = state.is_published || !state.is_attached;
        let before = state.counted.bytes;
        if keeps == 0 && before == 0 || !may_rest && keeps.abs_diff(before) <= SMALL {
            return false;
        }
        if may_rest && state.counted.place.is_none() {
            let stream: Weak<Self> = Weak::clone(&account.stream);
            state.counted.place = Some(account.of.enter(stream));
        }
        state.counted.bytes = keeps;
        keeps != before && account.of.changed(before, keeps)
    }

    /// Has streams give way. Not to be called with a lock of a stream.
    pub(super) fn relieve(&self) {
        if let Some(account) = &self.account {
            account.of.relieve();
        }
    }

    /// Whether its messages were dropped, since all streams together kept too much.
    #[must_use]
    pub fn has_given_way(&self) -> bool {
        self.locked().gave_way
    }
}

impl StreamState {
    fn rank(&self, is_without_end: bool) -> Option<Rank> {
        let keeps = |item: &super::StreamItem| {
            !is_without_end || item.part != Part::Question || item.number < self.unread
        };
        if !self.kept.iter().any(keeps) {
            return None;
        }
        Some(match (self.is_attached, self.ended) {
            (false, true) => Rank::Unread,
            (false, false) => Rank::Unattended,
            (true, _) => Rank::Slow,
        })
    }
}

impl Keeper for Stream {
    fn rank(&self) -> Option<Rank> {
        self.locked().rank(self.is_without_end())
    }

    fn give_way(&self, rank: Rank) -> bool {
        let mut state = self.locked();
        if state.rank(self.is_without_end()) != Some(rank) {
            return false;
        }
        if self.is_without_end() {
            // Its server waits for the answers to these questions.
            let unread = state.unread;
            state.kept.retain(|item| item.part == Part::Question && item.number >= unread);
            state.bytes = state.kept.iter().map(|item| item.message.len()).sum();
            state.has_gap = true;
        } else {
            state.kept.clear();
            state.bytes = 0;
            state.unread = state.next;
            state.ended = true;
            state.gave_way = true;
        }
        state.unread_bytes = state.bytes;
        state.wake_reader();
        state.wake_writers();
        self.count(&mut state);
        true
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Some(account) = &self.account else { return };
        let counted = std::mem::take(&mut self.state.get_mut().counted);
        account.of.changed(counted.bytes, 0);
        if let Some(place) = counted.place {
            account.of.leave(place);
        }
    }
}
