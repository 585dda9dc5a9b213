//! Metrics of the limits on connections and bodies.

use crate::admin::Admin;

use super::exposition::Exposition;

pub fn add(admin: &Admin, page: &mut Exposition) {
    let connections = admin.connections.counts.numbers();
    page.gauge("connections", "Connections of clients").is(connections.open);
    page.counter(
        "connections_evicted_total",
        "Silent connections closed to make room for new ones",
    )
    .is(connections.evicted);
    page.counter(
        "connections_refused_total",
        "Connections refused, since all that the limits allow were in use",
    )
    .is(connections.refused);
    page.counter("connections_not_accepted_total", "Attempts to accept a connection that failed")
        .is(connections.not_accepted);
    page.counter(
        "heads_late_total",
        "Connections cut off, since the head of a request came too late",
    )
    .is(connections.late_heads);
    page.counter("bodies_stalled_total", "Request bodies broken off, since they did not go on")
        .is(connections.slow_bodies);
    page.counter("answers_unread_total", "Connections cut off, since their client did not read")
        .is(connections.unread);
    page.gauge("bodies_bytes", "Bytes of request bodies in memory").is(admin.bodies.taken());
    page.counter("bodies_refused_total", "Request bodies refused, since too many were in memory")
        .is(admin.bodies.refused());
    page.gauge("answers_bytes", "Bytes of large answers that wait for their clients")
        .is(admin.connections.unread.bytes());
}
