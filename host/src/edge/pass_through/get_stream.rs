//! The GET stream of a single server, which outlives the instance behind it. When the instance is
//! gone, the client's stream stays open until the session is opened again, and goes on with the
//! stream of the new instance. When the session moves to another node, so does the stream.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Response, StatusCode};
use http_body::Body as _;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use crate::edge::client_request::ClientRequest;
use crate::edge::delivery::call::Call;
use crate::edge::delivery::deliver::Delivered;
use crate::edge::delivery::moved::BindingWatch;
use crate::edge::delivery::outgoing::Outgoing;
use crate::edge::refusal::Refusal;
use crate::edge::relay::relay;
use crate::edge::session::client_session::Session;
use crate::edge::session::notice::lost_before;
use crate::edge::session::told::SETTLE;
use crate::edge::worker::Worker;
use crate::model::{NodeId, ServerName};
use crate::net::{Body, is_event_stream};
use crate::protocol::{headers, sse};
use crate::seam::Start;
use crate::sync::Locked;

use super::event_ends::EventEnds;
use super::told_loss::{LateNotice, ToldLoss};

/// Longest time between two attempts to listen again. An opening on another gateway is not
/// announced here, and is noticed this late.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// A server that no node has run for so long is gone: nobody listens to it again.
const GONE: Duration = Duration::from_secs(10);
/// Sent as `Last-Event-ID`, it tells the runner that the client had a stream before.
const SOME_EVENT: HeaderValue = HeaderValue::from_static(headers::LOST_STREAM);

/// Resolves when losses are to be looked at.
type Opening = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// Relays an event stream, and the one that follows it when it ends.
pub struct LastingStream {
    state: RelayState,
    again: Again,
    keep_alive: Duration,
    /// Events that are sent first.
    notice: Option<Bytes>,
    ends: EventEnds,
    /// The node of the instance whose stream is relayed.
    node: NodeId,
    /// What the client knows of losses.
    told: ToldLoss,
    /// Resolves with the next opening of one of the session's servers: a loss may be noted a moment
    /// after the new instance's stream has begun.
    opening: Opening,
    /// Whether losses are to be looked at, once the stream is between two events.
    looks: bool,
}

enum RelayState {
    Relaying(Body),
    /// The lock is never taken: it makes the future `Sync`, as a body has to be.
    Waiting(Locked<BoxFuture<'static, Option<NextStream>>>, Pin<Box<Sleep>>),
    Over,
}

/// The stream that follows one whose instance is gone.
struct NextStream {
    body: Body,
    node: NodeId,
    /// Whether the server had ended the session while nothing of it was under way.
    is_renewal: bool,
}

/// All that is needed to listen again.
#[derive(Clone)]
struct Again {
    worker: Worker,
    context: Option<ClientRequest>,
    session: Session,
    server: ServerName,
    watch: BindingWatch,
    opened_servers: watch::Receiver<u64>,
}

impl Call<'_> {
    /// The server's GET stream, which is opened if there is none, and lasts as long as the session.
    /// Any other response means that there is none.
    ///
    /// # Errors
    /// If no replica can take the request.
    pub async fn lasting_stream(&self, outgoing: &Outgoing) -> Result<Response<Body>, Refusal> {
        loop {
            let watch = self.watch_binding();
            // A node that does not answer must not keep the stream from the node where the session
            // goes on meanwhile.
            if let Some(delivered) = watch.unless_moved(Box::pin(self.deliver(outgoing))).await {
                let Delivered { response, node, .. } = delivered?;
                return Ok(LastingStream::wrap(relay(response), &node.id, watch, *self));
            }
        }
    }
}

