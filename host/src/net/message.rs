//! Requests as they go out on a connection.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, header};
use http_body::Body as _;

use crate::protocol::http1::{self, Framing};

use super::body::Body;
use super::socket::Socket;
use super::target::Target;

/// A request, with or without its head already written.
pub enum Message {
    /// Its URI is path and query only.
    Request(Box<Request<Body>>),
    /// Its head is the same as that of many other requests.
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
    /// Decides how the response is framed.
    #[must_use]
    pub fn method(&self) -> &Method {
        match self {
            Self::Request(request) => request.method(),
            Self::Written(_) => &Method::POST,
        }
    }

    /// Writes the head, and the body if all of it is here; returns a body that is still to come.
    /// One that is here is kept too: until a byte goes out, the message may take another
    /// connection.
    pub fn write(&mut self, socket: &mut Socket) -> Option<(Body, Framing)> {
        let request = match self {
            Self::Request(request) => request,
            Self::Written(written) => {
                let head = socket.head_mut();
                head.extend_from_slice(written.head.lines());
                head.extend_from_slice(&written.more);
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

    /// The request, whatever was written of it already.
    #[cfg(test)]
    #[allow(clippy::expect_used)]
    pub(super) fn into_request(self) -> Request<Body> {
        let Written { head, more, body } = match self {
            Self::Request(request) => return *request,
            Self::Written(written) => written,
        };
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        let whole = [head.lines(), &more, b"\r\n"].concat();
        parsed.parse(&whole).expect("a head that was written here");
        let mut request = Request::builder()
            .method(parsed.method.expect("a method"))
            .uri(parsed.path.expect("a path"));
        for header in parsed.headers {
            request = request.header(header.name, header.value);
        }
        request.body(Body::Full(body)).expect("a request")
    }

    /// Adds the `Host` header, which every request needs, if there is none.
    pub fn name_host(&mut self, target: &Target) {
        if let Self::Request(request) = self
            && !request.headers().contains_key(header::HOST)
        {
            request.headers_mut().insert(header::HOST, target.host_header().clone());
        }
    }
}

/// A POST whose head is shared: the calls of a session differ in their bodies alone, requests without
/// a session and those to a server of another node in a few headers beside.
#[derive(Debug, Clone)]
pub struct Written {
    /// Everything except the length of the body, and what follows.
    pub head: WrittenHead,
    /// The lines of the headers that are not shared: see [`written_lines`].
    pub more: Vec<u8>,
    /// All of the body.
    pub body: Bytes,
}

/// The head of a POST without the length of its body. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct WrittenHead(Bytes);

impl WrittenHead {
    /// The head of this request, which must have a `Host` header.
    #[must_use]
    pub fn of(request: &Request<()>) -> Self {
        let mut head = Vec::new();
        http1::request_lines(&mut head, request);
        Self(head.into())
    }

    /// Request line and headers, as they are sent.
    #[must_use]
    pub fn lines(&self) -> &[u8] {
        &self.0
    }
}

/// Headers as they are sent. None of them may be about the connection or the framing.
#[must_use]
pub fn written_lines<'a>(
    headers: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) -> Vec<u8> {
    // Room for those of a usual request, so that nothing grows.
    let mut lines = Vec::with_capacity(128);
    for (name, value) in headers {
        http1::header_line(&mut lines, name, value);
    }
    lines
}

/// How a body is framed. A method that usually has a body announces an empty one too (RFC 9110
/// §8.6).
fn framing(method: &Method, body: &Body) -> Framing {
    let takes_one = !matches!(*method, Method::GET | Method::HEAD | Method::DELETE);
    match body.size_hint().exact() {
        Some(0) if !takes_one => Framing::Nothing,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}
