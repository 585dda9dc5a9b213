//! One body type for requests and responses, of clients and of upstreams.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::protocol::glance::MethodLabel;
use crate::protocol::request_id::RequestId;
use crate::sync::Locked;

use super::exchange::Received;
use super::intake::{ClientBody, Intake, IntakeFault};
use super::through::Through;

/// Why a body broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Why a request body broke off while it was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// It is longer than its limit.
    TooLarge,
    /// The client's connection broke.
    ClientLeft,
    /// The gateway has broken it off.
    Broken(IntakeFault),
}

/// What the sender of a chained body can find out: whether the body failed, and not its
/// receiver, and the id of the request that has passed. Clones share one cell.
#[derive(Debug, Clone, Default)]
pub struct Cut(Arc<Passed>);

#[derive(Debug, Default)]
struct Passed {
    bytes: AtomicU64,
    method: OnceLock<MethodLabel>,
    why: OnceLock<BodyFault>,
    request: Locked<RequestId>,
}

impl Cut {
    /// `None` if the body has not broken off.
    #[must_use]
    pub fn why(&self) -> Option<BodyFault> {
        self.0.why.get().copied()
    }

    /// The request's id, if it was in the part that has passed.
    #[must_use]
    pub fn request_id(&self) -> Option<String> {
        let request = self.0.request.lock();
        request.get().map(str::to_owned)
    }

    fn set(&self, why: BodyFault) {
        // The first reason counts.
        let _ = self.0.why.set(why);
    }

    /// Bytes that have passed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// The message's method, as far as its first piece has it.
    #[must_use]
    pub fn method(&self) -> MethodLabel {
        self.0.method.get().copied().unwrap_or_else(|| MethodLabel::of(b""))
    }

    fn passes(&self, piece: &[u8]) {
        self.0.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
        if !piece.is_empty() {
            self.0.method.get_or_init(|| MethodLabel::of(piece));
        }
        self.0.request.lock().read(piece);
    }
}

/// Dropped when the body ends or is dropped: it returns a permit or a connection, or writes a
/// log line.
type Guard = Box<dyn Send + Sync>;

/// A body, by where its bytes come from.
#[derive(Default)]
pub enum Body {
    /// No bytes.
    #[default]
    Empty,
    /// All bytes at once.
    Full(Bytes),
    /// Bytes of a client's connection, as they arrive.
    Incoming(ClientBody),
    /// Bytes of a connection that this process has opened, as they arrive.
    Received(Box<Received>),
    /// All bytes at once, with a guard. Most bodies on the data path are this, and save the box
    /// of `Guarded`.
    Held(Bytes, Option<Guard>),
    /// Written by another task; ends when its sender is dropped.
    Channel(mpsc::Receiver<Bytes>),
    /// Pieces as the stream yields them.
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send + Sync>>),
    /// The first piece, and the rest.
    Begun(Bytes, Box<Body>),
    /// The part that was read already, the rest, and the bytes that may still follow.
    Chained(Bytes, Box<Body>, usize, Cut),
    /// A body, the future that ends it early, and whether that counts as an error.
    Until(Box<Body>, Pin<Box<dyn Future<Output = ()> + Send + Sync>>, bool),
    /// A body, and the bytes that end it if it breaks off.
    OrLastWords(Box<Body>, Bytes),
    /// A body, and what is dropped when it ends.
    Guarded(Box<Body>, Option<Guard>),
    /// Another body, read through something that changes or checks its bytes.
    Through(Box<dyn Through>),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) | Self::Held(bytes, _) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Incoming(_) | Self::Received(_) => f.write_str("Incoming"),
            Self::Channel(_) => f.write_str("Channel"),
            Self::Stream(_) => f.write_str("Stream"),
            Self::Through(_) => f.write_str("Through"),
            Self::Begun(..) => f.write_str("Begun"),
            Self::Chained(..) => f.write_str("Chained"),
            Self::Until(inner, ..) | Self::OrLastWords(inner, _) => inner.fmt(f),
            Self::Guarded(inner, _) => inner.fmt(f),
        }
    }
}

