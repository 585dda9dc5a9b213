//! Which of a client's headers may reach a server, and in which form they pass the seam.
//!
//! Three words decide. The file of the process that runs the server names the headers that the
//! server wants. Of those, a coordinator lets credentials pass only where its own file says so:
//! a node must not get them by asking. And some never pass, whoever asks: headers that frame a
//! message or carry a session, and the values that the gateway itself consumes.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;

use crate::model::is_reserved_header;

use super::claim_headers;
use super::headers::seam;

/// Parts of the names of headers that carry credentials, or what proves who somebody is.
const CREDENTIALS: &[&str] = &[
    "apikey",
    "api-key",
    "assertion",
    "auth",
    "bearer",
    "cert",
    "cookie",
    "credential",
    "csrf",
    "dpop",
    "jwt",
    "key",
    "oidc",
    "passw",
    "secret",
    "session",
    "signature",
    "sso",
    "ticket",
    "token",
    "xsrf",
];

/// Words of such names that are parts of harmless ones too: `x-bypass`, `x-compass`.
const CREDENTIAL_WORDS: &[&str] = &["otp", "pass", "pwd", "sid"];

/// Bytes of a key from which on it is looked for anywhere in a value. A shorter one is compared
/// with whole words, since it may be a part of any.
const LONG_KEY: usize = 8;

/// Whether the header is one that no server gets, whoever asks for it.
#[must_use]
pub fn never_passes(name: &HeaderName) -> bool {
    is_reserved_header(name.as_str())
}

/// Whether a header of this name is likely to carry a credential. Names are judged by their
/// parts, since every product has its own: `x-api-key`, `cf-access-jwt-assertion`.
#[must_use]
pub fn is_credential(name: &HeaderName) -> bool {
    if claim_headers::is_claim(name.as_str()) {
        // What a verified token says of its holder opens nothing.
        return false;
    }
    let is_word = |word: &str| CREDENTIAL_WORDS.contains(&word);
    CREDENTIALS.iter().any(|part| name.as_str().contains(part))
        || name.as_str().split(['-', '_', '.']).any(is_word)
}

/// What the gateway itself consumes of a client's headers, and no server gets.
#[derive(Debug, Clone, Copy)]
pub struct Consumed<'a> {
    /// The keys that let clients in.
    pub keys: &'a [Arc<str>],
    /// The cookie that names a session's node.
    pub affinity_cookie: &'a str,
    /// The header that names it.
    pub affinity_header: &'a str,
}

impl Consumed<'_> {
    /// What is left of a header's value; `None` if the server gets nothing of it.
    fn remainder(&self, name: &HeaderName, value: &HeaderValue) -> Option<HeaderValue> {
        if *name == header::COOKIE {
            return self.other_cookies(value);
        }
        (!self.holds_key(value.as_bytes())).then(|| value.clone())
    }

    /// The cookies that are not the gateway's own.
    fn other_cookies(&self, value: &HeaderValue) -> Option<HeaderValue> {
        let is_ours = |pair: &&[u8]| {
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
            name.trim_ascii() == self.affinity_cookie.as_bytes() || self.holds_key(pair)
        };
        let pairs: Vec<&[u8]> = value.as_bytes().split(|byte| *byte == b';').collect();
        if !pairs.iter().any(is_ours) {
            return Some(value.clone());
        }
        let rest: Vec<&[u8]> = pairs
            .into_iter()
            .filter(|pair| !is_ours(pair) && !pair.trim_ascii().is_empty())
            .map(<[u8]>::trim_ascii)
            .collect();
        // Parts of a valid value are valid.
        if rest.is_empty() { None } else { HeaderValue::from_bytes(&rest.join(&b"; "[..])).ok() }
    }

    fn holds_key(&self, value: &[u8]) -> bool {
        self.keys.iter().map(|key| key.as_bytes()).any(|key| {
            if key.len() >= LONG_KEY {
                return memmem::find(value, key).is_some();
            }
            let mut words =
                value.split(|byte| matches!(byte, b' ' | b'\t' | b',' | b';' | b'=' | b'"'));
            words.any(|word| word == key)
        })
    }
}

/// Copies a client header to the seam, under its prefixed name: all its values, without what the
/// gateway consumes.
pub fn let_through(
    name: &HeaderName,
    client: &HeaderMap,
    consumed: &Consumed<'_>,
    seam: &mut HeaderMap,
) {
    if never_passes(name) || name.as_str().eq_ignore_ascii_case(consumed.affinity_header) {
        return;
    }
    let Ok(ours) = HeaderName::try_from(format!("{}{name}", self::seam::CLIENT_PREFIX)) else {
        return;
    };
    for value in client.get_all(name) {
        if let Some(value) = consumed.remainder(name, value) {
            seam.append(&ours, value);
        }
    }
}

