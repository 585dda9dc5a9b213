//! HTTP headers of MCP, and of the seam between edge and runner.

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// The session's sealed id (2025-11-25, basic/transports, "Session Management").
pub const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// The negotiated revision, on every request after `initialize` (2025-11-25,
/// basic/transports, "Protocol Version Header").
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The method, in the revision without sessions (2026-07-28, basic/transports/streamable-http).
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// The tool, prompt or resource that a request names there.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// The last event that a client has received of a stream which it resumes (2025-11-25,
/// basic/transports, "Resumability and Redelivery").
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// As `Last-Event-ID` on the seam: the edge goes on with a stream whose instance is gone.
pub const LOST_STREAM: &str = "lost";

/// Whether a header is one by which a request of the revision without sessions repeats its body.
#[must_use]
pub fn is_stateless(name: &HeaderName) -> bool {
    *name == PROTOCOL_VERSION
        || *name == METHOD
        || *name == NAME
        || name.as_str().starts_with("mcp-param-")
}

/// Names a request in logs and explanations: the client's own word, or one of the gateway.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers between two processes of a cluster, removed from every client request.
pub mod seam {
    use http::header::HeaderName;

    /// The session's uuid, hyphenated.
    pub const SESSION: HeaderName = HeaderName::from_static("mooring-session");
    /// The principal's name, percent-encoded.
    pub const PRINCIPAL: HeaderName = HeaderName::from_static("mooring-principal");
    /// Whom limits count, on an open: see `seam::Facts`.
    pub const QUOTA: HeaderName = HeaderName::from_static("mooring-quota");
    /// On an open, and on its answer: see `model::Epochs`. On DELETE: the instance is closed if its
    /// epoch is not higher.
    pub const EPOCH: HeaderName = HeaderName::from_static("mooring-epoch");
    /// The epoch of the instance that the session had open last, on an open.
    pub const OPENED: HeaderName = HeaderName::from_static("mooring-opened");
    /// On an open: the session is that of an HTTP+SSE stream, which this start of a gateway has.
    pub const STREAM: HeaderName = HeaderName::from_static("mooring-stream");
    /// Marks an explicit open, and says which side sends `notifications/initialized`:
    /// `client`, or `host` for the runner.
    pub const OPEN: HeaderName = HeaderName::from_static("mooring-open");
    /// What became of a request without an answer: see `seam::Outcome`.
    pub const OUTCOME: HeaderName = HeaderName::from_static("mooring-outcome");
    /// On an answer: the runner has made it, in the server's place.
    pub const NODE_ANSWER: HeaderName = HeaderName::from_static("mooring-node-answer");
    /// Whether the session was open before an open: see `seam::Start`.
    pub const START: HeaderName = HeaderName::from_static("mooring-start");
    /// What the request has set in its session: see `seam::SettingChange`.
    pub const NOTE: HeaderName = HeaderName::from_static("mooring-note");
    /// On an answer with an outcome: the server does not take the token of the client's user.
    pub const TOKEN_REFUSED: HeaderName = HeaderName::from_static("mooring-token-refused");
    /// Marks a request without a session: see `seam::Facts`.
    pub const STATELESS: HeaderName = HeaderName::from_static("mooring-stateless");
    /// On an open: the session is the gateway's own, for a client without one. See `seam::Facts`.
    pub const INNER: HeaderName = HeaderName::from_static("mooring-inner");
    /// What a request has to do with state that is brought back: see `seam::StateStep`.
    pub const STATE: HeaderName = HeaderName::from_static("mooring-state");
    /// A message of the handshake that begins a connection to a node: see `handshake`.
    pub const LINK: HeaderName = HeaderName::from_static("mooring-link");
    /// Proves a node's request to its coordinator: see `request_proof`.
    pub const PROOF: HeaderName = HeaderName::from_static("mooring-proof");
    /// The revision of the seam that a coordinator speaks, on its answers to nodes.
    pub const REVISION: HeaderName = HeaderName::from_static("mooring-revision");
    /// The path of the handshake, below a node's base URL.
    pub const LINK_PATH: &str = "/cluster/link";
    /// Where a node answers that it is there, on connections that have begun with a handshake.
    pub const ALIVE_PATH: &str = "/cluster/alive";
    /// The protocol that the handshake's request asks to upgrade to.
    pub const LINK_PROTOCOL: &str = "mooring-cluster";
    /// Precedes the word of a refusal, where a message of the handshake is expected.
    pub const REFUSED: &str = "refused ";
    /// The prefix of every header here; no client header with it passes the edge.
    pub const PREFIX: &str = crate::model::SEAM_PREFIX;
    /// Precedes the name of a client header that the operator passes through.
    pub const CLIENT_PREFIX: &str = "mooring-client-";
}

