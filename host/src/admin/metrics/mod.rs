//! `/metrics` in Prometheus' text format, and the same metrics for a collector. Values are read for
//! each request.

mod calls;
mod connections;
mod exposition;
mod otlp;
mod places;
mod process;
mod sessions;
mod settings;
mod store;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

use crate::net::Pool;
use crate::telemetry::MetricsExporter;

use self::exposition::Exposition;
use super::Admin;

pub use self::calls::counted_errors;
pub use self::sessions::limits_met;
pub use crate::edge::CountedError;

pub async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], read(&admin).text()).into_response()
}

/// Tells the metrics to a collector, until the process ends.
pub async fn tell_metrics(admin: Arc<Admin>, exporter: MetricsExporter, pool: Pool) {
    exporter.run(pool, || otlp::metrics(&read(&admin), admin.started_at)).await;
}

fn read(admin: &Admin) -> Exposition {
    let mut page = Exposition::default();
    process::add(admin, &mut page);
    calls::add(admin, &mut page);
    sessions::add(admin, &mut page);
    store::add(admin, &mut page);
    settings::add(admin, &mut page);
    connections::add(admin, &mut page);
    places::add(admin, &mut page);
    page
}
