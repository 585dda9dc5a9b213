//! After a restart of the coordinator, asks the nodes of the last start for their
//! sessions.

use std::sync::Arc;
use std::time::Duration;

use crate::seam::Link;
use crate::store::DataFolder;

use super::control::Control;
use super::known_nodes::{is_kept, known_nodes};
use super::node_entry::NodeEntry;

/// Time after which a node is called once more that refused the first call: if nobody is there then
/// either, it is not waited for. A node that was about to start again has registered by itself.
const REFUSED: Duration = Duration::from_secs(1);

/// Calls every node of the snapshot, since their next heartbeats may be far off. If all
/// answer, no further reports are expected; otherwise sessions wait for the others, but for those
/// at whose address nobody is.
pub async fn recall(control: Arc<Control>, folder: DataFolder, link: Link) {
    let is_known = is_kept(&folder);
    recall_all(control, known_nodes(&folder), is_known, link).await;
}

/// The same for these nodes. Unless it `is_known` that there are no others, sessions wait until the
/// deadline.
pub async fn recall_all(control: Arc<Control>, nodes: Vec<NodeEntry>, is_known: bool, link: Link) {
    if !is_known {
        return;
    }
    let calls = nodes.into_iter().map(|entry| {
        let (control, link) = (&control, &link);
        async move {
            if let Err(why) = control.recall(entry.clone(), link).await {
                tracing::info!(node = %entry.id, "not registered again at this start: {why}");
                tokio::time::sleep(REFUSED).await;
                if control.is_gone(&entry, link).await {
                    control.settled(&entry.id);
                }
            }
        }
    });
    futures_util::future::join_all(calls).await;
    control.all_called().await;
}
