//! One port, one accept socket per worker; or one Unix socket, which all of them share.
//!
//! The sockets share the port with `SO_REUSEPORT`. That option would also let a second gateway
//! bind the port without an error and take half the connections. An exclusive lock on the port
//! prevents that, and a first bind without the option detects every other program.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::socket_file::SocketFile;

/// Connections that may wait to be accepted, on each socket.
const BACKLOG: i32 = 4096;

/// Bytes of an answer that the system may keep for one connection before it has sent them. The
/// system would let that grow to several MiB, and say only after a third of them that the client
/// reads: one that takes a few KiB a second would look as if it read nothing for minutes. What is
/// sent and not yet acknowledged is not limited, so a fast client gets its answer as fast as ever.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 * 1024;

/// Silence after which the system asks whether a client is still there, and between its questions.
/// A network may forget a connection without a word to either end.
const ASK_AFTER: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// Unanswered questions after which the connection is over.
#[cfg(any(target_os = "linux", target_os = "macos"))]
const QUESTIONS: u32 = 4;
/// Longest time that what was sent may stay unacknowledged. The system would try for a quarter of an
/// hour.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(120);

/// A socket that connections come to.
#[derive(Debug)]
pub enum ListenSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The sockets, all on one address.
#[derive(Debug)]
pub struct Listeners {
    pub sockets: Vec<ListenSocket>,
    /// For a Unix socket that of this machine, without a port.
    pub address: SocketAddr,
    /// Held while this process takes connections at the port.
    lock: Option<Socket>,
    /// The Unix socket in the file system.
    file: Option<SocketFile>,
}

/// The sockets once more, to be handed to the next process. While this lives they accept connections,
/// whether or not a worker takes them.
#[derive(Debug)]
pub struct SharedSockets {
    sockets: Vec<TcpListener>,
    lock: Option<Socket>,
}

impl SharedSockets {
    /// All of them; the lock of the port comes last.
    pub fn all(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let lock = self.lock.iter().map(AsFd::as_fd);
        self.sockets.iter().map(AsFd::as_fd).chain(lock)
    }
}

impl Listeners {
    /// The Unix socket, if it is one.
    #[must_use]
    pub fn file(&self) -> Option<&std::path::Path> {
        self.file.as_ref().map(SocketFile::path)
    }

    /// Lets another process have the port as soon as the sockets are closed.
    pub fn unlock(&mut self) {
        self.lock = None;
    }

    /// # Errors
    /// If there are no descriptors left, or for a Unix socket: two processes cannot have it.
    pub fn share(&self) -> io::Result<SharedSockets> {
        let tcp = |socket: &ListenSocket| match socket {
            ListenSocket::Tcp(socket) => socket.try_clone(),
            ListenSocket::Unix(_) => Err(io::Error::other("it listens on a Unix socket")),
        };
        let sockets: io::Result<Vec<TcpListener>> = self.sockets.iter().map(tcp).collect();
        let lock = self.lock.as_ref().map(Socket::try_clone).transpose()?;
        Ok(SharedSockets { sockets: sockets?, lock })
    }

    /// Lets connections come to the sockets that were opened beside those of another process; to the
    /// others they come already.
    ///
    /// # Errors
    /// If somebody else has the port alone by now.
    pub fn begin(&self) -> io::Result<()> {
        self.sockets.iter().try_for_each(|socket| match socket {
            ListenSocket::Tcp(socket) => SockRef::from(socket).listen(BACKLOG),
            ListenSocket::Unix(_) => Ok(()),
        })
    }

    /// The sockets of another process, and more if there are more workers. To these no connection
    /// comes before [`Self::begin`]: it would be reset if this process ended before it serves.
    ///
    /// # Errors
    /// If they are no listening sockets of `host` and `port`.
    #[cfg(target_os = "linux")]
    pub fn adopt(
        descriptors: Vec<OwnedFd>,
        lock: OwnedFd,
        (host, port): (&str, u16),
        workers: usize,
    ) -> io::Result<Self> {
        let expected = resolve(host, port)?;
        let mut sockets = Vec::new();
        for socket in descriptors.into_iter().map(Socket::from) {
            let address = socket.local_addr()?.as_socket();
            if !socket.is_listener()? || address != Some(expected) {
                let own = address.map_or("nothing".to_owned(), |address| address.to_string());
                return Err(io::Error::other(format!(
                    "the running gateway listens on {own}, and the settings say {expected}: end it, \
                     and start this one without --take-over"
                )));
            }
            sockets.push(listener(socket)?);
        }
        while sockets.len() < workers {
            sockets.push(listener(open(expected, true)?)?);
        }
        Ok(Self { sockets, address: expected, lock: Some(Socket::from(lock)), file: None })
    }
}

/// Binds `host` and `port` once per worker. Port 0 lets the system choose.
///
/// # Errors
/// If the host name does not resolve, or the port is in use.
pub fn bind(host: &str, port: u16, workers: usize) -> io::Result<Listeners> {
    let address = resolve(host, port)?;
    let first = match port {
        0 => open(address, true)?,
        _ => {
            // Without SO_REUSEPORT: fails if any other socket is bound to the port.
            drop(open(address, false)?);
            open(address, true)?
        }
    };
    let address =
        first.local_addr()?.as_socket().ok_or_else(|| io::Error::other("no IP socket"))?;
    let lock = lock(address.port())?;
    first.listen(BACKLOG)?;
    let mut sockets = vec![listener(first)?];
    for _ in 1..workers {
        let socket = open(address, true)?;
        socket.listen(BACKLOG)?;
        sockets.push(listener(socket)?);
    }
    Ok(Listeners { sockets, address, lock, file: None })
}

