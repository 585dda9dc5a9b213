//! Requests without a session as nearly all programs write them, read in one pass: the message, what it
//! says of itself in `_meta`, and the headers that repeat it.
//!
//! A server that has no sessions either gets such a request as it came, and its client is refused as
//! `ladder` says. To read a message for both, member by member, takes ten times as long. What is read
//! here is what [`Envelope::parse_strictly`], [`ladder::era`] and the check of progress tokens would let
//! pass; all other requests are left to them, and so is every refusal.
//!
//! [`Envelope::parse_strictly`]: crate::protocol::jsonrpc::Envelope::parse_strictly
//! [`ladder::era`]: super::ladder::era

use http::{HeaderMap, HeaderValue};

use crate::protocol::headers::{METHOD, NAME, PROTOCOL_VERSION, is_stateless};
use crate::protocol::jsonrpc::MAX_ID;
use crate::protocol::members::is_lookalike;
use crate::protocol::methods::INITIALIZE;
use crate::protocol::scan::Scan;

use super::claim::MetaMembers;
use super::field::is_plain;
use super::methods::{LISTEN, named_by};
use super::{REVISION, meta};

/// A request, whose headers say what it says. Its texts are those of the message, without escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsualRequest<'a> {
    /// As JSON: a string or a whole number.
    pub id: &'a str,
    /// Not one that is answered for as long as its client listens.
    pub method: &'a str,
    /// The tool, prompt or resource, where the method has one.
    pub named: Option<&'a str>,
}

/// Where a message has what was read in it. The edge tells a runner of its own process, which then need
/// not read the message again, nor be given its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPlaces {
    id: Place,
    method: Place,
    named: Option<Place>,
}

type Place = (u32, u32);

impl<'a> UsualRequest<'a> {
    /// `None` if the message may be any other, or the headers may say anything else.
    #[must_use]
    pub fn of(message: &'a [u8], headers: &HeaderMap) -> Option<Self> {
        let request = Self::of_text(std::str::from_utf8(message).ok()?)?;
        request.is_repeated_by(headers).then_some(request)
    }

    fn of_text(text: &'a str) -> Option<Self> {
        let mut scan = Scan::of(text);
        let (mut id, mut method, mut params) = (None, None, None);
        let mut is_marked = false;
        scan.members(|name, value| match name {
            "jsonrpc" if !is_marked => {
                is_marked = true;
                value.takes(br#""2.0""#).then_some(())
            }
            "id" => once(&mut id, value.value()),
            "method" => once(&mut method, value.plain_string()),
            "params" => once(&mut params, Params::of(value)),
            _ => None,
        })?;
        if !is_marked || !scan.is_at_end() {
            return None;
        }
        let (id, method, params) = (id?, method?, params?);
        if !is_usual_id(id) || matches!(method, INITIALIZE | LISTEN) {
            return None;
        }
        let named = match named_by(method) {
            None => None,
            Some("name") => Some(params.name?),
            Some("uri") => Some(params.uri?),
            Some(_) => return None,
        };
        Some(Self { id, method, named })
    }

    /// Whether the headers repeat it word for word, and nothing else.
    fn is_repeated_by(&self, headers: &HeaderMap) -> bool {
        let mut said = [false; 3];
        for (name, value) in headers {
            let (place, text) = if !is_stateless(name) {
                continue;
            } else if *name == PROTOCOL_VERSION {
                (&mut said[0], Some(REVISION))
            } else if *name == METHOD {
                (&mut said[1], Some(self.method))
            } else if *name == NAME {
                (&mut said[2], self.named)
            } else {
                return false;
            };
            // What is not plain, or may be a code, stands for another text.
            let is_same = |text: &str| value.as_bytes() == text.as_bytes() && is_plain(text);
            if std::mem::replace(place, true) || !text.is_some_and(is_same) {
                return false;
            }
        }
        said == [true, true, self.named.is_some()]
    }

    /// Where this message, of which the request was read, has it.
    #[must_use]
    pub fn places(&self, message: &[u8]) -> Option<ReadPlaces> {
        let place = |text: &str| -> Option<Place> {
            let begin = (text.as_ptr() as usize).checked_sub(message.as_ptr() as usize)?;
            let end = begin.checked_add(text.len())?;
            Some((u32::try_from(begin).ok()?, u32::try_from(end).ok()?))
        };
        let named = match self.named {
            Some(named) => Some(place(named)?),
            None => None,
        };
        Some(ReadPlaces { id: place(self.id)?, method: place(self.method)?, named })
    }

    /// Its headers, as they are sent.
    #[must_use]
    pub fn lines(&self) -> Vec<u8> {
        let mut lines = Vec::with_capacity(128);
        let pairs = [(PROTOCOL_VERSION, Some(REVISION)), (METHOD, Some(self.method))];
        for (name, value) in pairs.into_iter().chain([(NAME, self.named)]) {
            let Some(value) = value else { continue };
            for part in [name.as_str(), ": ", value, "\r\n"] {
                lines.extend_from_slice(part.as_bytes());
            }
        }
        lines
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(REVISION));
        for (name, value) in [(METHOD, Some(self.method)), (NAME, self.named)] {
            if let Some(Ok(value)) = value.map(HeaderValue::from_str) {
                headers.insert(name, value);
            }
        }
        headers
    }
}

