//! Tells the task that asks nodes of which node there is doubt.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::model::NodeId;
use crate::sync::Locked;

/// Time between two reports that requests wait for one node, however many of them wait.
const AGAIN: Duration = Duration::from_secs(1);

/// Gets the node, and what broke; `None` if nothing did and requests wait for it.
type Report = Box<dyn Fn(&NodeId, Option<&str>) + Send + Sync>;

/// Reports nodes that did not answer, or have not answered yet.
pub struct Doubts {
    report: Report,
    /// When each was last reported as being waited for.
    reported: Locked<BTreeMap<NodeId, Instant>>,
}

impl Doubts {
    #[must_use]
    pub fn new(report: impl Fn(&NodeId, Option<&str>) + Send + Sync + 'static) -> Self {
        Self { report: Box::new(report), reported: Locked::default() }
    }

    /// A request to the node failed.
    pub fn broke(&self, node: &NodeId, why: &str) {
        (self.report)(node, Some(why));
    }

    /// A request waits for the node.
    pub fn waits_for(&self, node: &NodeId, now: Instant) {
        if self.is_news(node, now) {
            (self.report)(node, None);
        }
    }

    fn is_news(&self, node: &NodeId, now: Instant) -> bool {
        let mut reported = self.reported.lock();
        if let Some(at) = reported.get_mut(node) {
            let is_news = now.saturating_duration_since(*at) >= AGAIN;
            if is_news {
                *at = now;
            }
            return is_news;
        }
        // Nodes come and go.
        reported.retain(|_, at| now.saturating_duration_since(*at) < AGAIN);
        reported.insert(node.clone(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn however_many_wait_a_node_is_reported_once_a_second() {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let doubts = Doubts::new(move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let (a, b) = (NodeId::parse("a").unwrap(), NodeId::parse("b").unwrap());
        let start = Instant::now();
        for (after, node, expected) in
            [(0, &a, 1), (0, &a, 1), (999, &a, 1), (999, &b, 2), (1000, &a, 3), (1500, &a, 3)]
        {
            doubts.waits_for(node, start + Duration::from_millis(after));
            assert_eq!(count.load(Ordering::Relaxed), expected, "{node} after {after} ms");
        }
        doubts.broke(&a, "");
        doubts.broke(&a, "");
        assert_eq!(count.load(Ordering::Relaxed), 5, "what broke is always said");
    }
}
