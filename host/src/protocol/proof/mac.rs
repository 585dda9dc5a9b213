//! Message authentication codes: they mark what the gateway itself has written, and prove that a
//! secret is shared.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// HMAC-SHA256 (RFC 2104) over the parts, one after the other. Nothing separates them: parts of
/// variable length need their lengths in front, unless only the last one varies.
#[must_use]
#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The bytes in lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// HMAC-SHA256 over texts of any length, each with its length in front.
#[must_use]
pub fn of_texts(key: &[u8], texts: &[&[u8]]) -> [u8; 32] {
    let lengths: Vec<[u8; 8]> =
        texts.iter().map(|text| (text.len() as u64).to_be_bytes()).collect();
    let parts: Vec<&[u8]> =
        lengths.iter().zip(texts).flat_map(|(length, text)| [&length[..], text]).collect();
    hmac_sha256(key, &parts)
}

/// The inverse of [`hex`], for a code. `None` if these are not 64 lower-case digits.
#[must_use]
pub fn from_hex(digits: &[u8]) -> Option<[u8; 32]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn a_known_text_has_its_known_code() {
        let code = hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        let expect = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex(&code), expect);
    }

    #[test]
    fn a_code_survives_its_digits() {
        let code = hmac_sha256(b"k", &[]);
        assert_eq!(from_hex(hex(&code).as_bytes()), Some(code));
        for bad in ["", "0", &"0".repeat(63), &"0".repeat(65), &"A".repeat(64), &"g".repeat(64)] {
            assert_eq!(from_hex(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn texts_are_told_apart_by_their_lengths() {
        assert_ne!(of_texts(b"k", &[b"ab", b"c"]), of_texts(b"k", &[b"a", b"bc"]));
        assert_ne!(of_texts(b"k", &[b"ab"]), of_texts(b"k", &[b"ab", b""]));
    }
}
