//! The order to tell all metrics to a collector, now and again: whoever has the metrics carries it
//! out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::net::Pool;
use crate::sync::Seldom;

use super::otlp::protobuf::Message;
use super::otlp::{Collector, ExportCounts, ExportOrder, envelope, flush};

/// Bytes of metrics in one request, unless one metric has more.
const AT_ONCE: usize = 512 * 1024;

/// For those who want the last metrics told.
#[derive(Debug)]
pub struct MetricsExport {
    orders: mpsc::Sender<ExportOrder>,
    counts: Arc<ExportCounts>,
}

/// Tells metrics.
#[derive(Debug)]
pub struct MetricsExporter {
    collector: Collector,
    every: Duration,
    orders: mpsc::Receiver<ExportOrder>,
    /// Of requests.
    counts: Arc<ExportCounts>,
    complaints: Seldom,
}

impl MetricsExport {
    #[must_use]
    pub fn new(collector: Collector, every: Duration) -> (Self, MetricsExporter) {
        let (orders, ordered) = mpsc::channel(1);
        let counts = Arc::<ExportCounts>::default();
        let exporter = MetricsExporter {
            collector,
            every,
            orders: ordered,
            counts: Arc::clone(&counts),
            complaints: Seldom::default(),
        };
        (Self { orders, counts }, exporter)
    }

    #[must_use]
    pub fn counts(&self) -> &ExportCounts {
        &self.counts
    }

    /// Tells the last values, for a bounded time.
    pub async fn flush(&self) {
        flush(&self.orders).await;
    }
}

impl MetricsExporter {
    /// Tells what `read` gives, in the settings' rhythm and once more before the process ends.
    pub async fn run(mut self, pool: Pool, read: impl Fn() -> Vec<Message> + Send) {
        let mut timer = tokio::time::interval(self.every);
        // A collector that was away gets one request, not those of all the time.
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        timer.tick().await;
        loop {
            let order = tokio::select! {
                _ = timer.tick() => None,
                order = self.orders.recv() => match order {
                    Some(order) => Some(order),
                    None => return,
                },
            };
            self.send(&pool, read()).await;
            if let Some(order) = order {
                let _ = order.send(());
            }
        }
    }

    async fn send(&self, pool: &Pool, metrics: Vec<Message>) {
        for part in parts(metrics) {
            let body = envelope(&self.collector.resource, part.into_iter());
            match self.collector.send(pool, body).await {
                Ok(taken) => {
                    self.counts.note_request(true, taken.rejected > 0);
                    if let Some(told) = taken.told("metrics") {
                        self.complaints.warn(|| told);
                    }
                }
                Err(why) => {
                    self.counts.note_request(false, false);
                    self.complaints.warn(|| format!("metrics are not told: the collector {why}"));
                    // The values are sums: the next request has all of them.
                    return;
                }
            }
        }
    }
}

/// The metrics of each request.
fn parts(metrics: Vec<Message>) -> Vec<Vec<Message>> {
    let mut parts: Vec<Vec<Message>> = Vec::new();
    let mut bytes = 0;
    for metric in metrics {
        bytes += metric.size();
        match parts.last_mut() {
            Some(part) if bytes <= AT_ONCE => part.push(metric),
            _ => {
                bytes = metric.size();
                parts.push(vec![metric]);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_bounded_and_nothing_is_left_out() {
        let of_size = |size: usize| {
            let mut message = Message::default();
            message.bytes(1, &vec![b'x'; size]);
            message
        };
        let metrics = vec![of_size(300_000), of_size(200_000), of_size(100_000), of_size(600_000)];
        let sizes: Vec<usize> = parts(metrics).iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1, 1]);
        assert!(parts(Vec::new()).is_empty());
    }
}
