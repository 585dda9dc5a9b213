//! How differently one URI may be spelled, and how differently servers may read it. Comparing
//! bytes is not enough where a URI is to be refused: servers parse what they are asked for, by
//! RFC 3986, by the WHATWG's URL standard (as `new URL()` does), or in a way of their own.

pub mod loose_template;
mod positions;
pub mod resource_judge;
pub mod template;

use std::collections::BTreeSet;

use icu_normalizer::ComposingNormalizerBorrowed;
use url::Url;

/// The longest URI that is judged, in bytes. Servers and their HTTP stacks rarely take more.
pub const MAX_LENGTH: usize = 8 * 1024;
/// How many times a URI may be percent-encoded. Nobody needs more than two layers.
const LAYERS: usize = 4;
/// Most parameters of a query.
const MAX_PARAMETERS: usize = 64;

/// Whether both standards leave the URI as it is. What stands before `fixed.len()` is the
/// template's own text, which may be changed in the way that it always is: `Note://{id}` stays
/// usable although a scheme is to be in lower case.
#[must_use]
pub fn is_settled(uri: &str, fixed: &str) -> bool {
    if uri.len() > MAX_LENGTH {
        return false;
    }
    [rfc, whatwg].into_iter().all(|normal| {
        let Some(now) = normal(uri) else { return false };
        now == uri || changes_like(uri, fixed, &now, normal)
    })
}

/// Whether only the fixed part differs between a URI and its normal form.
fn changes_like(uri: &str, fixed: &str, now: &str, normal: fn(&str) -> Option<String>) -> bool {
    let Some(tail) = uri.strip_prefix(fixed) else { return false };
    ["x", "/x"].into_iter().any(|sample| {
        let fixed = normal(&format!("{fixed}{sample}"));
        let fixed = fixed.as_deref().and_then(|text| text.strip_suffix(sample));
        fixed.is_some_and(|fixed| now.strip_prefix(fixed) == Some(tail))
    })
}

/// The URI as it stands and in its normal forms. Two URIs that share one of them are the same to
/// some servers.
#[must_use]
pub fn spellings(uri: &str) -> BTreeSet<String> {
    let parsed = whatwg(uri);
    let both = parsed.as_deref().and_then(rfc);
    [Some(uri.to_owned()), rfc(uri), parsed, both].into_iter().flatten().collect()
}

/// Everything that a tolerant server may take a settled URI for, in the form of [`skeleton`].
/// `None` if one of the readings leaves its place (`..%2F`), is no text or has no end.
#[must_use]
pub fn readings(uri: &str) -> Option<BTreeSet<String>> {
    let (path, rest) = uri.split_at(uri.find(['?', '#']).unwrap_or(uri.len()));
    let mut path = path.to_owned();
    let mut rest = rest.to_owned();
    let mut found = BTreeSet::new();
    for _ in 0..LAYERS {
        let is_long = rest.matches('&').count() >= MAX_PARAMETERS;
        if path.contains('\0') || rest.contains('\0') || is_long || wanders(&path) {
            return None;
        }
        found.extend(variants(&format!("{path}{rest}")));
        let next = (decoded(&path)?, decoded(&rest)?);
        if next.0 == path && next.1 == rest {
            return Some(found);
        }
        (path, rest) = next;
    }
    None
}

/// The skeletons of all spellings of a URI that is refused, with fewer and fewer layers of
/// percent-encoding. A URI with one of them among its [`readings`] may be the same.
#[must_use]
pub fn keys(uri: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for spelling in spellings(uri) {
        let mut layer = Some(spelling);
        for _ in 0..LAYERS {
            let Some(text) = layer else { break };
            found.insert(skeleton(&text));
            layer = decoded(&text).filter(|next| *next != text);
        }
    }
    found
}