impl ReadPlaces {
    /// The request that this message is, in which it was read.
    #[must_use]
    pub fn within<'a>(&self, message: &'a [u8]) -> Option<UsualRequest<'a>> {
        let text = |(begin, end): Place| {
            let range = usize::try_from(begin).ok()?..usize::try_from(end).ok()?;
            std::str::from_utf8(message.get(range)?).ok()
        };
        let named = match self.named {
            Some(place) => Some(text(place)?),
            None => None,
        };
        Some(UsualRequest { id: text(self.id)?, method: text(self.method)?, named })
    }
}

/// What is read of parameters.
#[derive(Debug, Default, Clone, Copy)]
struct Params<'a> {
    name: Option<&'a str>,
    uri: Option<&'a str>,
}

impl<'a> Params<'a> {
    /// `None` if there is anything in them that others have to judge.
    fn of(scan: &mut Scan<'a>) -> Option<Self> {
        let mut read = Self::default();
        let (mut arguments, mut cursor, mut meta) = (None, None, None);
        scan.members(|name, value| match name {
            "name" => once(&mut read.name, value.plain_string()),
            "uri" => once(&mut read.uri, value.plain_string()),
            "arguments" => once(&mut arguments, value.value()),
            "cursor" => once(&mut cursor, value.value()),
            "_meta" => once(&mut meta, is_usual_claim(value)),
            _ => None,
        })?;
        meta.map(|()| read)
    }
}

/// Passes a `_meta` that says what it has to, and nothing that the gateway itself has to know.
fn is_usual_claim(scan: &mut Scan<'_>) -> Option<()> {
    let (mut version, mut capabilities, mut client, mut token) = (None, None, None, None);
    scan.members(|name, value| match name {
        meta::VERSION => {
            let served = value.plain_string().filter(|version| *version == REVISION);
            once(&mut version, served)
        }
        meta::CAPABILITIES => {
            once(&mut capabilities, value.value().filter(|value| value.starts_with('{')))
        }
        meta::CLIENT => once(&mut client, is_client(value)),
        "progressToken" => once(&mut token, value.value().filter(|token| token.len() <= MAX_ID)),
        meta::LOG_LEVEL | meta::CONVERSATION => None,
        other => {
            value.value()?;
            (!is_lookalike(other, MetaMembers::NAMES)).then_some(())
        }
    })?;
    version.and(capabilities).map(|_| ())
}