/// Content type of one message, or of a batch.
pub const JSON: &str = "application/json";
/// The same, as it is written.
pub const JSON_VALUE: HeaderValue = HeaderValue::from_static(JSON);
/// Content type of server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";

/// The names that lines of JSON values go by.
pub const LINES_OF_JSON: [&str; 4] =
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/jsonlines"];

/// A `Retry-After` value in whole seconds, at least 1. Rounded up, since a client that comes
/// back too early is refused again.
#[must_use]
pub fn whole_seconds(duration: Duration) -> HeaderValue {
    let started = u64::from(duration.subsec_nanos() > 0);
    HeaderValue::from(duration.as_secs().saturating_add(started).max(1))
}

/// The longest `Retry-After` that is believed: a day.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The time in `Retry-After`, a number of seconds or a date (RFC 9110 §10.2.3); `None` if it is
/// absent or neither.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            date.duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

/// Whether a header is one of the seam.
#[must_use]
pub fn is_internal(name: &HeaderName) -> bool {
    name.as_str().starts_with(seam::PREFIX)
}

/// Removes every header of the seam, so that a client cannot forge one.
pub fn strip_internal(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> = headers.keys().filter(|name| is_internal(name)).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

/// Removes the headers of the seam, except the client headers that the edge passed through.
/// For requests that a node has accepted from its coordinator.
pub fn strip_all_but_clients(headers: &mut HeaderMap) {
    let is_ours =
        |name: &HeaderName| is_internal(name) && !name.as_str().starts_with(seam::CLIENT_PREFIX);
    // Nearly all requests have these alone.
    for name in [seam::SESSION, seam::PRINCIPAL] {
        headers.remove(name);
    }
    if !headers.keys().any(is_ours) {
        return;
    }
    let ours: Vec<HeaderName> = headers.keys().filter(|name| is_ours(name)).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

/// Whether a proxy or a browser sent the request: a near proxy may forward for a distant client,
/// and a browser for any page.
#[must_use]
pub fn is_on_behalf(headers: &HeaderMap) -> bool {
    const SIGNS: [&str; 5] =
        ["forwarded", "x-forwarded-for", "x-real-ip", "origin", "sec-fetch-site"];
    SIGNS.iter().any(|name| headers.contains_key(*name))
}

/// What every SDK accepts.
const BOTH: &[u8] = b"application/json, text/event-stream";

/// The content types that a client accepts, from its `Accept` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepts {
    /// Whether `application/json` is accepted.
    pub json: bool,
    /// Whether `text/event-stream` is accepted.
    pub events: bool,
}

impl Accepts {
    /// Without the header everything is accepted (RFC 9110 §12.5.1). Wildcards and
    /// parameters are understood; a quality of 0 refuses a type.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let both = Self { json: true, events: true };
        match headers.get(header::ACCEPT).map(|value| value.as_bytes()) {
            // No parsing.
            None | Some(BOTH) => return both,
            Some(_) => {}
        }
        let mut accepts = Self { json: false, events: false };
        for value in headers.get_all(header::ACCEPT) {
            for range in value.to_str().unwrap_or("").split(',') {
                let (kind, parameters) = range.split_once(';').unwrap_or((range, ""));
                if is_refused(parameters) {
                    continue;
                }
                match kind.trim().to_ascii_lowercase().as_str() {
                    "*/*" => accepts = both,
                    JSON | "application/*" => accepts.json = true,
                    EVENT_STREAM | "text/*" => accepts.events = true,
                    _ => {}
                }
            }
        }
        accepts
    }
}

fn is_refused(parameters: &str) -> bool {
    parameters.split(';').any(|parameter| {
        parameter
            .trim()
            .strip_prefix("q=")
            .and_then(|quality| quality.parse::<f32>().ok())
            .is_some_and(|quality| quality <= 0.0)
    })
}

/// Whether the content type is the expected one; its parameters do not matter.
#[must_use]
pub fn is_type(headers: &HeaderMap, expect: &str) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return false };
    let value = value.as_bytes().trim_ascii_start();
    let Some((kind, rest)) = value.split_at_checked(expect.len()) else { return false };
    kind.eq_ignore_ascii_case(expect.as_bytes())
        && matches!(rest.trim_ascii_start().first(), None | Some(b';'))
}