/// Binds a Unix socket, for all workers.
///
/// # Errors
/// If another process listens there, or the file system does not allow it.
pub fn bind_file(path: &std::path::Path, mode: u32, workers: usize) -> io::Result<Listeners> {
    let (first, file) = SocketFile::bind(path, mode, BACKLOG)?;
    let others: io::Result<Vec<UnixListener>> = (1..workers).map(|_| first.try_clone()).collect();
    let sockets = others?.into_iter().chain([first]).map(ListenSocket::Unix).collect();
    // Whoever can open the socket is on this machine.
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    Ok(Listeners { sockets, address, lock: None, file: Some(file) })
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    (host, port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::other(format!("{host} has no address")))
}

fn open(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    // Accepted sockets inherit it, so that no connection needs a call for it.
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT)?;
    // These are inherited too.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    let keep_alive = TcpKeepalive::new().with_time(ASK_AFTER).with_interval(ASK_AGAIN);
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    let keep_alive = keep_alive.with_retries(QUESTIONS);
    socket.set_tcp_keepalive(&keep_alive)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listener(socket: Socket) -> io::Result<ListenSocket> {
    socket.set_nonblocking(true)?;
    Ok(ListenSocket::Tcp(socket.into()))
}

/// Whether a gateway on this machine has the port, or a socket is still bound to it.
#[cfg(target_os = "linux")]
#[must_use]
pub fn is_taken(host: &str, port: u16) -> bool {
    let bound = resolve(host, port).and_then(|address| open(address, false));
    lock(port).is_err() || bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// A lock by a name in the abstract socket namespace. That belongs to the network namespace, as
/// the port does, and the name is free again when the process ends.
#[cfg(target_os = "linux")]
fn lock(port: u16) -> io::Result<Option<Socket>> {
    let lock = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let name = socket2::SockAddr::unix(format!("\0mooring/port/{port}"))?;
    lock.bind(&name).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            io::Error::new(error.kind(), format!("port {port} is in use by another mooring"))
        }
        _ => error,
    })?;
    Ok(Some(lock))
}

#[cfg(not(target_os = "linux"))]
fn lock(_: u16) -> io::Result<Option<Socket>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(socket: &ListenSocket) -> &TcpListener {
        match socket {
            ListenSocket::Tcp(socket) => socket,
            ListenSocket::Unix(socket) => panic!("{socket:?}"),
        }
    }

    #[test]
    fn workers_share_a_port_that_nobody_else_gets() {
        let ours = bind("127.0.0.1", 0, 3).unwrap();
        assert_eq!(ours.sockets.len(), 3);
        let port = ours.address.port();
        assert!(ours.sockets.iter().all(|s| tcp(s).local_addr().unwrap().port() == port));
        let error = bind("127.0.0.1", port, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        #[cfg(target_os = "linux")]
        assert!(is_taken("127.0.0.1", port));
        drop(ours);
        #[cfg(target_os = "linux")]
        assert!(!is_taken("127.0.0.1", port));
        assert!(bind("127.0.0.1", port, 1).is_ok());
    }

    #[test]
    fn whoever_ends_has_the_port_no_longer_than_its_sockets() {
        let mut ours = bind("127.0.0.1", 0, 2).unwrap();
        let port = ours.address.port();
        ours.unlock();
        assert!(bind("127.0.0.1", port, 1).is_err(), "they are still open");
        ours.sockets.clear();
        assert!(bind("127.0.0.1", port, 1).is_ok());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn sockets_are_adopted_with_their_lock_and_more_for_more_workers() {
        let ours = bind("127.0.0.1", 0, 2).unwrap();
        let port = ours.address.port();
        let hand_over = |port: u16, workers: usize| {
            let shared = ours.share().unwrap();
            let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().unwrap();
            let mut descriptors: Vec<OwnedFd> = shared.all().map(own).collect();
            let lock = descriptors.pop().unwrap();
            Listeners::adopt(descriptors, lock, ("127.0.0.1", port), workers)
        };
        assert!(hand_over(port ^ 1, 1).unwrap_err().to_string().contains("--take-over"));
        assert_eq!(hand_over(port, 1).unwrap().sockets.len(), 2);
        let adopted = hand_over(port, 3).unwrap();
        assert_eq!(adopted.sockets.len(), 3);
        let listening = || {
            let is_listener = |socket: &&ListenSocket| SockRef::from(tcp(socket)).is_listener();
            adopted.sockets.iter().filter(|socket| is_listener(socket).unwrap()).count()
        };
        assert_eq!(listening(), 2, "what comes to another one is reset if this process ends");
        adopted.begin().unwrap();
        assert_eq!(listening(), 3);
        drop(ours);
        assert!(bind("127.0.0.1", port, 1).is_err(), "the port is still taken");
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn accepted_sockets_keep_little_that_is_not_sent_and_notice_a_dead_client() {
        let ours = bind("127.0.0.1", 0, 1).unwrap();
        let _client = std::net::TcpStream::connect(ours.address).unwrap();
        tcp(&ours.sockets[0]).set_nonblocking(false).unwrap();
        let (accepted, _) = tcp(&ours.sockets[0]).accept().unwrap();
        let accepted = SockRef::from(&accepted);
        assert_eq!(accepted.tcp_notsent_lowat().unwrap(), UNSENT);
        assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED));
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), ASK_AFTER);
    }
}
