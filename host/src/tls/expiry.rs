//! Until when a certificate is valid (RFC 5280, 4.1.2.5), for those who have to renew it.

use std::path::PathBuf;

use rustls::sign::CertifiedKey;

use super::common_name::element;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// A certificate that this process shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInUse {
    /// What it is shown for: `listen`, or `cluster`.
    pub used_for: &'static str,
    pub file: PathBuf,
    /// Unix seconds. `None` if they cannot be read.
    pub not_after: Option<u64>,
}

/// Until when a certificate with its chain is valid, in Unix seconds: the first end counts.
#[must_use]
pub fn valid_until(certificate: &CertifiedKey) -> Option<u64> {
    certificate.cert.iter().filter_map(|certificate| not_after(certificate)).min()
}

/// The end of one certificate, from its DER.
fn not_after(certificate: &[u8]) -> Option<u64> {
    let inside = |bytes, tag| element(bytes).filter(|(found, ..)| *found == tag);
    let (_, whole, _) = inside(certificate, SEQUENCE)?;
    let (_, mut rest, _) = inside(whole, SEQUENCE)?;
    if let Some((_, _, after)) = inside(rest, VERSION) {
        rest = after;
    }
    // The serial number, the algorithm of the signature, and who has issued it.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = inside(rest, SEQUENCE)?;
    let (_, _, end) = element(validity)?;
    let (kind, text, _) = element(end)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    match kind {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year = number(year)?;
            seconds(if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            seconds(number(year)?, rest)
        }
        _ => None,
    }
}

/// Unix seconds of a time in that year, as `MMDDhhmmss`.
fn seconds(year: u64, text: &str) -> Option<u64> {
    let part = |at: usize| number(text.get(at..at + 2)?);
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    let is_time = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if text.len() != 10 || year < 1970 || !is_time {
        return None;
    }
    // Years begin in March, so that a leap day is the last of one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_before_march_0 = 719_468;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let days = days.checked_sub(days_before_march_0)?;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read_in_both_spellings() {
        for (year, month, day, expect) in [
            (1999, 12, 31, 946_598_400),
            (2024, 2, 29, 1_709_164_800),
            (2030, 1, 1, 1_893_456_000),
            (2049, 12, 31, 2_524_521_600),
            // From here on with four digits.
            (2050, 1, 1, 2_524_608_000),
            (4096, 1, 1, 67_090_118_400),
        ] {
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_before = date_time_ymd(1990, 1, 1);
            params.not_after = date_time_ymd(year, month, day);
            let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(not_after(made.der()), Some(expect), "{year}-{month}-{day}");
            for end in 0..made.der().len().min(80) {
                assert_eq!(not_after(&made.der()[..end]), None, "cut at {end}");
            }
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        assert_eq!(seconds(2024, "0229123456"), Some(1_709_210_096));
        for text in [
            "1329123456",
            "0132123456",
            "0100123456",
            "0101240000",
            "0101",
            "01012359599",
            "01+1000000",
        ] {
            assert_eq!(seconds(2024, text), None, "{text}");
        }
        assert_eq!(seconds(1969, "0101000000"), None);
    }
}
