//! `/metrics` in Prometheus' text format. Values are read for each request.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use prometheus::{Encoder, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::model::UnixMillis;
use crate::runner::ServerStatus;
use crate::store::FolderState;
use crate::store::sharing::Standing;

use super::reload::ReloadOutcome;
use super::server_metrics::{self, label};
use super::{Admin, ProcessRole};

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
    gauge("requests_total", "MCP requests received from clients", counts.requests)?;
    gauge(
        "requests_refused_total",
        "MCP requests answered with a status of 400 or more",
        counts.refused,
    )?;
    gauge("requests_in_flight", "MCP requests and streams in progress", counts.in_flight)?;
    gauge("sessions_opened_total", "Sessions opened", counts.opened)?;
    gauge(
        "sessions_reopened_total",
        "Sessions that a node had lost and that were opened again",
        counts.reopened,
    )?;
    gauge("sessions_ended_total", "Sessions ended by their clients or by onLost", counts.ended)?;
    gauge("sessions", "Sessions with affinity", admin.bindings.sessions() as u64)?;
    gauge(
        "instances",
        "Server instances running or opening on this node",
        admin.runner.instances() as u64,
    )?;
    gauge("children", "Child processes of this node", admin.runner.children().count() as u64)?;
    gauge(
        "catalogs_left_out_total",
        "Catalogs of nodes that were not read since they would take too much memory",
        counts.catalogs_left_out,
    )?;
    if let ProcessRole::Coordinator { control, .. } = &admin.role {
        gauge(
            "claims_cut_off_total",
            "Registrations of nodes that claimed more sessions than were taken in",
            control.cut_off(),
        )?;
    }
    if let Some(sharing) = &admin.sharing {
        store(sharing.standing(), gauge)?;
    }
    let stats = admin.strategy.stats();
    gauge("strategy_decisions_total", "Routing decisions", stats.decisions)?;
    gauge(
        "strategy_fallbacks_total",
        "Decisions made by the native fallback",
        stats.all_fallbacks(),
    )?;
    let open = IntGaugeVec::new(
        Opts::new("open_door", "1 for what neither key nor token closes"),
        &["door"],
    )?;
    for door in &admin.reloads.facts.load().open_doors {
        open.with_label_values(&[door.as_str()]).set(1);
    }
    registry.register(Box::new(open))?;
    reloads(admin, &registry)?;
    gauge(
        "reload_last_success_timestamp_seconds",
        "When settings were last read that are in force now: at the start, or by a reload",
        admin.reloads.last_success(),
    )?;
    limits(admin, &registry)?;
    records(admin, gauge)?;
    states(admin, gauge)?;
    machine(admin, gauge)?;
    shortages(admin, &registry)?;
    connections(admin, gauge)?;
    nodes(admin, &registry)?;
    servers(admin, &registry)?;
    server_metrics::availability(admin, &registry)?;
    server_metrics::errors(admin, &registry)?;
    Ok(registry)
}

/// The store that coordinators share.
fn store(
    standing: &Standing,
    gauge: impl Fn(&str, &str, u64) -> prometheus::Result<()>,
) -> prometheus::Result<()> {
    let counts = standing.counts();
    let stale = counts.stale_since.map_or(0, |since| UnixMillis::now().since(since).as_secs());
    let up = u64::from(standing.is_fresh());
    gauge("coordinators", "Coordinators that share the store", counts.coordinators as u64)?;
    gauge("store_up", "1 while the store that coordinators share answers", up)?;
    gauge("store_stale_seconds", "Seconds since which the store has not answered", stale)?;
    gauge("store_losses_total", "How often the store has stopped answering", counts.losses)?;
    gauge("store_emptied_total", "How often the store was found empty", counts.emptied)?;
    gauge(
        "store_decisions_alone_total",
        "Questions to the store that were decided without it",
        counts.alone,
    )?;
    gauge(
        "store_claims_lost_total",
        "Bindings that another coordinator had decided otherwise meanwhile",
        counts.lost_claims,
    )
}

/// What became of reloads of the settings.
fn reloads(admin: &Admin, registry: &Registry) -> prometheus::Result<()> {
    let opts = Opts::new("reloads_total", "Reloads of the settings, by what became of them");
    let counter = IntCounterVec::new(opts, &["outcome"])?;
    for outcome in ReloadOutcome::ALL {
        let counted = admin.reloads.counted(outcome);
        counter.with_label_values(&[outcome.as_str()]).inc_by(counted);
    }
    registry.register(Box::new(counter))
}

