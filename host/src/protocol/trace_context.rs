//! The W3C trace context: `traceparent` and `tracestate`, in HTTP headers and in `params._meta`.

use std::fmt;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem::{self, Finder};
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::jsonrpc::{Envelope, Kind};
use super::splice::{self, RequestTarget};

/// The name of the header, and of the member of `_meta`.
pub const TRACEPARENT: &str = "traceparent";
const PARENT_HEADER: HeaderName = HeaderName::from_static(TRACEPARENT);
/// The same for what other tracing systems have noted.
pub const TRACESTATE: &str = "tracestate";
/// Bytes of a `tracestate` that are passed on; a longer one is dropped whole (W3C Trace Context,
/// "Tracestate Limits", wants 512 at least).
const MAX_STATE: usize = 512;
/// The flags of a `traceparent` that mean something (W3C Trace Context, level 2, "trace-flags"): the caller
/// records the trace, and its id is random.
const SAMPLED: u8 = 1;
const RANDOM: u8 = 2;

/// One span of a trace, as its children know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// Not zero.
    pub trace: u128,
    /// Not zero.
    pub span: u64,
    /// Whether the caller records the trace.
    pub is_sampled: bool,
    /// Whether the caller says that the trace's id is random. Passed on with the id.
    pub is_random: bool,
    /// Passed on as it came.
    pub state: Option<Arc<str>>,
}

impl TraceContext {
    /// `None` if the `traceparent` is not valid; then there is no trace to go on with. A `tracestate`
    /// that is too long, or has characters that no header may have, is left out.
    #[must_use]
    pub fn parse(parent: &str, state: Option<&str>) -> Option<Self> {
        let mut parts = parent.trim().split('-');
        let (version, trace) = (parts.next()?, parts.next()?);
        let (span, flags) = (parts.next()?, parts.next()?);
        // A later version may have more parts; version ff is none.
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        hex(version, 2)?;
        let trace = hex(trace, 32).filter(|trace| *trace != 0)?;
        let span = u64::try_from(hex(span, 16)?).ok().filter(|span| *span != 0)?;
        let flags = u8::try_from(hex(flags, 2)?).ok()?;
        let is_fit = |state: &&str| {
            let printable = |byte: u8| (0x20..=0x7e).contains(&byte);
            (1..=MAX_STATE).contains(&state.len()) && state.bytes().all(printable)
        };
        let state = state.map(str::trim).filter(is_fit).map(Arc::from);
        let (is_sampled, is_random) = (flags & SAMPLED != 0, flags & RANDOM != 0);
        Some(Self { trace, span, is_sampled, is_random, state })
    }

    /// What the headers of a request have. `None` without a valid `traceparent`, or with several: then
    /// nobody can tell whose call it is. Several `tracestate` are one list.
    #[must_use]
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        // Asked for each message: a name that is a text would be parsed each time.
        let mut parents = headers.get_all(PARENT_HEADER).iter();
        let parent = parents.next()?.to_str().ok()?;
        if parents.next().is_some() {
            return None;
        }
        Self::parse(parent, state_in(headers).as_deref())
    }

    /// What a message has in `params._meta`. `None` without a valid `traceparent`.
    #[must_use]
    pub fn of_message(message: &[u8]) -> Option<Self> {
        static MEMBER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(TRACEPARENT));
        // Asked for each message, of which few have one: reading them all costs a tenth of a call.
        if MEMBER.find(message).is_none() && memmem::find(message, b"\\u").is_none() {
            return None;
        }
        let envelope = Envelope::parse(message).ok()?;
        Self::of_meta(RequestTarget::of(envelope.params)?.meta?)
    }

    fn of_meta(meta: &RawValue) -> Option<Self> {
        let Members(members) = serde_json::from_str(meta.get()).ok()?;
        let text = |name: &str| {
            let found = members.iter().find(|(known, _)| known == name);
            found.and_then(|(_, value)| splice::string(value))
        };
        Self::parse(&text(TRACEPARENT)?, text(TRACESTATE).as_deref())
    }

    /// Writes it into headers, in place of what they have.
    pub fn write(&self, headers: &mut HeaderMap) {
        if let Ok(parent) = HeaderValue::from_str(&self.to_string()) {
            headers.insert(TRACEPARENT, parent);
        }
        match self.state.as_deref().map(HeaderValue::from_str) {
            Some(Ok(state)) => drop(headers.insert(TRACESTATE, state)),
            _ => drop(headers.remove(TRACESTATE)),
        }
    }

    /// The flags, as a `traceparent` has them.
    #[must_use]
    pub fn flags(&self) -> u8 {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        flag(self.is_sampled, SAMPLED) | flag(self.is_random, RANDOM)
    }

    /// The context of a new span within the same trace.
    #[must_use]
    pub fn child(&self, span: u64) -> Self {
        Self { span, ..self.clone() }
    }
}

