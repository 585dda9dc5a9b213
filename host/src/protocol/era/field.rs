//! Values of the headers that repeat what stands in the body, `Mcp-Name` and `Mcp-Param-*`: visible
//! ASCII as it is, anything else as `=?base64?…?=` (2026-07-28, basic/transports/streamable-http,
//! "Value Encoding").

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::protocol::headers::NAME;

/// What the names of headers begin with that repeat an argument.
pub const PARAMETER: &str = "mcp-param-";
const BEGIN: &str = "=?base64?";
const END: &str = "?=";

/// Why a header cannot be read. The client reads the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Two intermediaries may read two values.
    #[error("comes more than once")]
    Twice,
    /// Bytes that only an encoded value may stand for.
    #[error("has bytes that are not visible ASCII; encode it as =?base64?…?=")]
    Bytes,
    /// Not base64 with its padding, or not UTF-8 within.
    #[error("is not valid base64 of UTF-8")]
    Base64,
}

/// The only value of a header, without white space around it. `None` if it is absent.
///
/// # Errors
/// If the header comes more than once.
pub fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, Unreadable> {
    let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let first = values.next().map(<[u8]>::trim_ascii);
    if values.next().is_some() { Err(Unreadable::Twice) } else { Ok(first) }
}

/// The text that a value stands for.
///
/// # Errors
/// If it is neither visible ASCII nor encoded text.
pub fn decoded(value: &[u8]) -> Result<Cow<'_, str>, Unreadable> {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    let text = std::str::from_utf8(value).ok().filter(|_| value.iter().all(is_plain));
    let text = text.ok_or(Unreadable::Bytes)?;
    match text.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END)) {
        Some(encoded) => {
            let bytes = STANDARD.decode(encoded).map_err(|_| Unreadable::Base64)?;
            String::from_utf8(bytes).map(Cow::Owned).map_err(|_| Unreadable::Base64)
        }
        None => Ok(Cow::Borrowed(text)),
    }
}

/// Whether a text stands in a header as it is, and nothing else does that stands for it but its code.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    let is_visible = |byte: u8| matches!(byte, b' '..=b'~' | b'\t');
    text.bytes().all(is_visible) && text.trim_ascii() == text && !text.starts_with(BEGIN)
}

/// A header's text. Of those that repeat the body it is what the value stands for.
#[must_use]
pub fn text(name: &HeaderName, value: &[u8]) -> Option<String> {
    if *name == NAME || name.as_str().starts_with(PARAMETER) {
        return decoded(value).ok().map(Cow::into_owned);
    }
    std::str::from_utf8(value).ok().map(str::to_owned)
}

/// The value that stands for a text. `None` only for a text that is far too long for a header.
#[must_use]
pub fn encoded(text: &str) -> Option<HeaderValue> {
    if is_plain(text) {
        return HeaderValue::from_str(text).ok();
    }
    HeaderValue::from_str(&format!("{BEGIN}{}{END}", STANDARD.encode(text))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_has_a_value_that_stands_for_it() {
        for text in ["plain name", "", " a", "a ", "\u{e4}", "=?base64?x", "a\nb", "x\ty"] {
            let value = encoded(text).unwrap();
            assert_eq!(decoded(value.as_bytes().trim_ascii()).as_deref(), Ok(text), "{value:?}");
        }
        assert_eq!(encoded("plain name").unwrap(), "plain name");
    }

    #[test]
    fn a_value_is_read_as_it_is_or_as_base64() {
        for (value, expect) in [
            (&b"plain name"[..], Ok("plain name")),
            (b"=?base64?SGVsbG8=?=", Ok("Hello")),
            (b"=?base64?w6Q=?=", Ok("\u{e4}")),
            (b"=?base64??=", Ok("")),
            (b"=?base64?SGVsbG8=", Ok("=?base64?SGVsbG8=")),
            (b"SGVsbG8=?=", Ok("SGVsbG8=?=")),
            (b"=?BASE64?SGVsbG8=?=", Ok("=?BASE64?SGVsbG8=?=")),
            (b"=?base64?SGVsbG8?=", Err(Unreadable::Base64)),
            (b"=?base64?SGVs!!!bG8=?=", Err(Unreadable::Base64)),
            (b"=?base64?/w==?=", Err(Unreadable::Base64)),
            ("\u{e4}".as_bytes(), Err(Unreadable::Bytes)),
            (b"a\x01", Err(Unreadable::Bytes)),
        ] {
            assert_eq!(decoded(value), expect.map(Cow::Borrowed), "{value:?}");
        }
    }

    #[test]
    fn only_what_repeats_the_body_is_decoded() {
        let of = |name: &'static str, value: &str| {
            text(&HeaderName::from_static(name), value.as_bytes())
        };
        let encoded = "=?base64?w7Y=?=";
        for name in ["mcp-name", "mcp-param-thread"] {
            assert_eq!(of(name, encoded).as_deref(), Some("\u{f6}"));
            assert_eq!(of(name, "=?base64?w7?="), None);
        }
        assert_eq!(of("x-thread", encoded).as_deref(), Some(encoded));
    }

    #[test]
    fn a_header_has_one_value() {
        let name = HeaderName::from_static("mcp-name");
        let mut headers = HeaderMap::new();
        assert_eq!(only(&headers, &name), Ok(None));
        headers.append(&name, HeaderValue::from_static("  a b\t"));
        assert_eq!(only(&headers, &name), Ok(Some(&b"a b"[..])));
        headers.append(&name, HeaderValue::from_static("a b"));
        assert_eq!(only(&headers, &name), Err(Unreadable::Twice));
    }
}
