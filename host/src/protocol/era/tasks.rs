//! The extension of tasks (SEP-2663): a server answers a call with a task, and its client asks for it
//! until it has ended. No session of an earlier revision has tasks of this kind.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::protocol::lenient::Members;
use crate::protocol::methods;
use crate::protocol::objects::object_only;
use crate::protocol::splice;

/// The extension's name in capabilities of clients and servers.
pub const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// The type of a result that is a task.
pub const TASK: &str = "task";
/// The request for what has become of a task.
pub const GET: &str = methods::TASK_GET;
/// The request that brings the input which a task waits for.
pub const UPDATE: &str = methods::TASK_UPDATE;
/// The request that ends a task.
pub const CANCEL: &str = "tasks/cancel";
/// The notification of a server that a task has changed.
pub const CHANGED: &str = "notifications/tasks";

/// The gateway's own: a member of `_meta` by which the edge says to a runner that the client of this
/// request takes tasks. It counts in sessions of the gateway's own alone, and no server sees it.
pub const TAKEN: &str = "mooring/tasks";

/// What the error says of a client that has not declared the extension.
pub const REQUIRED: &str =
    r#"{"requiredCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;

/// Whether capabilities, as JSON, have the extension.
#[must_use]
pub fn are_among(capabilities: &str) -> bool {
    Members::of(capabilities)
        .and_then(|all| all.object("extensions")?.get(EXTENSION).map(RawValue::get))
        .is_some_and(|settings| settings.starts_with('{'))
}

/// What the id of a task carries where the gateway has made it: all that leads to the task, so that
/// any gateway with the key finds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct TaskName {
    /// The server that has it.
    pub server: String,
    /// The server's own id for it.
    pub id: String,
    /// The tool that was called, as its client knows it: the task is hidden with it.
    pub tool: String,
    /// The node that the call ran at.
    pub node: String,
    /// Whether the session was that of the call alone, which nobody else names.
    pub alone: bool,
}
object_only!(both TaskName);

impl TaskName {
    /// The form that [`Self::read`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `None` for anything else.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// The server's id in a result that is a task. `None` for any other result.
#[must_use]
pub fn id_in(result: &RawValue) -> Option<String> {
    let members = Members::of(result.get())?;
    let is_task = members.text("resultType").as_deref() == Some(TASK);
    members.get("taskId").filter(|_| is_task).and_then(splice::string)
}

/// An object under another id of its task; every other byte stays. One without an id stays as it is.
#[must_use]
pub fn with_id(object: &RawValue, id: &str) -> String {
    let text = object.get();
    let members = Members::of(text).unwrap_or_default();
    let named = members.iter().filter(|(name, _)| *name == "taskId");
    let spans = named.filter_map(|(_, old)| splice::span(text.as_bytes(), old));
    let mut edits: Vec<_> = spans.map(|span| (span, splice::quoted(id))).collect();
    // From the back, so that the places of those before stay right.
    edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    let mut out = text.to_owned();
    for (span, by) in edits {
        out.replace_range(span, &by);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_client_takes_tasks_if_it_says_so() {
        for (capabilities, expect) in [
            (r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#, true),
            (r#"{"extensions":{"io.modelcontextprotocol/tasks":{"x":1}}}"#, true),
            (r#"{"extensions":{"io.modelcontextprotocol/tasks":null}}"#, false),
            (r#"{"extensions":{"io.modelcontextprotocol/tasks":[]}}"#, false),
            (r#"{"extensions":{}}"#, false),
            (r#"{"tasks":{}}"#, false),
            ("{}", false),
            ("[]", false),
            ("7", false),
        ] {
            assert_eq!(are_among(capabilities), expect, "{capabilities}");
        }
        let data: serde_json::Value = serde_json::from_str(REQUIRED).unwrap();
        assert!(are_among(&data["requiredCapabilities"].to_string()));
    }

    #[test]
    fn a_name_comes_back() {
        let name = TaskName {
            server: "a b".into(),
            id: "t\"1".into(),
            tool: "a b-slow".into(),
            node: "n".into(),
            alone: true,
        };
        assert_eq!(TaskName::read(&name.to_bytes()), Some(name));
        for other in [&b""[..], b"{}", b"[]", b"\xff"] {
            assert_eq!(TaskName::read(other), None);
        }
    }

    #[test]
    fn the_id_of_a_task_is_replaced_and_nothing_else() {
        let task = raw(r#"{ "resultType":"task","taskId":"t\u0031","ttlMs":1.0,"x":{"taskId":2}}"#);
        assert_eq!(id_in(task).as_deref(), Some("t1"));
        let expect = r#"{ "resultType":"task","taskId":"m\"","ttlMs":1.0,"x":{"taskId":2}}"#;
        assert_eq!(with_id(task, "m\""), expect);
        assert_eq!(
            with_id(raw(r#"{"taskId":1,"taskId":2}"#), "m"),
            r#"{"taskId":"m","taskId":"m"}"#
        );
        for other in [r#"{"resultType":"complete","taskId":"t"}"#, r#"{"taskId":"t"}"#, "[]", "7"] {
            assert_eq!(id_in(raw(other)), None, "{other}");
        }
        assert_eq!(id_in(raw(r#"{"resultType":"task","taskId":7}"#)), None);
        assert_eq!(with_id(raw("[1]"), "m"), "[1]");
    }
}
