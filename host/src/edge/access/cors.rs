//! Pages of other origins that the operator lets in: what a browser has to be told
//! so that it hands them our answers (Fetch, "CORS protocol").
//!
//! A request without an Origin is not from a page, and nothing is added to its
//! answer.

use std::net::IpAddr;

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};

use crate::edge::routing::affinity::Carrier;
use crate::edge::worker::Worker;
use crate::net::Body;
use crate::protocol::headers;

use super::admit;

/// So long a browser need not ask again; it has a limit of its own.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");

/// An origin that is let in.
pub struct AllowedOrigin(HeaderValue);

impl AllowedOrigin {
    /// None if the request has no Origin, or is not let in.
    pub fn of(worker: &Worker, headers: &HeaderMap, local: IpAddr) -> Option<Self> {
        let origin = headers.get(header::ORIGIN)?;
        admit::check_site(&worker.edge.config, headers, local).ok()?;
        Some(Self(origin.clone()))
    }

    /// The answer to a browser that asks before it sends. None if the request is
    /// no such question.
    pub fn preflight(&self, request: &Request<Body>) -> Option<Response<Body>> {
        if request.method() != Method::OPTIONS {
            return None;
        }
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        if let Some(allowed) = asked.or_else(of_mcp) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        self.allow(headers);
        Some(response)
    }

    /// Lets the page read an answer, and of its headers what a client needs.
    pub fn write(&self, worker: &Worker, headers: &mut HeaderMap) {
        self.allow(headers);
        let affinity = match worker.edge.carrier() {
            Carrier::Header(name) => Some(name),
            Carrier::None | Carrier::Cookie { .. } => None,
        };
        let names = [headers::SESSION, header::WWW_AUTHENTICATE, header::RETRY_AFTER];
        if let Some(names) = list(names.into_iter().chain(affinity)) {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, names);
        }
    }

    fn allow(&self, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.0.clone());
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// Request headers of MCP, for a browser that names none.
fn of_mcp() -> Option<HeaderValue> {
    list(
        [
            header::CONTENT_TYPE,
            header::ACCEPT,
            header::AUTHORIZATION,
            headers::SESSION,
            headers::PROTOCOL_VERSION,
            headers::LAST_EVENT_ID,
        ]
        .into_iter(),
    )
}

fn list(names: impl Iterator<Item = HeaderName>) -> Option<HeaderValue> {
    let names: Vec<String> = names.map(|name| name.to_string()).collect();
    HeaderValue::from_str(&names.join(", ")).ok()
}
