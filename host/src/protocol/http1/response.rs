//! Reads the head of a response, and what it says about the body.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};

use super::{BodyDecoder, ResponseFault};

/// The type of nearly all answers.
const JSON: &str = "application/json";

/// The largest head, in bytes: status line, fields and the empty line.
pub const MAX_HEAD: usize = 64 * 1024;
/// The most fields in a head; a response with more is malformed.
const MAX_FIELDS: usize = 256;
/// The most interim responses (RFC 9110 §15.2) that are skipped before the final one. Many are
/// allowed, since some servers send one every few seconds while they work.
const MAX_INTERIM: u32 = 10_000;
/// Characters of an unsupported transfer coding's name that an error text shows.
const SHOWN: usize = 64;

/// A final response without its body.
#[derive(Debug)]
pub struct Head {
    /// Status, version and headers, as received: without the date, and without the length of a body
    /// that has arrived with them.
    pub response: Response<()>,
    /// The body that follows; already over if the response has none.
    pub body: BodyDecoder,
    /// Whether the connection may serve another request after the body.
    pub keeps: bool,
}

/// Searches for a head in the bytes read so far.
#[derive(Debug, Default)]
pub struct Scan {
    /// Bytes from the front that do not contain the head's end.
    searched: usize,
    interim: u32,
}

impl Scan {
    /// Takes the head of the response to a request with this method out of the bytes read;
    /// interim responses are skipped. `None` if more must be read.
    ///
    /// # Errors
    /// [`ResponseFault`], after which the connection is unusable.
    pub fn take(
        &mut self,
        read: &mut BytesMut,
        method: &Method,
    ) -> Result<Option<Head>, ResponseFault> {
        loop {
            let Some(end) = self.end(read) else {
                return if read.len() > MAX_HEAD {
                    Err(ResponseFault::LargeHead)
                } else {
                    Ok(None)
                };
            };
            if end > MAX_HEAD {
                return Err(ResponseFault::LargeHead);
            }
            let (bytes, here) = (read.split_to(end).freeze(), read.len());
            let head = parsed(bytes, method, here)?;
            *self = Self { searched: 0, interim: self.interim + 1 };
            match head.response.status() {
                StatusCode::SWITCHING_PROTOCOLS => return Err(ResponseFault::Upgrade),
                status if !status.is_informational() => return Ok(Some(head)),
                _ if self.interim > MAX_INTERIM => {
                    return Err(ResponseFault::Malformed("too many interim responses".to_owned()));
                }
                _ => {}
            }
        }
    }

    /// The offset after the empty line. A line may end with LF alone (RFC 9112 §2.2).
    fn end(&mut self, read: &[u8]) -> Option<usize> {
        for at in memchr::memchr_iter(b'\n', read.get(self.searched..)?) {
            let next = self.searched + at + 1;
            match read.get(next..)? {
                [b'\n', ..] => return Some(next + 1),
                [b'\r', b'\n', ..] => return Some(next + 2),
                [] | [b'\r'] => {
                    self.searched = next - 1;
                    return None;
                }
                _ => {}
            }
        }
        self.searched = read.len();
        None
    }
}

/// `here` are the bytes behind the head that have arrived with it.
fn parsed(bytes: Bytes, method: &Method, here: usize) -> Result<Head, ResponseFault> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut found = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut found, &bytes, &mut fields)
        .map_err(|error| ResponseFault::Malformed(error.to_string()))?;
    if parsed != httparse::Status::Complete(bytes.len()) {
        return Err(ResponseFault::Malformed("its head is incomplete".to_owned()));
    }
    let malformed = |what: &str| ResponseFault::Malformed(format!("its {what} is malformed"));
    let status = found.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or_else(|| malformed("status"))?;
    let mut headers = HeaderMap::with_capacity(found.headers.len());
    // To look for them in a map takes longer.
    let (mut has_coding, mut has_connection, mut has_length) = (false, false, false);
    let mut length = Ok(None);
    for field in found.headers.iter() {
        let name = name_of(field.name).ok_or_else(|| malformed("field name"))?;
        if name == header::CONTENT_LENGTH {
            has_length = true;
            length = length.and_then(|before| agreed_length(before, field.value));
        }
        // Nobody asks when a response was made. Its length is told below, where it has to be.
        if name == header::CONTENT_LENGTH || name == header::DATE {
            continue;
        }
        has_coding |= name == header::TRANSFER_ENCODING;
        has_connection |= name == header::CONNECTION;
        let value = value_of(&bytes, field.value).ok_or_else(|| malformed("field value"))?;
        headers.append(name, value);
    }
    let is_11 = found.version == Some(1);
    let codings = has_coding.then(|| codings(&headers)).into_iter().flatten();
    let body = framing(method, status, codings, length)?;
    let is_plain = is_11 && !has_coding && !has_connection;
    let keeps = (is_plain || stays_open(is_11, has_length, &headers))
        && !matches!(body, BodyDecoder::UntilClose);
    if has_length && !is_here(&body, here) {
        for field in found.headers.iter() {
            if name_of(field.name) == Some(header::CONTENT_LENGTH)
                && let Some(value) = value_of(&bytes, field.value)
            {
                headers.append(header::CONTENT_LENGTH, value);
            }
        }
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = if is_11 { Version::HTTP_11 } else { Version::HTTP_10 };
    *response.headers_mut() = headers;
    Ok(Head { response, body, keeps })
}

