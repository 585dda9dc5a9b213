//! Outgoing HTTP connections: a pool for one worker.
//!
//! A connection stays in the pool of the worker that opened it, so an exchange wakes no other
//! thread. It goes back when its response has ended, and the one that was used last is taken
//! first. A request that was certainly not sent fails as [`Failure::NotSent`].

mod http2;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Response;
use tokio_rustls::TlsConnector;

use crate::protocol::http1::Head;
#[cfg(test)]
use crate::sync::Locked;

use super::body::Body;
use super::exchange::{Exchange, Lost, Received};
use super::failure::Failure;
use super::idle::{Home, IdleConnections, USUAL_REST};
use super::introduction::{Introduce, Introduced};
use super::message::Message;
#[cfg(test)]
use super::played::{self, PlayedAnswer, PlayedNetwork, PlayedTarget};
use super::socket::Socket;
use super::target::Target;
use super::unreached::Unreached;

/// The most connections that are tried for one, where an introduction asks for another.
const MAX_INTRODUCTIONS: u32 = 3;

/// A connection to a process that introduces itself is asked before it is used if the process was
/// not heard for longer than this: it may have been frozen since, or what is in between. Under
/// load it is heard all the time, and nothing is asked.
const HEARD_LATELY: Duration = Duration::from_millis(1);

/// A worker's connections. Clones share one pool.
#[derive(Clone)]
pub struct Pool {
    idle: Arc<IdleConnections>,
    tls: TlsConnector,
    introduce: Option<Arc<dyn Introduce>>,
    /// Whether the targets are processes of this cluster.
    is_near: bool,
    #[cfg(test)]
    played: Option<Arc<dyn PlayedNetwork>>,
}

impl Pool {
    /// `tls` holds the authorities against which `https` targets are checked.
    #[must_use]
    pub fn new(tls: Arc<rustls::ClientConfig>) -> Self {
        let idle = Arc::new(IdleConnections::new(USUAL_REST));
        Self {
            idle,
            tls: TlsConnector::from(tls),
            introduce: None,
            is_near: false,
            #[cfg(test)]
            played: played::current(),
        }
    }

    /// A separate pool whose connections begin with an introduction, so that all of them are known
    /// to lead to the expected process.
    #[must_use]
    pub fn introduced_by(&self, introduce: Arc<dyn Introduce>) -> Self {
        Self { introduce: Some(introduce), ..self.with_rest(USUAL_REST) }.near()
    }

    /// The same pool, whose `https` targets are spoken to by this configuration.
    #[must_use]
    pub fn with_tls(self, tls: Arc<rustls::ClientConfig>) -> Self {
        Self { tls: TlsConnector::from(tls), ..self }
    }

    /// The same pool for processes of this cluster.
    #[must_use]
    pub fn near(self) -> Self {
        Self { is_near: true, ..self }
    }

    /// A separate pool whose connections rest for at most `longest`, in whole seconds: for a
    /// server that is known to keep idle connections longer.
    #[must_use]
    pub fn with_rest(&self, longest: Duration) -> Self {
        let idle = Arc::new(IdleConnections::new(longest));
        Self { idle, ..self.clone() }
    }

    /// Sends the message, on another connection if one that rested turns out to be closed. A
    /// request's URI is path and query only.
    ///
    /// # Errors
    /// [`Failure`] if no response head arrived.
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

    /// A connection for one request: an idle one, or a new one. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Failure::NotSent`] or [`Failure::Short`] if no connection to the target can be opened.
    pub async fn connection(&self, target: &Target) -> Result<Connection, Failure> {
        #[cfg(test)]
        if let Some(network) = &self.played {
            let (network, to) = (Arc::clone(network), self.played_target(target));
            return Ok(Connection(Wire::Played(network, to, target.clone())));
        }
        // Read before the introduction, which then knows at least as much.
        let epoch = self.epoch();
        let (socket, is_new) = match self.take(target, epoch) {
            Some(Rested::Ready(socket)) => (socket, false),
            Some(Rested::Unasked(socket)) => {
                let asking = Box::pin(self.asked(target, socket));
                asking.await?
            }
            // Rare, and large with TLS: boxed, so that the future of every exchange stays small.
            None => {
                let connecting = Box::pin(self.connect(target));
                (connecting.await?, true)
            }
        };
        Ok(Connection(Wire::Socket { socket, home: self.home(target, epoch), is_new }))
    }

