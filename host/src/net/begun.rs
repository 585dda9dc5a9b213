//! The beginning of a body, which shows what the body is.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body as _;

use super::body::{Body, BodyError};
use super::through::{Piece, Through};

/// Bytes that [`Body::poll_begun`] takes together at most, but for the last piece.
const GATHERED: usize = 16 * 1024;

impl Body {
    /// Waits for the first piece, and takes what has arrived behind it, up to a bounded number of bytes.
    /// A body that has ended by then becomes `Full`: most do.
    ///
    /// # Errors
    /// If the body breaks off before its first piece.
    pub fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if matches!(self, Self::Full(_) | Self::Begun(..)) {
            return Poll::Ready(Ok(()));
        }
        while !self.is_end_stream() {
            let Some(frame) = ready!(Pin::new(&mut *self).poll_frame(cx)) else { break };
            match frame?.into_data() {
                Ok(data) if !data.is_empty() => {
                    let rest = std::mem::take(self);
                    *self =
                        if rest.is_end_stream() { Self::Full(data) } else { rest.gather(data, cx) };
                    return Poll::Ready(Ok(()));
                }
                Ok(_) | Err(_) => {}
            }
        }
        *self = Self::Empty;
        Poll::Ready(Ok(()))
    }

    /// This body behind its first piece, and behind what has arrived since.
    fn gather(mut self, first: Bytes, cx: &mut Context<'_>) -> Self {
        let mut more = Vec::new();
        let head = |first: Bytes, more: Vec<u8>| match more.is_empty() {
            true => first,
            false => [&first[..], &more].concat().into(),
        };
        while first.len() + more.len() < GATHERED {
            match Pin::new(&mut self).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    more.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                }
                Poll::Ready(Some(Err(error))) => {
                    let broken = Self::Through(Box::new(Broken(Some(error))));
                    return Self::Begun(head(first, more), Box::new(broken));
                }
                Poll::Ready(None) => return Self::Full(head(first, more)),
                Poll::Pending => break,
            }
        }
        Self::Begun(head(first, more), Box::new(self))
    }
}

/// The rest of a body that has broken off.
struct Broken(Option<BodyError>);

impl Through for Broken {
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<Option<Piece>> {
        Poll::Ready(self.0.take().map(Err))
    }
}
