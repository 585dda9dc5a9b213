//! The store that several coordinators share: made from the settings, and asked for the secrets that
//! all of them have to have before one serves its first client.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;

use crate::config::{Config, Lock, Store};
use crate::model::SessionId;
use crate::store::shared::{SharedStore, StoreError};
use crate::store::sharing::SharedSecret;
use crate::store::{DataFolder, GENERATED_KEY, RedisStore};

/// Longest wait of a start for a secret that only the store has.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(250);
/// The file of the secret that seals sessions.
const SECRET: &str = "secret";
/// The file of this coordinator's name.
const NAME: &str = "coordinator-id";

/// The store of the settings; `None` where there is one coordinator.
#[must_use]
pub fn of(config: &Config) -> Option<Arc<dyn SharedStore>> {
    match &config.store {
        Store::Memory => None,
        Store::Redis { url, prefix } => {
            Some(Arc::new(RedisStore::new(url, prefix, config.sticky.affinity_timeout)))
        }
    }
}

/// The secret that seals sessions, and what all coordinators have to have.
pub struct Secrets {
    pub sealing: Vec<u8>,
    /// What the store has, to be written again if it is emptied.
    pub shared: Vec<SharedSecret>,
}

/// The secret that seals sessions: that of the settings, else one that all coordinators share, else
/// one of this data folder. A key that is generated for clients is shared in the same way.
///
/// # Errors
/// If only the store has one, and the store does not answer.
pub async fn secrets(
    config: &Config,
    folder: &DataFolder,
    store: Option<&Arc<dyn SharedStore>>,
) -> anyhow::Result<Secrets> {
    let mut shared = Vec::new();
    if let Some(store) = store
        && matches!(config.access.lock, Lock::Generated)
    {
        let key = share(store, folder, GENERATED_KEY, &own_key(folder)).await?;
        shared.push((GENERATED_KEY.to_owned(), key));
    }
    if let Some(secret) = &config.secret {
        return Ok(Secrets { sealing: secret.expose().as_bytes().to_vec(), shared });
    }
    let own = folder.secret(SECRET);
    let Some(store) = store else { return Ok(Secrets { sealing: own, shared }) };
    let sealing = share(store, folder, SECRET, &own).await?;
    shared.push((SECRET.to_owned(), sealing.clone()));
    Ok(Secrets { sealing, shared })
}

/// What this coordinator is called in the store: the same at its next start.
#[must_use]
pub fn own_name(folder: &DataFolder) -> String {
    let text = folder.read(NAME).and_then(|text| String::from_utf8(text).ok());
    let kept = text.and_then(|text| SessionId::parse(text.trim()));
    let name = kept.unwrap_or_else(SessionId::mint).to_string();
    if kept.is_none() {
        // A folder that cannot be written is in the log.
        let _ = folder.write(NAME, format!("{name}\n").as_bytes());
    }
    name
}

/// The key that clients show, as its file has it.
fn own_key(folder: &DataFolder) -> Vec<u8> {
    let (key, _) = folder.text_secret(GENERATED_KEY);
    format!("{key}\n").into_bytes()
}

/// The secret of this name, which is `own` unless another coordinator was first. It is kept in the
/// data folder too, for a start without the store.
async fn share(
    store: &Arc<dyn SharedStore>,
    folder: &DataFolder,
    name: &str,
    own: &[u8],
) -> anyhow::Result<Vec<u8>> {
    let shared = asked(store, name, own).await;
    let was_shared = format!("{name}-shared");
    match shared {
        Ok(shared) => {
            if shared != own {
                folder
                    .write(name, &shared)
                    .with_context(|| format!("{name} in the data folder"))?;
            }
            // A folder that cannot be written is in the log.
            let _ = folder.write(&was_shared, b"1\n");
            Ok(shared)
        }
        // It is that of all: an earlier start has found so.
        Err(_) if folder.has(&was_shared) => Ok(own.to_vec()),
        Err(error) => Err(error).context(
            "systemConfig.cluster.store: the coordinators' common secret cannot be read; start the \
             store first, or set one MOORING_SECRET on all coordinators",
        ),
    }
}

async fn asked(
    store: &Arc<dyn SharedStore>,
    name: &str,
    own: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let asking = async {
            store.connect().await?;
            store.secret(name, own).await
        };
        match asking.await {
            Ok(shared) => return Ok(shared),
            Err(StoreError::Gone(_) | StoreError::Emptied) if Instant::now() < deadline => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}
