//! A replica's response on its way to the client.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

use crate::protocol::headers;
use crate::seam::Body;

/// Frames pass as they come; of the headers, what is the client's business.
pub fn relay(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    headers::strip_hop_by_hop(&mut parts.headers);
    headers::strip_internal(&mut parts.headers);
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::DATE);
    parts.headers.remove(headers::SESSION);
    Response::from_parts(parts, body)
}

/// A JSON response of the edge's own.
pub fn json(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    content_type(response.headers_mut(), headers::JSON);
    response
}

pub fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

pub fn content_type(headers: &mut HeaderMap, kind: &'static str) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
}
