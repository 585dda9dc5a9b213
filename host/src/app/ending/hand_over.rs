//! A restart without a gap: the next process takes the listening sockets over from this one.
//!
//! ```text
//! next process                                      this process
//! connect to hand-over-{port} in the data folder ─►  same user? one at a time
//! HELLO ──────────────────────────────────────────►  quiet point, drainDeadline at most
//!       ◄──────────────── sockets, lock of the port  serves on
//! builds all its parts, accepts connections
//! SERVING ────────────────────────────────────────►  leaves: no new connections, last answers, end
//! ```
//!
//! Both accept for a moment, on the same sockets, so that no connection is refused or reset. Until
//! `SERVING` has come, the end of the next process changes nothing here.

use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt as _, Interest};

use crate::edge::{Listeners, SharedSockets, is_taken};

/// What the next process begins with.
const HELLO: &[u8; 8] = b"mooring1";
/// What it says once it serves.
const SERVING: &[u8; 8] = b"serving!";
/// Time for the next process to begin.
const GREETING: Duration = Duration::from_secs(5);
/// Time for it to serve once it has the sockets: plugins are compiled at a start.
const START: Duration = Duration::from_secs(120);
/// Longest wait of the next process for the sockets: the longest `drainDeadline`, and some.
const PATIENCE: Duration = Duration::from_secs(24 * 3600 + 60);
/// Time for a gateway that has just taken over itself to offer its sockets.
const BETWEEN: Duration = Duration::from_secs(3);
/// Time between two looks for it.
const LOOK: Duration = Duration::from_millis(50);
/// Gateways that may end, or go to another next process, while this one waits for their sockets.
const ATTEMPTS: u32 = 10;
/// The most descriptors of one message. The system takes 253.
const MOST: usize = 250;

/// The name of the socket in the data folder.
fn name(port: u16) -> String {
    format!("hand-over-{port}")
}

/// A folder that is held open, with the path of a file in it. That path is short, whatever the
/// folder's is: the address of a Unix socket has room for 108 bytes.
struct Place {
    folder: OwnedFd,
    name: String,
}

impl Place {
    fn of(folder: &Path, port: u16) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder, flags, Mode::empty())?;
        Ok(Self { folder, name: name(port) })
    }

    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}/{}", self.folder.as_raw_fd(), self.name).into()
    }
}

/// The sockets, offered to the next process.
pub struct Offer {
    listener: tokio::net::UnixListener,
    sockets: SharedSockets,
}

impl Offer {
    /// Offers the sockets of a gateway whose data folder this is.
    ///
    /// # Errors
    /// If there can be no socket in the folder.
    pub fn open(folder: &Path, port: u16, sockets: SharedSockets) -> io::Result<Self> {
        let place = Place::of(folder, port)?;
        // One of a process that was killed, or that has handed its sockets to this one: the lock of
        // the port is ours.
        let _ = rustix::fs::unlinkat(&place.folder, &place.name, AtFlags::empty());
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
        socket.bind(&socket2::SockAddr::unix(place.path())?)?;
        // Before it listens, nobody can connect.
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::chmodat(&place.folder, &place.name, mode, AtFlags::empty())?;
        socket.listen(1)?;
        socket.set_nonblocking(true)?;
        let listener: std::os::unix::net::UnixListener = OwnedFd::from(socket).into();
        Ok(Self { listener: tokio::net::UnixListener::from_std(listener)?, sockets })
    }

