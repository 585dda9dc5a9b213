//! What one server offers, as one immutable value: its `InitializeResult` and
//! all pages of its four lists, item by item and byte for byte.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::methods::List;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Catalog {
    /// The `InitializeResult`.
    pub initialize: Box<RawValue>,
    #[serde(default)]
    pub tools: Vec<Box<RawValue>>,
    #[serde(default)]
    pub prompts: Vec<Box<RawValue>>,
    #[serde(default)]
    pub resources: Vec<Box<RawValue>>,
    #[serde(default)]
    pub templates: Vec<Box<RawValue>>,
}

impl Catalog {
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

    #[must_use]
    pub fn items(&self, list: List) -> &[Box<RawValue>] {
        match list {
            List::Tools => &self.tools,
            List::Prompts => &self.prompts,
            List::Resources => &self.resources,
            List::Templates => &self.templates,
        }
    }

    pub fn items_mut(&mut self, list: List) -> &mut Vec<Box<RawValue>> {
        match list {
            List::Tools => &mut self.tools,
            List::Prompts => &mut self.prompts,
            List::Resources => &mut self.resources,
            List::Templates => &mut self.templates,
        }
    }

    /// Equal catalogues have equal digests.
    #[must_use]
    pub fn digest(&self) -> String {
        short(Sha256::digest(self.to_json()).into())
    }

    /// The same of the lists alone.
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

    #[must_use]
    pub fn to_json(&self) -> Bytes {
        // Raw values and vectors of them always serialise.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// # Errors
    /// If the bytes are not a catalogue.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

fn short(hash: [u8; 32]) -> String {
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A finished discovery.
#[derive(Debug)]
pub struct Discovered {
    pub catalog: Catalog,
    pub json: Bytes,
    pub digest: Arc<str>,
}
