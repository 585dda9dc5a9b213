//! Watches a session's instance: reads its lists again after they have changed, and
//! clears its slot when it is lost.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use crate::net::Pool;
use crate::protocol::catalog::Catalog;
use crate::protocol::methods::List;
use crate::runner::catalog::gathered::Gathered;
use crate::runner::catalog::read_lists;
use crate::runner::channel::pipe::LostSignal;
use crate::runner::session::instance::Instance;
use crate::runner::session::table::InstanceKey;
use crate::runner::shared::SharedRunner;
use crate::runner::stderr::journal::ProcessOwner;

/// Lists are read after this long without a further change: servers often announce
/// several in a row.
const QUIET: Duration = Duration::from_millis(100);
/// Longest wait for that, under a server that announces changes without a break.
const LONGEST: Duration = Duration::from_secs(1);

/// Pause after a reading that has brought nothing new; it doubles with each further one. A
/// notification that is no echo ends it.
const FIRST_REST: Duration = Duration::from_secs(1);
/// The doubling stops here.
const LAST_REST: Duration = Duration::from_secs(60);

/// Watches the instance until it is lost or dropped. Holds it only weakly: it must end
/// with its session.
pub fn watch_instance(
    shared: Weak<SharedRunner>,
    pool: Pool,
    key: InstanceKey,
    instance: &Arc<Instance>,
) -> impl Future<Output = ()> + use<> {
    let mut lost = instance.lost_signal();
    let (mut changes, mut echoes) =
        (instance.list_changes().changes(), instance.list_changes().echoes());
    let instance = Arc::downgrade(instance);
    async move {
        let mut lists = KnownLists::default();
        loop {
            let echoed = async {
                echoes.changed().await.ok()?;
                tokio::time::sleep_until(lists.rests_until()).await;
                Some(())
            };
            let is_echo = tokio::select! {
                why = reason(&mut lost) => {
                    forget(&shared, &key, &instance, why.as_deref());
                    return;
                }
                changed = settled(&mut changes) => changed.map(|_| false),
                echoed = echoed => echoed.map(|()| true),
            };
            let Some(is_echo) = is_echo else { return };
            let count = *changes.borrow();
            read_lists(&shared, &pool, &key, &instance, (count, is_echo), &mut lists).await;
        }
    }
}

/// The lists that were read last, and for how long they are not read again.
#[derive(Default)]
struct KnownLists {
    /// `None` until they were read once.
    read: Option<Catalog>,
    rest: Duration,
    read_at: Option<tokio::time::Instant>,
}

impl KnownLists {
    fn rests_until(&self) -> tokio::time::Instant {
        self.read_at.map_or_else(tokio::time::Instant::now, |at| at + self.rest)
    }

    /// Keeps what was read. Returns the lists that differ from those before, or from the catalog if
    /// there are none.
    fn keep(&mut self, now: Catalog, catalog: Option<&Catalog>, is_echo: bool) -> Vec<List> {
        let before = self.read.as_ref().or(catalog);
        let mut changed: Vec<List> = Vec::new();
        for list in List::ALL {
            let told = if list == List::Templates { List::Resources } else { list };
            let texts = |catalog: &Catalog| -> Vec<String> {
                catalog.items(list).iter().map(|item| item.get().to_owned()).collect()
            };
            if before.is_none_or(|before| texts(before) != texts(&now)) && !changed.contains(&told)
            {
                changed.push(told);
            }
        }
        let rest = if is_echo { self.rest } else { Duration::ZERO };
        // A server that changes its lists with each reading does not keep the gateway reading.
        self.rest = match changed.is_empty() || is_echo {
            true => (rest * 2).clamp(FIRST_REST, LAST_REST),
            false => Duration::ZERO,
        };
        self.read = Some(now);
        self.read_at = Some(tokio::time::Instant::now());
        changed
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
        if instance.loses_nothing() {
            // Its process counts and logs its loss itself.
            tracing::debug!(session = %session, server = %key.1, "{why}; the next message opens it again");
            return;
        }
        if instance.was_left_idle() {
            tracing::debug!(session = %session, server = %key.1, "{why} while nothing of it was under way; the next message opens it again");
            return;
        }
        shared.resources.journal.count_lost(&key.1, ProcessOwner::Session(key.0));
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
    (count, is_echo): (u32, bool),
    lists: &mut KnownLists,
) {
    let (Some(shared), Some(instance)) = (shared.upgrade(), instance.upgrade()) else { return };
    let known = shared.discovery.found(&key.1, instance.client_set);
    let read = async {
        let mut gathered = Gathered::default();
        let reading = instance.list_changes().reading();
        read_lists::read_lists(&instance, pool, &mut gathered, |_| {}).await;
        drop(reading);
        if instance.has_ended() {
            return None;
        }
        for flaw in gathered.flaws() {
            tracing::debug!(server = %key.1, "a flaw of the changed lists: {flaw}");
        }
        let catalog = gathered.catalog(known.as_ref().map(|known| &known.catalog));
        shared.discovery.compare(&key.1, instance.client_set, catalog)
    };
    let own = match instance.common_lists() {
        Some(common) => {
            // The process itself takes both for echoes.
            let is_doubted = instance.list_changes().take_doubted();
            if is_echo || is_doubted {
                common.note_change();
            }
            common.get(read).await
        }
        None => read.await,
    };
    let now = own.as_ref().or(known.as_ref()).map(|found| found.catalog.clone());
    if let Some(now) = now {
        let changed = lists.keep(now, known.as_ref().map(|known| &known.catalog), is_echo);
        // What was not passed on when it came was news after all.
        if instance.list_changes().take_held() {
            instance.announce(&changed);
        }
    }
    instance.set_lists(count, own);
}
