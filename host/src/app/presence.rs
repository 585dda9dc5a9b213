//! The coordinators that share a store: each says what it is, and warns of those that decide
//! otherwise than it does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::model::visible::visible;
use crate::protocol::objects::object_only;
use crate::protocol::proof::mac;
use crate::store::shared::Leased;
use crate::store::sharing::Sharing;

/// Time between two signs of life.
const INTERVAL: Duration = Duration::from_secs(3);
/// How long a coordinator counts after its last one.
const LEASE: Duration = Duration::from_secs(10);
/// Digits of the strategy's digest.
const DIGITS: usize = 16;
/// Bytes of one coordinator's word.
const MAX_TEXT: usize = 4096;

/// What a coordinator says of itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Presence {
    version: String,
    /// A digest of the settings by which it chooses nodes.
    strategy: String,
}
object_only!(both Presence);

impl Presence {
    /// Of this process.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let digest = mac::hmac_sha256(b"mooring strategy", &[config.sticky.json.as_bytes()]);
        let strategy = mac::hex(&digest)[..DIGITS].to_owned();
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), strategy }
    }

    fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(Some(text).filter(|text| text.len() <= MAX_TEXT)?).ok()
    }

    /// How another coordinator differs, in words; `None` if it does not.
    fn difference(&self, other: &Self) -> Option<String> {
        if other.strategy != self.strategy {
            return Some(
                "another coordinator has other stickySession settings: sessions stay where they \
                 are, and new ones are spread by the rules of the coordinator that takes them; \
                 give all coordinators one file"
                    .to_owned(),
            );
        }
        (other.version != self.version).then(|| {
            format!(
                "another coordinator runs mooring {}, this one {}: run one version on all",
                visible(&other.version, 64),
                self.version
            )
        })
    }
}

/// Says what this coordinator is, as long as the process lives.
pub async fn keep(sharing: Arc<Sharing>, own: Presence) {
    let id = sharing.name().to_owned();
    let text = serde_json::to_vec(&own).unwrap_or_default();
    let mut told = BTreeSet::new();
    let mut timer = tokio::time::interval(INTERVAL);
    loop {
        timer.tick().await;
        let store = sharing.store();
        if sharing.ask(store.lease(Leased::Coordinator, &id, &text, LEASE)).await.is_none() {
            continue;
        }
        let names = sharing.ask(store.all_leased(Leased::Coordinator)).await.unwrap_or_default();
        sharing.standing().set_coordinators(names.len());
        for name in names.iter().filter(|name| **name != id) {
            let found = sharing.ask(store.leased(Leased::Coordinator, name)).await.flatten();
            let Some(other) = found.as_deref().and_then(Presence::read) else { continue };
            if let Some(difference) = own.difference(&other)
                && told.len() < 64
                && told.insert(other)
            {
                tracing::warn!("{difference}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_that_differs_is_told_by_what_matters_most() {
        let presence = |version: &str, strategy: &str| Presence {
            version: version.to_owned(),
            strategy: strategy.to_owned(),
        };
        let own = presence("1", "a");
        assert_eq!(own.difference(&own), None);
        assert!(own.difference(&presence("2", "b")).unwrap().contains("stickySession"));
        assert!(own.difference(&presence("2", "a")).unwrap().contains("runs mooring 2"));
        assert_eq!(Presence::read(&serde_json::to_vec(&own).unwrap()), Some(own));
        for text in [&b""[..], b"nonsense", b"[\"1\",\"a\"]", b"{\"version\":1}"] {
            assert_eq!(Presence::read(text), None);
        }
    }
}
