//! What a request asks for: the one reading of it. Whatever asks a server for an entry by its name
//! or URI goes through here, and then through [`ScopeCatalog::owner`].
//!
//! [`ScopeCatalog::owner`]: crate::edge::catalog::merge::ScopeCatalog::owner

use serde_json::value::RawValue;

use crate::edge::catalog::merge::Asked;
use crate::edge::refusal::Refusal;
use crate::protocol::methods::Destination;
use crate::protocol::splice::{self, RequestTarget};
use crate::protocol::strict::StrictParams;

/// The entry that a request names.
pub struct Requested<'a> {
    pub asked: Asked,
    /// Where it is named, as JSON.
    pub raw: &'a RawValue,
    /// Its name or URI, without escapes.
    pub name: String,
}

impl<'a> Requested<'a> {
    /// Reads a request that goes to the owner of what it names.
    pub fn of(destination: Destination, params: &StrictParams<'a>) -> Result<Self, Refusal> {
        let target = params.target;
        match destination {
            Destination::Completion => Self::completed(params.reference.as_ref()),
            Destination::Tool => Self::named(Asked::Tool, target.name, "params.name"),
            Destination::Prompt => Self::named(Asked::Prompt, target.name, "params.name"),
            _ => Self::named(Asked::Resource, target.uri, "params.uri"),
        }
    }

    /// The type decides (2025-11-25, server/utilities/completion). A reference that has the member
    /// of the other type too means two things, and servers differ in which one they take.
    fn completed(reference: Option<&RequestTarget<'a>>) -> Result<Self, Refusal> {
        let refused = |text: &str| Err(Refusal::InvalidParams(text.into()));
        let Some(reference) = reference else {
            return refused("params.ref is missing");
        };
        match reference.kind.and_then(splice::string).as_deref() {
            Some("ref/prompt") if reference.uri.is_none() => {
                Self::named(Asked::Prompt, reference.name, "params.ref.name")
            }
            Some("ref/resource") if reference.name.is_none() => {
                Self::named(Asked::Template, reference.uri, "params.ref.uri")
            }
            Some("ref/prompt") => refused("params.ref of type ref/prompt has a uri: leave it out"),
            Some("ref/resource") => {
                refused("params.ref of type ref/resource has a name: leave it out")
            }
            _ => refused("params.ref.type must be \"ref/prompt\" or \"ref/resource\""),
        }
    }

    fn named(asked: Asked, raw: Option<&'a RawValue>, place: &str) -> Result<Self, Refusal> {
        let missing = || Refusal::InvalidParams(format!("{place} is missing"));
        let raw = raw.ok_or_else(missing)?;
        let name = splice::string(raw).ok_or_else(missing)?;
        Ok(Self { asked, raw, name })
    }

    /// Why it cannot be had. What is hidden is as unknown as what is not there.
    pub fn unknown(self) -> Refusal {
        let Self { asked, name, .. } = self;
        match asked {
            Asked::Tool => Refusal::InvalidParams(format!("Unknown tool: {name}")),
            Asked::Prompt => Refusal::InvalidParams(format!("Unknown prompt: {name}")),
            Asked::Resource | Asked::Template => Refusal::ResourceNotFound(name),
        }
    }
}
