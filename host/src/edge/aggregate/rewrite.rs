//! Rewrites the messages of one server for the client of an aggregate. The way back is `addressed`.
//!
//! Only what would be ambiguous or misleading is changed:
//!
//! | what | how |
//! |---|---|
//! | id of a server's request, progress token, id in a cancellation | the server's name behind it |
//! | parameters of a server's request | `_meta` names the server |
//! | `logger` of a log message | the server's name in front |
//! | task ids | the server's name in front |
//! | URIs that two servers have | for the second one, a prefix made of its name |

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::ServerName;
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::strict::StrictParams;
use crate::protocol::uri::resource_judge::ResourceJudge;
use crate::protocol::{methods, splice};

use super::event_mark::EventMark;
use super::links;
use super::question_links;
use super::server_ids;
use super::shown_uris;

/// The member of `_meta` that names the server of a request, since a client should show which
/// server asks (2025-11-25, client/elicitation, "Security Considerations").
const ASKS: &str = "mooring/server";
/// The member of `_meta` that names a message's task (2025-11-25, basic/utilities/tasks).
pub(super) const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";

const UNCLEAR_REQUEST: &str =
    "it is about a resource that is not available here, or can be read in more than one way";
const UNCLEAR: &str = "the server's result can be read in more than one way, and some of its resources are not available here";

pub(super) type NamedEdit = (Range<usize>, String);

/// Rewrites one server's messages.
#[derive(Debug, Clone)]
pub struct Rewriter {
    pub server: ServerName,
    /// Own URI → shown URI, for the URIs that another server of the scope has too.
    pub uris: Arc<HashMap<String, String>>,
    /// The judge of the server's resources, if any of them is hidden.
    pub judge: Option<Arc<ResourceJudge>>,
    /// Whether answers may have task ids in them.
    pub tasks: bool,
    /// What marks events, if the client may use a part of the server.
    pub mark: Option<EventMark>,
}

impl Rewriter {
    /// Whether answers may have to be changed; otherwise they need not be parsed.
    #[must_use]
    pub fn changes_answers(&self) -> bool {
        self.tasks || self.judge.is_some() || !self.uris.is_empty()
    }

    /// The message as the client sees it. `None` if it is about a resource that is hidden. A result
    /// that cannot be judged becomes an error, and a request loses its parameters: its client then
    /// refuses it, and the server is told.
    #[must_use]
    pub fn message(&self, message: Bytes) -> Option<Bytes> {
        let Ok(envelope) = Envelope::parse(&message) else { return Some(message) };
        if self.is_about_hidden(&envelope) {
            return None;
        }
        let mut edits = Vec::new();
        match envelope.kind() {
            Kind::Request => {
                if self.request(&message, &envelope, &mut edits).is_none() {
                    tracing::debug!(server = %self.server, "withheld what a request asks: {UNCLEAR_REQUEST}");
                    return Some(self.without_parameters(&envelope));
                }
            }
            Kind::Notification => self.notification(&message, &envelope, &mut edits),
            Kind::Response => {
                if self.answer(&message, &envelope, &mut edits).is_none() {
                    tracing::debug!(server = %self.server, "withheld a result: {UNCLEAR}");
                    return Some(jsonrpc::error(envelope.id_text(), code::INTERNAL, UNCLEAR));
                }
            }
        }
        Some(splice::edit(&message, edits))
    }

    /// Whether the message reports a change of a resource that the client is kept from.
    fn is_about_hidden(&self, envelope: &Envelope<'_>) -> bool {
        let Some(judge) = &self.judge else { return false };
        if envelope.kind() != Kind::Notification || envelope.method() != methods::UPDATED {
            return false;
        }
        let uri = StrictParams::of(envelope.params).ok().and_then(|params| params.target.uri);
        !uri.and_then(splice::string).is_some_and(|uri| judge.may_mention(&uri))
    }

    /// The member that names the server that asks.
    fn asks(&self) -> String {
        format!("\"{ASKS}\":{}", splice::quoted(self.server.as_str()))
    }

