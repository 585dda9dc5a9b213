//! PEM as operators and their editors write it, and what is wrong with it in words. What a file holds
//! is never told.

use rustls::pki_types::pem::Error;

/// The mark that some editors put in front of a text. The first block behind it would not be found.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// How keys with a password begin: PKCS #8, and the form of before.
const WITH_PASSWORD: [&[u8]; 2] =
    [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED"];

/// The text without what an editor has put in front.
#[must_use]
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(MARK).unwrap_or(text)
}

/// Why there is no private key in a text that has none which could be read.
#[must_use]
pub fn no_private_key(text: &[u8]) -> &'static str {
    let has = |words: &&[u8]| text.windows(words.len()).any(|found| found == *words);
    match WITH_PASSWORD.iter().any(has) {
        true => "has a private key with a password, which cannot be used; write it without one",
        false => "has no private key (a block BEGIN PRIVATE KEY)",
    }
}

/// Why a text is not PEM.
#[must_use]
pub fn broken(error: &Error) -> String {
    let why = match error {
        Error::MissingSectionEnd { end_marker } => {
            format!("a block has no line END {}", String::from_utf8_lossy(end_marker))
        }
        Error::IllegalSectionStart { .. } => "a line BEGIN is not whole".to_owned(),
        Error::Base64Decode(_) => "a block is not base64".to_owned(),
        other => other.to_string(),
    };
    format!("is not PEM: {why}")
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_text_is_said_in_words() {
        let read = |text: &str| {
            let found: Result<Vec<CertificateDer<'_>>, _> =
                CertificateDer::pem_slice_iter(without_mark(text.as_bytes())).collect();
            found.map(|found| found.len()).map_err(|error| broken(&error))
        };
        let block = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(read(block), Ok(1));
        assert_eq!(read(&format!("\u{feff}{block}")), Ok(1));
        assert_eq!(
            read("-----BEGIN CERTIFICATE-----\nAAAA\n"),
            Err("is not PEM: a block has no line END CERTIFICATE".to_owned())
        );
        let odd = block.replace("AAAA", "A!A-secret");
        assert_eq!(read(&odd), Err("is not PEM: a block is not base64".to_owned()));
        assert_eq!(
            read("-----BEGIN CERTIFICATE\n"),
            Err("is not PEM: a line BEGIN is not whole".to_owned())
        );
        for (text, expect) in [
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "with a password"),
            ("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", "with a password"),
            ("-----BEGIN CERTIFICATE-----\n", "has no private key"),
            ("", "has no private key"),
        ] {
            assert!(no_private_key(text.as_bytes()).contains(expect), "{text}");
        }
    }
}
