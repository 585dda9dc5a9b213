//! What goes out on a connection.

use bytes::Bytes;
use http::{Method, Request, header};

use crate::protocol::http1;

use super::Body;
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