    /// Waits until another process has taken over. `quiet` is awaited before it gets the sockets.
    pub async fn taken<F: Future<Output = ()>>(&self, quiet: impl Fn() -> F) {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            };
            match self.hand_over(stream, &quiet).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(
                    "a process that wanted to take over did not come to serve; this one goes on: \
                     {error}"
                ),
            }
        }
    }

    async fn hand_over<F: Future<Output = ()>>(
        &self,
        mut stream: tokio::net::UnixStream,
        quiet: impl Fn() -> F,
    ) -> io::Result<()> {
        check_user(stream.peer_cred()?.uid())?;
        let late = |_: tokio::time::error::Elapsed| {
            io::Error::new(io::ErrorKind::TimedOut, "it said nothing in time")
        };
        let mut said = [0; HELLO.len()];
        tokio::time::timeout(GREETING, stream.read_exact(&mut said)).await.map_err(late)??;
        if &said != HELLO {
            return Err(io::Error::other("it speaks another version of the hand-over"));
        }
        tracing::info!("another process takes over as soon as nothing is under way");
        quiet().await;
        stream.async_io(Interest::WRITABLE, || send(stream.as_fd(), &self.sockets)).await?;
        tokio::time::timeout(START, stream.read_exact(&mut said)).await.map_err(late)??;
        if &said == SERVING { Ok(()) } else { Err(io::Error::other("it said something else")) }
    }
}

/// Only the user of this process, and root, may have its sockets.
fn check_user(uid: u32) -> io::Result<()> {
    if uid == rustix::process::geteuid().as_raw() || uid == 0 {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("it is of another user, {uid}")))
}

fn send(stream: BorrowedFd<'_>, sockets: &SharedSockets) -> io::Result<()> {
    let descriptors: Vec<BorrowedFd<'_>> = sockets.all().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if descriptors.len() > MOST || !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other(format!("there are more than {MOST} sockets")));
    }
    sendmsg(stream, &[IoSlice::new(b"s")], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The sockets of the process of before, which leaves once this one serves.
pub struct TakenOver {
    stream: UnixStream,
    listeners: Listeners,
}

impl TakenOver {
    /// Takes the sockets over from the gateway with this data folder and port. `None` if there is
    /// none, so that this start is as any other. Where another next process was quicker, that one is
    /// asked.
    ///
    /// # Errors
    /// If there is one that does not hand them over.
    pub fn take(
        folder: &Path,
        (host, port): (&str, u16),
        workers: usize,
    ) -> io::Result<Option<Self>> {
        let (mut attempts, mut absent) = (1, None);
        loop {
            match Place::of(folder, port).and_then(|place| UnixStream::connect(place.path())) {
                Ok(stream) => {
                    absent = None;
                    match Self::take_from(stream, (host, port), workers) {
                        Err(error) if is_over(&error) && attempts < ATTEMPTS => attempts += 1,
                        taken => return taken.map(Some),
                    }
                }
                Err(error) if is_none(&error) => {
                    let since = *absent.get_or_insert_with(Instant::now);
                    // One that ends instead gives the port back with its sockets.
                    let patience = if attempts == 1 { BETWEEN } else { START };
                    if since.elapsed() > patience || !is_taken(host, port) {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error),
            }
            std::thread::sleep(LOOK);
        }
    }

    fn take_from(stream: UnixStream, address: (&str, u16), workers: usize) -> io::Result<Self> {
        let peer = rustix::net::sockopt::socket_peercred(&stream)?;
        check_user(peer.uid.as_raw())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        (&stream).write_all(HELLO)?;
        let mut descriptors = receive(&stream)?;
        let lock = descriptors.pop().ok_or_else(|| io::Error::other("it has no sockets"))?;
        let listeners = Listeners::adopt(descriptors, lock, address, workers)?;
        Ok(Self { stream, listeners })
    }

    /// The sockets, and whom to tell that this process serves.
    #[must_use]
    pub fn into_parts(self) -> (Listeners, Before) {
        (self.listeners, Before(self.stream))
    }
}

/// The process of before.
pub struct Before(UnixStream);

impl Before {
    /// Tells it that this process serves.
    pub fn serves(self) {
        // If it is gone, there is nobody to tell.
        let _ = (&self.0).write_all(SERVING);
    }
}

fn is_none(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Whether the other process has gone, or lets this one go.
fn is_over(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn receive(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut slices = [IoSliceMut::new(&mut byte)];
    let message = recvmsg(stream, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if message.bytes == 0 {
        let why = "it has not handed its sockets over; its log says why";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("not all of its sockets have come: too few descriptors"));
    }
    Ok(descriptors)
}
