//! The extensions of clients that are told apart in what servers offer.

use std::collections::HashMap;
use std::sync::Arc;

use crate::protocol::initialize::{self, ClientSet, InitializeParams};
use crate::sync::Locked;

/// Different extensions that are told apart. Further clients are offered what those without
/// extensions are: servers are opened once for each.
const MOST: usize = 16;

/// Texts by the sets that have them, without other capabilities.
#[derive(Debug, Default)]
pub struct KnownExtensions(Locked<HashMap<ClientSet, Arc<str>>>);

impl KnownExtensions {
    /// The set by which a client with these `initialize` parameters is offered something.
    #[must_use]
    pub fn admit(&self, set: ClientSet, params: &[u8]) -> ClientSet {
        let key = set.alone();
        let mut known = self.0.lock();
        if known.contains_key(&key) {
            return set;
        }
        let params = serde_json::from_slice::<InitializeParams<'_>>(params).ok();
        let text = params.and_then(|params| initialize::extensions_of(params.capabilities));
        match text.filter(|_| known.len() < MOST) {
            Some(text) => {
                known.insert(key, text.into());
                set
            }
            None => set.without_extensions(),
        }
    }

    /// The text of a set's extensions.
    #[must_use]
    pub fn text(&self, set: ClientSet) -> Option<Arc<str>> {
        if !set.has_extensions() {
            return None;
        }
        self.0.lock().get(&set.alone()).cloned()
    }
}
