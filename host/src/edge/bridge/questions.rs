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

/// Whether a client with these capabilities may be asked this.
#[must_use]
pub fn may_be_asked(method: &str, capabilities: &str) -> bool {
    let declared = Members::of(capabilities).unwrap_or_default();
    needs(method).is_some_and(|needed| declared.get(needed).is_some())
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
pub fn refused(id: &str, method: &str) -> Bytes {
    let text = format!("the client cannot be asked {method}");
    jsonrpc::error(Some(id), code::METHOD_NOT_FOUND, &text)
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
        assert!(may_be_asked("elicitation/create", r#"{"elicitation":{}}"#));
        assert!(!may_be_asked("elicitation/create", r#"{"sampling":{}}"#));
        assert!(!may_be_asked("tasks/get", r#"{"tasks":{},"elicitation":{}}"#));
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
