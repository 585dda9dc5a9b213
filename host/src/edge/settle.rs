//! Accounting of one request, by Drop: it happens on every path, also when the
//! client is gone.

use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode};

use super::Metrics;
use super::activity::InUse;

/// Lives as long as the response's body.
pub struct Settle {
    metrics: Arc<Metrics>,
    began: Instant,
    method: Method,
    path: String,
    status: Option<StatusCode>,
    _in_use: InUse,
}

impl Settle {
    #[must_use]
    pub fn begin(metrics: &Arc<Metrics>, method: &Method, path: &str, in_use: InUse) -> Self {
        metrics.began();
        Self {
            metrics: Arc::clone(metrics),
            began: Instant::now(),
            method: method.clone(),
            path: if tracing::enabled!(target: "mooring::access", tracing::Level::DEBUG) {
                path.to_owned()
            } else {
                String::new()
            },
            status: None,
            _in_use: in_use,
        }
    }

    /// The response's head is known.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
        if status.as_u16() >= 400 {
            self.metrics.refused();
        }
    }
}

impl Drop for Settle {
    fn drop(&mut self) {
        self.metrics.settled();
        tracing::debug!(
            target: "mooring::access",
            method = %self.method,
            path = %self.path,
            status = self.status.map_or(499, |status| status.as_u16()),
            ms = self.began.elapsed().as_millis(),
        );
    }
}
