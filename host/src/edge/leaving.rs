//! The planned end of this process, as its edge sees it.
//!
//! A client comes back to a stream that breaks off, with the id of its last event, and gets the rest
//! at the next process; so nothing waits for the streams of calls that run on other nodes. An answer
//! of which the client has seen no event cannot be asked for again, and is waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http_body::Body as _;

use crate::net::{Body, Piece, Through};
use crate::sync::{Locked, Signal, Watcher};

/// How far the end of this process has come.
#[derive(Debug, Default)]
pub struct Leaving {
    /// Raised when it is to end.
    ending: Signal,
    /// Raised when it takes no more requests.
    leaving: Signal,
    /// Streams whose clients could not come back to them.
    answers: Arc<AtomicUsize>,
    /// Whether calls run on other nodes alone, so that their streams go on without this process.
    runs_elsewhere: bool,
}

impl Leaving {
    #[must_use]
    pub fn new(runs_elsewhere: bool) -> Self {
        Self { runs_elsewhere, ..Self::default() }
    }

    /// Notes that the process is to end.
    pub fn end(&self) {
        self.ending.raise();
    }

    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ending.is_raised()
    }

    /// Notes that the process takes no more requests: streams that clients come back to end.
    pub fn leave(&self) {
        self.leaving.raise();
    }

    #[must_use]
    pub fn watch(&self) -> Watcher {
        self.leaving.watch()
    }

    /// Streams of calls whose clients could not come back to them.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    /// The event stream of a call. Nothing is done where calls end with this process.
    #[must_use]
    pub fn stream(&self, body: Body) -> Body {
        if !self.runs_elsewhere {
            return body;
        }
        let mut leaving = self.leaving.watch();
        let left: BoxFuture<'static, ()> = Box::pin(async move { leaving.raised().await });
        let counted = Some(Counted::of(&self.answers));
        Body::Through(Box::new(CallStream { body, left: Some(Locked::new(left)), counted }))
    }
}

/// Counts a stream while it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn of(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The stream of a call on another node. It ends early once its client can come back to it.
struct CallStream {
    body: Body,
    /// The lock is never taken: it makes the future `Sync`, as a body has to be. `None` once this
    /// process leaves.
    left: Option<Locked<BoxFuture<'static, ()>>>,
    /// `None` once the client has seen the id of an event.
    counted: Option<Counted>,
}

impl CallStream {
    fn has_left(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(left) = &mut self.left
            && left.get_mut().as_mut().poll(cx).is_ready()
        {
            self.left = None;
        }
        self.left.is_none()
    }
}

impl Through for CallStream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        let polled = std::pin::Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && self.counted.is_some()
            && frame.data_ref().is_some_and(|data| has_id(data))
        {
            self.counted = None;
        }
        if polled.is_pending() && self.counted.is_none() && self.has_left(cx) {
            return Poll::Ready(None);
        }
        polled
    }
}

/// Whether a piece of a stream has the id of an event. Runners write an event at once.
fn has_id(piece: &[u8]) -> bool {
    piece.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"id:"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tokio::sync::mpsc;

    async fn next(body: &mut Body) -> Option<Bytes> {
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await;
        frame.map(|frame| frame.unwrap().into_data().unwrap())
    }

    #[tokio::test]
    async fn a_stream_ends_once_its_client_can_come_back_to_it() {
        let leaving = Leaving::new(true);
        let (sender, receiver) = mpsc::channel(8);
        let mut body = leaving.stream(Body::Channel(receiver));
        assert_eq!(leaving.answers(), 1);
        leaving.leave();
        sender.try_send(Bytes::from_static(b"data: id: 1\n\n")).unwrap();
        assert!(next(&mut body).await.is_some());
        assert_eq!(leaving.answers(), 1, "it has no id yet");
        sender.try_send(Bytes::from_static(b"event: message\nid: 1\ndata: {}\n\n")).unwrap();
        assert!(next(&mut body).await.is_some());
        assert_eq!((leaving.answers(), next(&mut body).await), (0, None));
    }

    #[tokio::test]
    async fn where_calls_end_with_the_process_a_stream_is_left_alone() {
        let leaving = Leaving::new(false);
        let (sender, receiver) = mpsc::channel(8);
        let mut body = leaving.stream(Body::Channel(receiver));
        leaving.leave();
        sender.try_send(Bytes::from_static(b"id: 1\n\n")).unwrap();
        assert!(next(&mut body).await.is_some());
        sender.try_send(Bytes::from_static(b"id: 2\n\n")).unwrap();
        assert!(next(&mut body).await.is_some() && leaving.answers() == 0);
    }
}