/// As `traceparent` is written.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags())
    }
}

/// The members of an object, each value as it is written.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

/// Exactly so many lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != digits || !text.bytes().all(is_digit) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

/// The `tracestate` of headers, whose values are one list.
fn state_in(headers: &HeaderMap) -> Option<String> {
    let states = headers.get_all(TRACESTATE).iter();
    let states: Option<Vec<&str>> = states.map(|state| state.to_str().ok()).collect();
    let states = states?.into_iter().map(str::trim).filter(|state| !state.is_empty());
    let list = states.collect::<Vec<&str>>().join(",");
    (!list.is_empty()).then_some(list)
}

/// Whether headers have a context.
#[must_use]
pub fn is_in(headers: &HeaderMap) -> bool {
    headers.contains_key(TRACEPARENT) || headers.contains_key(TRACESTATE)
}

/// Copies a context, if there is one.
pub fn copy(from: &HeaderMap, to: &mut HeaderMap) {
    for name in [TRACEPARENT, TRACESTATE] {
        if let Some(value) = from.get(name) {
            to.insert(name, value.clone());
        }
    }
}

/// Removes a context from headers.
pub fn remove(headers: &mut HeaderMap) {
    headers.remove(TRACEPARENT);
    headers.remove(TRACESTATE);
}

/// The message with this context in its `_meta`, in place of the one that it has. An answer, a batch,
/// and a message whose parameters are no object or have a member twice stay as they are.
#[must_use]
pub fn with_context(message: Bytes, context: &TraceContext) -> Bytes {
    match edit(&message, context) {
        Some(edit) => splice::edit(&message, vec![edit]),
        None => message,
    }
}

