//! The arguments of a server's tools that a request repeats in its headers, as far as its lists
//! were read.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::protocol::era::arguments::{self, ANNOTATION, Mirrored};
use crate::protocol::lenient::{Members, elements};
use crate::sync::Locked;

/// Most tools with such arguments that are remembered of one server.
const MOST: usize = 10_000;

/// By the name of the tool; tools without such arguments are left out.
#[derive(Debug, Default)]
pub struct ToolHeaders(Locked<HashMap<String, Arc<[Mirrored]>>>);

impl ToolHeaders {
    /// Learns from a page of the list of tools.
    pub fn learn(&self, page: &RawValue) {
        let has_some = memchr::memmem::find(page.get().as_bytes(), ANNOTATION.as_bytes());
        let mut known = self.0.lock();
        if has_some.is_none() && known.is_empty() {
            return;
        }
        let tools = Members::of(page.get()).and_then(|members| elements(members.get("tools")));
        for tool in tools.unwrap_or_default() {
            let Some(name) = Members::of(tool.get()).and_then(|tool| tool.text("name")) else {
                continue;
            };
            let mirrored = arguments::mirrored(tool.get().as_bytes());
            if mirrored.is_empty() {
                known.remove(&name);
            } else if known.len() < MOST || known.contains_key(&name) {
                known.insert(name, mirrored.into());
            }
        }
    }

    /// Those of one tool.
    #[must_use]
    pub fn of(&self, tool: &str) -> Option<Arc<[Mirrored]>> {
        self.0.lock().get(tool).map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_list_counts() {
        let learn = |known: &ToolHeaders, schema: &str| {
            let page = format!(r#"{{"tools":[{{"name":"t","inputSchema":{schema}}},7,{{}}]}}"#);
            known.learn(serde_json::from_str(&page).unwrap());
        };
        let known = ToolHeaders::default();
        learn(&known, "{}");
        assert!(known.of("t").is_none());
        learn(&known, r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}"#);
        assert_eq!(known.of("t").unwrap().len(), 1);
        assert!(known.of("u").is_none());
        learn(&known, "{}");
        assert!(known.of("t").is_none());
    }
}
