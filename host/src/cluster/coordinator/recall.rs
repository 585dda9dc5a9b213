//! After a restart of the coordinator, asks the nodes of the last start for their
//! sessions.

use std::sync::Arc;

use crate::seam::Link;
use crate::store::DataFolder;

use super::control::Control;
use super::known_nodes::{entry_of, is_kept, read};

/// Calls every node of the snapshot, since their next heartbeats may be far off. If all
/// answer, no further reports are expected; otherwise sessions wait for the others.
pub async fn recall(control: Arc<Control>, folder: DataFolder, link: Link) {
    let kept = read(&folder);
    // Without a snapshot it is unknown which nodes may come: sessions wait until the
    // deadline.
    if !is_kept(&folder) {
        return;
    }
    control.begin_recall(kept.clone());
    let calls = kept.into_iter().filter_map(entry_of).map(|entry| {
        let (control, link) = (&control, &link);
        async move {
            let id = entry.id.clone();
            match control.recall(entry, link).await {
                Ok(_) => true,
                Err(why) => {
                    tracing::info!(node = %id, "not registered again at this start: {why}");
                    false
                }
            }
        }
    });
    let answers = futures_util::future::join_all(calls).await;
    control.end_recall().await;
    // A node that did not answer may still register by itself.
    if answers.iter().all(|answered| *answered) {
        control.all_reported();
    }
}
