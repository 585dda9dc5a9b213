//! Metrics of sessions, of the limits, and of what is kept of sessions.

use crate::admin::{Admin, ProcessRole};
use crate::sync::LimitCounts;

use super::exposition::Exposition;

pub fn add(admin: &Admin, page: &mut Exposition) {
    let counts = admin.edge_metrics.counts();
    page.counter("sessions_opened_total", "Sessions opened").is(counts.opened);
    page.counter(
        "sessions_reopened_total",
        "Sessions that a node had lost and that were opened again",
    )
    .is(counts.reopened);
    page.counter("sessions_ended_total", "Sessions ended by their clients or by onLost")
        .is(counts.ended);
    let named = page.counter(
        "conversation_requests_total",
        "Requests of clients without sessions that needed one of the gateway's, by what named it",
    );
    for (by, count) in admin.edge_metrics.conversations.numbers() {
        named.add(&[("by", by)], count);
    }
    page.gauge("sessions", "Sessions with affinity").is(admin.bindings.sessions());
    page.gauge("bindings", "Servers of sessions that are bound to a node")
        .is(admin.bindings.bound());
    page.gauge("instances", "Server instances running or opening on this node")
        .is(admin.runner.instances());
    page.gauge("children", "Child processes of this node").is(admin.runner.children().count());
    page.counter(
        "catalogs_left_out_total",
        "Catalogs of nodes that were not read since they would take too much memory",
    )
    .is(counts.catalogs_left_out);
    if let ProcessRole::Coordinator { control, .. } = &admin.role {
        page.counter(
            "claims_cut_off_total",
            "Registrations of nodes that claimed more sessions than were taken in",
        )
        .is(control.cut_off());
    }
    limits(admin, page);
    records(admin, page);
    states(admin, page);
}

/// The limits, with what has happened at each.
pub fn limits_met(admin: &Admin) -> impl Iterator<Item = &LimitCounts> {
    let met = &admin.bindings.met;
    let of_clients = [&met.listened, &met.posted];
    let of_sessions = [&met.per_key, &met.in_all, &met.subscriptions].into_iter().chain(of_clients);
    of_sessions.chain(admin.runner.limits_met())
}

fn limits(admin: &Admin, page: &mut Exposition) {
    let limits: Vec<_> = limits_met(admin).collect();
    let refused = page.counter("limit_refusals_total", "Refusals because a limit was reached");
    for limit in &limits {
        refused.add(&[("limit", limit.name())], limit.refused());
    }
    let gave_way = page.counter(
        "limit_evictions_total",
        "What made room because a limit was reached: sessions, processes, answers, calls",
    );
    for limit in &limits {
        gave_way.add(&[("limit", limit.name())], limit.gave_way());
    }
}

/// What is kept of sessions, and what did not fit.
fn records(admin: &Admin, page: &mut Exposition) {
    let counts = admin.records.counts();
    page.gauge("data_folder_bytes", "Bytes of the files in the data folder")
        .is(counts.folder_bytes);
    page.gauge("data_folder_files", "Files in the data folder").is(counts.folder_files);
    page.gauge("data_folder_limit_bytes", "Most bytes of files in the data folder")
        .is(counts.folder_limit);
    page.counter("data_folder_failures_total", "Attempts to write to the data folder that failed")
        .is(counts.folder_failures);
    page.gauge("session_params_bytes", "Large initialize parameters in memory")
        .is(counts.memory_bytes);
    page.counter(
        "session_params_dropped_total",
        "Sessions whose large initialize parameters gave way to those of others",
    )
    .is(counts.dropped);
    page.gauge("ended_sessions", "Ended sessions whose ids are refused").is(counts.ended);
    page.counter(
        "ended_sessions_dropped_total",
        "Ended sessions that were forgotten before their ids had expired",
    )
    .is(counts.ended_dropped);
}

/// State that comes along to new instances.
fn states(admin: &Admin, page: &mut Exposition) {
    let counts = admin.edge_metrics.counts();
    let (bytes, unwritten) = admin.states.counts();
    page.counter("state_saved_total", "Savings of a session's state at a server")
        .is(counts.states_saved);
    page.counter(
        "state_restored_total",
        "New instances to which all of a session's state was brought back",
    )
    .is(counts.states_restored);
    page.counter(
        "state_failed_total",
        "Savings that failed, and new instances to which not all was brought back",
    )
    .is(counts.states_failed);
    page.gauge("state_bytes", "Kept state of sessions in memory").is(bytes);
    page.gauge("state_unwritten", "Sessions whose kept state is being written").is(unwritten);
}