impl Body {
    /// A body whose beginning was read already. It breaks off after `limit` bytes in all.
    #[must_use]
    pub fn chained(head: Bytes, rest: Body, limit: usize, cut: Cut) -> Self {
        let left = limit.saturating_sub(head.len());
        Self::Chained(head, Box::new(rest), left, cut)
    }

    /// The bytes that are there without waiting.
    #[must_use]
    pub fn beginning(&self) -> &[u8] {
        match self {
            Self::Full(bytes) | Self::Held(bytes, _) | Self::Begun(bytes, _) => bytes,
            _ => b"",
        }
    }

    /// The same body, which ends without an error when the future resolves.
    #[must_use]
    pub fn until(self, end: impl Future<Output = ()> + Send + Sync + 'static) -> Self {
        Self::Until(Box::new(self), Box::pin(end), false)
    }

    /// The same body, which ends with an error when the future resolves.
    #[must_use]
    pub fn broken_when(self, end: impl Future<Output = ()> + Send + Sync + 'static) -> Self {
        Self::Until(Box::new(self), Box::pin(end), true)
    }

    /// The same body. If it breaks off, it ends with these bytes instead of an error.
    #[must_use]
    pub fn or_last_words(self, words: Bytes) -> Self {
        Self::OrLastWords(Box::new(self), words)
    }

    /// Notes that what still comes is read later, of another body: nobody leaves it.
    pub fn set_aside(&mut self) {
        match self {
            Self::Through(body) => body.set_aside(),
            Self::Until(inner, ..) | Self::OrLastWords(inner, _) | Self::Guarded(inner, _) => {
                inner.set_aside();
            }
            _ => {}
        }
    }

    /// The client's connection that the body comes over, if it is one that still arrives.
    #[must_use]
    pub fn intake(&self) -> Option<&Arc<Intake>> {
        match self {
            Self::Incoming(body) => Some(body.intake()),
            Self::Begun(_, rest) | Self::Chained(_, rest, ..) => rest.intake(),
            Self::Until(inner, ..) | Self::OrLastWords(inner, _) | Self::Guarded(inner, _) => {
                inner.intake()
            }
            Self::Empty
            | Self::Full(_)
            | Self::Received(_)
            | Self::Held(..)
            | Self::Channel(_)
            | Self::Stream(_)
            | Self::Through(_) => None,
        }
    }

    /// Reads on and discards, for the request's id alone: at most `limit` bytes, and no longer
    /// than `patience`.
    pub async fn look_for(&mut self, request: &mut RequestId, limit: usize, patience: Duration) {
        let looking = async {
            let mut read = 0;
            while read < limit && request.get().is_none() {
                let frame = std::future::poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await;
                let Some(Ok(frame)) = frame else { return };
                let Ok(piece) = frame.into_data() else { continue };
                read += piece.len();
                request.read(&piece);
            }
        };
        let _ = tokio::time::timeout(patience, looking).await;
    }

    /// Reads the rest and discards it, so that a [`Cut`] sees all of it.
    pub async fn read_out(mut self) {
        while let Some(Ok(_)) = std::future::poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await
        {
        }
    }

    /// The same body, with a guard that is dropped when the body ends or is dropped.
    #[must_use]
    pub fn with_guard(self, guard: impl Send + Sync + 'static) -> Self {
        match self {
            Self::Full(bytes) => Self::Held(bytes, Some(Box::new(guard))),
            Self::Held(bytes, before) => Self::Held(bytes, Some(Box::new((before, guard)))),
            other => Self::Guarded(Box::new(other), Some(Box::new(guard))),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(bytes) }
    }
}

