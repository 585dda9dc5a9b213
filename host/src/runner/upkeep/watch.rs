//! Watches a session's instance: reads its lists again after they have changed, and
//! clears its slot when it is lost.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use crate::net::Pool;
use crate::runner::catalog::read_lists;
use crate::runner::channel::pipe::LostSignal;
use crate::runner::session::instance::Instance;
use crate::runner::session::table::InstanceKey;
use crate::runner::shared::SharedRunner;

/// Lists are read after this long without a further change: servers often announce
/// several in a row.
const QUIET: Duration = Duration::from_millis(100);
/// Longest wait for that, under a server that announces changes without a break.
const LONGEST: Duration = Duration::from_secs(1);

/// Watches the instance until it is lost or dropped. Holds it only weakly: it must end
/// with its session.
pub fn watch_instance(
    shared: Weak<SharedRunner>,
    pool: Pool,
    key: InstanceKey,
    instance: &Arc<Instance>,
) -> impl Future<Output = ()> + use<> {
    let (mut lost, mut changes) = (instance.lost_signal(), instance.list_changes());
    let instance = Arc::downgrade(instance);
    async move {
        loop {
            tokio::select! {
                why = reason(&mut lost) => {
                    forget(&shared, &key, &instance, why.as_deref());
                    return;
                }
                changed = settled(&mut changes) => {
                    let Some(count) = changed else { return };
                    read_lists(&shared, &pool, &key, &instance, count).await;
                }
            }
        }
    }
}

async fn reason(lost: &mut LostSignal) -> Option<Arc<str>> {
    lost.wait_for(Option::is_some).await.ok().and_then(|why| why.clone())
}

fn forget(
    shared: &Weak<SharedRunner>,
    key: &InstanceKey,
    instance: &Weak<Instance>,
    why: Option<&str>,
) {
    if let (Some(shared), Some(instance), Some(why)) = (shared.upgrade(), instance.upgrade(), why)
        && shared.table.remove_if(key, &instance)
    {
        let session = key.0.short();
        if instance.common_lists().is_some() {
            // The catalog may come from the process that is gone. The shared process
            // counts and logs its loss itself.
            shared.discovery.ask_again(&key.1);
            tracing::debug!(session = %session, server = %key.1, "{why}; the next message takes another seat");
            return;
        }
        if instance.was_left_idle() {
            tracing::debug!(session = %session, server = %key.1, "{why} while nothing of it was under way; the next message opens it again");
            return;
        }
        shared.resources.journal.count_lost(&key.1);
        tracing::warn!(session = %session, server = %key.1, "{why}; the next message opens it again");
    }
}

/// Waits until the count has changed and then settled; returns it. `None` if the
/// instance is gone.
async fn settled(changes: &mut watch::Receiver<u32>) -> Option<u32> {
    changes.changed().await.ok()?;
    let deadline = tokio::time::Instant::now() + LONGEST;
    loop {
        let quiet = (tokio::time::Instant::now() + QUIET).min(deadline);
        match tokio::time::timeout_at(quiet, changes.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return None,
            Err(_) => return Some(*changes.borrow()),
        }
    }
}

async fn read_lists(
    shared: &Weak<SharedRunner>,
    pool: &Pool,
    key: &InstanceKey,
    instance: &Weak<Instance>,
    count: u32,
) {
    let (Some(shared), Some(instance)) = (shared.upgrade(), instance.upgrade()) else { return };
    let read = async {
        match read_lists::read_lists(&instance, pool).await {
            Ok(catalog) => shared.discovery.compare(&key.1, instance.client_set, catalog),
            Err(error) => {
                tracing::debug!(server = %key.1, "the changed lists could not be read: {error}");
                None
            }
        }
    };
    let own = match instance.common_lists() {
        Some(common) => common.get(read).await,
        None => read.await,
    };
    instance.set_lists(count, own);
}