/// Passes an object with a name and a version.
fn is_client(scan: &mut Scan<'_>) -> Option<()> {
    let (mut name, mut version) = (None, None);
    scan.members(|member, value| match member {
        "name" => once(&mut name, value.plain_string()),
        "version" => once(&mut version, value.plain_string()),
        _ => value.value().map(|_| ()),
    })?;
    name.and(version).map(|_| ())
}

/// Keeps what was read of a member that has not come before.
fn once<T>(place: &mut Option<T>, read: Option<T>) -> Option<()> {
    if place.is_some() {
        return None;
    }
    *place = read;
    place.is_some().then_some(())
}

/// Whether an id is a string without escapes or a whole number, and not too long.
fn is_usual_id(id: &str) -> bool {
    let is_usual = match id.as_bytes().first() {
        Some(b'"') => !id.contains('\\'),
        _ => id.strip_prefix('-').unwrap_or(id).bytes().all(|byte| byte.is_ascii_digit()),
    };
    is_usual && id.len() <= MAX_ID
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::era::ladder::{self, Era};
    use crate::protocol::jsonrpc::Envelope;

    const META: &str = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"c","version":"1","x":[1]},"progressToken":7,"a/b":"c"}"#;
    const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t","arguments":{"a":[1,"\u00e4"]},"_meta":META}}"#;

    fn call() -> String {
        CALL.replace("META", META)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    const V: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
    const M: (&str, &str) = ("mcp-method", "tools/call");
    const N: (&str, &str) = ("mcp-name", "t");

    /// Whether a request is read here, and whether the ladder lets it pass.
    fn check(message: &str, pairs: &[(&'static str, &str)]) -> (bool, bool) {
        let headers = headers(pairs);
        let is_read = UsualRequest::of(message.as_bytes(), &headers).is_some();
        let passes = Envelope::parse_strictly(message.as_bytes())
            .is_ok_and(|envelope| matches!(ladder::era(&envelope, &headers), Ok(Era::Modern(_))));
        assert!(passes || !is_read, "{message} {pairs:?}");
        (is_read, passes)
    }

    #[test]
    fn usual_requests_are_read() {
        let whole = call();
        let headers = headers(&[V, M, N, ("accept", "*/*")]);
        let read = UsualRequest::of(whole.as_bytes(), &headers).unwrap();
        assert_eq!(read, UsualRequest { id: "7", method: "tools/call", named: Some("t") });
        let places = read.places(whole.as_bytes()).unwrap();
        assert_eq!(places.within(whole.as_bytes()), Some(read));
        assert_eq!(places.within(b"{}"), None);
        let lines = "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: t\r\n";
        assert_eq!(String::from_utf8(read.lines()).unwrap(), lines);
        assert!(read.is_repeated_by(&read.headers()) && read.headers().len() == 3);
    }

    #[test]
    fn members_may_stand_in_any_order() {
        let other = format!(
            r#"{{"method":"resources/read","params":{{"_meta":{META},"uri":"a://b"}},"jsonrpc":"2.0","id":"x-1"}}"#
        );
        let read = [V, ("mcp-method", "resources/read"), ("mcp-name", "a://b")];
        assert_eq!(check(&other, &read), (true, true));
        let list = format!(
            r#"{{"id":-1,"jsonrpc":"2.0","method":"tools/list","params":{{"cursor":"x","_meta":{META}}}}}"#
        );
        let m = ("mcp-method", "tools/list");
        assert_eq!(check(&list, &[V, m]), (true, true));
        assert_eq!(check(&list, &[V, m, N]), (false, true), "a name for what has none");
        let read = UsualRequest::of_text(&list).unwrap();
        assert!(!String::from_utf8(read.lines()).unwrap().contains("mcp-name"));
    }

    #[test]
    fn what_the_ladder_refuses_is_never_read() {
        for (from, to) in [
            ("2026-07-28", "2025-11-25"),
            ("2026-07-28", "2027-01-01"),
            (r#"clientCapabilities":{}"#, r#"clientCapabilities":[]"#),
            (r#"clientCapabilities":{}"#, r#"clientCapabilities":null"#),
            (r#""io.modelcontextprotocol/clientCapabilities":{},"#, ""),
            (r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#, ""),
            (r#""version":"1","#, ""),
            (r#""name":"c","#, r#""name":7,"#),
            (r#""name":"c","#, r#""name":"c","name":"c","#),
            (r#""a/b""#, r#""io.modelcontextprotocol/ProtocolVersion""#),
            (r#""a/b""#, r#""progress_token""#),
            (r#""a/b""#, r#""progressToken""#),
            (r#""a/b":"c""#, r#""io.modelcontextprotocol/logLevel":"loud""#),
            (r#""id":7"#, r#""id":7,"id":8"#),
            (r#""id":7"#, r#""id":7.5"#),
            (r#""id":7"#, r#""id":null"#),
            (r#""id":7"#, r#""id":[]"#),
            (r#""id":7"#, r#""id":7,"ID":8"#),
            (r#""id":7"#, r#""id":7,"result":{}"#),
            (r#""id":7,"#, ""),
            (r#""2.0""#, r#""2.1""#),
            (r#""jsonrpc":"2.0","#, ""),
            (r#""name":"t""#, r#""name":"u""#),
            (r#""name":"t""#, r#""name":"t","name":"t""#),
            (r#""arguments":{"#, r#""arguments":{,"#),
            ("tools/call", "tools/list"),
            ("}}}", "}}"),
            ("}}}", "}}}}"),
        ] {
            let other = call().replacen(from, to, 1);
            assert_ne!(other, call(), "{from}");
            assert_eq!(check(&other, &[V, M, N]), (false, false), "{other}");
        }
        let long = call().replace(":7,\"a/b", &format!(":\"{}\",\"a/b", "x".repeat(MAX_ID)));
        assert!(UsualRequest::of_text(&long).is_none());
    }

    #[test]
    fn what_has_to_be_judged_is_left_to_the_ladder() {
        for (from, to) in [
            (r#""name":"t""#, r#""name":"\u0074""#),
            (r#""name":"t""#, r#""name":"t","requestState":"s""#),
            (r#""id":7"#, r#""id":"\u0061""#),
            (r#""id":7"#, r#""id": 7"#),
            (r#""a/b":"c""#, r#""mooring/conversation":"m1""#),
            (r#""a/b":"c""#, r#""io.modelcontextprotocol/logLevel":"info""#),
        ] {
            let other = call().replacen(from, to, 1);
            assert_eq!(check(&other, &[V, M, N]), (false, true), "{other}");
        }
        let listen = call().replace("tools/call", LISTEN);
        assert_eq!(check(&listen, &[V, ("mcp-method", LISTEN)]), (false, true));
    }

    #[test]
    fn headers_that_say_anything_else_are_left_to_the_ladder() {
        for (pairs, passes) in [
            (&[M, N][..], false),
            (&[V, N], false),
            (&[V, M], false),
            (&[V, V, M, N], false),
            (&[V, M, M, N], false),
            (&[V, M, N, N], false),
            (&[V, M, ("mcp-name", "T")], false),
            (&[V, ("mcp-method", "Tools/call"), N], false),
            (&[("mcp-protocol-version", "2025-11-25"), M, N], false),
            (&[V, M, ("mcp-name", " t")], true),
            (&[V, M, ("mcp-name", "=?base64?dA==?=")], true),
            (&[V, M, N, ("mcp-param-x", "1")], true),
        ] {
            assert_eq!(check(&call(), pairs), (false, passes), "{pairs:?}");
        }
        for name in ["\u{e4}", "=?base64?dA==?=", " t", ""] {
            let other = call().replacen(r#""name":"t""#, &format!(r#""name":"{name}""#), 1);
            let (is_read, passes) = check(&other, &[V, M, ("mcp-name", name)]);
            assert_eq!(is_read, name.is_empty(), "{name:?} {passes}");
        }
    }
}
