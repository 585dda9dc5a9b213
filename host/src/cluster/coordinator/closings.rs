//! Instances on nodes that are closed, since their sessions are elsewhere or have ended.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::{Method, Request};

use crate::model::{Epoch, Epochs, Principal, Reach, ServerName, SessionId};
use crate::net::Body;
use crate::seam::{Facts, Link};

/// Instances that are closed at the same time.
const AT_ONCE: usize = 16;
/// Longest wait for one to be closed.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pauses before it is tried again. What is not closed then ends when it is idle.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15)];

/// An instance that is to be closed.
#[derive(Debug, Clone)]
pub struct Closing {
    pub reach: Reach,
    pub session: SessionId,
    pub server: ServerName,
    /// An instance with a higher epoch stays.
    pub up_to: Option<Epoch>,
}

/// Closes instances, a few at a time.
pub async fn close_all(link: Link, closings: Vec<Closing>) {
    let closing = closings.into_iter().map(|closing| {
        let link = link.clone();
        async move { closing.run(&link).await }
    });
    let closing = futures_util::stream::iter(closing).buffer_unordered(AT_ONCE);
    closing.for_each(|()| std::future::ready(())).await;
}

impl Closing {
    async fn run(&self, link: &Link) {
        for pause in PAUSES {
            let closing = close(link, &self.reach, self.session, &self.server, self.up_to);
            if tokio::time::timeout(PATIENCE, closing).await == Ok(true) {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    }
}

/// Closes a session at a server of a node. An instance with an epoch that is higher than `up_to`
/// stays. Returns whether the node has answered.
pub async fn close(
    link: &Link,
    reach: &Reach,
    session: SessionId,
    server: &ServerName,
    up_to: Option<Epoch>,
) -> bool {
    let mut request = Request::new(Body::Empty);
    *request.method_mut() = Method::DELETE;
    let epochs = Epochs { given: up_to, opened: None };
    let facts = Facts { epochs, ..Facts::of(session, Principal::anonymous()) };
    link.call(reach, server, facts, request).await.is_ok()
}
