//! What waits to be told to a collector, and the task that tells it. The task is not woken for each
//! item, but looks by itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::net::Pool;
use crate::sync::Seldom;

use super::collector::Collector;
use super::counts::ExportCounts;
use super::envelope::envelope;
use super::protobuf::Message;

/// Items that wait to be sent.
const WAITING: usize = 8192;
/// How often the task looks for items.
const LOOK: Duration = Duration::from_millis(200);
/// Items in one request.
const AT_ONCE: usize = 512;
/// Longest time for the last items, at the end of the process.
const LAST: Duration = Duration::from_secs(2);

/// What can be told to a collector.
pub trait Exported: Send + 'static {
    /// The word for several of them, in the log.
    const WHAT: &'static str;

    fn message(&self) -> Message;
}

/// A task that is to be started with a pool of connections.
pub trait StartExport: Send {
    fn start(self: Box<Self>, pool: Pool);
}

/// Asks for all waiting items to be sent, and to be told when that is done.
pub type ExportOrder = oneshot::Sender<()>;

/// Where items are put, for those who have some.
#[derive(Debug)]
pub struct ExportQueue<T> {
    items: mpsc::Sender<T>,
    orders: mpsc::Sender<ExportOrder>,
    counts: Arc<ExportCounts>,
}

/// The task that sends them.
#[derive(Debug)]
pub struct Exporter<T> {
    collector: Collector,
    waiting: mpsc::Receiver<T>,
    orders: mpsc::Receiver<ExportOrder>,
    counts: Arc<ExportCounts>,
    complaints: Seldom,
}

impl<T: Exported> ExportQueue<T> {
    #[must_use]
    pub fn new(collector: Collector) -> (Self, Exporter<T>) {
        let (items, waiting) = mpsc::channel(WAITING);
        let (orders, ordered) = mpsc::channel(1);
        let counts = Arc::<ExportCounts>::default();
        let exporter = Exporter {
            collector,
            waiting,
            orders: ordered,
            counts: Arc::clone(&counts),
            complaints: Seldom::default(),
        };
        (Self { items, orders, counts }, exporter)
    }

    /// Has an item sent, unless too many wait already.
    pub fn add(&self, item: T) {
        if self.items.try_send(item).is_err() {
            self.counts.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[must_use]
    pub fn counts(&self) -> &ExportCounts {
        &self.counts
    }

    /// Sends what is waiting, for a bounded time.
    pub async fn flush(&self) {
        flush(&self.orders).await;
    }
}

/// Has a task send what it has, for a bounded time.
pub async fn flush(orders: &mpsc::Sender<ExportOrder>) {
    let (done, sent) = oneshot::channel();
    let _ = tokio::time::timeout(LAST, async {
        if orders.send(done).await.is_ok() {
            let _ = sent.await;
        }
    })
    .await;
}

impl<T: Exported> StartExport for Exporter<T> {
    fn start(self: Box<Self>, pool: Pool) {
        tokio::spawn(self.run(pool));
    }
}

impl<T: Exported> Exporter<T> {
    /// Sends items until the process no longer makes any.
    async fn run(mut self: Box<Self>, pool: Pool) {
        loop {
            let order = tokio::select! {
                () = tokio::time::sleep(LOOK) => None,
                order = self.orders.recv() => match order {
                    Some(order) => Some(order),
                    None => return,
                },
            };
            self.send_waiting(&pool).await;
            if let Some(order) = order {
                let _ = order.send(());
            }
        }
    }

    async fn send_waiting(&mut self, pool: &Pool) {
        loop {
            let mut batch = Vec::new();
            while batch.len() < AT_ONCE
                && let Ok(item) = self.waiting.try_recv()
            {
                batch.push(item);
            }
            if batch.is_empty() {
                return;
            }
            let body = envelope(&self.collector.resource, batch.iter().map(T::message));
            let count = batch.len() as u64;
            match self.collector.send(pool, body).await {
                Ok(taken) => {
                    let rejected = taken.rejected.min(count);
                    self.counts.note(count - rejected, rejected);
                    if let Some(told) = taken.told(T::WHAT) {
                        self.complaints.warn(|| told);
                    }
                }
                Err(why) => {
                    self.counts.note(0, count);
                    self.complaints.warn(|| format!("{} are lost: the collector {why}", T::WHAT));
                }
            }
        }
    }
}
