//! Metrics of calls, of what becomes of them, and of the logs that tell of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::admin::Admin;
use crate::edge::CountedError;
use crate::wasm;

use super::exposition::Exposition;

pub fn add(admin: &Admin, page: &mut Exposition) {
    let metrics = &admin.edge_metrics;
    let counts = metrics.counts();
    page.counter("requests_total", "MCP requests over HTTP received from clients")
        .is(counts.requests);
    page.counter("requests_refused_total", "MCP requests answered with a status of 400 or more")
        .is(counts.refused);
    page.gauge("requests_in_flight", "MCP requests and streams in progress").is(counts.in_flight);
    let streams = page.gauge("streams", "Event streams open to clients");
    for (transport, count) in metrics.streams() {
        streams.add(&[("transport", transport.as_str())], count);
    }
    let refusals =
        page.counter("refusals_total", "Messages and requests that the gateway refused, by reason");
    for (reason, count) in metrics.refusals.numbers() {
        refusals.add(&[("reason", reason)], count);
    }
    by_server(admin, page);
    errors(admin, page);
    let recoveries =
        page.counter("recoveries_total", "Calls kept going after a loss, by what was done");
    for (how, count) in metrics.recoveries() {
        recoveries.add(&[("cause", how.as_str())], count);
    }
    strategy(admin, page);
    logs(admin, page);
    spans(admin, page);
}

fn by_server(admin: &Admin, page: &mut Exposition) {
    let totals = admin.telemetry.calls.totals();
    let calls = page.counter("calls_total", "Messages of clients, by how they ended");
    for of in &totals {
        for method in &of.methods {
            let name = method.method.as_str();
            for (outcome, count) in method.outcomes.iter().filter(|(_, count)| *count > 0) {
                let labels =
                    [("server", &*of.server), ("method", name), ("outcome", outcome.as_str())];
                calls.add(&labels, *count);
            }
        }
    }
    let durations = page.histogram(
        "call_duration_seconds",
        "Time from a client's message to the end of its answer",
    );
    for of in &totals {
        for method in &of.methods {
            let labels = [("server", &*of.server), ("method", method.method.as_str())];
            durations.add_histogram(&labels, &method.durations);
        }
    }
    let received = page.counter("call_received_bytes_total", "Bytes of clients' messages");
    for of in &totals {
        received.add(&[("server", &of.server)], of.received);
    }
    let sent = page.counter("call_sent_bytes_total", "Bytes of answers to clients");
    for of in &totals {
        sent.add(&[("server", &of.server)], of.sent);
    }
}

/// The errors that clients got: also those that are an answer with status 200.
pub fn counted_errors(admin: &Admin) -> BTreeMap<CountedError, u64> {
    // The edge and the runner of one process may both have counted one in a node's name.
    let mut counts: BTreeMap<CountedError, u64> = admin.edge_metrics.errors();
    for (server, of_server) in &*admin.runner.errors() {
        for (emitter, kind, number) in of_server.each() {
            *counts.entry((Some(server.clone()), emitter, kind)).or_default() += number;
        }
    }
    counts
}

fn errors(admin: &Admin, page: &mut Exposition) {
    let errors = page.counter("errors_total", "Errors that clients got, by who has made them");
    for ((server, emitter, kind), number) in &counted_errors(admin) {
        let server = server.as_ref().map_or("", |server| server.as_str());
        let labels = [("kind", kind.as_str()), ("server", server), ("emitter", emitter.as_str())];
        errors.add(&labels, *number);
    }
}

fn strategy(admin: &Admin, page: &mut Exposition) {
    let all = admin.strategy.stats_by_name();
    let decisions = page.counter("strategy_decisions_total", "Routing decisions, by who decided");
    for (name, stats) in &all {
        let fallbacks = stats.all_fallbacks();
        for (outcome, count) in [
            ("strategy", stats.decisions.saturating_sub(fallbacks)),
            ("fallback", fallbacks),
            ("none", stats.unanswered),
        ] {
            decisions.add(&[("strategy", name), ("outcome", outcome)], count);
        }
    }
    let by_reason =
        page.counter("strategy_fallbacks_total", "Decisions made by the native fallback");
    for (name, stats) in &all {
        for reason in wasm::Reason::ALL {
            let labels = [("strategy", &**name), ("reason", reason.label())];
            by_reason.add(&labels, stats.fallbacks_for(reason));
        }
    }
    let durations =
        page.histogram("strategy_decision_duration_seconds", "Time that routing decisions took");
    for (name, stats) in &all {
        durations.add_histogram(&[("strategy", name)], &stats.durations);
    }
    let faults = page.counter("strategy_faults_total", "Faults of the strategy's component");
    for (name, stats) in &all {
        for (kind, count) in [("trap", stats.traps), ("deadline", stats.interrupts)] {
            faults.add(&[("strategy", name), ("kind", kind)], count);
        }
    }
    let quarantines = page
        .counter("strategy_quarantines_total", "Times that the component was bypassed for a while");
    for (name, stats) in &all {
        quarantines.add(&[("strategy", name)], stats.quarantines);
    }
}

fn logs(admin: &Admin, page: &mut Exposition) {
    let logs: Vec<_> = admin.telemetry.logs().collect();
    let written = page.counter("log_lines_total", "Lines written into the access and audit logs");
    for (log, counts) in &logs {
        written.add(&[("log", log)], counts.written);
    }
    let lost = page.counter("log_lines_lost_total", "Lines of these logs that were lost");
    for (log, counts) in &logs {
        for (reason, count) in [("full", counts.overflowed), ("failed", counts.failed)] {
            lost.add(&[("log", log), ("reason", reason)], count);
        }
    }
}

fn spans(admin: &Admin, page: &mut Exposition) {
    let counts = admin.telemetry.traces.as_ref().map(|traces| traces.counts());
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let sent = page.counter("spans_total", "Spans that the collector has taken");
    if let Some(counts) = counts {
        sent.add(&[], read(&counts.sent));
    }
    let lost = page.counter("spans_lost_total", "Spans that were lost");
    if let Some(counts) = counts {
        for (reason, count) in [("full", &counts.overflowed), ("failed", &counts.failed)] {
            lost.add(&[("reason", reason)], read(count));
        }
    }
    let counts = admin.telemetry.metrics.as_ref().map(|metrics| metrics.counts());
    let told = page.counter(
        "metric_exports_total",
        "Requests with metrics to the collector, by what became of them",
    );
    if let Some(counts) = counts {
        for (outcome, count) in
            [("sent", &counts.sent), ("partial", &counts.partial), ("failed", &counts.failed)]
        {
            told.add(&[("outcome", outcome)], read(count));
        }
    }
}