    /// Makes sure of a connection to the target, which rests until the next request.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn reach(&self, target: &Target) -> Result<(), Unreached> {
        #[cfg(test)]
        if let Some(network) = &self.played {
            return network.reach(self.played_target(target)).await;
        }
        let epoch = self.epoch();
        let socket = match self.take(target, epoch) {
            Some(Rested::Ready(socket)) => socket,
            Some(Rested::Unasked(socket)) => self.asked(target, socket).await?.0,
            None => self.connect(target).await?,
        };
        self.home(target, epoch).take_back(socket);
        Ok(())
    }

    /// Closes the connections to the target that rest.
    pub fn forget(&self, target: &Target) {
        self.idle.forget(target);
    }

    /// The connection, if the other process answers there, or else a new one; and whether it is.
    async fn asked(
        &self,
        target: &Target,
        mut socket: Box<Socket>,
    ) -> Result<(Box<Socket>, bool), Unreached> {
        let Some(introduce) = &self.introduce else { return Ok((socket, false)) };
        if introduce.ask(target, &mut socket).await.is_ok() {
            return Ok((socket, false));
        }
        drop(socket);
        // Those that have rested for longer are no better.
        self.forget(target);
        Ok((self.connect(target).await?, true))
    }

    fn home(&self, target: &Target, epoch: u64) -> Home {
        let notes_time = self.introduce.is_some();
        Home { idle: Arc::clone(&self.idle), target: target.clone(), epoch, notes_time }
    }

    fn epoch(&self) -> u64 {
        self.introduce.as_ref().map_or(0, |introduce| introduce.epoch())
    }

    async fn connect(&self, target: &Target) -> Result<Box<Socket>, Unreached> {
        let mut attempts = 0;
        loop {
            let mut socket = Box::new(Socket::connect(target, &self.tls, self.is_near).await?);
            let Some(introduce) = &self.introduce else { return Ok(socket) };
            attempts += 1;
            match introduce.introduce(target, &mut socket).await? {
                Introduced::Ready => return Ok(socket),
                Introduced::Again if attempts < MAX_INTRODUCTIONS => {}
                Introduced::Again => {
                    return Err("it is another process each time".to_owned().into());
                }
            }
        }
    }

    #[cfg(test)]
    fn played_target(&self, target: &Target) -> PlayedTarget {
        let expected = self.introduce.as_ref().map(|introduce| introduce.expects(target));
        PlayedTarget { host: target.host().to_owned(), port: target.port(), expected }
    }

    /// The number of idle connections.
    #[cfg(test)]
    pub(super) fn resting(&self) -> usize {
        self.idle.count()
    }

    fn take(&self, target: &Target, epoch: u64) -> Option<Rested> {
        loop {
            let (mut socket, heard) = self.idle.pop(target, epoch)?;
            if socket.probe_rest() {
                let is_quiet = heard.is_some_and(|heard| heard.elapsed() > HEARD_LATELY);
                return Some(if is_quiet {
                    Rested::Unasked(socket)
                } else {
                    Rested::Ready(socket)
                });
            }
        }
    }
}

/// A connection that has rested.
enum Rested {
    Ready(Box<Socket>),
    /// The other process was not heard for a while.
    Unasked(Box<Socket>),
}

/// A connection that is ready for a request, taken out of its pool.
pub struct Connection(Wire);

enum Wire {
    Socket {
        socket: Box<Socket>,
        home: Home,
        is_new: bool,
    },
    #[cfg(test)]
    Played(Arc<dyn PlayedNetwork>, PlayedTarget, Target),
}

/// Why a connection gave no response head.
pub enum Unanswered {
    /// It was closed since its last request. No byte of this one went out: it may take another
    /// connection.
    Stale(Message),
    /// The exchange failed; the [`Failure`] says whether the request may have run.
    Failed(Failure),
}

impl Connection {
    /// Sends the message once the returned future is polled. Dropping the future ends the
    /// exchange and closes the connection.
    #[must_use]
    pub fn send(self, mut message: Message) -> Sending {
        let (mut socket, home, is_new) = match self.0 {
            Wire::Socket { socket, home, is_new } => (socket, home, is_new),
            #[cfg(test)]
            Wire::Played(network, to, target) => {
                message.name_host(&target);
                let answer = network.send(to, message.into_request());
                return Sending(None, Some(Locked::new(answer)));
            }
        };
        message.name_host(&home.target);
        let rest = message.write(&mut socket);
        let exchange = Exchange::begin(socket, message.method().clone(), rest);
        let unsent = (!is_new).then_some(message);
        let sent = Sent { exchange, home, unsent };
        Sending(
            Some(sent),
            #[cfg(test)]
            None,
        )
    }
}

/// Waits for the head of a response. Written by hand, so that callers can name it, store it,
/// and move it.
pub struct Sending(Option<Sent>, #[cfg(test)] Option<Locked<PlayedAnswer>>);

struct Sent {
    exchange: Exchange,
    home: Home,
    /// The message for another connection, if this one takes no byte of it.
    unsent: Option<Message>,
}

impl Future for Sending {
    type Output = Result<Response<Body>, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        #[cfg(test)]
        if let Some(played) = &mut self.1 {
            return played.get_mut().as_mut().poll(cx).map_err(Unanswered::Failed);
        }
        let over = || Unanswered::Failed(Failure::Broken("the exchange is over".to_owned()));
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
