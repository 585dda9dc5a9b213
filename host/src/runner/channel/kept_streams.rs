//! Streams of answers that a client can resume, since it has event ids of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::streams::Stream;

/// Streams kept for a client that comes back; beyond this, ended ones are dropped.
pub const MOST: usize = 32;
/// How long a stream is kept after it could first be resumed, if it has ended. A client
/// that has not come back by then has the answer, or never will.
const KEPT_FOR: Duration = Duration::from_secs(300);

/// Oldest first. A stream that has not ended is never dropped.
#[derive(Default)]
pub struct KeptStreams(VecDeque<(Instant, Arc<Stream>)>);

impl KeptStreams {
    /// Keeps the stream from now on, and drops what is too old or too much.
    pub fn keep(&mut self, stream: &Arc<Stream>) {
        if self.get(stream.number).is_some() {
            return;
        }
        self.0.push_back((Instant::now(), Arc::clone(stream)));
        while self.0.len() > MOST || self.0.front().is_some_and(|(at, _)| at.elapsed() > KEPT_FOR) {
            let Some(ended) = self.0.iter().position(|(_, stream)| stream.has_ended()) else {
                return;
            };
            self.0.remove(ended);
        }
    }

    /// The stream with this number.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&Arc<Stream>> {
        self.iter().find(|stream| stream.number == number)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Stream>> {
        self.0.iter().map(|(_, stream)| stream)
    }
}