impl LastingStream {
    /// The same response; if it is an event stream, its body outlives the instance at this node.
    fn wrap(
        response: Response<Body>,
        node: &NodeId,
        watch: BindingWatch,
        call: Call<'_>,
    ) -> Response<Body> {
        let Call { worker, context, session, server } = call;
        if !response.status().is_success() || !is_event_stream(&response) {
            return response;
        }
        // The session has one server, so that every unreported loss is this server's.
        let opened_servers = worker.edge.opened_servers.watch(session.id);
        // Another coordinator may just have told the client, and is about to say so.
        let settles = worker.edge.sharing.is_some();
        let opening: Opening = match settles {
            true => Box::pin(tokio::time::sleep(SETTLE)),
            false => next_opening(&opened_servers),
        };
        let is_lost = !settles && !worker.edge.take_losses(session.id).is_empty();
        let notice = is_lost.then(|| lost_before(&worker.edge.loss_notice(session.id, server)));
        let again = Again {
            worker: worker.clone(),
            context: context.cloned(),
            session: session.clone(),
            server: server.clone(),
            watch: watch.clone(),
            opened_servers,
        };
        let keep_alive = worker.edge.config.keep_alive;
        response.map(|body| {
            Body::Stream(Box::pin(Self {
                state: RelayState::Relaying(watch.while_at(node.clone(), body)),
                again,
                keep_alive,
                notice,
                ends: EventEnds::default(),
                node: node.clone(),
                told: ToldLoss::begin(is_lost),
                opening,
                looks: !settles,
            }))
        })
    }
}

impl Stream for LastingStream {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        if let Some(notice) = this.notice.take() {
            return Poll::Ready(Some(notice));
        }
        loop {
            match &mut this.state {
                RelayState::Relaying(body) => match Pin::new(body).poll_frame(cx) {
                    // First the body: what it has to say is older, and its end too.
                    Poll::Pending => {
                        return match this.late_loss(cx) {
                            Some(notice) => Poll::Ready(Some(notice)),
                            None => Poll::Pending,
                        };
                    }
                    Poll::Ready(Some(Ok(frame))) => {
                        if let Ok(data) = frame.into_data() {
                            this.ends.note(&data);
                            return Poll::Ready(Some(data));
                        }
                    }
                    Poll::Ready(Some(Err(_)) | None) => {
                        let again: BoxFuture<'static, _> = Box::pin(this.again.clone().listen());
                        let silence = Box::pin(tokio::time::sleep(this.keep_alive));
                        this.state = RelayState::Waiting(Locked::new(again), silence);
                        if let Some(between) = this.between() {
                            return Poll::Ready(Some(between));
                        }
                    }
                },
                RelayState::Waiting(again, silence) => {
                    let again = again.get_mut();
                    if let Poll::Ready(found) = again.as_mut().poll(cx) {
                        let Some(NextStream { body, node, is_renewal }) = found else {
                            this.state = RelayState::Over;
                            return Poll::Ready(None);
                        };
                        this.state = RelayState::Relaying(body);
                        this.node = node;
                        // The next event reports the loss, so that it must not be reported again.
                        let is_noted = this.again.take_loss();
                        if this.told.follows(is_noted, is_renewal) {
                            return Poll::Ready(Some(this.again.notice()));
                        }
                        continue;
                    }
                    if silence.as_mut().poll(cx).is_ready() {
                        silence.as_mut().reset(Instant::now() + this.keep_alive);
                        cx.waker().wake_by_ref();
                        return Poll::Ready(Some(Bytes::from_static(sse::KEEP_ALIVE)));
                    }
                    return Poll::Pending;
                }
                RelayState::Over => return Poll::Ready(None),
            }
        }
    }
}

impl LastingStream {
    /// The notice of a loss that was noted after this stream had begun.
    fn late_loss(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        while self.opening.as_mut().poll(cx).is_ready() {
            // Watched again before the look: a loss meanwhile causes another one.
            self.opening = next_opening(&self.again.opened_servers);
            self.looks = true;
        }
        if !self.looks || !self.told.looks() || !self.ends.is_whole() {
            return None;
        }
        self.looks = false;
        if !self.again.take_loss() {
            return None;
        }
        // Asked after the loss was taken: a session is bound elsewhere before its loss is noted, and
        // this stream may hear only afterwards that it is to end.
        let has_left = self.again.watch.node().is_some_and(|now| now != self.node);
        let notice =
            || self.again.worker.edge.loss_notice(self.again.session.id, &self.again.server);
        Some(match self.told.late(has_left, Instant::now().into_std())? {
            LateNotice::WithLists => lost_before(&notice()),
            LateNotice::Alone => sse::event(&notice()),
        })
    }

