//! A client's connection for hyper. It joins small writes, and reports what is read and written.
//!
//! hyper writes the head and body of a message as two buffers. Joined, they go out by `send`,
//! which costs the kernel less than `writev`.
//!
//! Generic over the stream, so that plain TCP pays nothing for what else there is.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::activity::Activity;
use super::streams::ClientStream;

/// Bytes up to which copying buffers together is cheaper than a vectored write.
const SMALL: usize = 2048;
/// How long a connection lingers for a client that still sends, and for how many bytes.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 16 << 20;

pub struct ClientWire<S> {
    stream: TokioIo<Counted<S>>,
}

/// A connection whose bytes are counted.
struct Counted<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S: ClientStream> ClientWire<S> {
    #[must_use]
    pub fn new(stream: S, activity: &Arc<Activity>) -> Self {
        let activity = Arc::clone(activity);
        Self { stream: TokioIo::new(Counted { stream, activity }) }
    }

    /// Writes what fits into the socket at once. For the last words of a connection.
    pub fn say(&mut self, words: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut stream = Pin::new(&mut self.stream.inner_mut().stream);
        if stream.as_mut().poll_write(&mut cx, words).is_ready() {
            let _ = stream.poll_flush(&mut cx);
        }
    }

    /// Reads and discards what the client still sends after its last answer. If the socket were
    /// closed with unread bytes, the client's system would discard the answer.
    pub async fn linger(&mut self) {
        let stream = &mut self.stream.inner_mut().stream;
        let discard = async {
            let (mut buffer, mut left) = ([0; SMALL], LINGER_BYTES);
            while left > 0 {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(read) => left = left.saturating_sub(read),
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, discard).await;
    }

    fn inner(self: Pin<&mut Self>) -> Pin<&mut TokioIo<Counted<S>>> {
        Pin::new(&mut self.get_mut().stream)
    }
}

impl<S: ClientStream> Counted<S> {
    fn stream(self: Pin<&mut Self>) -> Pin<&mut S> {
        Pin::new(&mut self.get_mut().stream)
    }

    /// Reports what became of a write.
    fn told(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => self.activity.sent(*bytes as u64),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.activity.blocked(),
        }
        written
    }
}

impl<S: ClientStream> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.as_mut().stream().poll_read(cx, buffer);
        if read.is_ready() {
            self.activity.read(buffer.filled().get(before..).unwrap_or_default());
        }
        read
    }
}

impl<S: ClientStream> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.as_mut().stream().poll_write(cx, bytes);
        self.told(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.as_mut().stream().poll_write_vectored(cx, parts);
        self.told(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.as_mut().stream().poll_flush(cx);
        if S::BUFFERS {
            // What was written has only reached the stream's own buffer.
            match &flushed {
                Poll::Pending => self.activity.blocked(),
                Poll::Ready(_) => self.activity.sent(0),
            }
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}

impl<S: ClientStream> Read for ClientWire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.inner().poll_read(cx, buffer)
    }
}

impl<S: ClientStream> Write for ClientWire<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut joined = [0; SMALL];
        let mut length = 0;
        for part in parts {
            match joined.get_mut(length..length + part.len()) {
                Some(place) => place.copy_from_slice(part),
                None => return self.inner().poll_write_vectored(cx, parts),
            }
            length += part.len();
        }
        self.poll_write(cx, &joined[..length])
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::IoSlice;

    use tokio::net::{TcpListener, TcpStream};

    use crate::model::QuotaKey;
    use crate::net::{BodyBudget, Intake};

    use super::*;

    /// The bytes that arrive when all parts are written.
    async fn sent(parts: &[Vec<u8>]) -> Vec<u8> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut other, _) = listener.accept().await.unwrap();
        let writing = async {
            let budget = BodyBudget::new(1, 1);
            let intake = Intake::new(budget, QuotaKey::of_address([127, 0, 0, 1].into()));
            let mut wire = ClientWire::new(stream, &Activity::new(intake, false));
            let mut left: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            while left.iter().any(|part| !part.is_empty()) {
                let slices: Vec<IoSlice<'_>> = left.iter().map(|part| IoSlice::new(part)).collect();
                let writing = poll_fn(|cx| Pin::new(&mut wire).poll_write_vectored(cx, &slices));
                let mut written = writing.await.unwrap();
                for part in &mut left {
                    let taken = written.min(part.len());
                    *part = &part[taken..];
                    written -= taken;
                }
            }
        };
        let reading = async {
            let mut all = Vec::new();
            other.read_to_end(&mut all).await.unwrap();
            all
        };
        tokio::join!(writing, reading).1
    }

    #[tokio::test]
    async fn parts_arrive_in_order_whatever_their_size() {
        for sizes in [&[10, 20][..], &[0, 1], &[SMALL, 1], &[SMALL - 1, 1], &[100, 1_000_000, 3]] {
            let parts: Vec<Vec<u8>> =
                sizes.iter().zip(b'a'..).map(|(size, byte)| vec![byte; *size]).collect();
            assert_eq!(sent(&parts).await, parts.concat(), "{sizes:?}");
        }
    }
}
