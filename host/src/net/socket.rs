//! One connection to a target, with the bytes that were read and not yet used.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use rustls::pki_types::ServerName as TlsName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls::{CertificateNames, alert_told, handshake_told};

use super::one_stream::stream_of_kinds;
use super::proxy::{Proxy, ProxyKind};
use super::shortage::{SHORTAGE, SHORTAGE_PAUSE, is_shortage};
use super::target::Target;
use super::tls::TargetTls;
use super::unreached::Unreached;

/// How long connecting may take, TLS included. Nodes are near.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The same to a process of this cluster: one packet may be lost.
const NEAR_TIMEOUT: Duration = Duration::from_millis(1200);
/// The same through a proxy, which looks up the target's name and connects to it in its turn.
const PROXY_TIMEOUT: Duration = Duration::from_secs(15);
/// Time in which a shortage passes, to a process of this cluster. It ends before
/// [`NEAR_TIMEOUT`], which would take it for the other side's silence.
const NEAR_SHORTAGE: Duration = Duration::from_secs(1);
/// Quiet time after which the kernel looks whether the other machine is there, and how often.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
const ALIVE_INTERVAL: Duration = Duration::from_secs(1);
const ALIVE_RETRIES: u32 = 3;
/// Longest time in which the other machine acknowledges nothing of what was sent.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);
/// Bytes of the read buffer that an idle connection keeps: most responses fit.
const READ_ROOM: usize = 4 * 1024;
/// The most bytes that one read of a long body asks for.
const MAX_READ_ROOM: usize = 64 * 1024;
/// The largest head and body, in bytes, that are copied together: the kernel takes one piece at
/// less cost than two.
const SMALL: usize = 2 * 1024;

pub(super) enum RawStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Through a proxy that is spoken to over TLS itself.
    TlsTwice(Box<TlsStream<TlsStream<TcpStream>>>),
}

stream_of_kinds!(RawStream: Plain, Tls, TlsTwice);

/// A connection with its buffers.
pub struct Socket {
    wire: RawStream,
    /// Bytes that were read and not yet used.
    pub read: BytesMut,
    /// Bytes to reserve before the next read.
    room: usize,
    /// To be written, from `written` on and before `data`.
    head: Vec<u8>,
    written: usize,
    data: Bytes,
}

impl Socket {
    /// Connects, and checks the certificate of an `https` target.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(
        target: &Target,
        tls: &TlsConnector,
        is_near: bool,
    ) -> Result<Self, Unreached> {
        let patience = match target.proxy() {
            Some(_) => PROXY_TIMEOUT,
            None if is_near => NEAR_TIMEOUT,
            None => CONNECT_TIMEOUT,
        };
        match tokio::time::timeout(patience, RawStream::connect(target, tls, is_near)).await {
            Ok(connected) => {
                let (read, head, data) = (BytesMut::new(), Vec::new(), Bytes::new());
                connected.map(|wire| Self { wire, read, room: READ_ROOM, head, written: 0, data })
            }
            Err(_) => {
                let mut why = format!("no connection within {} s", patience.as_secs_f32());
                if let Some(proxy) = target.proxy() {
                    why.push_str(&format!(" through {proxy}"));
                }
                Err(Unreached::silent(why))
            }
        }
    }

    /// Whether it can take a request: the other side has neither closed it nor sent anything.
    pub fn probe_rest(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        // Without tokio's budget for this task: once that is used up, every read is pending.
        let looking = tokio::task::coop::unconstrained(poll_fn(|cx| self.poll_read(cx)));
        let is_silent = pin!(looking).poll(&mut cx).is_pending();
        is_silent && self.read.is_empty()
    }

    /// Reads what has arrived into [`Self::read`]; false if the other side has closed.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.read.reserve(self.room);
        let room = self.read.capacity() - self.read.len();
        let count = ready!(pin!(self.wire.read_buf(&mut self.read)).poll(cx)).map_err(told)?;
        self.room = if count == room { (room * 2).min(MAX_READ_ROOM) } else { READ_ROOM };
        Poll::Ready(Ok(count > 0))
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.head.extend_from_slice(bytes);
        poll_fn(|cx| self.poll_write(cx, &mut false)).await
    }

    /// Reads what arrives next into [`Self::read`]; false if the other side has closed.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn receive(&mut self) -> io::Result<bool> {
        poll_fn(|cx| self.poll_read(cx)).await
    }

    /// The buffer for bytes that go out before those of [`Self::write`]. Nothing may be left to
    /// write.
    pub fn head_mut(&mut self) -> &mut Vec<u8> {
        &mut self.head
    }

    /// Appends bytes after those of [`Self::head_mut`].
    pub fn write(&mut self, data: Bytes) {
        if self.head.len() + data.len() <= SMALL {
            self.head.extend_from_slice(&data);
        } else {
            self.data = data;
        }
    }

    /// Whether nothing is left to write.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.head.is_empty() && self.data.is_empty()
    }

    /// Writes the rest, and sets `any` once a byte of it may have gone out.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, any: &mut bool) -> Poll<io::Result<()>> {
        // One write of TLS is several of TCP: an earlier one may succeed and the last one fail.
        *any |= !matches!(self.wire, RawStream::Plain(_)) && !self.is_written();
        let mut wire = Pin::new(&mut self.wire);
        while !(self.head.is_empty() && self.data.is_empty()) {
            let head = &self.head[self.written..];
            let count = match (head.is_empty(), self.data.is_empty()) {
                (false, true) => ready!(wire.as_mut().poll_write(cx, head))?,
                (true, _) => ready!(wire.as_mut().poll_write(cx, &self.data))?,
                (false, false) => {
                    let parts = [io::IoSlice::new(head), io::IoSlice::new(&self.data)];
                    ready!(wire.as_mut().poll_write_vectored(cx, &parts))?
                }
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *any = true;
            let of_head = count.min(head.len());
            self.written += of_head;
            self.data.advance(count - of_head);
            if self.data.is_empty() {
                // An empty slice would keep the whole buffer.
                self.data = Bytes::new();
            }
            if self.written == self.head.len() {
                self.head.clear();
                self.written = 0;
            }
        }
        wire.poll_flush(cx)
    }

    /// Whom the certificate of the other side names; `None` without TLS.
    #[must_use]
    pub fn peer_names(&self) -> Option<CertificateNames> {
        let RawStream::Tls(stream) = &self.wire else { return None };
        stream.get_ref().1.peer_certificates()?.first().map(CertificateNames::of)
    }

    /// Frees the buffers that only a large message needs.
    pub fn rest(&mut self) {
        self.room = READ_ROOM;
        self.head.shrink_to(2 * SMALL);
        if self.read.capacity() > 2 * READ_ROOM {
            self.read = BytesMut::new();
        }
    }
}