    /// A request of which only the server and the method are told.
    fn without_parameters(&self, envelope: &Envelope<'_>) -> Bytes {
        let id = envelope.id_text().unwrap_or("null");
        let id = server_ids::id(&self.server, id);
        let method = splice::quoted(envelope.method());
        let params = format!("{{\"_meta\":{{{}}}}}", self.asks());
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{method},\"params\":{params}}}")
            .into()
    }

    /// `None` if what is hidden cannot be told from the rest.
    fn request(
        &self,
        text: &[u8],
        envelope: &Envelope<'_>,
        edits: &mut Vec<NamedEdit>,
    ) -> Option<()> {
        if self.judge.is_some() && envelope.has_lookalike {
            return None;
        }
        self.named_request(text, envelope, edits);
        let Some(params) = envelope.params else { return Some(()) };
        if !self.uris.is_empty() {
            let mut shown = shown_uris::edits(text, params, &self.uris);
            shown.retain(|(span, _)| !links::is_within(span, edits));
            edits.extend(shown);
        }
        if let Some(judge) = &self.judge {
            let withheld = question_links::withheld_in_params(text, params, judge)?;
            edits.retain(|(span, _)| !links::is_within(span, &withheld));
            edits.extend(withheld);
        }
        Some(())
    }

    /// Writes the server's name into a request and its ids.
    fn named_request(&self, text: &[u8], envelope: &Envelope<'_>, edits: &mut Vec<NamedEdit>) {
        self.owned(text, envelope.id, edits);
        let asks = self.asks();
        let Some(params) = envelope.params else {
            // Inserted behind the id, which every request has.
            let end = envelope.id.and_then(|id| splice::span(text, id)).map(|span| span.end);
            let params = format!(",\"params\":{{\"_meta\":{{{asks}}}}}");
            edits.extend(end.map(|end| (end..end, params)));
            return;
        };
        // Members cannot be read if one is named by half a surrogate pair, or comes twice. `_meta`
        // is then inserted only if the text has none.
        let members = members(params);
        let has_meta = members.is_some() || params.get().contains("\"_meta\"");
        match members.as_ref().map(|members| members.get("_meta")) {
            Some(Some(meta)) => {
                // What the server says of itself there would be believed by some readers.
                let said = self::members(meta).and_then(|meta| meta.get(ASKS).copied());
                match said.and_then(|said| splice::span(text, said)) {
                    Some(span) => edits.push((span, splice::quoted(self.server.as_str()))),
                    None => edits.extend(splice::insertion(text, meta, &asks)),
                }
                self.meta(text, meta, edits);
            }
            None if has_meta => {}
            Some(None) | None => {
                let meta = format!("\"_meta\":{{{asks}}}");
                edits.extend(splice::insertion(text, params, &meta));
            }
        }
    }

    /// Rewrites the progress token and the related task in the `_meta` of a request.
    fn meta(&self, text: &[u8], meta: &RawValue, edits: &mut Vec<NamedEdit>) {
        let Some(members) = self::members(meta) else { return };
        self.owned(text, members.get("progressToken").copied(), edits);
        self.related_task(text, &members, edits);
    }

    fn related_task(
        &self,
        text: &[u8],
        meta: &HashMap<String, &RawValue>,
        edits: &mut Vec<NamedEdit>,
    ) {
        if let Some(related) = meta.get(RELATED_TASK).and_then(|related| members(related)) {
            self.thing(text, related.get("taskId").copied(), edits);
        }
    }

    fn notification(&self, text: &[u8], envelope: &Envelope<'_>, edits: &mut Vec<NamedEdit>) {
        let Some(params) = envelope.params else { return };
        let Some(members) = members(params) else { return };
        match envelope.method() {
            methods::CANCELLED => {
                self.owned(text, members.get("requestId").copied(), edits);
            }
            methods::MESSAGE => match members.get("logger").filter(|logger| logger.get() != "null")
            {
                Some(logger) => {
                    if let (Some(span), Some(name)) =
                        (splice::span(text, logger), splice::string(logger))
                    {
                        edits.push((span, splice::quoted(&format!("{}/{name}", self.server))));
                    }
                }
                None => {
                    let logger = format!("\"logger\":{}", splice::quoted(self.server.as_str()));
                    if !members.contains_key("logger") {
                        edits.extend(splice::insertion(text, params, &logger));
                    }
                }
            },
            methods::TASK_STATUS => self.thing(text, members.get("taskId").copied(), edits),
            methods::UPDATED => self.uri(text, members.get("uri").copied(), edits),
            _ => {}
        }
        if let Some(meta) = members.get("_meta").and_then(|meta| self::members(meta)) {
            self.related_task(text, &meta, edits);
        }
    }

    /// `None` if what is hidden cannot be told from the rest.
    fn answer(
        &self,
        text: &[u8],
        envelope: &Envelope<'_>,
        edits: &mut Vec<NamedEdit>,
    ) -> Option<()> {
        // An error of null beside the result is written by honest servers, and changes nothing.
        if self.judge.is_some() && envelope.has_lookalike {
            return None;
        }
        if let Some(judge) = &self.judge
            && let Some(error) = envelope.error
        {
            edits.extend(links::withheld_in_error(text, error, judge)?);
        }
        let Some(result) = envelope.result else { return Some(()) };
        if self.tasks
            && let Some(members) = members(result)
        {
            self.thing(text, members.get("taskId").copied(), edits);
            if let Some(task) = members.get("task").and_then(|task| self::members(task)) {
                self.thing(text, task.get("taskId").copied(), edits);
            }
            let listed = members.get("tasks").map(|tasks| tasks.get());
            let listed =
                listed.and_then(|tasks| serde_json::from_str::<Vec<&RawValue>>(tasks).ok());
            for task in listed.into_iter().flatten() {
                let task = self::members(task);
                self.thing(text, task.and_then(|task| task.get("taskId").copied()), edits);
            }
            if let Some(meta) = members.get("_meta").and_then(|meta| self::members(meta)) {
                self.related_task(text, &meta, edits);
            }
        }
        if !self.uris.is_empty() {
            edits.extend(shown_uris::edits(text, result, &self.uris));
        }
        if let Some(judge) = &self.judge {
            let mut withheld = links::withheld(text, result, judge)?;
            if self.tasks {
                withheld.extend(links::withheld_in_task(text, result, judge)?);
            }
            withheld.extend(question_links::withheld_in_questions(text, result, judge)?);
            edits.retain(|(span, _)| !links::is_within(span, &withheld));
            edits.extend(withheld);
        }
        Some(())
    }

    fn owned(&self, text: &[u8], value: Option<&RawValue>, edits: &mut Vec<NamedEdit>) {
        if let Some(value) = value
            && let Some(span) = splice::span(text, value)
        {
            edits.push((span, server_ids::id(&self.server, value.get())));
        }
    }

    fn thing(&self, text: &[u8], value: Option<&RawValue>, edits: &mut Vec<NamedEdit>) {
        if let Some(value) = value
            && let Some(span) = splice::span(text, value)
            && let Some(name) = splice::string(value)
        {
            edits.push((span, splice::quoted(&server_ids::thing(&self.server, &name))));
        }
    }

    fn uri(&self, text: &[u8], value: Option<&RawValue>, edits: &mut Vec<NamedEdit>) {
        if let Some(value) = value
            && let Some(span) = splice::span(text, value)
            && let Some(shown) = splice::string(value).and_then(|uri| self.uris.get(&uri))
        {
            edits.push((span, splice::quoted(shown)));
        }
    }
}

