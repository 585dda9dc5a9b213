//! What servers ask during a request, as parts of its answer, and what clients send for it.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::protocol::era::methods::needs;
use crate::protocol::era::result::INPUT_REQUIRED;
use crate::protocol::jsonrpc::{self, code};
use crate::protocol::lenient::Members;
use crate::protocol::request_state::WaitingQuestion;
use crate::protocol::splice;

/// Members of the parameters that have no meaning without a session: `elicitationId` names what a
/// notification would end, and tasks are others.
const OF_SESSIONS: [&str; 2] = ["elicitationId", "task"];

/// A question that the client is to be asked.
pub struct ClientQuestion {
    pub question: WaitingQuestion,
    /// As the client gets it.
    pub text: String,
    /// The event that has brought it.
    pub event: String,
}

/// Why a client is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAsked {
    /// It has not declared the capability, or nothing is asked so.
    Undeclared,
    /// It has declared the capability, but not this way of asking.
    OtherWay,
}

/// Whether a client with these capabilities may be asked this.
///
/// # Errors
/// Why not.
pub fn may_be_asked(
    method: &str,
    params: Option<&RawValue>,
    capabilities: &str,
) -> Result<(), NotAsked> {
    let declared = Members::of(capabilities).unwrap_or_default();
    let is_declared = |needed: &&str| declared.get(needed).is_some_and(|raw| raw.get() != "null");
    let needed = needs(method).filter(is_declared);
    let needed = needed.ok_or(NotAsked::Undeclared)?;
    if needed != "elicitation" {
        return Ok(());
    }
    let mode = params.and_then(|params| Members::of(params.get())?.text("mode"));
    let ways = declared.object(needed).unwrap_or_default();
    let (form, url) = (ways.get("form").is_some(), ways.get("url").is_some());
    // An empty object means forms (2025-11-25, client/elicitation).
    let is_declared = if mode.as_deref() == Some("url") { url } else { form || !url };
    if is_declared { Ok(()) } else { Err(NotAsked::OtherWay) }
}

/// Whether a client with these capabilities opens URLs for its user.
#[must_use]
pub fn opens_urls(capabilities: &str) -> bool {
    let declared = Members::of(capabilities).unwrap_or_default();
    declared.object("elicitation").is_some_and(|ways| ways.get("url").is_some())
}

/// A question as the client gets it: an object with method and parameters.
#[must_use]
pub fn request(method: &str, params: Option<&RawValue>) -> String {
    let members = params.and_then(|params| Members::of(params.get())).unwrap_or_default();
    let kept = members.iter().filter(|(name, _)| !OF_SESSIONS.contains(name));
    let kept = kept.map(|(name, value)| match name {
        "_meta" => member(name, &without_token(value)),
        _ => member(name, value.get()),
    });
    let params = kept.collect::<Vec<_>>().join(",");
    format!("{{\"method\":{},\"params\":{{{params}}}}}", splice::quoted(method))
}

fn member(name: &str, value: &str) -> String {
    format!("{}:{value}", splice::quoted(name))
}

/// `_meta` without a token for progress, which has nowhere to go.
fn without_token(meta: &RawValue) -> String {
    let Some(members) = Members::of(meta.get()) else { return meta.get().to_owned() };
    let kept = members.iter().filter(|(name, _)| *name != "progressToken");
    let kept = kept.map(|(name, value)| member(name, value.get()));
    format!("{{{}}}", kept.collect::<Vec<_>>().join(","))
}

/// The result that asks for input. Each question comes with its name.
#[must_use]
pub fn input_required<'a>(
    questions: impl Iterator<Item = (&'a str, &'a str)>,
    state: &str,
) -> String {
    let asked = questions.map(|(key, asked)| format!("{}:{asked}", splice::quoted(key)));
    format!(
        "{{\"resultType\":\"{INPUT_REQUIRED}\",\"inputRequests\":{{{}}},\"requestState\":{}}}",
        asked.collect::<Vec<_>>().join(","),
        splice::quoted(state)
    )
}

/// Whether a value is an answer to such a question. One that is not is asked for again.
#[must_use]
pub fn is_answer(method: &str, answer: &RawValue) -> bool {
    let Some(members) = Members::of(answer.get()).filter(|_| answer.get().starts_with('{')) else {
        return false;
    };
    let is_array = |name: &str| members.get(name).is_some_and(|raw| raw.get().starts_with('['));
    match method {
        "elicitation/create" => members
            .text("action")
            .is_some_and(|action| ["accept", "decline", "cancel"].contains(&&*action)),
        "sampling/createMessage" => {
            members.text("role").is_some() && members.get("content").is_some()
        }
        "roots/list" => is_array("roots"),
        _ => false,
    }
}

/// The answer for the server.
#[must_use]
pub fn for_server(id: &str, answer: &RawValue) -> Bytes {
    jsonrpc::result(id, answer.get().as_bytes())
}

