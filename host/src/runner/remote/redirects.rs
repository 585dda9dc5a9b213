//! Which redirects of an upstream are followed: 307 and 308, which keep method and body (RFC 9110
//! §15.4.8), and for GET those that may turn another method into it, to the origin that the request was
//! sent to. The gateway's credentials for one origin must not reach another.

use http::{HeaderMap, Method, StatusCode, Uri, header};
use url::Position;

/// Most redirects that are followed for one request.
pub const MOST: usize = 5;

/// Whether the status may be followed by a request of this method.
#[must_use]
pub fn may_follow(method: &Method, status: StatusCode) -> bool {
    is_redirect(status) || (*method == Method::GET && becomes_get(status))
}

/// Whether clients follow the status by GET, whatever they have sent.
#[must_use]
pub fn becomes_get(status: StatusCode) -> bool {
    matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER)
}

/// Whether the status may be followed by any request.
#[must_use]
pub fn is_redirect(status: StatusCode) -> bool {
    matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT)
}

/// The path and query where a redirect leads to. `None` if it is not followed. `base` is the
/// upstream's URL, `path` the path and query of the request.
#[must_use]
pub fn next(
    method: &Method,
    (base, path): (&Uri, &Uri),
    status: StatusCode,
    headers: &HeaderMap,
) -> Option<Uri> {
    if !may_follow(method, status) {
        return None;
    }
    let location = headers.get(header::LOCATION)?.to_str().ok()?;
    let base = url::Url::parse(&base.to_string()).ok()?;
    let to = base.join(&path.to_string()).ok()?.join(location).ok()?;
    if to.origin() != base.origin() {
        return None;
    }
    to[Position::BeforePath..Position::AfterQuery].parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_what_keeps_the_request_and_the_origin_is_followed() {
        let base = Uri::from_static("http://far.example:81/api/mcp?key=a");
        let path = Uri::from_static("/api/mcp?key=a");
        let sent = |method: Method, status: u16, location: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LOCATION, HeaderValue::from_static(location));
            let status = StatusCode::from_u16(status).unwrap();
            next(&method, (&base, &path), status, &headers).map(|uri| uri.to_string())
        };
        let at = |status, location| sent(Method::POST, status, location);
        for (location, expect) in [
            ("/api/mcp/", "/api/mcp/"),
            ("mcp/?key=a#x", "/api/mcp/?key=a"),
            ("http://far.example:81/", "/"),
            ("//far.example:81/b", "/b"),
            ("HTTP://FAR.example:81/c", "/c"),
        ] {
            assert_eq!(at(307, location).as_deref(), Some(expect), "{location}");
            assert_eq!(at(308, location).as_deref(), Some(expect), "{location}");
            for status in [301, 302, 303] {
                assert_eq!(at(status, location), None, "{status}");
                assert_eq!(sent(Method::DELETE, status, location), None, "{status}");
                assert_eq!(sent(Method::GET, status, location).as_deref(), Some(expect));
            }
            for status in [200, 300, 304, 305] {
                assert_eq!(sent(Method::GET, status, location), None, "{status}");
            }
        }
        for other in [
            "https://far.example:81/api/mcp/",
            "http://far.example/api/mcp/",
            "http://other.example:81/api/mcp",
            "//other.example/",
            "http://far.example:81@other.example/",
            "file:///etc/passwd",
            "http://[",
        ] {
            assert_eq!(at(307, other), None, "{other}");
            assert_eq!(sent(Method::GET, 301, other), None, "{other}");
        }
    }
}
