//! A socket for requests.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::deadline::PATIENCE;

use super::{Incoming, Request, Response};

/// A connection that several requests may use, one after the other.
#[derive(Debug)]
pub struct Connection {
    peer: SocketAddr,
    stream: TcpStream,
}

impl Connection {
    #[must_use]
    pub fn open(to: SocketAddr) -> Self {
        Self::try_open(to).unwrap_or_else(|error| panic!("cannot connect to {to}: {error}"))
    }

    /// # Errors
    /// If nothing listens there.
    pub fn try_open(to: SocketAddr) -> io::Result<Self> {
        Self::try_open_from(None, to)
    }

    /// From an address of this machine: all of 127.0.0.0/8 are, on Linux.
    #[must_use]
    pub fn open_from(source: IpAddr, to: SocketAddr) -> Self {
        Self::try_open_from(Some(source), to)
            .unwrap_or_else(|error| panic!("cannot connect from {source} to {to}: {error}"))
    }

    /// One that exists, and on which the peer expects requests.
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        let peer = stream.peer_addr().expect("its peer");
        Self { peer, stream }
    }

    pub(super) fn try_open_from(source: Option<IpAddr>, to: SocketAddr) -> io::Result<Self> {
        let stream: TcpStream = match source {
            None => TcpStream::connect_timeout(&to, PATIENCE)?,
            Some(source) => {
                let (domain, kind) = (Domain::for_address(to), Type::STREAM);
                let socket = Socket::new(domain, kind, Some(Protocol::TCP))?;
                socket.bind(&SocketAddr::new(source, 0).into())?;
                socket.connect_timeout(&to.into(), PATIENCE)?;
                socket.into()
            }
        };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { peer: to, stream })
    }

    /// Whether the peer has closed the connection, and nothing that it sent is left to be read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match self.peek() {
            Ok(read) => read == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Whether the peer has sent something, or closed the connection.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        !self.peek().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn peek(&self) -> io::Result<usize> {
        self.stream.set_nonblocking(true)?;
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false)?;
        peeked
    }

    /// Sets another deadline for each read.
    #[must_use]
    pub fn reads_within(self, limit: Duration) -> Self {
        self.stream.set_read_timeout(Some(limit)).expect("a deadline");
        self
    }

    /// Sends a request and reads its whole response; the connection stays open.
    #[must_use]
    pub fn exchange(&mut self, request: &Request) -> Response {
        self.write(request).expect("the request is sent");
        let head = self.read_head().expect("a response");
        head.whole()
    }

    /// Sends bytes that no HTTP library would send. A peer that has stopped reading is not an
    /// error: its answer says why.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Like `send_raw`, but a peer that has stopped reading is an error.
    ///
    /// # Errors
    /// If not all of it is sent.
    pub fn try_send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a request; its response need not be read.
    pub fn send_request(&mut self, request: &Request) {
        self.write(request).expect("the request is sent");
    }

    /// # Errors
    /// If no response arrives.
    pub fn read_head(&mut self) -> io::Result<Incoming> {
        Incoming::read(self.stream.try_clone()?)
    }

    pub(super) fn write(&mut self, request: &Request) -> io::Result<()> {
        match self.stream.write_all(&request.bytes(self.peer)) {
            // The peer may have answered before it has read everything.
            Err(error) if is_cut(&error) => Ok(()),
            other => other,
        }
    }
}

fn is_cut(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}
