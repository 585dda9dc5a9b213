//! A replica's response on its way to the client.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode, Version};

use crate::net::Body;
use crate::protocol::headers;
use crate::seam::is_node_answer;
use crate::telemetry::NodeAnswer;

/// The headers of a replica's response that clients see.
const SHOWN: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::ALLOW,
    header::RETRY_AFTER,
    HeaderName::from_static("x-accel-buffering"),
    header::CONTENT_LANGUAGE,
];

/// Those of every response that came over a connection; the client's connection has its own.
const OWN: [HeaderName; 2] = [header::CONTENT_LENGTH, header::DATE];

/// The response for the client: its frames pass as they arrive, and so do the headers in [`SHOWN`].
pub fn relay(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    // Most responses have no other headers, those of other nodes two more; their map is kept.
    if headers.len() > 1 {
        for name in OWN {
            headers.remove(name);
        }
    }
    let mut is_nodes = false;
    if !headers.keys().all(is_shown) {
        is_nodes = is_node_answer(headers);
        let mut shown = HeaderMap::with_capacity(SHOWN.len());
        for name in SHOWN {
            if let Some(value) = headers.remove(&name) {
                shown.insert(name, value);
            }
        }
        *headers = shown;
    }
    *response.version_mut() = Version::HTTP_11;
    response.extensions_mut().clear();
    if is_nodes {
        response.extensions_mut().insert(NodeAnswer);
    }
    response
}

fn is_shown(name: &HeaderName) -> bool {
    // The list is made for each search.
    *name == header::CONTENT_TYPE || SHOWN.contains(name)
}

/// A JSON response of the edge itself.
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