impl Drop for Socket {
    /// Sends TLS's closure alert first, as a client must (RFC 9112 §9.8).
    fn drop(&mut self) {
        if self.is_written() && !matches!(self.wire, RawStream::Plain(_)) {
            // Small: if the socket has no room for it, the other side does not read anyway.
            let mut cx = Context::from_waker(Waker::noop());
            let _ = Pin::new(&mut self.wire).poll_shutdown(&mut cx);
        }
    }
}

impl RawStream {
    pub(super) async fn connect(
        target: &Target,
        tls: &TlsConnector,
        is_near: bool,
    ) -> Result<Self, Unreached> {
        if let Some(proxy) = target.proxy() {
            return Self::connect_through(proxy, target, tls).await;
        }
        let patience = if is_near { NEAR_SHORTAGE } else { SHORTAGE };
        let stream = tcp((target.host(), target.port()), patience)
            .await
            .map_err(|error| Unreached::broken(&error, format!("cannot connect: {error}")))?;
        let _ = stream.set_nodelay(true);
        if is_near {
            watched_by_kernel(&stream);
        }
        if !target.is_tls() {
            return Ok(Self::Plain(stream));
        }
        if is_near {
            return Ok(Self::Tls(Box::new(over_tls_of_cluster(tls, target.host(), stream).await?)));
        }
        let own = own_tls(target, tls);
        Ok(Self::Tls(Box::new(over_tls(own, target.host(), stream).await?)))
    }

    /// A connection to the proxy, and through it to the target unless the proxy reads each request.
    async fn connect_through(
        proxy: &Proxy,
        target: &Target,
        tls: &TlsConnector,
    ) -> Result<Self, Unreached> {
        let mut stream = tcp(proxy.place(), SHORTAGE).await.map_err(|error| {
            Unreached::through_proxy(&error, format!("cannot connect to {proxy}: {error}"))
        })?;
        let _ = stream.set_nodelay(true);
        let is_forwarded = target.forwarder().is_some();
        if proxy.kind() == ProxyKind::Https {
            let (host, _) = proxy.place();
            let mut stream =
                over_tls(tls, host, stream).await.map_err(|why| format!("{proxy}: {why}"))?;
            if is_forwarded {
                return Ok(Self::Tls(Box::new(stream)));
            }
            proxy.tunnel(&mut stream, (target.host(), target.port())).await?;
            let own = own_tls(target, tls);
            return Ok(Self::TlsTwice(Box::new(over_tls(own, target.host(), stream).await?)));
        }
        if !is_forwarded {
            proxy.tunnel(&mut stream, (target.host(), target.port())).await?;
        }
        if !target.is_tls() {
            return Ok(Self::Plain(stream));
        }
        let own = own_tls(target, tls);
        Ok(Self::Tls(Box::new(over_tls(own, target.host(), stream).await?)))
    }
}

/// Lets the kernel end a connection whose cable was cut. It is an aid: where it cannot be set, a
/// process that does not answer is found all the same.
pub fn watched_by_kernel(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let alive = socket2::TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(ALIVE_INTERVAL);
    let _ = socket.set_tcp_keepalive(&alive.with_retries(ALIVE_RETRIES));
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
}

/// A connection to a host. A shortage on this side says nothing of the other one, and mostly passes
/// within the patience.
async fn tcp(place: (&str, u16), patience: Duration) -> io::Result<TcpStream> {
    let began = Instant::now();
    loop {
        match TcpStream::connect(place).await {
            Err(error) if is_shortage(&error) && began.elapsed() < patience => {
                tokio::time::sleep(SHORTAGE_PAUSE).await;
            }
            done => return done,
        }
    }
}

/// How TLS is spoken with the target: its own way, or the usual one.
fn own_tls<'t>(target: &'t Target, usual: &'t TlsConnector) -> &'t TlsConnector {
    target.tls_with().map_or(usual, TargetTls::connector)
}

/// TLS on a connection, with the certificate of this host.
async fn over_tls<S>(tls: &TlsConnector, host: &str, stream: S) -> Result<TlsStream<S>, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = TlsName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    tls.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))
}

/// The same to a process of this cluster, where it is said which side has to do what.
async fn over_tls_of_cluster(
    tls: &TlsConnector,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Unreached> {
    let name = TlsName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connected = tls.connect(name, stream).await;
    connected.map_err(|error| Unreached::broken(&error, handshake_told(&error)))
}

/// What the other side has to say of this one's certificate comes after the handshake.
fn told(error: io::Error) -> io::Error {
    match alert_told(&error) {
        Some(told) => io::Error::new(error.kind(), told),
        None => error,
    }
}
