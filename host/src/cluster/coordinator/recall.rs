//! After a coordinator's start: asking the nodes of before for their sessions.

use std::sync::Arc;

use crate::seam::Link;
use crate::store::DataFolder;

use super::control::Control;
use super::known_nodes::{entry_of, is_kept, read};

/// Calls every node of the snapshot, so that none is missed until its next
/// heartbeat. Says so when all have reported; a node that does not answer is
/// waited for.
pub async fn recall(control: Arc<Control>, folder: DataFolder, link: Link) {
    let kept = read(&folder);
    // Without a snapshot nobody knows who may come: the deadline decides.
    if !is_kept(&folder) {
        return;
    }
    let calls = kept.into_iter().filter_map(entry_of).map(|entry| {
        let (control, link) = (&control, &link);
        async move {
            let id = entry.id.clone();
            match control.admit(entry, link).await {
                Ok(_) => true,
                Err(why) => {
                    tracing::info!(node = %id, "of the time before this start: {why}");
                    false
                }
            }
        }
    });
    let answers = futures_util::future::join_all(calls).await;
    // Those that did not answer may register by themselves.
    if answers.iter().all(|answered| *answered) {
        control.all_reported();
    }
}
