//! `/metrics` in Prometheus' text format. Values are read when asked for.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use prometheus::{Encoder, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use super::Admin;

pub async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match gather(&admin).map(|registry| registry.gather()) {
        Ok(families) if encoder.encode(&families, &mut text).is_ok() => {
            ([(CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response()
        }
        _ => http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn gather(admin: &Admin) -> prometheus::Result<Registry> {
    let registry = Registry::new_custom(Some("mooring".to_owned()), None)?;
    let gauge = |name: &str, help: &str, value: u64| -> prometheus::Result<()> {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(Box::new(gauge))
    };
    let counts = admin.edge_metrics.counts();
    gauge("requests_total", "MCP requests taken", counts.requests)?;
    gauge(
        "requests_refused_total",
        "MCP requests answered with a status of 400 or more",
        counts.refused,
    )?;
    gauge("requests_in_flight", "MCP requests and streams under way", counts.in_flight)?;
    gauge("sessions_opened_total", "Sessions begun", counts.opened)?;
    gauge(
        "sessions_reopened_total",
        "Sessions that a host had lost and that were opened again",
        counts.reopened,
    )?;
    gauge("sessions_ended_total", "Sessions ended by their clients", counts.ended)?;
    gauge("sessions", "Sessions known", admin.bindings.sessions() as u64)?;
    gauge(
        "instances",
        "Server instances running or opening on this node",
        admin.host.instances() as u64,
    )?;
    gauge("children", "Child processes of this node", admin.host.children().count() as u64)?;
    let stats = admin.strategy.stats();
    gauge("strategy_decisions_total", "Routing decisions", stats.decisions)?;
    gauge(
        "strategy_fallbacks_total",
        "Decisions made by the native fallback",
        stats.all_fallbacks(),
    )?;
    nodes(admin, &registry)?;
    Ok(registry)
}

fn nodes(admin: &Admin, registry: &Registry) -> prometheus::Result<()> {
    let up = IntGaugeVec::new(
        Opts::new("node_up", "1 for the status that the node has"),
        &["node", "status"],
    )?;
    let bound = IntGaugeVec::new(
        Opts::new("node_bindings", "Sessions' servers bound to the node"),
        &["node"],
    )?;
    let servers = IntGaugeVec::new(Opts::new("node_servers", "Servers on the node"), &["node"])?;
    for entry in admin.registry.entries() {
        let id = entry.id.as_str();
        up.with_label_values(&[id, entry.status.as_str()]).set(1);
        bound.with_label_values(&[id]).set(admin.bindings.load(id).into());
        servers
            .with_label_values(&[id])
            .set(i64::try_from(entry.servers.len()).unwrap_or(i64::MAX));
    }
    registry.register(Box::new(up))?;
    registry.register(Box::new(bound))?;
    registry.register(Box::new(servers))
}
