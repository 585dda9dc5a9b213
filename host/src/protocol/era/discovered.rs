//! What a server answers to `server/discover` (2026-07-28, server/discover), and to a client that
//! asks in an earlier revision for the same.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::protocol::lenient::{Members, elements, text};
use crate::protocol::splice::{self, quoted};
use crate::protocol::version::Version;

use super::outgoing::push;
use super::{REVISION, meta, tasks};

/// Whether a result says that its server serves the revision without sessions. `None` if it is no
/// answer to `server/discover` at all.
#[must_use]
pub fn serves_revision(result: &[u8]) -> Option<bool> {
    let raw = Members::of_bytes(result)?.get("supportedVersions")?;
    if !raw.get().starts_with('[') {
        return None;
    }
    let versions = elements(Some(raw))?;
    Some(versions.into_iter().filter_map(text).any(|version| version == REVISION))
}

/// The same of an error's data, which name the revisions that are served.
#[must_use]
pub fn error_serves_revision(error: &[u8]) -> Option<bool> {
    let data = Members::of_bytes(error)?.object("data")?;
    let supported = elements(Some(data.get("supported")?))?;
    Some(supported.into_iter().filter_map(text).any(|version| version == REVISION))
}

/// Marks what the gateway itself reads of a server that takes requests without a session as they are.
const MARK: &str = r#""mooring/era":"modern""#;

/// Whether an `InitializeResult` has the mark. A server that sets it itself gains nothing: it gets
/// requests that it does not serve.
#[must_use]
pub fn is_marked(initialize: &str) -> bool {
    memchr::memmem::find(initialize.as_bytes(), MARK.as_bytes()).is_some()
}

/// The same of one that opens sessions, too.
const SESSIONS_MARK: &str = r#""mooring/sessions":true"#;

/// The same of a server that has tasks for clients without a session.
const TASKS_MARK: &str = r#""mooring/tasks":"modern""#;

/// Whether a server with the mark opens no sessions.
#[must_use]
pub fn has_no_sessions(initialize: &str) -> bool {
    is_marked(initialize)
        && memchr::memmem::find(initialize.as_bytes(), SESSIONS_MARK.as_bytes()).is_none()
}

/// Whether an `InitializeResult` has that mark.
#[must_use]
pub fn has_tasks(initialize: &str) -> bool {
    memchr::memmem::find(initialize.as_bytes(), TASKS_MARK.as_bytes()).is_some()
}

/// What the gateway itself reads in an `InitializeResult`, and clients do not.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// The server takes requests without a session as they are.
    pub takes_requests: bool,
    /// It has tasks, if it says so.
    pub tells_of_tasks: bool,
}

/// An `InitializeResult` with the mark: its server opens sessions, and takes requests without one as
/// they are, too. What is no object stays as it is.
#[must_use]
pub fn marked(initialize: String) -> String {
    let edit = || {
        let raw: &RawValue = serde_json::from_str(&initialize).ok()?;
        let meta = Members::of(raw.get())?.get("_meta").filter(|meta| meta.get().starts_with('{'));
        let marks = format!("{MARK},{SESSIONS_MARK}");
        match meta {
            Some(meta) => splice::insertion(initialize.as_bytes(), meta, &marks),
            None => {
                splice::insertion(initialize.as_bytes(), raw, &format!("\"_meta\":{{{marks}}}"))
            }
        }
    };
    if is_marked(&initialize) {
        return initialize;
    }
    let Some((at, member)) = edit() else { return initialize };
    let mut out = initialize;
    out.insert_str(at.start, &member);
    out
}

/// The `InitializeResult` for a client of a session that asks for this revision: what the server
/// offers, without what sessions have not.
#[must_use]
pub fn initialize_result(discovered: &[u8], requested: &str, marks: Marks) -> Bytes {
    let said = Members::of_bytes(discovered).unwrap_or_default();
    let server = said.object("_meta").and_then(|meta| meta.get(meta::SERVER));
    // In drafts it stood beside the capabilities.
    let server = server.or_else(|| said.get("serverInfo"));
    let server = server.filter(|raw| {
        let said = Members::of(raw.get()).unwrap_or_default();
        said.text("name").is_some() && said.text("version").is_some()
    });
    let version = Version::negotiate(requested);
    let mut out = String::from("{");
    push(&mut out, "protocolVersion", &quoted(version.as_str()));
    push(&mut out, "capabilities", &capabilities(said.get("capabilities")));
    let unnamed = r#"{"name":"unnamed","version":"0"}"#;
    push(&mut out, "serverInfo", server.map_or(unnamed, RawValue::get));
    if let Some(instructions) = said.get("instructions") {
        push(&mut out, "instructions", instructions.get());
    }
    let offers_tasks = || said.get("capabilities").is_some_and(|raw| tasks::are_among(raw.get()));
    let marked = [
        marks.takes_requests.then_some(MARK),
        (marks.tells_of_tasks && offers_tasks()).then_some(TASKS_MARK),
    ];
    let marked: Vec<&str> = marked.into_iter().flatten().collect();
    if !marked.is_empty() {
        push(&mut out, "_meta", &format!("{{{}}}", marked.join(",")));
    }
    out.push('}');
    out.into()
}

fn capabilities(raw: Option<&RawValue>) -> String {
    let read = raw.and_then(|raw| {
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(raw.get()).ok()
    });
    let Some(mut read) = read else { return "{}".to_owned() };
    read.shift_remove("tasks");
    if let Some(all) = read.get_mut("extensions").and_then(|all| all.as_object_mut()) {
        all.shift_remove(tasks::EXTENSION);
        if all.is_empty() {
            read.shift_remove("extensions");
        }
    }
    serde_json::Value::Object(read).to_string()
}

