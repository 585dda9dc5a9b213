//! Reads all lists of a server, over an open instance.
//!
//! One after the other, since a server may serve one request at a time; one that does not answer
//! soon holds up no other.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::net::Pool;
use crate::runner::session::instance::Instance;

use super::gathered::Gathered;
use super::read_list::read_list;

/// How long a list may take until the next one is asked for too, and until what is known counts
/// without it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reads the lists that are wanted. `early` is called with what is known while others take long.
pub async fn read_lists(
    instance: &Instance,
    pool: &Pool,
    gathered: &mut Gathered,
    mut early: impl FnMut(&Gathered),
) {
    gathered.begin(&instance.result);
    let mut next = gathered.wanted().into_iter().peekable();
    let mut reading = FuturesUnordered::new();
    let mut is_told = true;
    loop {
        if let Some(list) = next.next() {
            reading.push(async move { (list, read_list(instance, pool, list).await) });
        }
        match tokio::time::timeout(PATIENCE, reading.next()).await {
            Ok(Some((list, read))) => {
                gathered.take(list, read);
                is_told = false;
            }
            Ok(None) => return,
            Err(_) => {
                // It may wait for the answer to a question that it asks there.
                instance.hear(pool);
                if next.peek().is_none() && !std::mem::replace(&mut is_told, true) {
                    early(gathered);
                }
            }
        }
        // What was in flight when the server ended has failed; nothing more is asked of it.
        if instance.is_lost() && reading.is_empty() {
            return;
        }
    }
}