/// A URI without all that servers may overlook: case, empty segments, blanks, the slashes before
/// the authority, and the difference between characters that look alike.
#[must_use]
pub fn skeleton(uri: &str) -> String {
    let folded = folded(uri);
    let (path, rest) = folded.split_at(folded.find(['?', '#']).unwrap_or(folded.len()));
    let (scheme, path) = path.split_once(':').unwrap_or(("", path));
    let path = path.strip_prefix("//localhost/").filter(|_| scheme == "file").unwrap_or(path);
    let segments: Vec<&str> =
        path.split('/').map(str::trim).filter(|segment| !segment.is_empty()).collect();
    let (query, fragment) = rest.split_at(rest.find('#').unwrap_or(rest.len()));
    let mut parameters: Vec<&str> = query.trim_start_matches('?').split('&').collect();
    parameters.sort_unstable();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{scheme}:{}{mark}{}{fragment}", segments.join("/"), parameters.join("&"))
}

/// The skeletons of a URI with and without fragment, query, user and port, and with each parameter
/// alone, since servers overlook those that they do not know, and differ in which of two counts.
fn variants(uri: &str) -> BTreeSet<String> {
    let (whole, _) = uri.split_at(uri.find('#').unwrap_or(uri.len()));
    let (path, query) = whole.split_once('?').unwrap_or((whole, ""));
    let each = query.split('&').map(|parameter| format!("{path}?{parameter}"));
    let all: Vec<String> = [uri, whole, path].into_iter().map(str::to_owned).chain(each).collect();
    let hosts: Vec<String> = all.iter().filter_map(|uri| with_bare_host(uri)).collect();
    all.iter().chain(&hosts).map(|uri| skeleton(uri)).collect()
}

fn with_bare_host(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => host,
    };
    (host != authority).then(|| format!("{scheme}://{host}{path}"))
}

/// Lower case, compatibility forms composed (UAX 15), slashes for backslashes, no blanks that the
/// WHATWG ignores.
fn folded(uri: &str) -> String {
    let plain = uri.trim_matches(|c: char| c <= ' ');
    let plain: String = plain.chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).collect();
    let composed = ComposingNormalizerBorrowed::new_nfkc().normalize(&plain);
    composed.to_lowercase().replace('\\', "/")
}

/// Whether a segment means the folder itself or the one above, to any server.
fn wanders(path: &str) -> bool {
    let path = folded(path);
    let dots = |segment: &str| {
        let plain = segment.split(';').next().unwrap_or("").trim_matches(|c: char| c <= ' ');
        plain == "." || plain == ".."
    };
    path.split('/').any(dots)
}

/// One layer of percent-encoding less. `None` if the bytes are not UTF-8.
fn decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        match (*byte == b'%').then(|| triplet(behind)).flatten() {
            Some(byte) => {
                out.push(byte);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*byte);
                rest = behind;
            }
        }
    }
    String::from_utf8(out).ok()
}

/// The byte that two hexadecimal digits stand for.
fn triplet(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

/// The normal form of the WHATWG's URL standard; `None` if it is no URL there.
fn whatwg(uri: &str) -> Option<String> {
    Url::parse(uri).ok().map(String::from)
}

/// The normal form of RFC 3986, section 6.2.2; `None` if it is no URI there.
fn rfc(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once(':')?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !is_scheme {
        return None;
    }
    let rest = encoded_once(rest)?;
    let (path, behind) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let (authority, path) = match path.strip_prefix("//") {
        Some(below) => {
            let (authority, path) = below.split_at(below.find('/').unwrap_or(below.len()));
            (format!("//{}", lower_host(authority)), path)
        }
        None => (String::new(), path),
    };
    let path = without_dots(path);
    Some(format!("{}:{authority}{path}{behind}", scheme.to_ascii_lowercase()))
}

/// Percent-encoding in its one normal form (section 6.2.2.2). `None` if a character may not stand
/// in a URI.
fn encoded_once(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte == b'%' {
            let byte = triplet(behind)?;
            rest = behind.get(2..).unwrap_or_default();
            if is_unreserved(byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        } else if is_allowed(*byte) {
            out.push(char::from(*byte));
        } else {
            return None;
        }
    }
    Some(out)
}

/// Letters of the host in lower case, but not the digits of `%XX`.
fn lower_host(authority: &str) -> String {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (format!("{user}@"), host),
        None => (String::new(), authority),
    };
    let mut out = user;
    let mut digits = 0;
    for c in host.chars() {
        out.push(if digits == 0 { c.to_ascii_lowercase() } else { c });
        digits = if c == '%' { 2 } else { usize::saturating_sub(digits, 1) };
    }
    out
}

