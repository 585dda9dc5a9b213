//! What one server contributes to a merged catalog, and the owner of an entry.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::edge::config::Member;
use crate::model::{Choice, Selection, ServerName, choice_of};
use crate::protocol::catalog::Catalog;
use crate::protocol::methods::List;
use crate::protocol::objects::object_only;
use crate::protocol::splice;

/// One server's part of a scope.
pub struct ServerPart<'a> {
    pub member: &'a Member,
    /// What nodes' files choose of the server for all scopes.
    pub selection: Option<&'a Selection>,
    pub catalog: &'a Catalog,
}

impl ServerPart<'_> {
    /// Whether the scope shows a tool or prompt of the server. Of resources their judge decides.
    #[must_use]
    pub fn shows(&self, list: List, name: &str) -> bool {
        let chosen = match list {
            List::Tools => &self.member.tools,
            List::Prompts => &self.member.prompts,
            List::Resources | List::Templates => &self.member.resources,
        };
        let in_group = chosen.as_ref().is_none_or(|names| names.iter().any(|n| n == name));
        in_group && self.choice(list, name).is_none_or(|choice| choice.enabled)
    }

    /// The edit that puts the operator's description into an entry, if there is one.
    #[must_use]
    pub fn described(&self, list: List, raw: &RawValue, name: &str) -> Option<splice::Edit> {
        #[derive(Deserialize)]
        #[serde(remote = "Self")]
        struct Item<'a> {
            #[serde(borrow, default, deserialize_with = "present")]
            description: Option<&'a RawValue>,
        }
        object_only!(Item<'de>);
        let new = self.choice(list, name)?.description.as_deref().map(splice::quoted)?;
        let text = raw.get();
        match serde_json::from_str::<Item<'_>>(text).ok()?.description {
            Some(old) => Some((splice::span(text.as_bytes(), old)?, new)),
            None => splice::insertion(text.as_bytes(), raw, &format!("\"description\":{new}")),
        }
    }

    fn choice(&self, list: List, name: &str) -> Option<&Choice> {
        let selection = self.selection?;
        match list {
            List::Tools => choice_of(&selection.tools, name),
            List::Prompts => choice_of(&selection.prompts, name),
            List::Resources | List::Templates => selection.resources.get(name),
        }
    }
}

/// The server that owns an entry, and its own name or URI for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub server: ServerName,
    pub name: String,
}

/// Reads a member that is present, even if it is null.
pub fn present<'de, D: serde::Deserializer<'de>>(
    member: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(member).map(Some)
}