/// The answer for a server that asks what its client cannot be asked.
#[must_use]
pub fn refused(id: &str, method: &str, why: NotAsked) -> Bytes {
    let (code, way) = match why {
        NotAsked::Undeclared => (code::METHOD_NOT_FOUND, ""),
        // (2025-11-25, client/elicitation, "Error Handling")
        NotAsked::OtherWay => (code::INVALID_PARAMS, " in this mode"),
    };
    jsonrpc::error(Some(id), code, &format!("the client cannot be asked {method}{way}"))
}

/// The answer for a server whose client has not come back with one.
#[must_use]
pub fn unanswered(id: &str) -> Bytes {
    let text = "the client has not answered in time";
    jsonrpc::error(Some(id), code::INTERNAL, text)
}

/// The URLs that a server wants opened before it takes a request: what it would ask, one by one
/// (2025-11-25, client/elicitation, "URL Elicitation Required Error").
#[must_use]
pub fn urls_to_open(error: &RawValue) -> Vec<String> {
    let data = Members::of(error.get()).and_then(|error| error.object("data"));
    let listed = data.and_then(|data| {
        crate::protocol::lenient::elements(data.get("elicitations")).map(|listed| {
            let ask = |asked| request("elicitation/create", Some(asked));
            listed.into_iter().map(ask).collect()
        })
    });
    listed.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_question_is_passed_without_what_only_sessions_have() {
        let params = raw(
            r#"{"message":"n\u00e9","requestedSchema":{"x":1.0},"elicitationId":"e","_meta":{"progressToken":1,"mooring/server":"s"}}"#,
        );
        assert_eq!(
            request("elicitation/create", Some(params)),
            r#"{"method":"elicitation/create","params":{"message":"n\u00e9","requestedSchema":{"x":1.0},"_meta":{"mooring/server":"s"}}}"#
        );
        assert_eq!(request("roots/list", None), r#"{"method":"roots/list","params":{}}"#);
    }

    #[test]
    fn clients_are_asked_what_they_have_declared() {
        let elicitation = "elicitation/create";
        let (form, url) = (r#"{"mode":"form"}"#, r#"{"mode":"url"}"#);
        for (method, params, capabilities, expected) in [
            (elicitation, "{}", r#"{"elicitation":{}}"#, Ok(())),
            (elicitation, form, r#"{"elicitation":{"form":{},"url":{}}}"#, Ok(())),
            (elicitation, url, r#"{"elicitation":{"url":{}}}"#, Ok(())),
            (elicitation, url, r#"{"elicitation":{}}"#, Err(NotAsked::OtherWay)),
            (elicitation, url, r#"{"elicitation":{"form":{}}}"#, Err(NotAsked::OtherWay)),
            (elicitation, "{}", r#"{"elicitation":{"url":{}}}"#, Err(NotAsked::OtherWay)),
            (elicitation, "{}", r#"{"sampling":{}}"#, Err(NotAsked::Undeclared)),
            (elicitation, "{}", r#"{"elicitation":null}"#, Err(NotAsked::Undeclared)),
            ("roots/list", "{}", r#"{"roots":{}}"#, Ok(())),
            ("tasks/get", "{}", r#"{"tasks":{},"elicitation":{}}"#, Err(NotAsked::Undeclared)),
        ] {
            let asked = may_be_asked(method, Some(raw(params)), capabilities);
            assert_eq!(asked, expected, "{method} {params} {capabilities}");
        }
        assert!(
            opens_urls(r#"{"elicitation":{"url":{}}}"#) && !opens_urls(r#"{"elicitation":{}}"#)
        );
    }

    #[test]
    fn an_answer_fits_its_question() {
        for (method, answer, is) in [
            ("elicitation/create", r#"{"action":"accept","content":{}}"#, true),
            ("elicitation/create", r#"{"action":"perhaps"}"#, false),
            ("elicitation/create", "12345", false),
            ("elicitation/create", "[]", false),
            ("sampling/createMessage", r#"{"role":"assistant","content":{},"model":"m"}"#, true),
            ("sampling/createMessage", "{}", false),
            ("roots/list", r#"{"roots":[]}"#, true),
            ("roots/list", r#"{"roots":{}}"#, false),
            ("x", "{}", false),
        ] {
            assert_eq!(is_answer(method, raw(answer)), is, "{method} {answer}");
        }
    }

    #[test]
    fn urls_are_read_out_of_the_error() {
        let error = raw(
            r#"{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","url":"https://x","elicitationId":"1"}]}}"#,
        );
        assert_eq!(
            urls_to_open(error),
            [r#"{"method":"elicitation/create","params":{"mode":"url","url":"https://x"}}"#]
        );
        assert!(urls_to_open(raw("{}")).is_empty());
    }
}
