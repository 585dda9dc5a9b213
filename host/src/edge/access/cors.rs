//! The headers with which a browser lets pages of allowed origins read the gateway's responses
//! (Fetch, "CORS protocol").
//!
//! A request without an Origin does not come from a page: its response gets none of them.

use std::net::IpAddr;

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};

use crate::edge::routing::affinity::Carrier;
use crate::edge::worker::Worker;
use crate::net::Body;
use crate::protocol::headers;

use super::admit;

/// Seconds for which a browser may reuse the answer to a preflight: two hours. Browsers have
/// limits of their own.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");

/// The Origin of a request that is let in.
pub struct AllowedOrigin(HeaderValue);

impl AllowedOrigin {
    /// `None` if the request has no Origin, or is refused for its Host or Origin.
    pub fn of(worker: &Worker, headers: &HeaderMap, local: IpAddr) -> Option<Self> {
        let origin = headers.get(header::ORIGIN)?;
        admit::check_site(&worker.edge.config, headers, local).ok()?;
        Some(Self(origin.clone()))
    }

    /// The answer to a preflight, by which a browser asks before it sends a request. `None` for
    /// any other request.
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

    /// Lets the page read a response, and those of its headers that MCP clients need.
    pub fn write(&self, worker: &Worker, headers: &mut HeaderMap) {
        self.allow(headers);
        let affinity = match worker.edge.carrier() {
            Carrier::Header(name) => Some(name),
            Carrier::None | Carrier::Cookie { .. } => None,
        };
        let names =
            [headers::SESSION, headers::REQUEST_ID, header::WWW_AUTHENTICATE, header::RETRY_AFTER];
        if let Some(names) = list(names.into_iter().chain(affinity)) {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, names);
        }
    }

    fn allow(&self, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.0.clone());
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// The request headers of MCP, allowed if the preflight names none.
fn of_mcp() -> Option<HeaderValue> {
    list(
        [
            header::CONTENT_TYPE,
            header::ACCEPT,
            header::AUTHORIZATION,
            headers::SESSION,
            headers::PROTOCOL_VERSION,
            headers::LAST_EVENT_ID,
            headers::METHOD,
            headers::NAME,
        ]
        .into_iter(),
    )
}

fn list(names: impl Iterator<Item = HeaderName>) -> Option<HeaderValue> {
    let names: Vec<String> = names.map(|name| name.to_string()).collect();
    HeaderValue::from_str(&names.join(", ")).ok()
}
