//! Judges the parameters of a client's message where something is hidden, or where sessions share a
//! server: what the gateway reads in them is what every reader of JSON reads.

use serde_json::value::RawValue;

use super::jsonrpc::{MAX_ANSWERED_ID, MAX_ID, code, is_plain_id};
use super::members::members;
use super::splice::{RequestTarget, string};

members! {
    /// The member of `_meta` that decides something.
    pub struct Meta {
        /// A string or a whole number, under which progress is reported.
        progress_token = "progressToken",
    }
}

/// The parameters of a message, read by all alike.
#[derive(Debug, Default, Clone, Copy)]
pub struct StrictParams<'a> {
    /// The members that name something.
    pub target: RequestTarget<'a>,
    /// The `ref` of `completion/complete`.
    pub reference: Option<RequestTarget<'a>>,
    /// The progress token in `_meta`.
    pub progress_token: Option<&'a RawValue>,
}

/// Why parameters have no meaning that all readers agree on. The client reads the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// An array, a text, a number.
    #[error("{0} must be an object")]
    NoObject(&'static str),
    /// A member comes twice, perhaps with escapes in its name.
    #[error("{0} has a member twice that counts, or one that cannot be read")]
    Twice(&'static str),
    /// A member is spelled like one that counts but for its case or underscores.
    #[error("{0} has a member that is spelled like one that counts, but for case or underscores")]
    Lookalike(&'static str),
    /// Neither a string nor a whole number.
    #[error("{0} must be a string or a whole number")]
    NoId(&'static str),
    /// An id or a token of more than [`MAX_ID`] bytes.
    #[error("{0} is longer than 1024 bytes")]
    Long(&'static str),
    /// Half a surrogate pair, or no string at all.
    #[error("{0} must be a string of Unicode characters")]
    NoText(&'static str),
}

impl Unclear {
    /// The code of the error that answers the request.
    #[must_use]
    pub fn code(&self) -> i64 {
        match self {
            Self::Long(_) => code::INVALID_REQUEST,
            _ => code::INVALID_PARAMS,
        }
    }
}

impl<'a> StrictParams<'a> {
    /// Reads parameters; absent ones, and `null`, have no members.
    ///
    /// # Errors
    /// If they are no object, or if another reader might read them otherwise.
    pub fn of(params: Option<&'a RawValue>) -> Result<Self, Unclear> {
        let target = match object(params, "params")? {
            Some(params) => read::<RequestTarget<'_>>(params, "params")?,
            None => return Ok(Self::default()),
        };
        if target.has_lookalike {
            return Err(Unclear::Lookalike("params"));
        }
        let reference = match object(target.reference, "params.ref")? {
            Some(reference) => Some(read::<RequestTarget<'_>>(reference, "params.ref")?),
            None => None,
        };
        if reference.is_some_and(|reference| reference.has_lookalike) {
            return Err(Unclear::Lookalike("params.ref"));
        }
        let meta = match object(target.meta, "params._meta")? {
            Some(meta) => read::<Meta<'_>>(meta, "params._meta")?,
            None => Meta::default(),
        };
        if meta.has_lookalike {
            return Err(Unclear::Lookalike("params._meta"));
        }
        let read = Self { target, reference, progress_token: present(meta.progress_token) };
        read.checked()
    }

    /// All readers decode these values alike, or none of them can.
    fn checked(self) -> Result<Self, Unclear> {
        let Self { target, reference, progress_token } = self;
        for (id, name, longest) in [
            (progress_token, "params._meta.progressToken", MAX_ID),
            // That of a server, as an aggregate has written it.
            (present(target.progress_token), "params.progressToken", MAX_ANSWERED_ID),
            (present(target.request_id), "params.requestId", MAX_ID),
        ] {
            let Some(id) = id else { continue };
            if !is_plain_id(id) {
                return Err(Unclear::NoId(name));
            }
            if id.get().len() > longest {
                return Err(Unclear::Long(name));
            }
        }
        let nested = reference.unwrap_or_default();
        for (text, name) in [
            (target.name, "params.name"),
            (target.uri, "params.uri"),
            (target.task_id, "params.taskId"),
            (target.level, "params.level"),
            (target.cursor, "params.cursor"),
            (nested.kind, "params.ref.type"),
            (nested.name, "params.ref.name"),
            (nested.uri, "params.ref.uri"),
        ] {
            if present(text).is_some_and(|text| !is_text(text)) {
                return Err(Unclear::NoText(name));
            }
        }
        Ok(self)
    }
}

/// `null` counts as absent, to all readers.
fn present(value: Option<&RawValue>) -> Option<&RawValue> {
    value.filter(|value| value.get() != "null")
}

/// A value that is to be an object, unless it is absent.
fn object<'a>(
    value: Option<&'a RawValue>,
    name: &'static str,
) -> Result<Option<&'a RawValue>, Unclear> {
    match present(value) {
        Some(value) if !value.get().starts_with('{') => Err(Unclear::NoObject(name)),
        other => Ok(other),
    }
}

fn read<'a, T: serde::Deserialize<'a>>(
    value: &'a RawValue,
    name: &'static str,
) -> Result<T, Unclear> {
    serde_json::from_str(value.get()).map_err(|_| Unclear::Twice(name))
}

fn is_text(value: &RawValue) -> bool {
    let text = value.get();
    text.starts_with('"') && (!text.contains('\\') || string(value).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(params: &str) -> Result<(), Unclear> {
        let raw: &RawValue = serde_json::from_str(params).unwrap();
        StrictParams::of(Some(raw)).map(drop)
    }

    #[test]
    fn what_all_readers_read_alike_is_read() {
        for params in [
            "{}",
            "null",
            r#"{"name":"a","arguments":{"name":1,"name":2,"Name":3},"x":[],"_meta":null}"#,
            r#"{"na\u006de":"\u0061\ud83d\ude00","_meta":{"progressToken":7,"x/y":1}}"#,
            r#"{"ref":{"type":"ref/prompt","name":"a","title":"b"},"argument":{"name":"a","name":"b"}}"#,
            r#"{"requestId":-12345678901234567890123,"cursor":null,"name":null}"#,
        ] {
            assert_eq!(of(params), Ok(()), "{params}");
        }
        assert!(StrictParams::of(None).unwrap().target.name.is_none());
    }

    #[test]
    fn what_readers_read_differently_is_refused() {
        use Unclear::{Lookalike, NoId, NoObject, NoText, Twice};
        for (params, why) in [
            (r#"["a"]"#, NoObject("params")),
            ("7", NoObject("params")),
            (r#"{"name":"a","name":"b"}"#, Twice("params")),
            (r#"{"name":"a","n\u0061me":"b"}"#, Twice("params")),
            (r#"{"uri":"a","uri":"b"}"#, Twice("params")),
            (r#"{"arguments":{},"arguments":{}}"#, Twice("params")),
            (r#"{"_meta":{},"_meta":{}}"#, Twice("params")),
            (r#"{"taskId":"a","taskId":"a"}"#, Twice("params")),
            (r#"{"level":"a","level":"a"}"#, Twice("params")),
            (r#"{"cursor":"a","cursor":"a"}"#, Twice("params")),
            (r#"{"requestId":1,"requestId":2}"#, Twice("params")),
            (r#"{"ref":{},"ref":{}}"#, Twice("params")),
            (r#"{"name":"a","Name":"b"}"#, Lookalike("params")),
            (r#"{"Name":"b"}"#, Lookalike("params")),
            (r#"{"ta\u017f\u212aId":"b"}"#, Lookalike("params")),
            (r#"{"request_id":1}"#, Lookalike("params")),
            (r#"{"meta":{"progressToken":1}}"#, Lookalike("params")),
            (r#"{"_meta":{"progress_token":2}}"#, Lookalike("params._meta")),
            (r#"{"ref":[]}"#, NoObject("params.ref")),
            (r#"{"ref":{"name":"a","name":"b"}}"#, Twice("params.ref")),
            (r#"{"ref":{"type":"a","type":"b"}}"#, Twice("params.ref")),
            (r#"{"ref":{"uri":"a","URI":"b"}}"#, Lookalike("params.ref")),
            (r#"{"_meta":[7]}"#, NoObject("params._meta")),
            (r#"{"_meta":{"progressToken":1,"progressToken":2}}"#, Twice("params._meta")),
            (r#"{"_meta":{"progresstoken":2}}"#, Lookalike("params._meta")),
            (r#"{"_meta":{"progressToken":{}}}"#, NoId("params._meta.progressToken")),
            (r#"{"requestId":1.5}"#, NoId("params.requestId")),
            (r#"{"requestId":"\ud800"}"#, NoId("params.requestId")),
            (r#"{"name":"\ud800a"}"#, NoText("params.name")),
            (r#"{"uri":7}"#, NoText("params.uri")),
            (r#"{"cursor":7}"#, NoText("params.cursor")),
            (r#"{"ref":{"uri":["a"]}}"#, NoText("params.ref.uri")),
        ] {
            assert_eq!(of(params), Err(why), "{params}");
        }
        let token = |length: usize| {
            format!(r#"{{"_meta":{{"progressTok\u0065n":"{}"}}}}"#, "x".repeat(length - 2))
        };
        assert_eq!(of(&token(MAX_ID)), Ok(()));
        let long = Unclear::Long("params._meta.progressToken");
        assert_eq!(of(&token(MAX_ID + 1)), Err(long));
        assert_eq!(long.code(), code::INVALID_REQUEST);
    }
}