/// What has happened at each limit.
fn limits(admin: &Admin, registry: &Registry) -> prometheus::Result<()> {
    let by_limit = |name: &str, help: &str| {
        let gauge = IntGaugeVec::new(Opts::new(name, help), &["limit"])?;
        registry.register(Box::new(gauge.clone()))?;
        prometheus::Result::Ok(gauge)
    };
    let refused = by_limit("limit_refusals_total", "Refusals because a limit was reached")?;
    let gave_way = by_limit(
        "limit_evictions_total",
        "What made room because a limit was reached: sessions, processes, answers, calls",
    )?;
    let met = &admin.bindings.met;
    let of_sessions = [&met.per_key, &met.in_all, &met.subscriptions];
    for limit in of_sessions.into_iter().chain(admin.runner.limits_met()) {
        for (gauge, value) in [(&refused, limit.refused()), (&gave_way, limit.gave_way())] {
            let gauge = gauge.with_label_values(&[limit.name()]);
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
    Ok(())
}

/// What is kept of sessions, and what did not fit.
fn records(
    admin: &Admin,
    gauge: impl Fn(&str, &str, u64) -> prometheus::Result<()>,
) -> prometheus::Result<()> {
    let counts = admin.records.counts();
    gauge("data_folder_bytes", "Bytes of the files in the data folder", counts.folder_bytes)?;
    gauge("data_folder_files", "Files in the data folder", counts.folder_files as u64)?;
    gauge(
        "data_folder_limit_bytes",
        "Most bytes of files in the data folder",
        counts.folder_limit,
    )?;
    gauge(
        "data_folder_failures_total",
        "Attempts to write to the data folder that failed",
        counts.folder_failures,
    )?;
    gauge(
        "session_params_bytes",
        "Large initialize parameters in memory",
        counts.memory_bytes as u64,
    )?;
    gauge(
        "session_params_dropped_total",
        "Sessions whose large initialize parameters gave way to those of others",
        counts.dropped,
    )?;
    gauge("ended_sessions", "Ended sessions whose ids are refused", counts.ended as u64)?;
    gauge(
        "ended_sessions_dropped_total",
        "Ended sessions that were forgotten before their ids had expired",
        counts.ended_dropped,
    )
}

/// State that comes along to new instances.
fn states(
    admin: &Admin,
    gauge: impl Fn(&str, &str, u64) -> prometheus::Result<()>,
) -> prometheus::Result<()> {
    let counts = admin.edge_metrics.counts();
    let (bytes, unwritten) = admin.states.counts();
    gauge("state_saved_total", "Savings of a session's state at a server", counts.states_saved)?;
    gauge(
        "state_restored_total",
        "New instances to which all of a session's state was brought back",
        counts.states_restored,
    )?;
    gauge(
        "state_failed_total",
        "Savings that failed, and new instances to which not all was brought back",
        counts.states_failed,
    )?;
    gauge("state_bytes", "Kept state of sessions in memory", bytes as u64)?;
    gauge("state_unwritten", "Sessions whose kept state is being written", unwritten as u64)
}

/// What this process has of the machine.
fn machine(
    admin: &Admin,
    gauge: impl Fn(&str, &str, u64) -> prometheus::Result<()>,
) -> prometheus::Result<()> {
    let reading = admin.pressure.reading();
    gauge("open_files", "Open descriptors of this process", reading.open_files.unwrap_or(0))?;
    gauge("open_files_limit", "Most open descriptors", admin.pressure.most_files())?;
    let Some(memory) = reading.memory else { return Ok(()) };
    gauge("memory_free_bytes", "Free memory of the machine or container", memory.free)?;
    gauge("memory_total_bytes", "Memory of the machine or container", memory.total)
}

/// What this process is short of.
fn shortages(admin: &Admin, registry: &Registry) -> prometheus::Result<()> {
    let short = IntGaugeVec::new(
        Opts::new("short_of", "1 for what this process or its machine is short of"),
        &["what"],
    )?;
    registry.register(Box::new(short.clone()))?;
    for what in ["open-files", "memory", "data-folder"] {
        short.with_label_values(&[what]).set(0);
    }
    for (what, _) in admin.pressure.shortages() {
        short.with_label_values(&[what]).set(1);
    }
    if admin.records.folder().0 != FolderState::Fine {
        short.with_label_values(&["data-folder"]).set(1);
    }
    Ok(())
}

/// Metrics of the limits on connections and bodies.
fn connections(
    admin: &Admin,
    gauge: impl Fn(&str, &str, u64) -> prometheus::Result<()>,
) -> prometheus::Result<()> {
    let connections = admin.connections.counts.numbers();
    gauge("connections", "Connections of clients", connections.open)?;
    gauge(
        "connections_evicted_total",
        "Silent connections closed to make room for new ones",
        connections.evicted,
    )?;
    gauge(
        "connections_refused_total",
        "Connections refused, since all that the limits allow were in use",
        connections.refused,
    )?;
    gauge(
        "connections_not_accepted_total",
        "Attempts to accept a connection that failed",
        connections.not_accepted,
    )?;
    gauge(
        "heads_late_total",
        "Connections cut off, since the head of a request came too late",
        connections.late_heads,
    )?;
    gauge(
        "bodies_stalled_total",
        "Request bodies broken off, since they did not go on",
        connections.slow_bodies,
    )?;
    gauge(
        "answers_unread_total",
        "Connections cut off, since their client did not read",
        connections.unread,
    )?;
    gauge("bodies_bytes", "Bytes of request bodies in memory", admin.bodies.taken() as u64)?;
    gauge(
        "bodies_refused_total",
        "Request bodies refused, since too many were in memory",
        admin.bodies.refused(),
    )?;
    let unread = admin.connections.unread.bytes() as u64;
    gauge("answers_bytes", "Bytes of large answers that wait for their clients", unread)
}

/// Metrics of each server of this process.
fn servers(admin: &Admin, registry: &Registry) -> prometheus::Result<()> {
    let by_server = |name: &str, help: &str| {
        let gauge = IntGaugeVec::new(Opts::new(name, help), &["server"])?;
        registry.register(Box::new(gauge.clone()))?;
        prometheus::Result::Ok(gauge)
    };
    let restarts = by_server("server_restarts_total", "Starts after a failure or a sudden end")?;
    let recycled = by_server("server_recycled_total", "Instances ended for age or memory")?;
    let failures = by_server("server_failures", "Failed starts since the server was last healthy")?;
    let crash_loop = by_server("server_crash_loop", "1 while the server is in a crash loop")?;
    let processes = by_server("server_processes", "Processes that serve sessions")?;
    let spares = by_server("server_spares", "Warm processes waiting for a session")?;
    for (server, state) in admin.runner.states() {
        let values = [
            (&restarts, state.restarts),
            (&recycled, state.recycled),
            (&failures, state.failures.into()),
            (&crash_loop, u64::from(state.status == ServerStatus::CrashLoop)),
            (&processes, state.processes as u64),
            (&spares, state.spares as u64),
        ];
        for (gauge, value) in values {
            let gauge = gauge.with_label_values(&[label(server.as_str()).as_str()]);
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
    Ok(())
}

fn nodes(admin: &Admin, registry: &Registry) -> prometheus::Result<()> {
    let up = IntGaugeVec::new(
        Opts::new("node_up", "1 for the node's current status"),
        &["node", "status"],
    )?;
    let bound = IntGaugeVec::new(
        Opts::new("node_bindings", "Bindings of sessions' servers to the node"),
        &["node"],
    )?;
    let servers = IntGaugeVec::new(Opts::new("node_servers", "Servers on the node"), &["node"])?;
    let silent = IntGaugeVec::new(
        Opts::new("node_silent", "1 if the node does not answer its coordinator"),
        &["node"],
    )?;
    for entry in admin.registry.entries() {
        let own = entry.id.as_str();
        let id = label(own);
        let id = id.as_str();
        up.with_label_values(&[id, entry.status.as_str()]).set(1);
        silent.with_label_values(&[id]).set(entry.liveness.is_silent().into());
        bound.with_label_values(&[id]).set(admin.bindings.load(own).into());
        servers
            .with_label_values(&[id])
            .set(i64::try_from(entry.servers.len()).unwrap_or(i64::MAX));
    }
    registry.register(Box::new(up))?;
    registry.register(Box::new(silent))?;
    registry.register(Box::new(bound))?;
    registry.register(Box::new(servers))
}