    /// What the client gets when a stream has ended: the end of an event that is not whole, and the
    /// notice of a loss that is known already. The next stream may come late.
    fn between(&mut self) -> Option<Bytes> {
        let cut = self.ends.cut();
        let is_noted = self.again.take_loss();
        let tells = self.told.ended(is_noted, Instant::now().into_std());
        let notice = tells.then(|| self.again.notice());
        match (cut, notice) {
            (Some(cut), Some(notice)) => Some([cut, &notice].concat().into()),
            (Some(cut), None) => Some(Bytes::from_static(cut)),
            (None, notice) => notice,
        }
    }
}

/// Resolves with the next opening of one of the session's servers.
fn next_opening(opened_servers: &watch::Receiver<u64>) -> Opening {
    let mut opened_servers = opened_servers.clone();
    opened_servers.mark_unchanged();
    Box::pin(async move {
        if opened_servers.changed().await.is_err() {
            std::future::pending().await
        }
    })
}

impl Again {
    /// What the client is told of the loss, as an event.
    fn notice(&self) -> Bytes {
        sse::event(&self.worker.edge.loss_notice(self.session.id, &self.server))
    }

    /// Whether a loss was not reported before: the caller reports it now.
    fn take_loss(&self) -> bool {
        // The session has one server, so that every unreported loss is this server's.
        !self.worker.edge.take_losses(self.session.id).is_empty()
    }

    /// Waits until the server has a stream again. `None` if the session has ended, another stream of
    /// it has replaced this one, or the server is gone.
    async fn listen(mut self) -> Option<NextStream> {
        let outgoing = Outgoing::get(Some(SOME_EVENT));
        let mut pause = Duration::from_secs(1);
        let mut known = Instant::now();
        loop {
            self.worker.keep_up();
            if self.is_known() {
                known = Instant::now();
            }
            if self.worker.edge.records.is_ended(self.session.id) || known.elapsed() > GONE {
                return None;
            }
            let listening = self.listen_once(&outgoing, self.is_subscribed());
            let Some(listened) = self.watch.unless_moved(listening).await else { continue };
            match listened {
                Some((response, _)) if response.status() == StatusCode::CONFLICT => return None,
                Some((response, node))
                    if response.status().is_success() && is_event_stream(&response) =>
                {
                    let is_renewal = Start::read(response.headers()) == Start::Renewed;
                    let body = self.watch.clone().while_at(node.clone(), response.into_body());
                    return Some(NextStream { body, node, is_renewal });
                }
                Some(_) | None => {}
            }
            let opened = tokio::time::timeout(pause, self.opened_servers.changed()).await;
            if matches!(opened, Ok(Err(_))) {
                return None;
            }
            pause = (pause * 2).min(LOOK_AGAIN);
        }
    }

    /// Whether a node runs the server, or may come back with it.
    fn is_known(&self) -> bool {
        let edge = &self.worker.edge;
        edge.topology.load().knows(&self.server) || edge.cold_start.expects()
    }

    /// A client that is subscribed to resources waits for updates without sending requests, so that
    /// the server is opened again for it.
    fn is_subscribed(&self) -> bool {
        let record = self.worker.edge.bindings.record(self.session.id);
        record.is_some_and(|record| {
            record.subscriptions.iter().any(|(server, _)| *server == self.server)
        })
    }

    /// The server's response at the node that it comes from.
    async fn listen_once(
        &self,
        outgoing: &Outgoing,
        may_open: bool,
    ) -> Option<(Response<Body>, NodeId)> {
        let Self { worker, context, session, server, .. } = self;
        if may_open {
            let call = Call { worker, context: context.as_ref(), session, server };
            let delivered = call.deliver(outgoing).await.ok()?;
            return Some((delivered.response, delivered.node.id.clone()));
        }
        Call::own(worker, session, server).listen_where_open(outgoing).await
    }
}
