//! Keeps in the data folder which servers take long to start, so that `mooring check` can advise
//! spares for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::app::parts::Parts;
use crate::config::{Config, Transport};
use crate::model::ServerName;
use crate::store::DataFolder;

/// The file in the data folder: milliseconds by server.
const FILE: &str = "slow-starts.json";
/// Time between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// Writes the file whenever a server turns out to be slow.
pub async fn keep(parts: Arc<Parts>) {
    let mut written = BTreeMap::new();
    let mut timer = tokio::time::interval(LOOK);
    loop {
        timer.tick().await;
        let slow = parts.runner.slow_starts().all();
        if slow == written || parts.retired.is_raised() {
            continue;
        }
        let millis = |(server, took): (&ServerName, &Duration)| {
            (server.to_string(), u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
        };
        let text: BTreeMap<String, u64> = slow.iter().map(millis).collect();
        let folder = parts.folder.clone();
        let writing = tokio::task::spawn_blocking(move || {
            // The folder logs a failure.
            folder.write(FILE, &serde_json::to_vec(&text).unwrap_or_default()).is_ok()
        });
        if matches!(writing.await, Ok(true)) {
            written = slow;
        }
    }
}

/// Servers that were slow to start when a gateway ran with this data folder last, and have no
/// spare, one line each.
#[must_use]
pub fn advice(config: &Config) -> Vec<String> {
    let kept = DataFolder::existing(&config.data_dir).read(FILE).unwrap_or_default();
    // It may be of another version, or no file of ours.
    let slow: BTreeMap<String, u64> = serde_json::from_slice(&kept).unwrap_or_default();
    let servers = config.servers.iter().filter(|server| {
        let is_process = matches!(server.transport, Some(Transport::Stdio { .. }));
        server.enabled && is_process && server.warm == 0
    });
    let lines = servers.filter_map(|server| {
        let seconds = Duration::from_millis(*slow.get(server.name.as_str())?).as_secs_f32();
        Some(format!(
            "mcpServers.{}.warm: the server took {seconds:.1} s to start, which each new session waits \
             for; \"warm\": 1 keeps a process ready",
            server.name
        ))
    });
    lines.collect()
}
