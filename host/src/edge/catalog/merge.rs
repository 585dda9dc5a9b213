//! Merges the catalogs of several servers into one: names, lists, and the owner of each entry.
//! Resources and templates, which are named by URIs, are in `uris`.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::protocol::initialize::InitializeResult;
use crate::protocol::methods::List;
use crate::protocol::splice;

use super::naming::{Naming, named};
use super::part::{Owner, ServerPart};
use super::uris::Uris;

/// What kind of entry a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Tool,
    Prompt,
    Resource,
    /// A template or a resource, whose variables are completed.
    Template,
}

/// What a scope offers. The results of lists are ready to be sent.
#[derive(Debug, Default)]
pub struct ScopeCatalog {
    results: HashMap<List, Bytes>,
    items: HashMap<List, Arc<Vec<Bytes>>>,
    tools: HashMap<String, Owner>,
    prompts: HashMap<String, Owner>,
    pub uris: Uris,
    pub instructions: Option<String>,
}

impl ScopeCatalog {
    /// Merges the parts in their order.
    #[must_use]
    pub fn of(parts: &[ServerPart<'_>], naming: Naming<'_>) -> Self {
        let mut merged = Self { instructions: instructions(parts), ..Self::default() };
        for list in [List::Resources, List::Templates] {
            let items = merged.uris.place(parts, list);
            merged.keep(list, items);
        }
        // Before tools are named: what renames a resource renames it there too.
        merged.uris.link(parts);
        for list in [List::Tools, List::Prompts] {
            let (items, owners) = named(parts, list, naming, &merged.uris);
            merged.keep(list, items);
            match list {
                List::Tools => merged.tools = owners,
                _ => merged.prompts = owners,
            }
        }
        merged
    }

    fn keep(&mut self, list: List, items: Vec<Bytes>) {
        self.results.insert(list, result(list, &items, None));
        self.items.insert(list, Arc::new(items));
    }

    /// The result of a list, with all entries on one page.
    #[must_use]
    pub fn result(&self, list: List) -> Bytes {
        self.results.get(&list).cloned().unwrap_or_else(|| result(list, &[], None))
    }

    /// The entries of a list, one by one.
    #[must_use]
    pub fn items(&self, list: List) -> Arc<Vec<Bytes>> {
        self.items.get(&list).cloned().unwrap_or_default()
    }

    /// The server that may be asked for an entry, with its own name of it. No other way leads from
    /// what a client names to a server: what is hidden is not found, nor is a tool or prompt that
    /// is not listed.
    #[must_use]
    pub fn owner(&self, asked: Asked, name: &str) -> Option<Owner> {
        match asked {
            Asked::Tool => self.tools.get(name).cloned(),
            Asked::Prompt => self.prompts.get(name).cloned(),
            Asked::Resource => self.uris.resource(name),
            Asked::Template => self.uris.completed(name),
        }
    }
}

/// The result of a list request: a page, and the cursor of the next page if there is one.
pub fn result(list: List, items: &[Bytes], next: Option<&str>) -> Bytes {
    let size: usize = items.iter().map(|item| item.len() + 1).sum();
    let mut out = Vec::with_capacity(size + 32);
    out.extend_from_slice(format!("{{\"{}\":[", list.member()).as_bytes());
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(item);
    }
    out.push(b']');
    if let Some(next) = next {
        out.extend_from_slice(b",\"nextCursor\":");
        out.extend_from_slice(splice::quoted(next).as_bytes());
    }
    out.push(b'}');
    out.into()
}