/// The head, then the rest as it arrives, of which at most `left` bytes may come.
fn poll_chained(
    head: &mut Bytes,
    rest: &mut Body,
    left: &mut usize,
    cut: &Cut,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    if !head.is_empty() {
        cut.passes(head);
        return Poll::Ready(Some(Ok(Frame::data(std::mem::take(head)))));
    }
    let polled = Pin::new(rest).poll_frame(cx);
    match &polled {
        Poll::Ready(Some(Ok(frame))) => {
            let more = frame.data_ref().map_or(0, Bytes::len);
            let Some(still_left) = left.checked_sub(more) else {
                cut.set(BodyFault::TooLarge);
                let error = "the request body is larger than the gateway's limit";
                return Poll::Ready(Some(Err(error.into())));
            };
            *left = still_left;
            cut.passes(frame.data_ref().map_or(&[], |data| data));
        }
        Poll::Ready(Some(Err(error))) => cut.set(match error.downcast_ref() {
            Some(fault) => BodyFault::Broken(*fault),
            None => BodyFault::ClientLeft,
        }),
        Poll::Ready(None) | Poll::Pending => {}
    }
    polled
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Incoming(body) => body.poll(cx),
            Self::Received(body) => body.poll(cx),
            Self::Held(bytes, guard) => Poll::Ready(if bytes.is_empty() {
                *guard = None;
                None
            } else {
                Some(Ok(Frame::data(std::mem::take(bytes))))
            }),
            Self::Channel(receiver) => {
                receiver.poll_recv(cx).map(|bytes| bytes.map(|b| Ok(Frame::data(b))))
            }
            Self::Stream(stream) => {
                stream.as_mut().poll_next(cx).map(|bytes| bytes.map(|b| Ok(Frame::data(b))))
            }
            Self::Begun(head, rest) => {
                let (head, rest) = (std::mem::take(head), std::mem::take(&mut **rest));
                *self = rest;
                Poll::Ready(Some(Ok(Frame::data(head))))
            }
            Self::Chained(head, rest, left, cut) => poll_chained(head, rest, left, cut, cx),
            Self::Until(inner, end, breaks) => {
                if end.as_mut().poll(cx).is_ready() {
                    let error = breaks.then(|| Err("the connection was given up".into()));
                    *self = Self::Empty;
                    return Poll::Ready(error);
                }
                Pin::new(&mut **inner).poll_frame(cx)
            }
            Self::OrLastWords(inner, words) => {
                let polled = Pin::new(&mut **inner).poll_frame(cx);
                if let Poll::Ready(Some(Err(_))) = &polled {
                    let words = std::mem::take(words);
                    *self = Self::Empty;
                    return Poll::Ready(Some(Ok(Frame::data(words))));
                }
                polled
            }
            Self::Guarded(inner, guard) => {
                let polled = Pin::new(&mut **inner).poll_frame(cx);
                if matches!(polled, Poll::Ready(None)) {
                    *guard = None;
                }
                polled
            }
            Self::Through(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) | Self::Held(bytes, _) => bytes.is_empty(),
            Self::Incoming(body) => body.is_end_stream(),
            Self::Received(body) => body.is_over(),
            Self::Channel(_)
            | Self::Stream(_)
            | Self::Begun(..)
            | Self::Chained(..)
            | Self::Until(..)
            | Self::OrLastWords(..) => false,
            Self::Through(body) => body.is_end_stream(),
            Self::Guarded(inner, _) => inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) | Self::Held(bytes, _) => SizeHint::with_exact(bytes.len() as u64),
            Self::Incoming(body) => body.size_hint(),
            Self::Received(body) => body.size_hint(),
            Self::Begun(head, rest) => {
                let rest = rest.size_hint();
                let length = head.len() as u64;
                let mut hint = SizeHint::new();
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper.saturating_add(length));
                }
                hint.set_lower(rest.lower().saturating_add(length));
                hint
            }
            Self::Channel(_)
            | Self::Stream(_)
            | Self::Chained(..)
            | Self::Until(..)
            | Self::OrLastWords(..) => SizeHint::default(),
            Self::Through(body) => body.size_hint(),
            Self::Guarded(inner, _) => inner.size_hint(),
        }
    }
}