/// Adds a claim of the client's token to the seam, for a server that asks for it by this header.
pub fn let_claim_through(name: &HeaderName, value: HeaderValue, seam: &mut HeaderMap) {
    if let Ok(ours) = HeaderName::try_from(format!("{}{name}", self::seam::CLIENT_PREFIX)) {
        seam.insert(ours, value);
    }
}

/// The wanted client headers that were passed through, under their original names. Their
/// values are marked as sensitive, since they may be credentials.
#[must_use]
pub fn passed_through(wanted: &[HeaderName], seam: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in wanted {
        for value in seam.get_all(format!("{}{name}", self::seam::CLIENT_PREFIX)) {
            let mut value = value.clone();
            value.set_sensitive(true);
            passed.append(name.clone(), value);
        }
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumed(keys: &[Arc<str>]) -> Consumed<'_> {
        Consumed { keys, affinity_cookie: "MCPHUB_NODE", affinity_header: "X-MCPHub-Node" }
    }

    /// The values that the server of a gateway with a key gets of a header with these values.
    fn passed_with_key(header: &str, values: &[&str]) -> Vec<String> {
        passed(header, values, &consumed(&["the-key-of-the-gateway".into()]))
    }

    fn name(text: &str) -> HeaderName {
        text.parse().unwrap()
    }

    /// The values that the server gets of a header with these values.
    fn passed(header: &str, values: &[&str], consumed: &Consumed<'_>) -> Vec<String> {
        let (mut client, mut seam) = (HeaderMap::new(), HeaderMap::new());
        for value in values {
            client.append(name(header), HeaderValue::from_str(value).unwrap());
        }
        let_through(&name(header), &client, consumed, &mut seam);
        let passed = passed_through(&[name(header)], &seam);
        passed.values().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn all_values_of_a_header_pass_in_their_order() {
        assert_eq!(passed_with_key("x-tenant", &["a", "b"]), ["a", "b"]);
    }

    #[test]
    fn the_key_of_the_gateway_passes_in_no_header_and_no_form() {
        for (header, value) in [
            ("authorization", "Bearer the-key-of-the-gateway"),
            ("authorization", "bearer   the-key-of-the-gateway "),
            ("x-api-key", "the-key-of-the-gateway"),
            ("x-tenant", "a=\"the-key-of-the-gateway\", b"),
        ] {
            assert_eq!(passed_with_key(header, &[value, "Bearer other"]), ["Bearer other"]);
        }
        let keys: [Arc<str>; 2] = ["other-key-of-the-gateway".into(), "key".into()];
        let short = Consumed { keys: &keys, ..consumed(&[]) };
        assert_eq!(passed("authorization", &["Bearer key", "x=key", "monkey"], &short), ["monkey"]);
        assert!(passed("x-a", &["other-key-of-the-gateway"], &short).is_empty());
        let open = consumed(&[]);
        assert_eq!(passed("authorization", &["Bearer x"], &open), ["Bearer x"]);
    }

    #[test]
    fn a_cookie_header_passes_without_the_gateways_own_cookies() {
        for (value, left) in [
            ("a=1; b=2", vec!["a=1; b=2"]),
            ("a=1; MCPHUB_NODE=node-1;b=2", vec!["a=1; b=2"]),
            ("MCPHUB_NODE=node-1", vec![]),
            ("k=the-key-of-the-gateway; a=1", vec!["a=1"]),
            ("MCPHUB_NODE2=x", vec!["MCPHUB_NODE2=x"]),
        ] {
            assert_eq!(passed_with_key("cookie", &[value]), left, "{value}");
        }
    }

    #[test]
    fn what_frames_a_message_or_carries_a_session_never_passes() {
        for header in ["mcp-session-id", "last-event-id", "mooring-session", "x-mcphub-node", "te"]
        {
            assert_eq!(passed_with_key(header, &["x"]), [""; 0], "{header}");
        }
    }

    #[test]
    fn credentials_are_known_by_their_names() {
        for credential in [
            "authorization",
            "proxy-authorization",
            "cookie",
            "x-api-key",
            "x-auth-token",
            "cf-access-jwt-assertion",
            "x-amzn-oidc-data",
            "x-forwarded-client-cert",
            "x-pass",
            "x-pwd",
            "pass",
            "pwd",
            "x-user_pass",
            "x-ticket",
            "x-sid",
            "x-otp",
            "x-otp-code",
            "x-bearer",
        ] {
            assert!(is_credential(&name(credential)), "{credential}");
        }
        for plain in [
            "x-tenant",
            "x-request-id",
            "traceparent",
            "accept-language",
            "x-forwarded-for",
            "x-bypass-cache",
            "x-compass",
            "x-passenger-count",
            "x-side",
            "x-resident",
            "x-option",
            "user-agent",
        ] {
            assert!(!is_credential(&name(plain)), "{plain}");
        }
    }
}
