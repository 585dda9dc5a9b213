//! One request and its response on a connection that nothing else uses. The task that waits for
//! the response also reads and writes, so that no other task has to wake up.

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::Method;
use http_body::{Body as _, Frame, SizeHint};

use crate::protocol::http1::{BodyDecoder, Framing, Head, Scan, Step};

use super::body::{Body, BodyError};
use super::idle::Home;
use super::socket::Socket;

/// Why no response head arrived.
pub enum Lost {
    /// No byte of the request went out. With the body, unless the request has kept it.
    Unsent(String, Option<Body>),
    /// A part of the request may have gone out. Then the connection broke, the response was
    /// malformed, or the request's body broke off.
    Broken(String),
}

/// A request on its way, and the connection that it has for itself.
pub struct Exchange {
    socket: Box<Socket>,
    method: Method,
    scan: Scan,
    sending: SendState,
    /// Whether a byte of the request may have gone out.
    is_begun: bool,
}

enum SendState {
    /// The part of the body that is not with the socket yet.
    Body(Body, Rest),
    /// All bytes are with the socket, not all are written.
    Last,
    /// All bytes are written.
    Over,
    /// The connection takes no more bytes; a response may arrive all the same. With the body
    /// if none of it was taken.
    Refused(String, Option<Body>),
    /// The request's body broke off.
    BrokenOff(String),
}

/// How the rest of a body is framed.
enum Rest {
    /// Bytes still to be sent.
    Length(u64),
    /// Chunks, and whether one was written already.
    Chunks(bool),
}

impl Exchange {
    /// An exchange whose request is with the socket, except for the rest of its body.
    pub fn begin(socket: Box<Socket>, method: Method, rest: Option<(Body, Framing)>) -> Self {
        let sending = match rest {
            None | Some((_, Framing::Nothing)) => SendState::Last,
            Some((body, Framing::Length(length))) => SendState::Body(body, Rest::Length(length)),
            Some((body, Framing::Chunked)) => SendState::Body(body, Rest::Chunks(false)),
        };
        Self { socket, method, scan: Scan::default(), sending, is_begun: false }
    }

    /// Sends, and waits for the head of the response.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Lost>> {
        loop {
            self.send(cx);
            match &mut self.sending {
                SendState::BrokenOff(why) => {
                    return Poll::Ready(Err(Lost::Broken(std::mem::take(why))));
                }
                SendState::Refused(why, body) if !self.is_begun => {
                    return Poll::Ready(Err(Lost::Unsent(std::mem::take(why), body.take())));
                }
                _ => {}
            }
            match self.scan.take(&mut self.socket.read, &self.method) {
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Err(Lost::Broken(fault.to_string()))),
            }
            let why = match ready!(self.socket.poll_read(cx)) {
                Ok(true) => continue,
                Ok(false) => "the connection was closed before the response".to_owned(),
                Err(error) => format!("the connection broke before the response: {error}"),
            };
            return Poll::Ready(Err(Lost::Broken(why)));
        }
    }

    /// Sends as much as the connection takes now.
    fn send(&mut self, cx: &mut Context<'_>) {
        if let SendState::Body(..) | SendState::Last = self.sending
            && let Poll::Ready(sent) = self.poll_send(cx)
        {
            let before = std::mem::replace(&mut self.sending, SendState::Over);
            self.sending = match (sent, before) {
                (Ok(()), _) => SendState::Over,
                (Err(SendState::Refused(why, _)), SendState::Body(body, _)) if !self.is_begun => {
                    SendState::Refused(why, Some(body))
                }
                (Err(sending), _) => sending,
            };
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendState>> {
        loop {
            ready!(self.socket.poll_write(cx, &mut self.is_begun)).map_err(|error| {
                SendState::Refused(format!("the connection broke: {error}"), None)
            })?;
            let SendState::Body(body, rest) = &mut self.sending else { return Poll::Ready(Ok(())) };
            let broken = |why: &dyn std::fmt::Display| SendState::BrokenOff(why.to_string());
            let piece = match ready!(Pin::new(body).poll_frame(cx)) {
                None => None,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => Some(data),
                    _ => continue,
                },
                Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
            };
            match rest {
                Rest::Length(left) => {
                    let length = piece.as_ref().map_or(0, Bytes::len) as u64;
                    let (after, is_end) = (left.checked_sub(length), piece.is_none());
                    *left = match after {
                        Some(after) if after == 0 || !is_end => after,
                        _ => return Poll::Ready(Err(broken(&"the body has the wrong length"))),
                    };
                }
                Rest::Chunks(any) => {
                    let (out, end) = (self.socket.head_mut(), if *any { "\r\n" } else { "" });
                    *any = true;
                    // Writing to memory cannot fail.
                    let _ = match &piece {
                        Some(data) => write!(out, "{end}{:x}\r\n", data.len()),
                        None => write!(out, "{end}0\r\n\r\n"),
                    };
                }
            }
            match piece {
                Some(data) => self.socket.write(data),
                None => self.sending = SendState::Last,
            }
        }
    }
}

