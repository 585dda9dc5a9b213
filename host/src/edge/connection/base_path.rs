//! `BASE_PATH`: what stands in front of the path of every request, for a gateway that shares its
//! name with others behind a proxy.

use http::uri::PathAndQuery;
use http::{Request, Uri};

use crate::edge::refusal::Refusal;
use crate::net::Body;

/// The path below the base path; `None` if it is not below it. An empty base has every path.
pub fn below<'p>(base: &str, path: &'p str) -> Option<&'p str> {
    match path.strip_prefix(base)? {
        "" => Some("/"),
        rest => rest.starts_with('/').then_some(rest),
    }
}

/// Takes the base path off a request's target, so that all that follows need not know it. What is
/// served outside of it as well (`is_served`) stays as it is.
pub fn take_off(
    base: &str,
    request: &mut Request<Body>,
    is_served: impl FnOnce(&str) -> bool,
) -> Result<(), Refusal> {
    let path = request.uri().path();
    let Some(rest) = below(base, path) else {
        if is_served(path) {
            return Ok(());
        }
        let text = format!("{path}; every path here begins with {base} (BASE_PATH)");
        return Err(Refusal::UnknownPath(text));
    };
    let target = match request.uri().query() {
        Some(query) => format!("{rest}?{query}"),
        None => rest.to_owned(),
    };
    let mut parts = request.uri().clone().into_parts();
    // It was part of a target, and so is one.
    parts.path_and_query = PathAndQuery::try_from(target).ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_path_is_whole_segments() {
        for (base, path, expect) in [
            ("", "/mcp", Some("/mcp")),
            ("/hub", "/hub/mcp/a%2Fb", Some("/mcp/a%2Fb")),
            ("/hub", "/hub", Some("/")),
            ("/hub", "/hub/", Some("/")),
            ("/a/b", "/a/b/sse", Some("/sse")),
            ("/hub", "/hubs/mcp", None),
            ("/hub", "/mcp", None),
            ("/hub", "/Hub/mcp", None),
        ] {
            assert_eq!(below(base, path), expect, "{base} {path}");
        }
    }

    #[test]
    fn the_query_stays_and_health_is_served_outside_too() {
        let taken = |target: &str| {
            let mut request = Request::new(Body::Empty);
            *request.uri_mut() = target.parse().unwrap();
            take_off("/hub", &mut request, |path| path == "/health").ok()?;
            Some(request.uri().to_string())
        };
        assert_eq!(taken("/hub/messages?sessionId=1").as_deref(), Some("/messages?sessionId=1"));
        assert_eq!(taken("http://h/hub/mcp").as_deref(), Some("http://h/mcp"));
        assert_eq!(taken("/hub?x").as_deref(), Some("/?x"));
        assert_eq!(taken("/health").as_deref(), Some("/health"));
        assert_eq!(taken("/mcp"), None);
    }
}