/// The path without `.` and `..` (section 5.2.4).
fn without_dots(path: &str) -> String {
    if !path.split('/').any(|segment| segment == "." || segment == "..") {
        return path.to_owned();
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." && kept.len() > 1 {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    kept.join("/")
}

/// RFC 3986, section 2.3.
pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Whether a byte may stand in a URI by itself (sections 2.2 and 2.3).
pub fn is_allowed(byte: u8) -> bool {
    is_unreserved(byte) || b":/?#[]@!$&'()*+,;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_in_normal_form_is_settled() {
        for uri in [
            "test://dir/secret",
            "note://1",
            "file:///etc/hosts",
            "file:///a%20b/%C3%A4",
            "http://example.com/a?b=c#d",
            "http://[::1]:3000/",
            "urn:isbn:0451450523",
            "test://dir//a/",
            "test://user@dir/a;b=c",
            "mem://x?path=../y",
        ] {
            assert!(is_settled(uri, ""), "{uri}");
        }
    }

    #[test]
    fn any_other_spelling_is_not() {
        for uri in [
            // Blanks that the WHATWG ignores, outside and inside.
            " test://dir/secret",
            "test://dir/secret ",
            "\u{1}test://dir/secret",
            "test://dir/sec\tret",
            "test://dir/sec\nret",
            "te\rst://dir/secret",
            "test://dir/sec ret",
            // Case of scheme, host and percent-encoding; needless percent-encoding.
            "TEST://dir/secret",
            "test://DIR/secret",
            "test://dir/%c3%a4",
            "test://dir/%73ecret",
            "test://dir/a%2Db",
            "test://%64ir/secret",
            // Dot segments in all spellings.
            "test://dir/./secret",
            "test://dir/x/../secret",
            "test://dir/%2e/secret",
            "test://dir/%2E%2e/secret",
            "test://dir/.%2E/secret",
            "test://dir/secret/.",
            "test://dir/..",
            "urn:a/../b",
            "http://h/a/%2e%2e/b",
            // Special schemes.
            "http:\\\\h\\a",
            "http://h/a\\b",
            "http:/h/a",
            "http:h/a",
            "http:///h/a",
            "http://h",
            "http://h:80/",
            "https://h:443/",
            "ws://h:80/",
            "wss://h:443/",
            "ftp://h:21/",
            "http://h:/",
            "http://@h/",
            "http://:@h/",
            "http://0x7f.1/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://ｈ/",
            "http://h\u{3002}x/",
            "http://ä.de/",
            "http://[0:0:0:0:0:0:0:1]/",
            "file:/etc/hosts",
            "file:etc/hosts",
            "file://localhost/etc/hosts",
            "file:///c|/x",
            "file:\\\\\\etc\\hosts",
            // Empty parts of other schemes.
            "test://dir:/secret",
            "test://@dir/secret",
            // No URIs.
            "test://dir/ä",
            "test://dir/cafe\u{301}",
            "test://dir/a|b",
            "test://dir/{x}",
            "test://dir/%zz",
            "test://dir/%",
            "test://dir/\u{200b}x",
            "secret",
            "",
            "1x://a",
            "://a",
        ] {
            assert!(!is_settled(uri, ""), "{uri:?}");
        }
        assert!(!is_settled(&format!("test://{}", "a".repeat(MAX_LENGTH)), ""));
    }

    #[test]
    fn a_templates_own_text_may_be_as_it_is() {
        for (uri, fixed, expect) in [
            ("Note://1", "Note://", true),
            ("demo://Users/1/x", "demo://Users/", true),
            ("HTTP://API.example.com/1", "HTTP://API.example.com", true),
            ("demo://Users/%31", "demo://Users/", false),
            ("demo://Users/../1", "demo://Users/", false),
            ("demo://Users/a/../b", "demo://Users/", false),
            ("demo://Users/1 ", "demo://Users/", false),
            ("Demo://Users/1", "demo://Users/", false),
            ("Note://A", "Note://", false),
        ] {
            assert_eq!(is_settled(uri, fixed), expect, "{uri}");
        }
    }

    #[test]
    fn spellings_of_one_uri_meet() {
        let secret = keys("test://dir/secret");
        for uri in [
            "TEST://dir/secret",
            " test://dir/secret\n",
            "test://dir/./secret",
            "test://dir/x/../secret",
            "test://dir/%73ecret",
            "test://DIR/secret",
            " TEST://DIR/./secret\t",
            "test://dir/sec\tret",
        ] {
            let meets = |other: &str| !spellings(uri).is_disjoint(&spellings(other));
            assert!(meets("test://dir/secret"), "{uri:?}");
            assert!(!meets("test://dir/other"), "{uri:?}");
            assert!(!keys(uri).is_disjoint(&secret), "{uri:?}");
        }
        assert!(spellings("file:/x").contains("file:///x"));
        assert!(spellings("http://h:80").contains("http://h/"));
    }

    #[test]
    fn what_a_tolerant_server_may_take_for_another_is_among_the_readings() {
        let secret = keys("test://dir/secret");
        for uri in [
            "test://dir/secret",
            "test://dir/secret/",
            "test://dir//secret",
            "test://dir/secret?x",
            "test://dir/secret#x",
            "test://dir/secret?#",
            "test://dir/SECRET",
            "test://dir/secret%20",
            "test://dir/%09secret",
            "test://dir/se%0Acret",
            "test://dir%2Fsecret",
            "test://dir%252Fsecret",
            "test://dir/secret%23x",
            "test://dir/secret%3Fx",
            "test://user@dir/secret",
            "test://dir:8080/secret",
            "test:///dir/secret",
            "test:dir/secret",
            "test://dir%5Csecret",
            "test://dir/%EF%BD%93ecret",
        ] {
            let readings = readings(uri).unwrap_or_else(|| panic!("{uri}"));
            assert!(!readings.is_disjoint(&secret), "{uri}: {readings:?}");
        }
        let queried = keys("test://dir?x=secret&b=1");
        let with = |uri: &str| !readings(uri).unwrap().is_disjoint(&queried);
        assert!(with("test://dir?b=1&x=secret"));
        assert!(!with("test://dir?b=1"));
        let one = keys("test://dir?x=secret");
        for uri in ["test://dir?x=1&x=secret", "test://dir?x=secret&x=1", "test://dir?x=secret#y"] {
            assert!(!readings(uri).unwrap().is_disjoint(&one), "{uri}");
        }
        assert_eq!(readings(&format!("test://dir?{}", "a&".repeat(100))), None);
        for uri in ["test://dir/secrets", "test://dir/a%20b", "test://dir2/secret", "x://a%2Fb"] {
            assert!(readings(uri).unwrap().is_disjoint(&secret), "{uri}");
        }
    }

    #[test]
    fn what_leaves_its_place_has_no_reading() {
        for uri in [
            "test://dir/..%2Fsecret",
            "test://dir/..%5Csecret",
            "test://dir/%252e%252e%252fsecret",
            "test://dir/%2525252525252e",
            "test://dir/x%2F..%2Fsecret",
            "test://dir/x%2F.%2Fsecret",
            "test://dir/..;/secret",
            "test://dir/..%00",
            "test://dir/secret%00",
            "test://dir/%EF%BC%8E%EF%BC%8E%EF%BC%8Fsecret",
            "test://dir/%C0%AE%C0%AE",
            "test://dir/%20..%20%2Fsecret",
        ] {
            assert_eq!(readings(uri), None, "{uri}");
        }
    }
}