/// The body of a response, as it arrives. With its last byte the connection goes back to the
/// pool.
pub struct Received {
    /// `None` once the body has ended.
    exchange: Option<Exchange>,
    decoder: BodyDecoder,
    keeps: bool,
    home: Home,
}

impl Received {
    /// The body after a head. One that has arrived as a whole gives its connection back at once.
    pub fn body(exchange: Exchange, decoder: BodyDecoder, keeps: bool, home: Home) -> Body {
        let mut received = Self { exchange: Some(exchange), decoder, keeps, home };
        if received.decoder.is_over() {
            received.end();
            return Body::Empty;
        }
        let here = received.exchange.as_ref().map_or(0, |exchange| exchange.socket.read.len());
        if let BodyDecoder::Length(length) = received.decoder
            && length <= here as u64
            && let Some(exchange) = &mut received.exchange
            && let Ok(Step::Data(data)) = received.decoder.take(&mut exchange.socket.read)
        {
            received.end();
            return Body::Full(data);
        }
        Body::Received(Box::new(received))
    }

    /// The next piece. A connection that fails is dropped, not given back.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(exchange) = &mut self.exchange else { return Poll::Ready(None) };
        let ended = loop {
            exchange.send(cx);
            if let SendState::BrokenOff(why) = &exchange.sending {
                break Err(why.as_str().into());
            }
            match self.decoder.take(&mut exchange.socket.read) {
                Ok(Step::Data(data)) => {
                    if self.decoder.is_over() {
                        self.end();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Step::Over) => break Ok(()),
                Ok(Step::Part) => {}
                Err(fault) => break Err(fault.into()),
            }
            match ready!(exchange.socket.poll_read(cx)) {
                Ok(true) => {}
                Ok(false) if self.decoder == BodyDecoder::UntilClose => break Ok(()),
                Ok(false) => {
                    break Err("the connection was closed before the end of the response".into());
                }
                Err(error) => break Err(error.into()),
            }
        };
        match ended {
            Ok(()) => self.end(),
            // The connection is unusable.
            Err(_) => self.exchange = None,
        }
        Poll::Ready(ended.err().map(Err))
    }

    /// Whether the body has ended, with an error or without.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.exchange.is_none()
    }

    /// Exact for a body with a length, as for one that has ended.
    #[must_use]
    pub fn size_hint(&self) -> SizeHint {
        match (&self.exchange, &self.decoder) {
            (None, _) => SizeHint::with_exact(0),
            (_, BodyDecoder::Length(left)) => SizeHint::with_exact(*left),
            _ => SizeHint::default(),
        }
    }

    /// Whether the rest of an unwanted body is here; reads once at most.
    fn try_drain(&mut self) -> bool {
        let Some(exchange) = &mut self.exchange else { return false };
        let mut cx = Context::from_waker(Waker::noop());
        let mut may_read = true;
        loop {
            match self.decoder.take(&mut exchange.socket.read) {
                Ok(Step::Over) => return true,
                Ok(Step::Data(_)) => {}
                Ok(Step::Part) if std::mem::take(&mut may_read) => {
                    if !matches!(exchange.socket.poll_read(&mut cx), Poll::Ready(Ok(true))) {
                        return false;
                    }
                }
                Ok(Step::Part) | Err(_) => return false,
            }
        }
    }

    /// Gives the connection back, if nothing is left to read or to send on it.
    fn end(&mut self) {
        if let Some(Exchange { socket, sending: SendState::Over, .. }) = self.exchange.take()
            && self.keeps
            && socket.read.is_empty()
        {
            self.home.take_back(socket);
        }
    }
}

impl Drop for Received {
    /// Many callers read the head alone. If the rest has arrived with it, the connection can
    /// be used again.
    fn drop(&mut self) {
        if self.try_drain() {
            self.end();
        }
    }
}

#[cfg(test)]
mod tests;