/// Whether a message comes as SDKs post it: as JSON without a coding, from a client that takes JSON and
/// event streams. Looked for in one pass, since a map finds a header no faster than this passes all.
#[must_use]
pub fn is_usual_post(headers: &HeaderMap) -> bool {
    let (mut kinds, mut accepts) = (0, 0);
    for (name, value) in headers {
        let is_usual = if name == header::CONTENT_TYPE {
            kinds += 1;
            value.as_bytes() == JSON.as_bytes()
        } else if name == header::ACCEPT {
            accepts += 1;
            value.as_bytes() == BOTH
        } else {
            name != header::CONTENT_ENCODING
        };
        if !is_usual {
            return false;
        }
    }
    (kinds, accepts) == (1, 1)
}

/// Whether a body is something else than what it looks like: `identity` is the one content coding that
/// is none (RFC 9110, section 8.4.1).
#[must_use]
pub fn is_coded(headers: &HeaderMap) -> bool {
    let is_none = |coding: &[u8]| {
        let coding = coding.trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    };
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    values.any(|value| !value.as_bytes().split(|byte| *byte == b',').all(is_none))
}

/// The value of the first cookie with that name, without quotes.
#[must_use]
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then(|| value.trim_matches('"')))
}

/// A header's first value as text; `None` if it is absent or not visible ASCII.
#[must_use]
pub fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn accepts(value: &'static str) -> (bool, bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(value));
        let got = Accepts::of(&headers);
        (got.json, got.events)
    }

    #[test]
    fn accept_understands_lists_wildcards_and_qualities() {
        assert_eq!(accepts("application/json, text/event-stream"), (true, true));
        assert_eq!(accepts("text/event-stream;q=0.9,application/json"), (true, true));
        assert_eq!(accepts("*/*"), (true, true));
        assert_eq!(accepts("application/json"), (true, false));
        assert_eq!(accepts("text/event-stream;q=0, application/json"), (true, false));
        assert_eq!(accepts("text/html"), (false, false));
        let none = Accepts::of(&HeaderMap::new());
        assert_eq!((none.json, none.events), (true, true));
    }

    #[test]
    fn a_message_comes_as_sdks_post_it_or_has_to_be_looked_at() {
        let (kind, both) =
            (("content-type", JSON), ("accept", "application/json, text/event-stream"));
        for (pairs, expect) in [
            (&[kind, both][..], true),
            (&[both, ("x", "y"), kind], true),
            (&[kind, both, ("content-encoding", "gzip")], false),
            (&[kind, both, both], false),
            (&[kind, kind, both], false),
            (&[kind], false),
            (&[both], false),
            (&[("content-type", "text/plain"), both], false),
            (&[kind, ("accept", "*/*")], false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(is_usual_post(&headers), expect, "{pairs:?}");
        }
    }

    #[test]
    fn identity_is_no_coding() {
        let mut headers = HeaderMap::new();
        assert!(!is_coded(&headers));
        for (value, expect) in [
            ("identity", false),
            ("Identity , ", false),
            ("", false),
            ("gzip", true),
            ("identity, br", true),
            ("identity;q=1", true),
        ] {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(is_coded(&headers), expect, "{value}");
        }
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("identity"));
        headers.append(header::CONTENT_ENCODING, HeaderValue::from_static("deflate"));
        assert!(is_coded(&headers));
    }

    #[test]
    fn a_wait_is_a_number_or_a_date() {
        let wait = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            retry_after(&headers)
        };
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let soon = SystemTime::now() + Duration::from_secs(90);
        let left = wait(&httpdate::fmt_http_date(soon)).unwrap();
        assert!((80..=90).contains(&left.as_secs()), "{left:?}");
        assert_eq!(wait("999999999"), Some(LONGEST_WAIT));
        assert_eq!(wait("-1"), None);
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn the_seams_headers_are_taken_from_a_request() {
        let mut headers = HeaderMap::new();
        headers.insert("x-kept", HeaderValue::from_static("1"));
        headers.insert("mooring-session", HeaderValue::from_static("1"));
        headers.insert("mooring-anything", HeaderValue::from_static("1"));
        strip_internal(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", HeaderValue::from_static("a=1; NODE=n-1; b=2"));
        headers.append("cookie", HeaderValue::from_static("c=\"q\""));
        assert_eq!(cookie(&headers, "NODE"), Some("n-1"));
        assert_eq!(cookie(&headers, "c"), Some("q"));
        assert_eq!(cookie(&headers, "ODE"), None);
    }
}
