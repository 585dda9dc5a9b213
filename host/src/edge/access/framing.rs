//! The parts of a request's head that two readers may understand differently (RFC 9112, sections
//! 3.2, 3.2.2 and 6.1). A proxy in front that reads them otherwise than we do would send one
//! client's bytes as another's.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Request, Version};

use crate::edge::refusal::Refusal;
use crate::protocol::era::fault::EraFault;
use crate::protocol::era::ladder::names_modern;
use crate::protocol::headers;

/// Headers with one value, which decide who asks and for what.
const SINGLE: [HeaderName; 6] = [
    AUTHORIZATION,
    CONTENT_TYPE,
    ORIGIN,
    headers::SESSION,
    headers::PROTOCOL_VERSION,
    headers::LAST_EVENT_ID,
];

/// A head that every reader understands alike, as far as the parsed request shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// The bytes of the request line and headers, as they were on the wire.
    pub size: usize,
    /// Whether the body comes in chunks.
    pub has_coding: bool,
    /// Whether it has an `Origin`, as that of a page has.
    pub has_origin: bool,
    /// Whether it has a header of the seam, which is none of a client's.
    pub has_internal: bool,
}

/// Checks a head for exactly one `Host`, a target that agrees with it, no coding but `chunked`, and no
/// second value where one counts. HTTP/1.0 needs no `Host`. What few requests have is noted on the way:
/// to look for it in the map costs each of them more.
pub fn check<B>(request: &Request<B>) -> Result<Framing, Refusal> {
    let target = request.uri().path_and_query().map_or(1, |target| target.as_str().len());
    let mut size = request.method().as_str().len() + target + "  HTTP/1.1\r\n".len();
    let (mut host, mut hosts, mut has_coding) = (None, 0, false);
    let (mut has_origin, mut has_internal) = (false, false);
    for (name, value) in request.headers() {
        size += name.as_str().len() + value.len() + 4;
        if name == HOST {
            hosts += 1;
            host = Some(value);
        } else if name == TRANSFER_ENCODING {
            if has_coding || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::Coding);
            }
            has_coding = true;
        } else if name == ORIGIN {
            has_origin = true;
        } else {
            has_internal |= headers::is_internal(name);
        }
    }
    if hosts != 1 && (hosts > 1 || request.version() == Version::HTTP_11) {
        return Err(Refusal::Hosts(hosts));
    }
    if let Some(authority) = request.uri().authority() {
        let host = host.map_or(&b""[..], |host| host.as_bytes());
        if !authority.as_str().as_bytes().eq_ignore_ascii_case(host) {
            return Err(Refusal::OtherAuthority);
        }
    }
    check_single(request.headers())?;
    Ok(Framing { size, has_coding, has_origin, has_internal })
}

fn check_single(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.len() == headers.keys_len() {
        return Ok(());
    }
    let is_several = |name: &&HeaderName| headers.get_all(*name).iter().nth(1).is_some();
    match SINGLE.iter().find(is_several) {
        // A client without a session is told in the words of its revision.
        Some(name) if *name == headers::PROTOCOL_VERSION && names_modern(headers) => {
            Err(EraFault::Header("MCP-Protocol-Version comes more than once".into()).into())
        }
        Some(name) => Err(Refusal::Several(name.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(target: &str, headers: &[(&str, &str)]) -> Result<usize, String> {
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let framing = check(&request.body(()).unwrap());
        framing.map(|framing| framing.size).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn one_host_and_plain_chunks_pass() {
        assert_eq!(checked("/mcp", &[("host", "a")]), Ok("GET /mcp HTTP/1.1\r\nhost: a\r\n".len()));
        assert!(checked("http://a:1/mcp", &[("host", "A:1")]).is_ok());
        assert!(checked("/", &[("host", "a"), ("transfer-encoding", "Chunked")]).is_ok());
        assert!(checked("/", &[("host", "a"), ("accept", "a/b"), ("accept", "c/d")]).is_ok());
    }

    #[test]
    fn what_few_heads_have_is_noted() {
        let noted = |name: &str| {
            let request = Request::builder().header("host", "a").header("accept", "b/c");
            let framing = check(&request.header(name, "d").body(()).unwrap()).ok();
            framing.map(|framing| (framing.has_origin, framing.has_internal))
        };
        assert_eq!(noted("x-mooring"), Some((false, false)));
        assert_eq!(noted("origin"), Some((true, false)));
        assert_eq!(noted("Mooring-Principal"), Some((false, true)));
    }

    #[test]
    fn a_revision_that_is_named_twice_is_refused_in_the_words_of_one_without_sessions() {
        let named = |version: &str| {
            let request = Request::builder().header("host", "a");
            let request = request.header(headers::PROTOCOL_VERSION, version);
            let request = request.header(headers::PROTOCOL_VERSION, "2025-11-25");
            check(&request.body(()).unwrap()).unwrap_err()
        };
        assert!(matches!(named("2026-07-28"), Refusal::Era(fault) if fault.code() == -32020));
        assert!(matches!(named("2025-06-18"), Refusal::Several(_)));
    }

    #[test]
    fn what_two_readers_may_understand_differently_is_refused() {
        let session = headers::SESSION;
        for (target, headers) in [
            ("/", &[("host", "a"), ("host", "a")][..]),
            ("/", &[("host", "a"), ("host", "b")]),
            ("/", &[]),
            ("/", &[("host", "a"), ("origin", "http://localhost"), ("origin", "http://evil")]),
            ("/", &[("host", "a"), (session.as_str(), "1"), (session.as_str(), "2")]),
            ("/", &[("host", "a"), ("authorization", "a"), ("authorization", "a")]),
            ("http://b/", &[("host", "a")]),
            ("http://a:2/", &[("host", "a:1")]),
            ("/", &[("host", "a"), ("transfer-encoding", "gzip, chunked")]),
            ("/", &[("host", "a"), ("transfer-encoding", "chunked, chunked")]),
            ("/", &[("host", "a"), ("transfer-encoding", "identity")]),
            (
                "/",
                &[
                    ("host", "a"),
                    ("transfer-encoding", "chunked"),
                    ("transfer-encoding", "chunked"),
                ],
            ),
            (
                "/",
                &[("host", "a"), ("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")],
            ),
        ] {
            assert!(checked(target, headers).is_err(), "{target} {headers:?}");
        }
    }
}
