//! What a `subscriptions/listen` asks for, and how notifications are marked as its own (2026-07-28,
//! basic/patterns/subscriptions).

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::protocol::era::meta;
use crate::protocol::era::methods::ACKNOWLEDGED;
use crate::protocol::era::result::COMPLETE;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::lenient::{self, Members};
use crate::protocol::methods::{List, UPDATED};
use crate::protocol::splice;

/// Resources that one client may listen to with one request.
pub const MOST: usize = 256;
/// Tasks likewise: the gateway asks for each of them.
pub const MOST_TASKS: usize = 64;
/// Bytes of the URIs together, and of the ids: they are kept for as long as the client listens.
const MAX_BYTES: usize = 64 * 1024;

/// What a task counts for beside its id: the gateway asks for it about once a second.
const TASK: usize = 64 * 1024;

/// The notifications that a client wants, or gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub lists: Vec<List>,
    pub resources: Vec<String>,
    /// Ids of tasks, as the client knows them.
    pub tasks: Vec<String>,
}

/// What a notification of a server says, as far as clients can want it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Changed(List),
    /// Of the resource with this URI.
    Updated(String),
}

impl Heard {
    #[must_use]
    pub fn of(message: &[u8]) -> Option<Self> {
        let envelope = Envelope::parse(message).ok()?;
        let method = envelope.method();
        if let Some(list) = List::NOTIFIED.into_iter().find(|list| list.changed() == method) {
            return Some(Self::Changed(list));
        }
        let params = envelope.params.filter(|_| method == UPDATED)?;
        Some(Self::Updated(Members::of(params.get())?.text("uri")?))
    }
}

fn member(list: List) -> &'static str {
    match list {
        List::Tools => "toolsListChanged",
        List::Prompts => "promptsListChanged",
        List::Resources | List::Templates => "resourcesListChanged",
    }
}

impl Wanted {
    /// Reads `params.notifications`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(params: Option<&RawValue>) -> Result<Self, &'static str> {
        let params = params.and_then(|params| Members::of(params.get())).unwrap_or_default();
        let wanted = params.object("notifications");
        let wanted = wanted.ok_or("params.notifications must be an object")?;
        let is_set = |list: &List| wanted.get(member(*list)).is_some_and(|raw| raw.get() == "true");
        let lists = List::NOTIFIED.into_iter().filter(is_set).collect();
        let listed = texts(wanted.get("resourceSubscriptions"), MOST);
        let resources = listed.map_err(|why| match why {
            Unlisted::NoTexts => {
                "params.notifications.resourceSubscriptions must be a list of URIs"
            }
            Unlisted::TooMany => {
                "params.notifications.resourceSubscriptions has more than 256 entries"
            }
            Unlisted::TooLong => "params.notifications.resourceSubscriptions has more than 64 KiB",
        })?;
        let listed = texts(wanted.get("taskIds"), MOST_TASKS);
        let tasks = listed.map_err(|why| match why {
            Unlisted::NoTexts => "params.notifications.taskIds must be a list of ids",
            Unlisted::TooMany => "params.notifications.taskIds has more than 64 entries",
            Unlisted::TooLong => "params.notifications.taskIds has more than 64 KiB",
        })?;
        Ok(Self { lists, resources, tasks })
    }

    /// Bytes that it counts for while the client listens.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let texts = self.resources.iter().chain(&self.tasks);
        let texts: usize = texts.map(|text| size_of::<String>() + text.len()).sum();
        texts + self.tasks.len() * TASK
    }

    /// The first notification of the stream: what the client gets.
    #[must_use]
    pub fn acknowledged(&self, id: &str) -> Bytes {
        let lists = self.lists.iter().map(|list| format!("\"{}\":true", member(*list)));
        let uris: Vec<String> = self.resources.iter().map(|uri| splice::quoted(uri)).collect();
        let uris =
            (!uris.is_empty()).then(|| format!("\"resourceSubscriptions\":[{}]", uris.join(",")));
        let ids: Vec<String> = self.tasks.iter().map(|id| splice::quoted(id)).collect();
        let ids = (!ids.is_empty()).then(|| format!("\"taskIds\":[{}]", ids.join(",")));
        let honoured: Vec<String> = lists.chain(uris).chain(ids).collect();
        let params =
            format!("{{\"notifications\":{{{}}},\"_meta\":{{{}}}}}", honoured.join(","), tag(id));
        jsonrpc::notification_with(ACKNOWLEDGED, &params)
    }

    /// The parameters of a request for the lists alone, with this `_meta`.
    #[must_use]
    pub fn lists_alone(&self, meta: &str) -> String {
        let lists = self.lists.iter().map(|list| format!("\"{}\":true", member(*list)));
        let lists = lists.collect::<Vec<_>>().join(",");
        format!("{{\"notifications\":{{{lists}}},\"_meta\":{meta}}}")
    }

    /// The notification for the client, marked with its id. `None` if it does not want it.
    #[must_use]
    pub fn told(&self, heard: &Heard, id: &str) -> Option<Bytes> {
        match heard {
            Heard::Changed(list) => self.lists.contains(list).then(|| changed(*list, id)),
            Heard::Updated(uri) => {
                let is_wanted = self.resources.iter().any(|wanted| is_within(wanted, uri));
                is_wanted.then(|| updated(uri, id))
            }
        }
    }

    /// For a client that has missed something: every list and resource that it wants may differ.
    #[must_use]
    pub fn missed(&self, id: &str) -> Vec<Bytes> {
        let lists = self.lists.iter().map(|list| changed(*list, id));
        lists.chain(self.resources.iter().map(|uri| updated(uri, id))).collect()
    }
}