fn edit(message: &[u8], context: &TraceContext) -> Option<splice::Edit> {
    let envelope = Envelope::parse(message).ok()?;
    if envelope.kind() == Kind::Response {
        return None;
    }
    let parent = format!("\"{TRACEPARENT}\":\"{context}\"");
    let state = context.state.as_deref();
    let state = state.map(|state| format!(",\"{TRACESTATE}\":{}", splice::quoted(state)));
    let members = parent + state.as_deref().unwrap_or_default();
    let Some(params) = envelope.params else {
        let at = message.iter().position(|byte| *byte == b'{')? + 1;
        return Some((at..at, format!("\"params\":{{\"_meta\":{{{members}}}}},")));
    };
    let Some(meta) = RequestTarget::of(Some(params))?.meta else {
        let member = format!("\"_meta\":{{{members}}}");
        return splice::insertion(message, params, &member);
    };
    let Members(old) = serde_json::from_str(meta.get()).ok()?;
    let others = old.iter().filter(|(name, _)| name != TRACEPARENT && name != TRACESTATE);
    let others = others.map(|(name, value)| format!(",{}:{value}", splice::quoted(name)));
    let others: String = others.collect();
    Some((splice::span(message, meta)?, format!("{{{members}{others}}}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_is_written_as_it_was_read() {
        let context = TraceContext::parse(PARENT, Some("a=1,b=2")).unwrap();
        assert_eq!(context.to_string(), PARENT);
        assert_eq!(context.state.as_deref(), Some("a=1,b=2"));
        let child = context.child(7);
        assert_eq!(child.to_string(), "00-0af7651916cd43dd8448eb211c80319c-0000000000000007-01");
        let later = PARENT.replacen("00", "cc", 1) + "-what-the-future-brings";
        assert_eq!(TraceContext::parse(&later, None).unwrap().to_string(), PARENT);
    }

    #[test]
    fn what_is_no_context_is_none() {
        for wrong in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(wrong, None), None, "{wrong}");
        }
        let long = "x".repeat(MAX_STATE + 1);
        for state in [long.as_str(), "", "a\r\nx: y", "ä=1"] {
            assert_eq!(TraceContext::parse(PARENT, Some(state)).unwrap().state, None, "{state}");
        }
    }

    #[test]
    fn headers_get_the_context() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static("old"));
        headers.insert(TRACESTATE, HeaderValue::from_static("old=1"));
        let context = TraceContext::parse(PARENT, None).unwrap();
        context.write(&mut headers);
        assert_eq!(headers.get(TRACESTATE), None);
        assert_eq!(TraceContext::of_headers(&headers), Some(context));
        assert_eq!(TraceContext::of_headers(&HeaderMap::new()), None);
    }

    #[test]
    fn several_headers_are_one_list_or_none() {
        let headers = |all: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in all {
                headers.append(*name, HeaderValue::from_static(value));
            }
            headers
        };
        let of = |all: &[_]| TraceContext::of_headers(&headers(all));
        let context =
            of(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", " b=2")]).unwrap();
        assert_eq!(context.state.as_deref(), Some("a=1,b=2"));
        let context = of(&[("traceparent", PARENT), ("tracestate", "")]).unwrap();
        assert_eq!(context.state, None);
        assert_eq!(of(&[("traceparent", PARENT), ("traceparent", PARENT)]), None);
        assert_eq!(of(&[("tracestate", "a=1")]), None);
    }

    #[test]
    fn flags_that_mean_something_are_passed_on() {
        for (flags, expect) in
            [("00", "00"), ("01", "01"), ("02", "02"), ("03", "03"), ("ff", "03")]
        {
            let parent = |flags: &str| PARENT.replacen("-01", &format!("-{flags}"), 1);
            let context = TraceContext::parse(&parent(flags), None).unwrap();
            assert_eq!(context.to_string(), parent(expect));
        }
    }

    #[test]
    fn a_context_is_found_however_its_name_is_written() {
        let message = format!(
            r#"{{"jsonrpc":"2.0","method":"a","params":{{"_meta":{{"trace\u0070arent":"{PARENT}"}}}}}}"#
        );
        let context = TraceContext::of_message(message.as_bytes()).unwrap();
        assert_eq!(context.to_string(), PARENT);
    }

    #[test]
    fn a_message_gets_the_context_and_keeps_the_rest() {
        let context = TraceContext::parse(PARENT, Some("k=\"v\"")).unwrap();
        let members = format!(r#""traceparent":"{PARENT}","tracestate":"k=\"v\"""#);
        for (message, expect) in [
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
                r#"{"params":{"_meta":{M}},"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"a","params":{}}"#,
                r#"{"jsonrpc":"2.0","method":"a","params":{"_meta":{M}}}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"a","params":{"n": 1e2}}"#,
                r#"{"jsonrpc":"2.0","method":"a","params":{"_meta":{M},"n": 1e2}}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"a","params":{"_meta":{"progressToken":7,"traceparent":"old","a/b":1E+2},"n":1}}"#,
                r#"{"jsonrpc":"2.0","method":"a","params":{"_meta":{M,"progressToken":7,"a/b":1E+2},"n":1}}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"a","params":{"_meta":{}}}"#,
                r#"{"jsonrpc":"2.0","method":"a","params":{"_meta":{M}}}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"a","params":[1]}"#,
                r#"{"jsonrpc":"2.0","method":"a","params":[1]}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"a","params":{"_meta":7}}"#,
                r#"{"jsonrpc":"2.0","method":"a","params":{"_meta":7}}"#,
            ),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
            (r#"[{"jsonrpc":"2.0","method":"a"}]"#, r#"[{"jsonrpc":"2.0","method":"a"}]"#),
        ] {
            let message = Bytes::from_static(message.as_bytes());
            let out = with_context(message, &context);
            assert_eq!(out, expect.replace('M', &members), "{expect}");
            if expect.contains('M') {
                assert_eq!(TraceContext::of_message(&out), Some(context.clone()));
            }
        }
    }
}
