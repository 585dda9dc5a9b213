//! The GET stream of a single server, which outlives the instance behind it. When the instance is
//! gone, the client's stream stays open until the session is opened again, and goes on with the
//! stream of the new instance.

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
use crate::edge::delivery::outgoing::Outgoing;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::ServerName;
use crate::net::{Body, is_event_stream};
use crate::protocol::{headers, sse};
use crate::seam::Start;
use crate::sync::Locked;

/// Longest time between two attempts to listen again. An opening on another gateway is not
/// announced here, and is noticed this late.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Sent as `Last-Event-ID`, it tells the runner that the client had a stream before.
const SOME_EVENT: HeaderValue = HeaderValue::from_static(headers::LOST_STREAM);

/// Relays an event stream, and the one that follows it when it ends.
pub struct LastingStream {
    state: RelayState,
    again: Again,
    keep_alive: Duration,
    /// An event that is sent first.
    notice: Option<Bytes>,
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
    opened_servers: watch::Receiver<u64>,
}

impl LastingStream {
    /// The same response; if it is an event stream, its body outlives the instance.
    #[must_use]
    pub fn wrap(response: Response<Body>, call: Call<'_>) -> Response<Body> {
        let Call { worker, context, session, server } = call;
        if !response.status().is_success() || !is_event_stream(&response) {
            return response;
        }
        // The session has one server, so that every unreported loss is this server's.
        let is_lost = !worker.edge.bindings.take_unreported_losses(session.id).is_empty();
        let notice = is_lost.then(|| sse::event(&worker.edge.loss_notice(session.id, server)));
        let again = Again {
            worker: worker.clone(),
            context: context.cloned(),
            session: session.clone(),
            server: server.clone(),
            opened_servers: worker.edge.opened_servers.watch(session.id),
        };
        let keep_alive = worker.edge.config.keep_alive;
        response.map(|body| {
            Body::Stream(Box::pin(Self {
                state: RelayState::Relaying(body),
                again,
                keep_alive,
                notice,
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
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(frame))) => {
                        if let Ok(data) = frame.into_data() {
                            return Poll::Ready(Some(data));
                        }
                    }
                    Poll::Ready(Some(Err(_)) | None) => {
                        let again: BoxFuture<'static, _> = Box::pin(this.again.clone().listen());
                        let silence = Box::pin(tokio::time::sleep(this.keep_alive));
                        this.state = RelayState::Waiting(Locked::new(again), silence);
                    }
                },
                RelayState::Waiting(again, silence) => {
                    let again = again.get_mut();
                    if let Poll::Ready(found) = again.as_mut().poll(cx) {
                        let Some(NextStream { body, is_renewal }) = found else {
                            this.state = RelayState::Over;
                            return Poll::Ready(None);
                        };
                        this.state = RelayState::Relaying(body);
                        let again = &this.again;
                        // The next event reports the loss, so that it must not be reported again.
                        let Again { worker, session, server, .. } = again;
                        let losses = worker.edge.bindings.take_unreported_losses(session.id);
                        // Of a renewal the client is told only where state was brought back.
                        if is_renewal && losses.is_empty() {
                            continue;
                        }
                        let notice = worker.edge.loss_notice(session.id, server);
                        return Poll::Ready(Some(sse::event(&notice)));
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

impl Again {
    /// Waits until the server has a stream again. `None` if the session has ended, or another
    /// stream of it has replaced this one.
    async fn listen(mut self) -> Option<NextStream> {
        let outgoing = Outgoing::get(Some(SOME_EVENT));
        // A client that is subscribed to resources waits for updates without sending requests, so
        // that the server is opened again for it.
        let is_subscribed = || {
            let record = self.worker.edge.bindings.record(self.session.id);
            record.is_some_and(|record| {
                record.subscriptions.iter().any(|(server, _)| *server == self.server)
            })
        };
        let mut pause = Duration::from_secs(1);
        loop {
            if self.worker.edge.records.is_ended(self.session.id) {
                return None;
            }
            let response = if is_subscribed() {
                let Self { worker, context, session, server, .. } = &self;
                let call = Call { worker, context: context.as_ref(), session, server };
                let delivered = call.deliver(&outgoing).await;
                delivered.ok().map(|delivered| delivered.response)
            } else {
                let call = Call::own(&self.worker, &self.session, &self.server);
                call.listen_where_open(&outgoing).await
            };
            match response {
                Some(response) if response.status() == StatusCode::CONFLICT => return None,
                Some(response) if response.status().is_success() && is_event_stream(&response) => {
                    let is_renewal = Start::read(response.headers()) == Start::Renewed;
                    return Some(NextStream { body: response.into_body(), is_renewal });
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
}
