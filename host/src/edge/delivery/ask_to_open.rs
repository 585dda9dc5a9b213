//! Asks a runner to open a session's server, and sees to it that what it has open is no instance
//! that the session has left.

use http::{Method, Request, Response};

use crate::edge::session::client_session::Origin;
use crate::model::{Epoch, Epochs, Node, Reach};
use crate::net::{Body, Failure};
use crate::seam::{Facts, Handshake, Outcome, Start, StateStep, read_epoch};

use super::call::Call;
use super::outgoing::Outgoing;
use super::tried::{NotOpened, RefusedBy, not_opened};

/// How often a runner is asked that has another instance open than it should have. The second time
/// it has none.
const MAX_ASKED: usize = 3;

/// A runner's answer to an open.
pub struct RunnerOpened {
    pub response: Response<Body>,
    pub start: Start,
    /// The instance's epoch; `None` from a runner of an earlier version.
    pub epoch: Option<Epoch>,
}

impl Call<'_> {
    /// Has the server opened at the node that it is bound to, as a step of a restoration if it is
    /// one.
    pub async fn ask_to_open(
        &self,
        node: &Node,
        handshake: Handshake,
        state: Option<StateStep>,
    ) -> Result<RunnerOpened, NotOpened> {
        let Self { worker, session, server, .. } = *self;
        let bindings = &worker.edge.bindings;
        for _ in 0..MAX_ASKED {
            let epochs = bindings.opening(session.id, server, &node.id);
            let epochs =
                epochs.map_err(|other| format!("the session is at node {other} by now"))?;
            let response = self.exchange_open(node, (handshake, state), epochs).await?;
            let epoch = read_epoch(response.headers());
            if response.status().is_success() {
                let start = Start::read(response.headers());
                if is_doubtful(epochs, start, epoch) {
                    self.tell(node, &Outgoing::delete()).await;
                    continue;
                }
                return Ok(RunnerOpened { response, start, epoch });
            }
            match epoch.filter(|_| Outcome::read(response.headers()) == Some(Outcome::NotSent)) {
                Some(held) => {
                    // Another coordinator may have bound the session there.
                    let _ = self.still_at(&node.id).await;
                    bindings.surpass(session.id, server, &node.id, held);
                }
                None => return Err(not_opened(node, response).await),
            }
        }
        Err(format!("node {} does not close an instance that the session has left", node.id).into())
    }

    async fn exchange_open(
        &self,
        node: &Node,
        (handshake, state): (Handshake, Option<StateStep>),
        epochs: Epochs,
    ) -> Result<Response<Body>, NotOpened> {
        let Self { worker, session, .. } = *self;
        let mut request = Request::new(Body::from(session.params.clone()));
        *request.method_mut() = Method::POST;
        // Whoever began the session is counted, wherever it is used from now.
        let quota = worker.edge.bindings.counts_for(session.id);
        let quota = quota.or_else(|| self.context.map(|client| client.quota.clone()));
        // One of this process ends with it anyway.
        let stream = session.of_stream && node.reach != Reach::Local;
        let stream = stream.then_some(worker.edge.start);
        let is_inner = session.origin != Origin::Client;
        let open = Some(handshake);
        let facts = Facts { open, quota, epochs, stream, state, is_inner, ..session.facts() };
        self.add_client_headers(node, request.headers_mut());
        self.exchange(node, facts, request).await.map_err(|failure| {
            let (why, from) = match failure {
                Failure::Short(why) => (why, RefusedBy::ThisProcess),
                Failure::NotSent(why) | Failure::Broken(why) => {
                    worker.suspect(&node.id, &why);
                    (why, RefusedBy::Nobody)
                }
            };
            NotOpened { from, ..format!("node {}: {why}", node.id).into() }
        })
    }
}

/// Whether a runner of an earlier version has found an instance that the session may have left.
fn is_doubtful(epochs: Epochs, start: Start, epoch: Option<Epoch>) -> bool {
    let was_elsewhere = epochs.opened.is_some() && epochs.opened != epochs.given;
    start == Start::Existing && epoch.is_none() && was_elsewhere
}
