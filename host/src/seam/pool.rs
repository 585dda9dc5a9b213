//! Outgoing HTTP connections: a pool for one worker.
//!
//! A connection lies in the pool of the worker that opened it, so an exchange
//! wakes no other thread. It goes back when its response has ended, and is taken
//! again last-in-first-out. A request that was surely not sent comes back as
//! [`Failure::NotSent`].

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Response;
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;

use crate::protocol::http1::Head;

use super::Body;
use super::exchange::{Exchange, Lost, Received};
use super::message::Message;
use super::socket::Socket;
use super::target::{OwnHash, Target};

/// How often it is looked for them: the pool's clock, which calls need not read.
const SWEEP: Duration = Duration::from_secs(1);
/// A connection rests for less than 4 s, which is shorter than the idle timeouts of
/// common servers: Node's is 5 s.
const USUAL_REST: Duration = Duration::from_secs(3);
/// Idle connections kept for one target, by worker.
const MAX_IDLE_CONNECTIONS: usize = 256;

/// Why an exchange gave no response head.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// Surely nothing of the request went out.
    #[error("{0}")]
    NotSent(String),
    /// The request, or a part of it, went out; then the connection broke.
    #[error("{0}")]
    Broken(String),
}

struct Idle {
    socket: Box<Socket>,
    since: u32,
}

#[derive(Default)]
struct Resting {
    idle: HashMap<Target, Vec<Idle>, BuildHasherDefault<OwnHash>>,
    /// Whether a task closes those that nobody takes again.
    is_swept: bool,
    sweeps: u32,
    /// The longest rest.
    max_sweeps: u32,
}

#[derive(Default)]
struct Shared(Mutex<Resting>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Resting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pop(&self, target: &Target) -> Option<Idle> {
        self.lock().idle.get_mut(target)?.pop()
    }

    fn put(self: &Arc<Self>, target: &Target, mut socket: Box<Socket>) {
        socket.rest();
        let mut resting = self.lock();
        let since = resting.sweeps;
        let idle = match resting.idle.get_mut(target) {
            Some(idle) => idle,
            None => resting.idle.entry(target.clone()).or_default(),
        };
        if idle.len() < MAX_IDLE_CONNECTIONS {
            idle.push(Idle { socket, since });
        }
        let is_swept = std::mem::replace(&mut resting.is_swept, true);
        drop(resting);
        if !is_swept {
            let sweeping = Sweeping(Some(Arc::downgrade(self)));
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(sweep(sweeping));
            }
        }
    }
}

/// Closes connections that rest for too long, until there are none: nobody else
/// reads from one that rests, and would see that its server has closed it.
async fn sweep(mut sweeping: Sweeping) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(shared) = sweeping.0.as_ref().and_then(Weak::upgrade) else { return };
        let mut closed = Vec::new();
        let mut resting = shared.lock();
        let Resting { idle, sweeps, max_sweeps, .. } = &mut *resting;
        *sweeps = sweeps.wrapping_add(1);
        idle.retain(|_, idle| {
            let is_old = |idle: &mut Idle| sweeps.wrapping_sub(idle.since) > *max_sweeps;
            closed.extend(idle.extract_if(.., is_old));
            !idle.is_empty()
        });
        if idle.is_empty() {
            resting.is_swept = false;
            // From here on another task may sweep.
            sweeping.0 = None;
            return;
        }
        drop(resting);
        // Closing is a system call: not under the lock.
        drop(closed);
    }
}

/// Says so if the task ends with its runtime.
struct Sweeping(Option<Weak<Shared>>);

impl Drop for Sweeping {
    fn drop(&mut self) {
        if let Some(shared) = self.0.as_ref().and_then(Weak::upgrade) {
            shared.lock().is_swept = false;
        }
    }
}

/// Cloning gives a handle to the same pool.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    tls: TlsConnector,
}

impl Pool {
    /// `tls` says which authorities `https` targets are checked against.
    #[must_use]
    pub fn new(tls: Arc<rustls::ClientConfig>) -> Self {
        let shared = Arc::default();
        Self { shared, tls: TlsConnector::from(tls) }.with_rest(USUAL_REST)
    }

    /// A pool of its own whose connections rest so long, in whole seconds: for a
    /// server that is known to be patient.
    #[must_use]
    pub fn with_rest(&self, longest: Duration) -> Self {
        let max_sweeps = u32::try_from(longest.as_secs()).unwrap_or(u32::MAX);
        let resting = Resting { max_sweeps, ..Resting::default() };
        Self { shared: Arc::new(Shared(Mutex::new(resting))), tls: self.tls.clone() }
    }

