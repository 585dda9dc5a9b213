//! Streams of answers that a client can resume, since it has event ids of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::streams::Stream;

/// Streams kept for a client that comes back; beyond this, ended ones are dropped.
pub const MOST: usize = 32;
/// How long a stream is kept after it was first seen to have ended. A client that has not come
/// back by then has the answer, or never will.
const KEPT_FOR: Duration = Duration::from_secs(300);

/// Oldest first. A stream that has not ended is never dropped.
#[derive(Default)]
pub struct KeptStreams(VecDeque<Kept>);

struct Kept {
    stream: Arc<Stream>,
    /// When a sweep first saw that it had ended.
    ended: Option<Instant>,
}

impl KeptStreams {
    /// Keeps the stream from now on, and drops what is too old or too much.
    pub fn keep(&mut self, stream: &Arc<Stream>) {
        if self.get(stream.number).is_some() {
            return;
        }
        self.0.push_back(Kept { stream: Arc::clone(stream), ended: None });
        self.sweep(Instant::now());
        while self.0.len() > MOST {
            let Some(ended) = self.0.iter().position(|kept| kept.stream.has_ended()) else {
                return;
            };
            self.0.remove(ended);
        }
    }

    /// Drops what has given way, or has ended long before `now`.
    pub fn sweep(&mut self, now: Instant) {
        self.0.retain_mut(|kept| {
            if !kept.stream.has_ended() {
                return true;
            }
            let ended = *kept.ended.get_or_insert(now);
            !kept.stream.has_given_way() && now.saturating_duration_since(ended) <= KEPT_FOR
        });
    }

    /// The stream with this number.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&Arc<Stream>> {
        self.iter().find(|stream| stream.number == number)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Stream>> {
        self.0.iter().map(|kept| &kept.stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::{Bounds, Part};

    #[test]
    fn an_answer_is_kept_for_a_while_after_it_came_and_no_longer() {
        let stream = Stream::new(1, Some(1), Bounds { events: 9, bytes: 99 });
        let (mut kept, began) = (KeptStreams::default(), Instant::now());
        kept.keep(&stream);
        kept.sweep(began + 3 * KEPT_FOR);
        stream.put("{}".into(), Part::Answer);
        let ended = began + 4 * KEPT_FOR;
        for (at, is_there) in
            [(ended, true), (ended + KEPT_FOR, true), (ended + 2 * KEPT_FOR, false)]
        {
            kept.sweep(at);
            assert_eq!(kept.get(1).is_some(), is_there);
        }
    }
}
