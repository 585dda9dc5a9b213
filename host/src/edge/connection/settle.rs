//! Accounts for one request. It is done by Drop, so that it happens on every path, also if the
//! client has left.

use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode};

use crate::edge::metrics::Metrics;

use super::activity::ActiveRequest;

/// One request in the metrics and the access log. Lives as long as the response's body.
pub struct Settle {
    metrics: Arc<Metrics>,
    status: Option<StatusCode>,
    line: Option<Box<Line>>,
    _in_use: ActiveRequest,
}

/// The request's line in the access log.
struct Line {
    began: Instant,
    method: Method,
    path: String,
}

impl Settle {
    #[must_use]
    pub fn begin(
        metrics: &Arc<Metrics>,
        method: &Method,
        path: &str,
        in_use: ActiveRequest,
    ) -> Self {
        metrics.began();
        let is_logged = tracing::enabled!(target: "mooring::access", tracing::Level::DEBUG);
        let line = || {
            let (method, path) = (method.clone(), path.to_owned());
            Box::new(Line { began: Instant::now(), method, path })
        };
        Self {
            metrics: Arc::clone(metrics),
            status: None,
            line: is_logged.then(line),
            _in_use: in_use,
        }
    }

    /// Notes the status of the response.
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
        let Some(line) = &self.line else { return };
        tracing::debug!(
            target: "mooring::access",
            method = %line.method,
            path = %line.path,
            status = self.status.map_or(499, |status| status.as_u16()),
            ms = line.began.elapsed().as_millis(),
        );
    }
}
