//! Waiting for the end of a stream, or for its readers to come and go.

use std::task::Poll;

use super::{Stream, StreamState};

impl Stream {
    /// Waits until the stream has ended, or nobody reads it. Returns whether it has ended.
    pub async fn over_or_left(&self) -> bool {
        self.until(|state| state.ended || !state.is_attached).await
    }

    /// Waits until the stream has ended, or somebody reads it. Returns whether it has ended.
    pub async fn over_or_read(&self) -> bool {
        self.until(|state| state.ended || state.is_attached).await
    }

    async fn until(&self, is_so: impl Fn(&StreamState) -> bool) -> bool {
        std::future::poll_fn(|cx| {
            let mut state = self.locked();
            if is_so(&state) {
                return Poll::Ready(state.ended);
            }
            state.wait(cx);
            Poll::Pending
        })
        .await
    }
}
