//! After a restart of the coordinator, asks the nodes of the last start for their
//! sessions.

use std::sync::Arc;

use crate::seam::Link;
use crate::store::DataFolder;

use super::control::Control;
use super::known_nodes::{KnownNode, is_kept, known_nodes};
use super::node_entry::NodeEntry;

/// Calls every node of the snapshot, since their next heartbeats may be far off. If all
/// answer, no further reports are expected; otherwise sessions wait for the others.
pub async fn recall(control: Arc<Control>, folder: DataFolder, link: Link) {
    let is_known = is_kept(&folder);
    recall_all(control, known_nodes(&folder), is_known, link).await;
}

/// Calls these nodes. Unless it `is_known` that there are no others, sessions wait until the
/// deadline.
pub async fn recall_all(control: Arc<Control>, nodes: Vec<NodeEntry>, is_known: bool, link: Link) {
    if !is_known {
        return;
    }
    control.begin_recall(nodes.iter().cloned().map(KnownNode::kept).collect());
    let calls = nodes.into_iter().map(|entry| {
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