/// The members of an object, as slices of its text. `None` if they cannot be read.
pub(super) fn members(value: &RawValue) -> Option<HashMap<String, &RawValue>> {
    #[derive(Deserialize)]
    struct Members<'a>(#[serde(borrow)] HashMap<String, &'a RawValue>);
    serde_json::from_str::<Members<'_>>(value.get()).ok().map(|members| members.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Choice, Selection};

    fn rewriter() -> Rewriter {
        let uris = [("file:///x".to_owned(), "b~file:///x".to_owned())];
        let server = ServerName::parse("b").unwrap();
        Rewriter { server, uris: Arc::new(uris.into()), judge: None, tasks: true, mark: None }
    }

    fn check(from: &'static str, to: &str) {
        let out = rewriter().message(Bytes::from_static(from.as_bytes())).unwrap();
        assert_eq!(out, to);
    }

    #[test]
    fn a_request_says_whose_it_is_and_who_asks() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"message":"hi","n":1e400}}"#,
            r#"{"jsonrpc":"2.0","id":"1@b","method":"elicitation/create","params":{"_meta":{"mooring/server":"b"},"message":"hi","n":1e400}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":"r","method":"sampling/createMessage","params":{"_meta":{"progressToken":7}}}"#,
            r#"{"jsonrpc":"2.0","id":"\"r\"@b","method":"sampling/createMessage","params":{"_meta":{"mooring/server":"b","progressToken":"7@b"}}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":2,"method":"roots/list","params":{"_meta":{"mooring/server":"a"}}}"#,
            r#"{"jsonrpc":"2.0","id":"2@b","method":"roots/list","params":{"_meta":{"mooring/server":"b"}}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#,
            r#"{"jsonrpc":"2.0","id":"1@b","params":{"_meta":{"mooring/server":"b"}},"method":"roots/list"}"#,
        );
    }

    #[test]
    fn notifications_change_where_they_would_mislead() {
        check(
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","logger":"x","data":1}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","logger":"b/x","data":1}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"logger":"b","level":"info"}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"4@b"}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///x"}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"b~file:///x"}}"#,
        );
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1.0}}"#;
        check(progress, progress);
    }

    #[test]
    fn tasks_and_shared_uris_carry_the_servers_name() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"t1","status":"working"}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"b~t1","status":"working"}}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"tasks":[{"taskId":"1"},{"taskId":"2"}]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"tasks":[{"taskId":"b~1"},{"taskId":"b~2"}]}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"contents":[{"uri":"file:///x","text":"uri"},{"uri":"file:///y"}]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"contents":[{"uri":"b~file:///x","text":"uri"},{"uri":"file:///y"}]}}"#,
        );
    }

    #[test]
    fn an_answer_that_cannot_be_judged_becomes_an_error() {
        let off = Choice { enabled: false, description: None };
        let resources = [("test://secret".to_owned(), off)].into();
        let selection = Selection { resources, ..Selection::default() };
        let judge = ResourceJudge::hiding(&selection).map(Arc::new);
        assert!(judge.is_some());
        let judged = |members: &str| {
            let message = format!(r#"{{"jsonrpc":"2.0","id":1,{members}}}"#);
            Rewriter { judge: judge.clone(), ..rewriter() }.message(message.into()).unwrap()
        };
        for members in [
            r#""result":{"content":[],"content":[{"uri":"test://secret"}]}"#,
            r#""result":{},"Result":{"content":[{"uri":"test://secret"}]}"#,
        ] {
            let answer = judged(members);
            let answer = Envelope::parse(&answer).unwrap();
            assert_eq!((answer.id_text(), answer.error.is_some()), (Some("1"), true), "{members}");
        }
        for members in [r#""result":{"content":[]},"error":null"#, r#""result":null"#] {
            assert!(Envelope::parse(&judged(members)).unwrap().error.is_none(), "{members}");
        }
        // A request keeps its id, so that the server gets its answer.
        for question in [
            r#""method":"sampling/createMessage","params":{"messages":[],"messages":[{"content":{"uri":"test://secret"}}]}"#,
            r#""method":"sampling/createMessage","params":{},"Params":{"messages":[{"content":{"uri":"test://secret"}}]}"#,
            r#""method":"ui/open","params":{"uri":"test://secret"}"#,
        ] {
            let asked = judged(question);
            let asked = Envelope::parse(&asked).unwrap();
            let params = asked.params.map(RawValue::get);
            assert_eq!(asked.id_text(), Some(r#""1@b""#), "{question}");
            assert_eq!(params, Some(r#"{"_meta":{"mooring/server":"b"}}"#), "{question}");
        }
        let updated = |params: &str| {
            let method = methods::UPDATED;
            let message =
                format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{{params}}}}}"#);
            Rewriter { judge: judge.clone(), ..rewriter() }.message(message.into())
        };
        assert!(updated(r#""uri":"test://secret","uri":"test://open""#).is_none());
        assert!(updated(r#""uri":"TEST://secret""#).is_none());
    }

    #[test]
    fn uris_are_found_at_any_depth_and_nothing_else_is_taken_for_one() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"a":[{"uri" : "file:///x","b":["uri","file:///x"]}],"uri\"":"file:///x","\u0075ri":"file:\/\/\/x","uri":{"uri":"file:///x"}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"a":[{"uri" : "b~file:///x","b":["uri","file:///x"]}],"uri\"":"file:///x","\u0075ri":"b~file:///x","uri":{"uri":"b~file:///x"}}}"#,
        );
        let deep = 50_000;
        let (open, close) = ("[".repeat(deep), "]".repeat(deep));
        let message = |uri: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"x":{open}{{"uri":"{uri}"}}{close}}}}}"#)
        };
        let out = rewriter().message(message("file:///x").into()).unwrap();
        assert_eq!(out, message("b~file:///x"));
    }
}
