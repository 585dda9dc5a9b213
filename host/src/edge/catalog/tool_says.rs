//! What a server says of one of its tools.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::edge::worker::Worker;
use crate::model::{Scope, ServerName};
use crate::protocol::initialize::ClientSet;
use crate::protocol::objects::object_only;

/// The word in a tool's `_meta` or `annotations` that its calls set state, and are to be repeated
/// at a new instance.
const SETS_STATE: &str = "mooring/replay";
/// The hint of a tool that only reads (2025-11-25, server/tools, "Tool").
const ONLY_READS: &str = "readOnlyHint";

/// What a server says of a tool; nothing of one that is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ToolSays {
    pub only_reads: bool,
    pub sets_state: bool,
}

#[derive(serde::Deserialize)]
#[serde(remote = "Self")]
struct Tool {
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, Box<RawValue>>,
    #[serde(default, rename = "_meta")]
    meta: BTreeMap<String, Box<RawValue>>,
}
object_only!(Tool);

impl Worker {
    /// What the server's catalog says of a tool.
    pub(in crate::edge) async fn tool_says(
        &self,
        server: &ServerName,
        set: ClientSet,
        name: &str,
    ) -> ToolSays {
        // The catalog of a server that only passes through may not have been fetched yet.
        self.scope_catalog(&Scope::Server(server.clone()), set).await;
        let topology = self.edge.topology.load();
        let Some(catalog) = self.edge.catalogs.known(&topology, server, set) else {
            return ToolSays::default();
        };
        let tools = catalog.tools.iter().filter(|tool| tool.get().contains(name));
        let tool = tools
            .filter_map(|tool| serde_json::from_str::<Tool>(tool.get()).ok())
            .find(|tool| tool.name == name);
        tool.map(|tool| tool.says()).unwrap_or_default()
    }
}

impl Tool {
    fn says(&self) -> ToolSays {
        let is = |members: &BTreeMap<String, Box<RawValue>>, key: &str| {
            members.get(key).is_some_and(|value| value.get() == "true")
        };
        ToolSays {
            only_reads: is(&self.annotations, ONLY_READS),
            sets_state: is(&self.annotations, SETS_STATE) || is(&self.meta, SETS_STATE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_says_by_its_annotations_or_meta_that_it_sets_state() {
        for (text, only_reads, sets_state) in [
            (r#"{"name":"a"}"#, false, false),
            (r#"{"name":"a","annotations":{"readOnlyHint":true,"title":"A"}}"#, true, false),
            (r#"{"name":"a","annotations":{"mooring/replay":true}}"#, false, true),
            (r#"{"name":"a","_meta":{"mooring/replay":true}}"#, false, true),
            (r#"{"name":"a","_meta":{"mooring/replay":"true"}}"#, false, false),
        ] {
            let says = serde_json::from_str::<Tool>(text).unwrap().says();
            assert_eq!(says, ToolSays { only_reads, sets_state }, "{text}");
        }
    }
}
