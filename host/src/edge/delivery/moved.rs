//! Tells a stream that its session's server is on another node now. The stream's own connection may
//! be silent for as long as a lease: what moves the binding is a call of the client's.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body::Body as _;
use tokio::sync::watch;

use crate::model::{NodeId, ServerName, SessionId};
use crate::net::Body;
use crate::store::Bindings;

use super::call::Call;

/// Frames of the node that a session has left that are still passed on once the session is known to
/// have left: those that have arrived. A server that never pauses must not keep the stream.
const LAST_FRAMES: u32 = 64;
/// How long an answer is waited for once the server has moved: what waits may have moved it itself,
/// and is about to be answered by the new node.
const SETTLE: Duration = Duration::from_millis(250);

/// Watches the node to which one server of a session is bound.
#[derive(Clone)]
pub struct BindingWatch {
    bindings: Arc<Bindings>,
    session: SessionId,
    server: ServerName,
    opened_servers: watch::Receiver<u64>,
}

impl Call<'_> {
    /// Watches the binding from now on.
    #[must_use]
    pub fn watch_binding(&self) -> BindingWatch {
        let edge = &self.worker.edge;
        BindingWatch {
            bindings: Arc::clone(&edge.bindings),
            session: self.session.id,
            server: self.server.clone(),
            opened_servers: edge.opened_servers.watch(self.session.id),
        }
    }
}

impl BindingWatch {
    /// The node that the server is bound to.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.bindings.look(self.session, &self.server)
    }

    /// Resolves once the server is bound to another node than this one.
    pub async fn moved_from(mut self, node: NodeId) {
        loop {
            // Marked as seen before the lookup: an opening meanwhile causes another lookup.
            self.opened_servers.borrow_and_update();
            if self.node().is_some_and(|now| now != node) {
                return;
            }
            if self.opened_servers.changed().await.is_err() {
                return pending().await;
            }
        }
    }

    /// What a task that waits for the node gives; `None` if the server has moved meanwhile.
    pub async fn unless_moved<T>(&self, waiting: impl Future<Output = T>) -> Option<T> {
        let Some(node) = self.node() else { return Some(waiting.await) };
        let mut waiting = std::pin::pin!(waiting);
        tokio::select! {
            biased;
            given = &mut waiting => return Some(given),
            () = self.clone().moved_from(node) => {}
        }
        tokio::time::timeout(SETTLE, waiting).await.ok()
    }

    /// The body of a stream of this node, which ends once the server has moved.
    #[must_use]
    pub fn while_at(self, node: NodeId, body: Body) -> Body {
        let moved = Box::pin(self.moved_from(node));
        Body::Stream(Box::pin(StreamAtNode { body, moved, left: None }))
    }
}

/// The stream of a node. It ends as well if it breaks off.
struct StreamAtNode {
    body: Body,
    moved: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    /// Frames that may still pass; `None` while the session is at the node.
    left: Option<u32>,
}

impl Stream for StreamAtNode {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        if this.left.is_none() && this.moved.as_mut().poll(cx).is_ready() {
            this.left = Some(LAST_FRAMES);
        }
        loop {
            let body = &mut this.body;
            let frame = match this.left {
                None => Pin::new(body).poll_frame(cx),
                // A pause that the runtime wants says nothing of what has arrived.
                Some(_) => {
                    let next = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
                    std::pin::pin!(tokio::task::unconstrained(next)).poll(cx)
                }
            };
            match (&mut this.left, frame) {
                (None, Poll::Pending) => return Poll::Pending,
                (Some(0), _) | (Some(_), Poll::Pending) => return Poll::Ready(None),
                (_, Poll::Ready(None | Some(Err(_)))) => return Poll::Ready(None),
                (left, Poll::Ready(Some(Ok(frame)))) => {
                    if let Some(left) = left {
                        *left -= 1;
                    }
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(data));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _};
    use tokio::sync::mpsc;

    use super::*;

    fn node(id: &str) -> NodeId {
        NodeId::parse(id).unwrap()
    }

    struct Bound {
        watch: BindingWatch,
        opened: watch::Sender<u64>,
    }

    impl Bound {
        fn at(id: &str) -> Self {
            let bindings = Arc::new(Bindings::default());
            let (session, server) = (SessionId::mint(), ServerName::parse("s").unwrap());
            bindings.claim(session, &server, None, &node(id));
            let (opened, opened_servers) = watch::channel(0);
            Self { watch: BindingWatch { bindings, session, server, opened_servers }, opened }
        }

        fn open_at(&self, id: &str) {
            let BindingWatch { bindings, session, server, .. } = &self.watch;
            let before = self.watch.node();
            bindings.claim(*session, server, before.as_ref(), &node(id));
            self.opened.send_modify(|count| *count += 1);
        }
    }

    #[tokio::test]
    async fn another_opening_at_the_same_node_is_no_move() {
        let bound = Bound::at("a");
        let mut moved = Box::pin(bound.watch.clone().moved_from(node("a")));
        assert!((&mut moved).now_or_never().is_none());
        bound.open_at("a");
        assert!((&mut moved).now_or_never().is_none());
        bound.open_at("b");
        assert!(moved.now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_a_node_is_given_up_when_the_session_moves() {
        let bound = Bound::at("a");
        assert_eq!(bound.watch.unless_moved(async { 1 }).await, Some(1));
        let waiting = bound.watch.unless_moved(std::future::pending::<()>());
        let (given, ()) = tokio::join!(waiting, async { bound.open_at("b") });
        assert_eq!(given, None);
    }

    #[tokio::test]
    async fn a_stream_ends_with_the_move_and_after_what_has_arrived() {
        let bound = Bound::at("a");
        let (sender, receiver) = mpsc::channel(LAST_FRAMES as usize * 2);
        let Body::Stream(mut stream) =
            bound.watch.clone().while_at(node("a"), Body::Channel(receiver))
        else {
            unreachable!("a stream")
        };
        sender.send("1".into()).await.unwrap();
        assert_eq!(stream.next().now_or_never(), Some(Some("1".into())));
        assert_eq!(stream.next().now_or_never(), None);
        sender.send("2".into()).await.unwrap();
        bound.open_at("b");
        assert_eq!(stream.next().now_or_never(), Some(Some("2".into())));
        assert_eq!(stream.next().now_or_never(), Some(None));
    }

    #[tokio::test]
    async fn a_server_that_never_pauses_does_not_keep_the_stream() {
        let bound = Bound::at("a");
        let (sender, receiver) = mpsc::channel(LAST_FRAMES as usize * 2);
        for _ in 0..LAST_FRAMES * 2 {
            sender.send("x".into()).await.unwrap();
        }
        let Body::Stream(stream) = bound.watch.clone().while_at(node("a"), Body::Channel(receiver))
        else {
            unreachable!("a stream")
        };
        bound.open_at("b");
        assert_eq!(stream.count().now_or_never(), Some(LAST_FRAMES as usize));
    }
}