fn instructions(parts: &[ServerPart<'_>]) -> Option<String> {
    let texts: Vec<String> = parts
        .iter()
        .filter_map(|part| {
            let said = InitializeResult::of(part.catalog.initialize.get().as_bytes());
            let text = said.instructions.filter(|text| !text.trim().is_empty())?;
            Some(format!("## {}\n\n{}", part.member.shown_name(), text.trim()))
        })
        .collect();
    (!texts.is_empty()).then(|| texts.join("\n\n"))
}

#[cfg(test)]
mod tests {
    use crate::edge::config::{Member, PrefixMode};
    use serde_json::value::RawValue;

    use crate::model::{Selection, ServerName};
    use crate::protocol::catalog::Catalog;

    use super::*;

    fn catalog(tools: &[&str]) -> Catalog {
        let raw = |text: String| RawValue::from_string(text).unwrap();
        let mut catalog = Catalog::new(raw("{\"protocolVersion\":\"2025-11-25\"}".into()));
        catalog.tools = tools.iter().map(|t| raw((*t).to_owned())).collect();
        catalog
    }

    fn member(name: &str) -> Member {
        Member::whole(ServerName::parse(name).unwrap())
    }

    fn merge(parts: &[(&Member, &Catalog)], mode: PrefixMode) -> ScopeCatalog {
        let parts: Vec<ServerPart<'_>> = parts
            .iter()
            .map(|(member, catalog)| ServerPart { member, selection: None, catalog })
            .collect();
        ScopeCatalog::of(&parts, Naming { mode, separator: "-" })
    }

    #[test]
    fn a_tool_changes_its_name_and_nothing_else() {
        let tool = r#"{"x-vendor":{"name":1}, "name" : "echo","n":1e400,"title":"E\u0301"}"#;
        let (a, tools) = (member("a"), catalog(&[tool]));
        let merged = merge(&[(&a, &tools)], PrefixMode::Always);
        let expect = format!("{{\"tools\":[{}]}}", tool.replace("\"echo\"", "\"a-echo\""));
        assert_eq!(merged.result(List::Tools), expect);
        assert_eq!(merged.owner(Asked::Tool, "a-echo").unwrap().name, "echo");
        assert_eq!(merged.owner(Asked::Tool, "echo"), None);
    }

    #[test]
    fn a_description_of_the_operators_stands_whether_the_server_has_one_or_not() {
        let choice = crate::model::Choice { enabled: true, description: Some("\"new\"".into()) };
        let tools = [("echo".to_owned(), choice)].into();
        let selection = Selection { tools, ..Selection::default() };
        for (tool, expect) in [
            (
                r#"{"description":"old", "name":"echo"}"#,
                r#"{"description":"\"new\"", "name":"a-echo"}"#,
            ),
            (
                r#"{"name":"echo","description":null}"#,
                r#"{"name":"a-echo","description":"\"new\""}"#,
            ),
            (r#"{"name":"echo", "x":1}"#, r#"{"description":"\"new\"","name":"a-echo", "x":1}"#),
        ] {
            let (member, catalog) = (member("a"), catalog(&[tool]));
            let part =
                ServerPart { member: &member, selection: Some(&selection), catalog: &catalog };
            let naming = Naming { mode: PrefixMode::Always, separator: "-" };
            let merged = ScopeCatalog::of(&[part], naming);
            assert_eq!(merged.result(List::Tools), format!("{{\"tools\":[{expect}]}}"));
        }
    }

    #[test]
    fn equal_composed_names_get_a_number_in_file_order() {
        let (a, b) = (member("a"), member("a-b"));
        let (one, two) = (catalog(&[r#"{"name":"b-c"}"#]), catalog(&[r#"{"name":"c"}"#]));
        let merged = merge(&[(&a, &one), (&b, &two)], PrefixMode::Always);
        assert_eq!(merged.owner(Asked::Tool, "a-b-c").unwrap().server.as_str(), "a");
        assert_eq!(merged.owner(Asked::Tool, "a-b-c-2").unwrap().server.as_str(), "a-b");
    }

    #[test]
    fn on_collision_only_what_collides_is_prefixed() {
        let (a, b) = (member("a"), member("b"));
        let one = catalog(&[r#"{"name":"x"}"#, r#"{"name":"y"}"#]);
        let two = catalog(&[r#"{"name":"y"}"#]);
        let merged = merge(&[(&a, &one), (&b, &two)], PrefixMode::OnCollision);
        assert!(merged.owner(Asked::Tool, "x").is_some());
        assert!(merged.owner(Asked::Tool, "a-y").is_some());
        assert!(merged.owner(Asked::Tool, "b-y").is_some());
        assert!(merged.owner(Asked::Tool, "y").is_none());
    }
}
