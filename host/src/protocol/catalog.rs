//! What one server offers, as one value: its `InitializeResult` and all pages of its four lists,
//! entry by entry and byte for byte.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::methods::List;
use super::objects::object_only;

/// Entries of one list that are read from another process.
const MAX_ENTRIES: usize = 100_000;

/// What a server offers to clients with one set of capabilities. As JSON it passes the seam.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase")]
pub struct Catalog {
    /// The server's `InitializeResult`.
    pub initialize: Box<RawValue>,
    /// Entries of `tools/list`, in the server's order, as the three below.
    #[serde(default, deserialize_with = "bounded")]
    pub tools: Vec<Box<RawValue>>,
    /// Entries of `prompts/list`.
    #[serde(default, deserialize_with = "bounded")]
    pub prompts: Vec<Box<RawValue>>,
    /// Entries of `resources/list`.
    #[serde(default, deserialize_with = "bounded")]
    pub resources: Vec<Box<RawValue>>,
    /// Entries of `resources/templates/list`.
    #[serde(default, deserialize_with = "bounded")]
    pub templates: Vec<Box<RawValue>>,
}
object_only!(both Catalog);

impl Catalog {
    /// A catalog whose lists are empty.
    #[must_use]
    pub fn new(initialize: Box<RawValue>) -> Self {
        Self {
            initialize,
            tools: Vec::new(),
            prompts: Vec::new(),
            resources: Vec::new(),
            templates: Vec::new(),
        }
    }

    /// The entries of one list, all pages together.
    #[must_use]
    pub fn items(&self, list: List) -> &[Box<RawValue>] {
        match list {
            List::Tools => &self.tools,
            List::Prompts => &self.prompts,
            List::Resources => &self.resources,
            List::Templates => &self.templates,
        }
    }

    /// The entries of one list, to add those of a further page.
    pub fn items_mut(&mut self, list: List) -> &mut Vec<Box<RawValue>> {
        match list {
            List::Tools => &mut self.tools,
            List::Prompts => &mut self.prompts,
            List::Resources => &mut self.resources,
            List::Templates => &mut self.templates,
        }
    }

    /// 16 hexadecimal digits, the same for equal catalogs.
    #[must_use]
    pub fn digest(&self) -> String {
        short(Sha256::digest(self.to_json()).into())
    }

    /// Like [`Self::digest`], of the lists alone: the `InitializeResult` does not matter.
    #[must_use]
    pub fn lists_digest(&self) -> String {
        let mut hash = Sha256::new();
        for list in List::ALL {
            hash.update(list.member());
            for item in self.items(list) {
                hash.update(item.get());
                hash.update([0]);
            }
        }
        short(hash.finalize().into())
    }

    /// The form that [`Self::from_json`] reads.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        // Raw values and vectors of them always serialise.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Reads a catalog; a list that is absent is empty.
    ///
    /// # Errors
    /// If the bytes are not a catalog.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// Reads a list, up to [`MAX_ENTRIES`]: an entry of two bytes takes many times as much in memory.
fn bounded<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Box<RawValue>>, D::Error> {
    struct Entries;

    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<Box<RawValue>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "a list of at most {MAX_ENTRIES} entries")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = list.next_element()? {
                if entries.len() >= MAX_ENTRIES {
                    return Err(serde::de::Error::invalid_length(entries.len() + 1, &self));
                }
                entries.push(entry);
            }
            Ok(entries)
        }
    }

    from.deserialize_seq(Entries)
}

fn short(hash: [u8; 32]) -> String {
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A catalog that was read from its server, with what is computed from it once.
#[derive(Debug)]
pub struct Discovered {
    /// As read from the server.
    pub catalog: Catalog,
    /// The catalog as [`Catalog::to_json`] writes it.
    pub json: Bytes,
    /// The catalog's digest; for lists that one session has read, that of the lists alone.
    pub digest: Arc<str>,
    /// What is wrong with the server's answers, for the operator. Empty for lists of one session.
    pub flaws: Vec<String>,
}
