//! The kinds of connections that a client can have: TCP, and what is rarer, TLS over it and Unix
//! sockets.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::server::TlsStream;

use crate::net::stream_of_kinds;

use super::listener::ListenSocket;

/// A connection that HTTP is spoken on.
pub trait ClientStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Whether a write may only reach a buffer of the stream, so that a flush shows whether the
    /// client reads.
    const BUFFERS: bool;

    /// Whether the client speaks TLS.
    fn is_tls(&self) -> bool {
        false
    }
}

impl ClientStream for TcpStream {
    const BUFFERS: bool = false;
}

/// What is not plain TCP. One type for all, since code of its own for each would only be larger.
pub enum OtherStream {
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

stream_of_kinds!(OtherStream: Tls, Unix);

impl ClientStream for OtherStream {
    const BUFFERS: bool = true;

    fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

/// A socket that connections come to, on a worker's runtime.
pub enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that has come.
pub enum Arrived {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listening {
    /// # Errors
    /// If the runtime cannot watch the socket.
    pub fn from_std(socket: ListenSocket) -> io::Result<Self> {
        Ok(match socket {
            ListenSocket::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            ListenSocket::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
        })
    }

    /// The next connection, and where it comes from.
    ///
    /// # Errors
    /// As those of the system.
    pub async fn accept(&self) -> io::Result<(Arrived, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Arrived::Tcp(stream), peer))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Arrived::Unix(stream), on_this_machine()))
            }
        }
    }
}

/// The address of both ends of a Unix socket: whoever can open it is on this machine.
#[must_use]
pub fn on_this_machine() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
