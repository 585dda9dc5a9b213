//! Checks envelopes and splicing against a slow and simple reader of the same bytes that shares no
//! code with them: it lists all members in order.

use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::jsonrpc::{self, Envelope, Kind, Malformed, code};
use super::super::splice::{self, RequestTarget};

/// A name that needs escapes, so that its JSON text is not the name itself.
const OTHER_NAME: &str = "new \"name\"\u{1f600}\n";

/// Takes the bytes as one message.
pub fn hold(input: &[u8]) {
    let read = Envelope::parse(input);
    match (&read, serde_json::from_slice::<Members>(input)) {
        (Ok(envelope), Ok(Members(members))) => agrees(envelope, &members),
        (Ok(_), Err(error)) => {
            assert!(is_beyond_value(&error), "accepted, though no JSON: {error}");
        }
        (Err(error), Ok(Members(members))) => {
            assert_eq!(error.code(), code::INVALID_REQUEST, "{error}");
            assert!(Expected::of(&members).is_none(), "refused ({error}): {members:?}");
        }
        (Err(_), Err(_)) => {}
    }
    match read {
        Ok(envelope) => {
            assert!(std::str::from_utf8(input).is_ok(), "accepted, though not UTF-8");
            changes_only_what_is_named(input, &envelope);
            assert_same_on_one_line(input, &envelope);
            answers_keep_the_id(&envelope);
        }
        Err(Malformed::Json(_)) => {
            assert!(serde_json::from_slice::<Value>(input).is_err(), "JSON, refused as none");
        }
        Err(Malformed::Message(_)) => {
            assert!(std::str::from_utf8(input).is_ok(), "no text, refused as JSON");
        }
    }
}

/// A message as the specification reads it.
struct Expected<'a> {
    kind: Kind,
    method: &'a str,
    id: Option<&'a Value>,
}

impl<'a> Expected<'a> {
    /// `None` if it is not a message.
    fn of(members: &'a [(String, Value)]) -> Option<Self> {
        let once = |name: &str| {
            let mut found = members.iter().filter(|(key, _)| key == name).map(|(_, value)| value);
            let first = found.next();
            if found.next().is_some() { Err(()) } else { Ok(first) }
        };
        let [version, id, method, result, error, _params] =
            ["jsonrpc", "id", "method", "result", "error", "params"].map(once);
        let (version, id, method, _params) =
            (version.ok()??, id.ok()?, method.ok()?, _params.ok()?);
        if version != "2.0" {
            return None;
        }
        let method = match method {
            None | Some(Value::Null) => None,
            Some(Value::String(method)) => Some(method.as_str()),
            Some(_) => return None,
        };
        // Of the two, one that is null counts as absent.
        let (result, error) = match (result.ok()?, error.ok()?) {
            (Some(result), Some(Value::Null)) => (Some(result), None),
            (Some(Value::Null), Some(error)) => (None, Some(error)),
            (Some(_), Some(_)) => return None,
            other => other,
        };
        let answers = result.is_some() || error.is_some();
        match id {
            None | Some(Value::String(_) | Value::Number(_)) => {}
            Some(Value::Null) if error.is_some() => {}
            Some(_) => return None,
        }
        match (method, answers) {
            (Some(_), true) | (None, false) => None,
            (None, true) => Some(Self { kind: Kind::Response, method: "", id }),
            (Some(method), false) => {
                let kind = if id.is_some() { Kind::Request } else { Kind::Notification };
                Some(Self { kind, method, id })
            }
        }
    }
}

fn agrees(envelope: &Envelope<'_>, members: &[(String, Value)]) {
    let Some(expected) = Expected::of(members) else {
        panic!("accepted, though no message: {members:?}")
    };
    assert_eq!(envelope.kind(), expected.kind, "{members:?}");
    assert_eq!(envelope.method(), expected.method, "{members:?}");
    assert_eq!(envelope.id.map(value).as_ref(), expected.id, "{members:?}");
}

/// Whether a `Value` cannot hold a text that is accepted all the same: none is made of it.
fn is_beyond_value(error: &serde_json::Error) -> bool {
    let beyond =
        ["number out of range", "recursion limit exceeded", "surrogate", "end of hex escape"];
    let error = error.to_string();
    beyond.iter().any(|text| error.contains(text))
}

fn changes_only_what_is_named(input: &[u8], envelope: &Envelope<'_>) {
    let Some(target) = RequestTarget::of(envelope.params) else { return };
    let nested = target.reference.and_then(|reference| RequestTarget::of(Some(reference)));
    let nested = nested.unwrap_or_default();
    for named in [target.name, target.uri, nested.name, nested.uri].into_iter().flatten() {
        let Some(span) = splice::span(input, named) else { panic!("a value outside its text") };
        assert_eq!(input.get(span.clone()), Some(named.get().as_bytes()));
        assert_eq!(splice::replace(input, span.clone(), named.get().as_bytes()), input);

        let by = splice::quoted(OTHER_NAME);
        let changed = splice::replace(input, span.clone(), by.as_bytes());
        assert_eq!(changed.len(), input.len() - span.len() + by.len());
        assert!(changed.starts_with(input.get(..span.start).unwrap_or_default()));
        assert!(changed.ends_with(input.get(span.end..).unwrap_or_default()));
        let Ok(again) = Envelope::parse(&changed) else { panic!("no message any more") };
        assert_eq!(again.id_text(), envelope.id_text());
        assert_eq!(again.method(), envelope.method());
        let target = RequestTarget::of(again.params).unwrap_or_default();
        let nested = target.reference.and_then(|reference| RequestTarget::of(Some(reference)));
        let nested = nested.unwrap_or_default();
        let names = [target.name, target.uri, nested.name, nested.uri].into_iter().flatten();
        assert!(names.filter_map(splice::string).any(|name| name == OTHER_NAME));
    }
}

fn assert_same_on_one_line(input: &[u8], envelope: &Envelope<'_>) {
    let line = splice::on_one_line(Bytes::copy_from_slice(input));
    assert_eq!(line.len(), input.len());
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
    let Ok(again) = Envelope::parse(&line) else { panic!("no message any more") };
    assert_eq!(again.id_text(), envelope.id_text());
    assert_eq!(again.method(), envelope.method());
    // Equal, unless a `Value` cannot hold them.
    let whole = [input, &line].map(|text| serde_json::from_slice::<Value>(text).ok());
    assert_eq!(whole[0], whole[1]);
}

fn answers_keep_the_id(request: &Envelope<'_>) {
    let (Kind::Request, Some(id)) = (request.kind(), request.id_text()) else { return };
    let result = request.params.map_or("{}", RawValue::get);
    for answer in [
        jsonrpc::result(id, result.as_bytes()),
        jsonrpc::error(Some(id), code::INTERNAL, request.method()),
    ] {
        let Ok(read) = Envelope::parse(&answer) else { panic!("no message: {answer:?}") };
        assert_eq!((read.kind(), read.id_text()), (Kind::Response, Some(id)));
        assert!(read.result.is_none_or(|written| written.get() == result));
    }
}

fn value(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or_else(|error| panic!("{error}: {raw}"))
}

/// All members of an object, duplicates included.
#[derive(Debug)]
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        input.deserialize_map(Collect)
    }
}
