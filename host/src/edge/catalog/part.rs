//! What one server contributes to a merged catalog, and the owner of an entry.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::edge::config::Member;
use crate::model::{Choice, Choices, Selection, ServerName};
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
    /// The names of tools or prompts that the scope names of the server, as its file has them.
    /// `None` if it shows all.
    #[must_use]
    pub fn named(&self, list: List) -> Option<&[String]> {
        match list {
            List::Tools => self.member.tools.as_deref(),
            List::Prompts => self.member.prompts.as_deref(),
            List::Resources | List::Templates => self.member.resources.as_deref(),
        }
    }

    /// The operator's choices for the entries of a list, if there are any.
    #[must_use]
    pub fn choices(&self, list: List) -> Option<&Choices> {
        let selection = self.selection?;
        Some(match list {
            List::Tools => &selection.tools,
            List::Prompts => &selection.prompts,
            List::Resources | List::Templates => &selection.resources,
        })
    }

    /// The edit that puts the operator's description into a resource or template, if there is one.
    #[must_use]
    pub fn described_resource(&self, raw: &RawValue, uri: &str) -> Option<splice::Edit> {
        described(raw, self.choices(List::Resources)?.get(uri)?)
    }
}

/// The edit that puts the operator's description into an entry, if there is one.
#[must_use]
pub fn described(raw: &RawValue, choice: &Choice) -> Option<splice::Edit> {
    #[derive(Deserialize)]
    #[serde(remote = "Self")]
    struct Item<'a> {
        #[serde(borrow, default, deserialize_with = "present")]
        description: Option<&'a RawValue>,
    }
    object_only!(Item<'de>);
    let new = choice.description.as_deref().map(splice::quoted)?;
    let text = raw.get();
    match serde_json::from_str::<Item<'_>>(text).ok()?.description {
        Some(old) => Some((splice::span(text.as_bytes(), old)?, new)),
        None => splice::insertion(text.as_bytes(), raw, &format!("\"description\":{new}")),
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
