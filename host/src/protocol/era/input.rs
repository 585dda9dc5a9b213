//! What a result asks its client for, before the request is sent again (2026-07-28,
//! basic/patterns/mrtr).

use serde_json::value::RawValue;

use crate::protocol::lenient::{Members, text};

use super::methods;
use super::outgoing::{Introduction, push};
use super::result::INPUT_REQUIRED;

/// Questions that one result may ask.
pub const MOST: usize = 64;

/// One thing that is asked for. The parameters are JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name under which the answer goes back.
    pub key: String,
    /// What is asked for.
    pub method: String,
    /// An object, if the server keeps to the revision.
    pub params: String,
}

/// A result that is not whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InputRequired {
    /// What is asked for; the request goes out again with all the answers.
    pub questions: Vec<Question>,
    /// To be sent back as it is, as JSON.
    pub state: Option<String>,
}

/// Why questions cannot be asked. The client reads the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoQuestion {
    /// There is neither a question nor a state.
    #[error("the server asks for input, and says neither for which nor under which state")]
    Nothing,
    /// There are more than [`MOST`].
    #[error("the server asks more than {MOST} questions at once")]
    TooMany,
    /// One has no method, or no parameters that a session could pass on. Holds its name.
    #[error("the server's question {0:?} cannot be read")]
    Unreadable(String),
    /// The client has not said that it can answer that.
    #[error("the server asks its client for {0}, which this client has not declared")]
    Undeclared(String),
}

impl InputRequired {
    /// What a result asks for. `None` if it is another result.
    ///
    /// # Errors
    /// If nothing of it can be asked.
    #[must_use]
    pub fn of(result: &RawValue) -> Option<Result<Self, NoQuestion>> {
        let members = Members::of(result.get())?;
        (members.text("resultType").as_deref() == Some(INPUT_REQUIRED))
            .then(|| Self::read(&members))
    }

    fn read(members: &Members<'_>) -> Result<Self, NoQuestion> {
        let state = members.get("requestState").map(|state| state.get().to_owned());
        let mut questions = Vec::new();
        for (key, raw) in members.object("inputRequests").unwrap_or_default().iter() {
            if questions.len() >= MOST {
                return Err(NoQuestion::TooMany);
            }
            let asked = Members::of(raw.get()).unwrap_or_default();
            let method = asked.get("method").and_then(text);
            let method = method.ok_or_else(|| NoQuestion::Unreadable(key.to_owned()))?;
            let params = asked.get("params").map_or("{}", RawValue::get).to_owned();
            questions.push(Question { key: key.to_owned(), method, params });
        }
        match questions.is_empty() && state.is_none() {
            true => Err(NoQuestion::Nothing),
            false => Ok(Self { questions, state }),
        }
    }
}

impl Question {
    /// The question as a client of a session is asked, which has said this of itself.
    ///
    /// # Errors
    /// If it cannot be asked that.
    pub fn for_session(&self, client: &Introduction, id: &str) -> Result<String, NoQuestion> {
        let undeclared = |what: &str| NoQuestion::Undeclared(what.to_owned());
        let needed = methods::needs(&self.method).ok_or_else(|| undeclared(&self.method))?;
        if !client.has(needed, None) {
            return Err(undeclared(needed));
        }
        let params = Members::of(&self.params)
            .filter(|_| self.params.starts_with('{'))
            .ok_or_else(|| NoQuestion::Unreadable(self.key.clone()))?;
        if params.text("mode").as_deref() != Some("url") {
            let is_url_only = client.has(needed, Some("url")) && !client.has(needed, Some("form"));
            return match needed == "elicitation" && is_url_only {
                true => Err(undeclared("elicitation of forms")),
                false => Ok(self.params.clone()),
            };
        }
        if !client.has(needed, Some("url")) {
            return Err(undeclared("elicitation by URL"));
        }
        if params.get("elicitationId").is_some() {
            return Ok(self.params.clone());
        }
        // Sessions know such a question by an id (2025-11-25, client/elicitation).
        let mut out = String::from("{");
        push(&mut out, "elicitationId", id);
        for (name, value) in params.iter().filter(|(name, _)| *name != "elicitationId") {
            push(&mut out, name, value.get());
        }
        out.push('}');
        Ok(out)
    }
}

/// The answers, by the names under which they were asked for, as JSON.
#[must_use]
pub fn answers<'a>(given: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::from("{");
    for (key, answer) in given {
        push(&mut out, key, answer);
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(text: &str) -> Option<Result<InputRequired, NoQuestion>> {
        InputRequired::of(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn what_is_asked_for_is_read() {
        for whole in [r#"{"resultType":"complete"}"#, "{}", "[]", "null"] {
            assert_eq!(read(whole), None, "{whole}");
        }
        let got = read(
            r#"{"resultType":"input_required","requestState":"s\u00e4","inputRequests":{"a":{"method":"roots/list"},"b":{"method":"x","params":{"n":1.0}}}}"#,
        );
        let question = |key: &str, method: &str, params: &str| Question {
            key: key.into(),
            method: method.into(),
            params: params.into(),
        };
        let expect = InputRequired {
            questions: vec![question("a", "roots/list", "{}"), question("b", "x", r#"{"n":1.0}"#)],
            state: Some(r#""s\u00e4""#.into()),
        };
        assert_eq!(got, Some(Ok(expect)));
        let nothing = read(r#"{"resultType":"input_required","inputRequests":{}}"#);
        assert_eq!(nothing, Some(Err(NoQuestion::Nothing)));
        let odd = read(r#"{"resultType":"input_required","inputRequests":{"a":7}}"#);
        assert_eq!(odd, Some(Err(NoQuestion::Unreadable("a".into()))));
    }

    #[test]
    fn a_client_is_asked_only_what_it_can_answer() {
        let able = |text: &str| Introduction { capabilities: text.into(), client: None };
        let asked = |method: &str, params: &str, client: &str| {
            let (key, method, params) = ("k".to_owned(), method.to_owned(), params.to_owned());
            Question { key, method, params }.for_session(&able(client), "\"7\"")
        };
        let form = r#"{"message":"m"}"#;
        assert_eq!(asked("elicitation/create", form, r#"{"elicitation":{}}"#).as_deref(), Ok(form));
        let both = r#"{"elicitation":{"form":{},"url":{}}}"#;
        assert_eq!(asked("elicitation/create", form, both).as_deref(), Ok(form));
        for (method, params, client) in [
            ("elicitation/create", form, "{}"),
            ("elicitation/create", form, r#"{"elicitation":{"url":{}}}"#),
            ("elicitation/create", r#"{"mode":"url"}"#, r#"{"elicitation":{}}"#),
            ("sampling/createMessage", "{}", r#"{"elicitation":{}}"#),
            ("roots/list", "{}", "{}"),
            ("tools/call", "{}", r#"{"tools":{}}"#),
        ] {
            let got = asked(method, params, client);
            assert!(matches!(got, Err(NoQuestion::Undeclared(_))), "{method} {params} {client}");
        }
        assert!(asked("roots/list", "[]", r#"{"roots":{}}"#).is_err());
        let url = asked("elicitation/create", r#"{"mode":"url","url":"u"}"#, both).unwrap();
        let url: Value = serde_json::from_str(&url).unwrap();
        assert_eq!(url, json!({"elicitationId": "7", "mode": "url", "url": "u"}));
        assert_eq!(answers([("a", "{}"), ("b\"", "1")].into_iter()), r#"{"a":{},"b\"":1}"#);
    }
}
