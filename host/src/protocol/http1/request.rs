//! Writes the head of a request in two pieces: the lines, which may be the same for many
//! requests, and the end with the framing.

use http::{HeaderName, HeaderValue, Request, header};

/// How the receiver knows where the body ends (RFC 9112 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body, and no header about it.
    Nothing,
    /// `Content-Length`, in bytes; 0 is a body too.
    Length(u64),
    /// `Transfer-Encoding: chunked`, for a length that is not known yet.
    Chunked,
}

/// Headers of one connection only (RFC 9110 §7.6.1), or written by [`end`]: never copied from
/// a request.
const OWN: [HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
];
const KEEP_ALIVE: &str = "keep-alive";

/// Appends the request line and the headers, without the framing, which [`end`] adds. The target is
/// written as the URI is: path and query, or all of it for a proxy (RFC 9112 §3.2.2).
pub fn lines<B>(out: &mut Vec<u8>, request: &Request<B>) {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    out.extend_from_slice(request.method().as_str().as_bytes());
    out.push(b' ');
    if let (Some(scheme), Some(authority)) = (request.uri().scheme_str(), request.uri().authority())
    {
        out.extend_from_slice(scheme.as_bytes());
        out.extend_from_slice(b"://");
        out.extend_from_slice(authority.as_str().as_bytes());
    }
    // A URL may have a query and no path.
    if !target.starts_with('/') {
        out.push(b'/');
    }
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in request.headers() {
        if OWN.contains(name) || name.as_str() == KEEP_ALIVE {
            continue;
        }
        header_line(out, name, value);
    }
}

/// Appends one header.
pub fn header_line(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends the framing's header and the empty line that ends the head.
pub fn end(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Nothing => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            push_number(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal. Nearly every request has one, and `write!` takes several times as long.
fn push_number(out: &mut Vec<u8>, mut number: u64) {
    // As many as the largest number has.
    let mut digits = [b'0'; 20];
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
        length += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[digits.len() - length..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(out: &mut Vec<u8>, request: &Request<()>, framing: Framing) {
        lines(out, request);
        end(out, framing);
    }

    #[test]
    fn a_head_has_what_was_asked_and_one_framing() {
        let request = Request::post("/mcp?x=1")
            .header("host", "one:80")
            .header("x-two", "a")
            .header("x-two", "b")
            .header("content-length", "7")
            .header("transfer-encoding", "chunked")
            .header("connection", "close")
            .header("keep-alive", "5")
            .body(())
            .unwrap();
        for (framing, said) in [
            (Framing::Nothing, ""),
            (Framing::Length(12), "content-length: 12\r\n"),
            (Framing::Chunked, "transfer-encoding: chunked\r\n"),
        ] {
            let mut out = b"before".to_vec();
            head(&mut out, &request, framing);
            let expected = format!(
                "beforePOST /mcp?x=1 HTTP/1.1\r\nhost: one:80\r\nx-two: a\r\nx-two: b\r\n{said}\r\n"
            );
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn a_length_is_written_in_decimal() {
        for number in [0, 9, 10, 1234, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }

    #[test]
    fn a_request_without_a_path_asks_for_the_root() {
        let mut out = Vec::new();
        head(&mut out, &Request::new(()), Framing::Nothing);
        assert!(out.starts_with(b"GET / HTTP/1.1\r\n"));
        let uri: http::Uri = "http://one?key=a".parse().unwrap();
        let mut request = Request::new(());
        *request.uri_mut() = uri.path_and_query().cloned().map(http::Uri::from).unwrap();
        let mut out = Vec::new();
        head(&mut out, &request, Framing::Nothing);
        assert!(out.starts_with(b"GET /?key=a HTTP/1.1\r\n"), "{out:?}");
    }

    #[test]
    fn a_proxy_is_told_the_whole_url() {
        let request = Request::post("http://one:81/mcp?x=1").body(()).unwrap();
        let mut out = Vec::new();
        head(&mut out, &request, Framing::Nothing);
        assert!(out.starts_with(b"POST http://one:81/mcp?x=1 HTTP/1.1\r\n"), "{out:?}");
    }

    #[test]
    fn credentials_for_a_proxy_before_the_server_are_the_operators_to_give() {
        let request = Request::get("/").header("proxy-authorization", "Bearer x").body(()).unwrap();
        let mut out = Vec::new();
        head(&mut out, &request, Framing::Nothing);
        assert!(out.ends_with(b"proxy-authorization: Bearer x\r\n\r\n"), "{out:?}");
    }
}
