//! Judges a message by what this process's own file hides of the server. The edge has judged it
//! already; at a node, it was the coordinator's edge, which may not know the file yet.

use crate::model::{Selection, choice_of};
use crate::protocol::jsonrpc::{Envelope, Kind, Malformed, code};
use crate::protocol::methods::{self, Destination, Notice};
use crate::protocol::splice;
use crate::protocol::strict::StrictParams;
use crate::protocol::uri::resource_judge::ResourceJudge;
use crate::protocol::version::Version;

/// What becomes of a message that does not go on to the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Withheld {
    /// Nothing: it gets no answer.
    Dropped,
    /// The request is answered with this code and text.
    Refused(i64, String),
}

/// Why the message does not go on to the server. `None` if it does.
#[must_use]
pub fn from(envelope: &Envelope<'_>, selection: &Selection) -> Option<Withheld> {
    let is_request = envelope.kind() == Kind::Request;
    let refused = |code, text: String| {
        Some(if is_request { Withheld::Refused(code, text) } else { Withheld::Dropped })
    };
    if !envelope.has_one_meaning() {
        let error = Malformed::ambiguous();
        return refused(error.code(), error.to_string());
    }
    if envelope.kind() == Kind::Response {
        return None;
    }
    let params = match StrictParams::of(envelope.params) {
        Ok(params) => params,
        Err(unclear) => return refused(unclear.code(), unclear.to_string()),
    };
    let method = envelope.method();
    if !is_request {
        let is_dropped = methods::notice(method, Version::LATEST) == Notice::Dropped;
        return is_dropped.then_some(Withheld::Dropped);
    }
    let reference = params.reference.unwrap_or_default();
    let target = params.target;
    let (none, prompts) = (None, &selection.prompts);
    let (name, choices, uri) = match methods::destination(method) {
        Destination::Tool => (target.name, &selection.tools, none),
        Destination::Prompt => (target.name, prompts, none),
        Destination::Resource => (none, prompts, target.uri),
        Destination::Completion => (reference.name, prompts, reference.uri),
        // Skills are made of resources: where none is hidden, all may be read.
        Destination::Skills | Destination::Skill if ResourceJudge::hiding(selection).is_none() => {
            return None;
        }
        // Nobody has judged what skills are made of.
        Destination::Skills | Destination::Skill | Destination::Unknown => {
            return refused(code::METHOD_NOT_FOUND, "Method not found".into());
        }
        _ => return None,
    };
    let hides = |name: &String| choice_of(choices, name).is_some_and(|choice| !choice.enabled);
    let hidden = name.and_then(splice::string).filter(hides);
    let hidden =
        hidden.or_else(|| uri.and_then(splice::string).filter(|u| hides_uri(selection, u)));
    hidden.and_then(|name| refused(code::INVALID_PARAMS, format!("Unknown here: {name}")))
}

/// Whether any server might take the URI for one that is hidden. What the server lists is not asked:
/// the edge has done that.
fn hides_uri(selection: &Selection, uri: &str) -> bool {
    ResourceJudge::hiding(selection).is_some_and(|judge| judge.may_be_hidden(uri))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Choice, Choices};

    fn judged(message: &str) -> Option<i64> {
        let choices = |name: &str, enabled| {
            Choices::from([(name.to_owned(), Choice { enabled, description: None })])
        };
        let mut selection = Selection {
            tools: choices("secret", false),
            prompts: choices("whisper", false),
            resources: choices("res://secret", false),
        };
        selection.resources.extend(choices("res://dir/{x}", false));
        selection.tools.extend(choices("open", true));
        match from(&Envelope::parse(message.as_bytes()).unwrap(), &selection)? {
            Withheld::Dropped => Some(0),
            Withheld::Refused(code, _) => Some(code),
        }
    }

    #[test]
    fn what_the_file_hides_is_withheld_however_it_is_asked_for() {
        let ask = |method: &str, params: &str| {
            let message =
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
            judged(&message)
        };
        for (method, params) in [
            ("tools/call", r#"{"name":"secret"}"#),
            ("tools/call", r#"{"name":"secr\u0065t"}"#),
            ("tools/call", r#"{"name":"open","Name":"secret"}"#),
            ("prompts/get", r#"{"name":"whisper"}"#),
            ("resources/read", r#"{"uri":"res://secret"}"#),
            ("resources/subscribe", r#"{"uri":"res://secret"}"#),
            ("resources/read", r#"{"uri":"RES://secret"}"#),
            ("resources/read", r#"{"uri":"res://secret/"}"#),
            ("resources/read", r#"{"uri":"res://%73ecret"}"#),
            ("resources/read", r#"{"uri":"res://open/..%2F..%2Fsecret"}"#),
            ("resources/read", r#"{"uri":"res://dir/1"}"#),
            ("resources/unsubscribe", r#"{"uri":" res://dir/1#x"}"#),
            ("completion/complete", r#"{"ref":{"type":"ref/resource","uri":"res://dir/{y}"}}"#),
            ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"whisper"}}"#),
            ("completion/complete", r#"{"ref":{"type":"ref/resource","uri":"res://secret"}}"#),
        ] {
            assert_eq!(ask(method, params), Some(code::INVALID_PARAMS), "{method} {params}");
        }
        assert_eq!(ask("server/custom", "{}"), Some(code::METHOD_NOT_FOUND));
        for (method, params) in [
            ("tools/call", r#"{"name":"open"}"#),
            ("tools/call", r#"{"name":"other","arguments":{"name":"secret"}}"#),
            ("resources/read", r#"{"uri":"res://open"}"#),
            ("resources/read", r#"{"uri":"res://dir"}"#),
            ("completion/complete", r#"{"ref":{"type":"ref/resource","uri":"res://{y}"}}"#),
            ("tools/list", "{}"),
            ("tasks/list", "{}"),
            ("ping", "null"),
        ] {
            assert_eq!(ask(method, params), None, "{method} {params}");
        }
        assert_eq!(judged(r#"{"jsonrpc":"2.0","method":"tools/call"}"#), Some(0));
        assert_eq!(judged(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), None);
        assert_eq!(judged(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), None);
        let twofold = r#"{"jsonrpc":"2.0","id":1,"ID":2,"method":"ping"}"#;
        assert_eq!(judged(twofold), Some(code::INVALID_REQUEST));
    }
}
