//! Which servers run at all, by lists of other clients' files: `mcp.allowed` and `mcp.excluded` of
//! Gemini CLI, with their older names, and what Claude Code's settings disable.

use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;

use crate::config::reader::item::Item;
use crate::config::reader::section::Section;
use crate::config::reader::server_words::{self, ServerList};

/// The names in these lists.
#[derive(Debug, Default)]
pub(in crate::config) struct ServerLists {
    allowed: Option<Vec<String>>,
    excluded: Vec<String>,
}

impl ServerLists {
    /// Whether a server may run: it is not excluded, and allowed where any is named so.
    pub(in crate::config) fn allow(&self, name: &str) -> bool {
        let has = |names: &[String]| names.iter().any(|listed| listed == name);
        !has(&self.excluded) && self.allowed.as_deref().is_none_or(has)
    }
}

pub(in crate::config) fn read(root: &Section<'_>) -> ServerLists {
    let mut lists = ServerLists::default();
    let Some(object) = root.object else { return lists };
    for property in &object.properties {
        let (name, at) = (property.name.as_str(), property.value.start());
        let place = root.place.key(name, at);
        if let Some(list) = server_words::of("", name) {
            lists.take(list, &Item { notes: root.notes, place, value: &property.value });
        } else if server_words::is_gemini(name, &property.value)
            && let Value::Object(inner) = &property.value
        {
            for property in &inner.properties {
                let (name, at) = (property.name.as_str(), property.value.start());
                if let Some(list) = server_words::of("mcp", name) {
                    let place = place.key(name, at);
                    lists.take(list, &Item { notes: root.notes, place, value: &property.value });
                }
            }
        }
    }
    lists
}

impl ServerLists {
    /// A mistake in a list stops nothing.
    fn take(&mut self, list: ServerList, item: &Item<'_>) {
        let item = Item { place: item.place.clone().lenient(), ..item.clone() };
        let items = match item.value {
            Value::NullKeyword(_) => return,
            Value::StringLit(_) => vec![item],
            _ => item.items(),
        };
        let names: Vec<String> = items.iter().filter_map(Item::text).collect();
        if items.is_empty() {
            return;
        }
        match list {
            ServerList::Excluded => self.excluded.extend(names),
            ServerList::Allowed => match &mut self.allowed {
                Some(before) => before.retain(|name| names.contains(name)),
                None => self.allowed = Some(names),
            },
        }
    }
}
