//! Percent-encoding of one segment of a URL (RFC 3986, section 2.1).

/// Encodes every byte that is not one of RFC 3986's unreserved characters as `%XX`.
#[must_use]
pub fn percent_encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if text.bytes().all(is_plain) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The inverse of [`percent_encoded`]. `None` if a `%` is not followed by two hexadecimal digits,
/// or the bytes are not UTF-8.
#[must_use]
pub fn percent_decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |b: u8| char::from(b).to_digit(16);
        let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_its_way_through_a_path() {
        for name in ["plain", "with space", "ü%/?#", "100%"] {
            assert_eq!(percent_decoded(&percent_encoded(name)).as_deref(), Some(name));
        }
        assert_eq!(percent_decoded("%zz"), None);
        assert_eq!(percent_decoded("%f"), None);
        assert_eq!(percent_decoded("%ff"), None);
    }
}