/// Why a list cannot be taken.
enum Unlisted {
    NoTexts,
    TooMany,
    TooLong,
}

/// The texts of a list, each once.
fn texts(list: Option<&RawValue>, most: usize) -> Result<Vec<String>, Unlisted> {
    let listed = lenient::elements(list).ok_or(Unlisted::NoTexts)?;
    if listed.len() > most {
        return Err(Unlisted::TooMany);
    }
    let mut texts = Vec::new();
    let mut bytes = 0;
    for raw in listed {
        let text = splice::string(raw).ok_or(Unlisted::NoTexts)?;
        bytes += text.len();
        if bytes > MAX_BYTES {
            return Err(Unlisted::TooLong);
        }
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    Ok(texts)
}

/// The answer that ends the stream.
#[must_use]
pub fn ended(id: &str) -> Bytes {
    let result = format!("{{\"resultType\":\"{COMPLETE}\",\"_meta\":{{{}}}}}", tag(id));
    jsonrpc::result(id, result.as_bytes())
}

fn changed(list: List, id: &str) -> Bytes {
    jsonrpc::notification_with(list.changed(), &format!("{{\"_meta\":{{{}}}}}", tag(id)))
}

fn updated(uri: &str, id: &str) -> Bytes {
    let params = format!("{{\"uri\":{},\"_meta\":{{{}}}}}", splice::quoted(uri), tag(id));
    jsonrpc::notification_with(UPDATED, &params)
}

fn tag(id: &str) -> String {
    format!("\"{}\":{id}", meta::SUBSCRIPTION)
}

/// Whether a resource is the wanted one, or a part of it.
fn is_within(wanted: &str, uri: &str) -> bool {
    uri.strip_prefix(wanted).is_some_and(|rest| {
        rest.is_empty() || wanted.ends_with('/') || rest.starts_with(['/', '#', '?'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: &str) -> Result<Wanted, &'static str> {
        let raw: &RawValue = serde_json::from_str(text).unwrap();
        Wanted::of(Some(raw))
    }

    #[test]
    fn a_client_gets_what_it_wants_and_nothing_else() {
        let wanted = wanted(
            r#"{"notifications":{"toolsListChanged":true,"promptsListChanged":false,"resourceSubscriptions":["a://b","a://b"]}}"#,
        )
        .unwrap();
        assert_eq!(wanted.lists, [List::Tools]);
        assert_eq!(wanted.resources, ["a://b"]);
        let heard = |message: &str| {
            let heard =
                Heard::of(message.as_bytes()).and_then(|heard| wanted.told(&heard, "\"s\""));
            heard.map(|text| serde_json::from_slice::<serde_json::Value>(&text).unwrap())
        };
        let tools =
            heard(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#).unwrap();
        assert_eq!(tools["params"]["_meta"][meta::SUBSCRIPTION], "s");
        assert!(
            heard(r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#).is_none()
        );
        let updated = |uri: &str| {
            heard(&format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#
            ))
        };
        assert_eq!(updated("a://b").unwrap()["params"]["uri"], "a://b");
        assert!(updated("a://b/c").is_some() && updated("a://bc").is_none());
        assert!(
            heard(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#).is_none()
        );
        let first: serde_json::Value = serde_json::from_slice(&wanted.acknowledged("7")).unwrap();
        assert_eq!(first["params"]["notifications"]["toolsListChanged"], true);
        assert_eq!(first["params"]["_meta"][meta::SUBSCRIPTION], 7);
        assert_eq!(wanted.missed("7").len(), 2, "the list and the resource");
        let lists = r#"{"notifications":{"toolsListChanged":true},"_meta":{"a":1}}"#;
        assert_eq!(wanted.lists_alone(r#"{"a":1}"#), lists);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in [
            "{}",
            r#"{"notifications":7}"#,
            r#"{"notifications":{"resourceSubscriptions":"a"}}"#,
            r#"{"notifications":{"resourceSubscriptions":[7]}}"#,
            r#"{"notifications":{"taskIds":"t"}}"#,
            r#"{"notifications":{"taskIds":[7]}}"#,
        ] {
            assert!(wanted(text).is_err(), "{text}");
        }
        let many = vec!["\"a\""; MOST + 1].join(",");
        assert!(
            wanted(&format!(r#"{{"notifications":{{"resourceSubscriptions":[{many}]}}}}"#))
                .is_err()
        );
        let many = vec!["\"a\""; MOST_TASKS + 1].join(",");
        assert!(wanted(&format!(r#"{{"notifications":{{"taskIds":[{many}]}}}}"#)).is_err());
        assert_eq!(wanted(r#"{"notifications":{}}"#), Ok(Wanted::default()));
        let tasks = wanted(r#"{"notifications":{"taskIds":["t","t","u"]}}"#).unwrap();
        assert_eq!(tasks.tasks, ["t", "u"]);
        assert!((2 * TASK..2 * TASK + 100).contains(&tasks.bytes()));
        let said: serde_json::Value = serde_json::from_slice(&tasks.acknowledged("1")).unwrap();
        assert_eq!(said["params"]["notifications"]["taskIds"], serde_json::json!(["t", "u"]));
    }
}