/// A field's name. That of a field which nearly every response has is found without a search.
fn name_of(name: &str) -> Option<HeaderName> {
    Some(match name {
        "content-type" | "Content-Type" => header::CONTENT_TYPE,
        "content-length" | "Content-Length" => header::CONTENT_LENGTH,
        "date" | "Date" => header::DATE,
        other => return HeaderName::from_bytes(other.as_bytes()).ok(),
    })
}

/// A field's value, which is part of the head. The one that nearly every response has is no part of it.
fn value_of(head: &Bytes, value: &[u8]) -> Option<HeaderValue> {
    if value == JSON.as_bytes() {
        return Some(const { HeaderValue::from_static(JSON) });
    }
    HeaderValue::from_maybe_shared(head.slice_ref(value)).ok()
}

/// Whether a body has arrived with its head, so that nobody needs to be told how long it will be.
fn is_here(body: &BodyDecoder, here: usize) -> bool {
    matches!(body, BodyDecoder::Length(length) if *length <= here as u64)
}

/// The length that the fields so far agree on, and this one too.
fn agreed_length(mut length: Option<u64>, field: &[u8]) -> Result<Option<u64>, ResponseFault> {
    for one in field.split(|byte| *byte == b',') {
        let said = number(one.trim_ascii()).ok_or(ResponseFault::Length)?;
        if length.is_some_and(|before| before != said) {
            return Err(ResponseFault::Length);
        }
        length = Some(said);
    }
    Ok(length)
}

/// How the body is framed (RFC 9112 §6.3).
fn framing<'a>(
    method: &Method,
    status: StatusCode,
    codings: impl Iterator<Item = &'a [u8]>,
    length: Result<Option<u64>, ResponseFault>,
) -> Result<BodyDecoder, ResponseFault> {
    if *method == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
    {
        return Ok(BodyDecoder::length(0));
    }
    let mut is_chunked = false;
    for coding in codings {
        // A server and the proxy before it may both write it; the body is chunked once.
        if coding.eq_ignore_ascii_case(b"chunked") {
            is_chunked = true;
        } else if is_chunked || !coding.eq_ignore_ascii_case(b"identity") {
            let name = String::from_utf8_lossy(coding);
            return Err(ResponseFault::Coding(name.chars().take(SHOWN).collect()));
        }
    }
    if is_chunked {
        return Ok(BodyDecoder::chunked());
    }
    Ok(length?.map_or(BodyDecoder::UntilClose, BodyDecoder::length))
}