    /// Sends the message; a request's URI is path and query only.
    ///
    /// # Errors
    /// [`Failure`] if no response head came.
    pub fn send<'a, M: Into<Message>>(
        &'a self,
        target: &'a Target,
        message: M,
    ) -> impl Future<Output = Result<Response<Body>, Failure>> + use<'a, M> {
        let mut message = message.into();
        async move {
            loop {
                match self.connection(target).await?.send(message).await {
                    Ok(response) => return Ok(response),
                    Err(Unanswered::Stale(unsent)) => message = unsent,
                    Err(Unanswered::Failed(failure)) => return Err(failure),
                }
            }
        }
    }

    /// A connection for one request: one that is there, or a new one. Nothing is
    /// sent yet.
    ///
    /// # Errors
    /// [`Failure::NotSent`] if there is no way to the target.
    pub async fn connection(&self, target: &Target) -> Result<Connection, Failure> {
        let (socket, is_new) = match self.take(target) {
            Some(socket) => (socket, false),
            // Rare and large (TLS): boxed, so that every exchange's future stays small.
            None => {
                let connecting = Box::pin(Socket::connect(target, &self.tls));
                (Box::new(connecting.await.map_err(Failure::NotSent)?), true)
            }
        };
        let home = Home { shared: Arc::clone(&self.shared), target: target.clone() };
        Ok(Connection { socket, home, is_new })
    }

    /// How many connections rest.
    #[cfg(test)]
    pub(super) fn resting(&self) -> usize {
        self.shared.lock().idle.values().map(Vec::len).sum()
    }

    fn take(&self, target: &Target) -> Option<Box<Socket>> {
        loop {
            let mut socket = self.shared.pop(target)?.socket;
            if socket.is_at_rest() {
                return Some(socket);
            }
        }
    }
}

/// Where a connection belongs.
pub struct Home {
    shared: Arc<Shared>,
    target: Target,
}

impl Home {
    pub fn take_back(&self, socket: Box<Socket>) {
        self.shared.put(&self.target, socket);
    }
}

/// A connection that waits for its next request.
pub struct Connection {
    socket: Box<Socket>,
    home: Home,
    is_new: bool,
}

/// Why a connection gave no response head.
pub enum Unanswered {
    /// It was closed since its last request; this one, of which nothing went out,
    /// is for another connection.
    Stale(Message),
    Failed(Failure),
}

impl Connection {
    /// Sends the message, as soon as the head of its response is waited for.
    /// Dropping that gives the exchange up.
    #[must_use]
    pub fn send(self, mut message: Message) -> Sending {
        let Self { socket, home, is_new } = self;
        message.name_host(&home.target);
        let exchange = Exchange::begin(socket, &mut message);
        let unsent = (!is_new).then_some(message);
        Sending(Some(Sent { exchange, home, unsent }))
    }
}

/// The wait for a response's head. A future by hand: calls keep it in place, and one
/// that takes long takes it along.
pub struct Sending(Option<Sent>);

struct Sent {
    exchange: Exchange,
    home: Home,
    /// What may go to another connection if this one takes nothing of it.
    unsent: Option<Message>,
}

impl Future for Sending {
    type Output = Result<Response<Body>, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let over = || Unanswered::Failed(Failure::Broken("it is over".to_owned()));
        let Some(sent) = &mut self.0 else { return Poll::Ready(Err(over())) };
        let came = ready!(sent.exchange.poll_head(cx));
        let Some(Sent { exchange, home, unsent }) = self.0.take() else {
            return Poll::Ready(Err(over()));
        };
        Poll::Ready(match (came, unsent) {
            (Ok(Head { response, body, keeps }), _) => {
                Ok(response.map(|()| Received::body(exchange, body, keeps, home)))
            }
            (Err(Lost::Unsent(_, body)), Some(mut unsent)) => {
                if let (Some(body), Message::Request(request)) = (body, &mut unsent) {
                    *request.body_mut() = body;
                }
                Err(Unanswered::Stale(unsent))
            }
            (Err(Lost::Unsent(why, _)), None) => Err(Unanswered::Failed(Failure::NotSent(why))),
            (Err(Lost::Broken(why)), _) => Err(Unanswered::Failed(Failure::Broken(why))),
        })
    }
}

#[cfg(test)]
mod tests;
