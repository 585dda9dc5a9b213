//! What goes out on a connection.

use bytes::Bytes;
use http::{Method, Request, header};
use http_body::Body as _;

use crate::protocol::http1::{self, Framing};

use super::body::Body;
use super::socket::Socket;
use super::target::Target;

/// A request, or one whose head was written before.
pub enum Message {
    Request(Box<Request<Body>>),
    Written(Written),
}

impl From<Request<Body>> for Message {
    fn from(request: Request<Body>) -> Self {
        Self::Request(Box::new(request))
    }
}

impl From<Written> for Message {
    fn from(written: Written) -> Self {
        Self::Written(written)
    }
}

impl Message {
    #[must_use]
    pub fn method(&self) -> &Method {
        match self {
            Self::Request(request) => request.method(),
            Self::Written(_) => &Method::POST,
        }
    }

    /// Writes the head, and the body if that is whole; gives what is left of the body. One that
    /// is whole stays here too: as long as nothing went out, the message may go elsewhere.
    pub fn write(&mut self, socket: &mut Socket) -> Option<(Body, Framing)> {
        let request = match self {
            Self::Request(request) => request,
            Self::Written(written) => {
                let head = socket.head_mut();
                head.extend_from_slice(written.head.lines());
                http1::request_end(head, Framing::Length(written.body.len() as u64));
                socket.write(written.body.clone());
                return None;
            }
        };
        let body = std::mem::take(request.body_mut());
        let framing = framing(request.method(), &body);
        http1::request_lines(socket.head_mut(), request);
        http1::request_end(socket.head_mut(), framing);
        match body {
            Body::Empty => None,
            Body::Full(bytes) => {
                *request.body_mut() = Body::Full(bytes.clone());
                socket.write(bytes);
                None
            }
            body => Some((body, framing)),
        }
    }

    /// Adds the header that every request needs.
    pub fn name_host(&mut self, target: &Target) {
        if let Self::Request(request) = self
            && !request.headers().contains_key(header::HOST)
        {
            request.headers_mut().insert(header::HOST, target.host_header().clone());
        }
    }
}

/// A POST that differs from the one before in its body alone: a session's calls do.
#[derive(Debug, Clone)]
pub struct Written {
    pub head: WrittenHead,
    pub body: Bytes,
}

/// The head of a POST but for the length of its body. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct WrittenHead(Bytes);

impl WrittenHead {
    /// Of a request that names its host.
    #[must_use]
    pub fn of(request: &Request<()>) -> Self {
        let mut head = Vec::new();
        http1::request_lines(&mut head, request);
        Self(head.into())
    }

    #[must_use]
    pub fn lines(&self) -> &[u8] {
        &self.0
    }
}

/// RFC 9110 §8.6: a method that has a use for a body says that there is none.
fn framing(method: &Method, body: &Body) -> Framing {
    let takes_one = !matches!(*method, Method::GET | Method::HEAD | Method::DELETE);
    match body.size_hint().exact() {
        Some(0) if !takes_one => Framing::Nothing,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}