/// The names of the transfer codings, in order.
fn codings(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let fields = headers.get_all(header::TRANSFER_ENCODING).iter();
    fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// A decimal number of digits only: no sign, no space.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Whether the connection stays open (RFC 9112 §9.3). A response with two framings, or two
/// codings, is read by its chunks, and its connection is closed (§6.1).
fn stays_open(is_11: bool, has_length: bool, headers: &HeaderMap) -> bool {
    let says = |word: &[u8]| {
        headers.get_all(header::CONNECTION).iter().any(|field| {
            let mut words = field.as_bytes().split(|byte| *byte == b',');
            words.any(|one| one.trim_ascii().eq_ignore_ascii_case(word))
        })
    };
    let is_unclear = headers.contains_key(header::TRANSFER_ENCODING)
        && (!is_11 || has_length || codings(headers).nth(1).is_some());
    !is_unclear && !says(b"close") && (is_11 || says(b"keep-alive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str) -> Result<(Option<Head>, BytesMut), ResponseFault> {
        take_for(text, &Method::POST)
    }

    fn take_for(text: &str, method: &Method) -> Result<(Option<Head>, BytesMut), ResponseFault> {
        let mut read = BytesMut::from(text);
        Ok((Scan::default().take(&mut read, method)?, read))
    }

    fn head(text: &str) -> Head {
        take(text).unwrap().0.unwrap()
    }

    #[test]
    fn a_head_is_taken_and_the_body_left() {
        let (head, rest) =
            take("HTTP/1.1 201 Created\r\nContent-Length: 3\r\nX-A: b\r\n\r\nabc").unwrap();
        let head = head.unwrap();
        assert_eq!(head.response.status(), 201);
        assert_eq!(head.response.headers()["x-a"], "b");
        assert_eq!(head.body, BodyDecoder::length(3));
        assert!(head.keeps);
        assert_eq!(rest, "abc");
    }

    #[test]
    fn the_length_is_told_of_a_body_that_is_to_come() {
        let text = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 3, 3\r\n\r\n";
        for (here, told) in [("", Some("3, 3")), ("ab", Some("3, 3")), ("abc", None)] {
            let head = head(&format!("{text}{here}"));
            let length = head.response.headers().get("content-length");
            assert_eq!(length.map(|length| length.to_str().unwrap()), told, "{here}");
            assert!(!head.response.headers().contains_key("date"));
        }
        let coded = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nab";
        assert_eq!(head(coded).response.headers()["content-length"], "1");
    }

    #[test]
    fn a_head_may_come_byte_by_byte() {
        for text in [
            "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200\nA: b\nContent-Length: 0\n\n",
        ] {
            let (mut read, mut scan) = (BytesMut::new(), Scan::default());
            for (at, byte) in text.bytes().enumerate() {
                read.extend_from_slice(&[byte]);
                let seen = scan.take(&mut read, &Method::GET).unwrap();
                assert_eq!(seen.is_some(), at + 1 == text.len(), "{at} {text:?}");
            }
            assert!(read.is_empty());
        }
    }

    #[test]
    fn what_goes_before_the_response_is_skipped_but_not_without_end() {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        let text = format!("{}HTTP/1.1 204 No Content\r\n\r\n", early.repeat(3));
        assert_eq!(head(&text).response.status(), 204);
        assert!(take(&early.repeat(MAX_INTERIM as usize + 1)).is_err());
        let switched = take("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
        assert_eq!(switched.err(), Some(ResponseFault::Upgrade));
    }

    #[test]
    fn the_body_ends_where_the_head_says() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", BodyDecoder::chunked(), true),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
                BodyDecoder::chunked(),
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                BodyDecoder::chunked(),
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
                BodyDecoder::UntilClose,
                false,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", BodyDecoder::length(5), true),
            ("HTTP/1.1 200 OK\r\n\r\n", BodyDecoder::UntilClose, false),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", BodyDecoder::length(0), true),
            ("HTTP/1.1 304 Not Modified\r\n\r\n", BodyDecoder::length(0), true),
            (
                "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 1\r\n\r\n",
                BodyDecoder::length(1),
                false,
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", BodyDecoder::length(1), false),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n",
                BodyDecoder::length(1),
                true,
            ),
        ];
        for (text, body, keeps) in cases {
            let head = head(text);
            assert_eq!((head.body, head.keeps), (body, keeps), "{text}");
        }
        let (head, _) =
            take_for("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", &Method::HEAD).unwrap();
        assert_eq!(head.unwrap().body, BodyDecoder::length(0));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        ] {
            assert_eq!(take(text).err(), Some(ResponseFault::Length), "{text}");
        }
        for text in [
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n",
        ] {
            assert!(matches!(take(text).err(), Some(ResponseFault::Coding(_))), "{text}");
        }
        for text in [
            "\r\n\r\n",
            "hello\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 99 x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno field\r\n\r\n",
        ] {
            assert!(matches!(take(text).err(), Some(ResponseFault::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn a_head_has_an_end() {
        let field = format!("x: {}\r\n", "y".repeat(1000));
        let long = format!("HTTP/1.1 200 OK\r\n{}", field.repeat(80));
        assert_eq!(take(&long).err(), Some(ResponseFault::LargeHead));
        assert_eq!(take(&format!("{long}\r\n")).err(), Some(ResponseFault::LargeHead));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(MAX_FIELDS + 1));
        assert!(matches!(take(&many).err(), Some(ResponseFault::Malformed(_))));
    }
}
