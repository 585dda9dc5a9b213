//! Room for registrations: a few at a time, and one of each node. Each costs a callback, the
//! pages of a node's sessions, and memory for both.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore, SemaphorePermit};

use crate::model::NodeId;
use crate::sync::Locked;

use super::rejected::Rejected;

/// Registrations at a time.
const AT_ONCE: usize = 8;
/// Registrations that may wait for these.
const WAITING: usize = 64;

/// One node's registrations.
#[derive(Default)]
struct Queue {
    turn: Arc<Mutex<()>>,
    length: usize,
}

#[derive(Default)]
struct Queues {
    of: BTreeMap<NodeId, Queue>,
    /// All lengths together.
    length: usize,
}

/// Lets registrations in.
pub struct Admissions {
    queues: Locked<Queues>,
    rooms: Semaphore,
}

impl Default for Admissions {
    fn default() -> Self {
        Self { queues: Locked::default(), rooms: Semaphore::new(AT_ONCE) }
    }
}

/// A registration's right to go on, until it is dropped. The fields are dropped in this order.
pub struct Admission<'a> {
    _room: SemaphorePermit<'a>,
    _turn: OwnedMutexGuard<()>,
    _place: Place<'a>,
}

/// A registration's place in its node's queue.
struct Place<'a> {
    admissions: &'a Admissions,
    id: NodeId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queues = self.admissions.queues.lock();
        queues.length -= 1;
        if let Some(queue) = queues.of.get_mut(&self.id) {
            queue.length -= 1;
            if queue.length == 0 {
                queues.of.remove(&self.id);
            }
        }
    }
}

impl Admissions {
    /// Waits until a node's registration may go on.
    ///
    /// # Errors
    /// If too many wait already.
    pub async fn enter(&self, id: &NodeId) -> Result<Admission<'_>, Rejected> {
        self.enter_behind(id, AT_ONCE + WAITING).await
    }

    /// The same for nodes of the last start: however many others wait.
    pub async fn enter_again(&self, id: &NodeId) -> Result<Admission<'_>, Rejected> {
        self.enter_behind(id, usize::MAX).await
    }

    async fn enter_behind(&self, id: &NodeId, most: usize) -> Result<Admission<'_>, Rejected> {
        let (place, turn) = self.place(id, most).ok_or(Rejected::Busy)?;
        let turn = turn.lock_owned().await;
        let room = self.rooms.acquire().await.map_err(|_| Rejected::Busy)?;
        Ok(Admission { _room: room, _turn: turn, _place: place })
    }

    fn place(&self, id: &NodeId, most: usize) -> Option<(Place<'_>, Arc<Mutex<()>>)> {
        let mut queues = self.queues.lock();
        if queues.length >= most {
            return None;
        }
        queues.length += 1;
        let queue = queues.of.entry(id.clone()).or_default();
        queue.length += 1;
        Some((Place { admissions: self, id: id.clone() }, Arc::clone(&queue.turn)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn id(number: usize) -> NodeId {
        NodeId::parse(&format!("n{number}")).unwrap()
    }

    #[tokio::test]
    async fn a_few_are_let_in_and_one_of_each_node() {
        let admissions = Admissions::default();
        let first = admissions.enter(&id(0)).await.ok().unwrap();
        let (same, other) = (id(0), id(1));
        let mut second = Box::pin(admissions.enter(&same));
        assert!(second.as_mut().now_or_never().is_none(), "the node's first one is there");
        let mut others = vec![admissions.enter(&other).await.ok().unwrap()];
        drop(first);
        assert!(second.now_or_never().is_some_and(|admitted| admitted.is_ok()));
        for number in 2..=AT_ONCE {
            others.push(admissions.enter(&id(number)).await.ok().unwrap());
        }
        let further = id(100);
        let mut waiting = Box::pin(admissions.enter(&further));
        assert!(waiting.as_mut().now_or_never().is_none(), "no room");
        others.pop();
        assert!(waiting.now_or_never().is_some_and(|admitted| admitted.is_ok()));
        others.clear();
        assert!(admissions.queues.lock().of.is_empty(), "nothing is kept");
    }

    #[tokio::test]
    async fn where_too_many_wait_the_next_is_refused_and_those_of_the_last_start_are_not() {
        let admissions = Admissions::default();
        let ids: Vec<NodeId> = (0..=AT_ONCE + WAITING).map(id).collect();
        let mut waiting = Vec::new();
        for id in &ids[1..] {
            let mut entering = Box::pin(admissions.enter(id));
            let entered = entering.as_mut().now_or_never();
            assert!(entered.as_ref().is_none_or(Result::is_ok));
            waiting.push((entering, entered));
        }
        assert!(matches!(admissions.enter(&ids[0]).now_or_never(), Some(Err(Rejected::Busy))));
        assert!(admissions.enter_again(&ids[0]).now_or_never().is_none(), "it waits");
        drop(waiting);
        assert_eq!(admissions.queues.lock().length, 0);
        assert!(admissions.enter(&ids[0]).await.is_ok());
    }
}