/// What a server announces that concerns notifications.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Whether it tells of changes of the list of tools.
    pub tools: bool,
    /// The same for prompts.
    pub prompts: bool,
    /// The same for resources.
    pub resources: bool,
    /// Whether it tells of single resources that have changed.
    pub subscriptions: bool,
    /// Whether it sends log messages.
    pub logging: bool,
}

impl Announced {
    /// Those in a result of `server/discover`.
    #[must_use]
    pub fn of(discovered: &[u8]) -> Self {
        let said = Members::of_bytes(discovered).unwrap_or_default();
        let said = said.object("capabilities").unwrap_or_default();
        let flag = |capability: &str, member: &str| {
            let members = said.object(capability).unwrap_or_default();
            members.get(member).is_some_and(|value| value.get() == "true")
        };
        Self {
            tools: flag("tools", "listChanged"),
            prompts: flag("prompts", "listChanged"),
            resources: flag("resources", "listChanged"),
            subscriptions: flag("resources", "subscribe"),
            logging: said.get("logging").is_some(),
        }
    }

    /// Whether it tells of changed lists.
    #[must_use]
    pub fn has_lists(self) -> bool {
        self.tools || self.prompts || self.resources
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_server_of_the_revision_is_known_by_its_answer() {
        for (result, expect) in [
            (r#"{"supportedVersions":["2026-07-28"]}"#, Some(true)),
            (r#"{"supportedVersions":["2025-11-25","2026-07-28"],"x":1}"#, Some(true)),
            (r#"{"supportedVersions":["2027-01-01"]}"#, Some(false)),
            (r#"{"supportedVersions":[]}"#, Some(false)),
            (r#"{"supportedVersions":"2026-07-28"}"#, None),
            (r#"{"capabilities":{}}"#, None),
            ("[]", None),
            ("null", None),
            ("", None),
        ] {
            assert_eq!(serves_revision(result.as_bytes()), expect, "{result}");
        }
        let error =
            br#"{"code":-32022,"message":"m","data":{"supported":["2026-07-28"],"requested":"x"}}"#;
        assert_eq!(error_serves_revision(error), Some(true));
        assert_eq!(error_serves_revision(br#"{"code":-32022,"message":"m"}"#), None);
    }

    #[test]
    fn a_mark_is_added_to_what_a_server_says_and_once() {
        for (given, meta) in [
            (
                r#"{"protocolVersion":"2025-11-25"}"#,
                json!({"mooring/era": "modern", "mooring/sessions": true}),
            ),
            (
                r#" { "_meta" : {"a":1} }"#,
                json!({"mooring/era": "modern", "mooring/sessions": true, "a": 1}),
            ),
            (r#"{"_meta":{}}"#, json!({"mooring/era": "modern", "mooring/sessions": true})),
        ] {
            let once = marked(given.to_owned());
            assert!(is_marked(&once) && !has_no_sessions(&once), "{once}");
            let read: Value = serde_json::from_str(&once).unwrap();
            assert_eq!(read["_meta"], meta, "{once}");
            assert_eq!(marked(once.clone()), once);
        }
        for other in ["[]", "7", "", r#""{}""#] {
            assert_eq!(marked(other.to_owned()), other);
        }
    }

    #[test]
    fn a_client_of_a_session_learns_what_it_can_use() {
        let found = br#"{"supportedVersions":["2026-07-28"],"ttlMs":0,"resultType":"complete","capabilities":{
            "tools":{"listChanged":true},"resources":{"subscribe":true},"tasks":{},
            "extensions":{"io.modelcontextprotocol/tasks":{},"a/b":{}}},"instructions":"Do.",
            "_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"2"}}}"#;
        let result = initialize_result(found, "2025-06-18", Marks::default());
        let marks = Marks { tells_of_tasks: true, ..Marks::default() };
        let own = initialize_result(found, "2025-06-18", marks);
        let own = std::str::from_utf8(&own).unwrap();
        assert!(has_tasks(own) && !is_marked(own) && !own.contains(tasks::EXTENSION), "{own}");
        assert!(!has_tasks(std::str::from_utf8(&result).unwrap()));
        assert!(!is_marked(std::str::from_utf8(&result).unwrap()));
        let result: Value = serde_json::from_slice(&result).unwrap();
        let expect = json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {"listChanged": true}, "resources": {"subscribe": true}, "extensions": {"a/b": {}}},
            "serverInfo": {"name": "s", "version": "2"},
            "instructions": "Do.",
        });
        assert_eq!(result, expect);
        let announced = Announced::of(found);
        let expect = Announced { tools: true, subscriptions: true, ..Announced::default() };
        assert_eq!(announced, expect);
        let marks = Marks { takes_requests: true, tells_of_tasks: true };
        let bare = initialize_result(b"{}", "2026-07-28", marks);
        let text = std::str::from_utf8(&bare).unwrap();
        assert!(is_marked(text) && !has_tasks(text), "it says nothing of tasks");
        let bare: Value = serde_json::from_slice(&bare).unwrap();
        assert_eq!(bare["protocolVersion"], "2025-11-25");
        assert!(bare["serverInfo"]["name"].is_string() && bare["capabilities"] == json!({}));
        assert_eq!(Announced::of(b"7"), Announced::default());
    }
}
