//! Metrics of the store that coordinators share. Without one they have no samples.

use crate::admin::{Admin, ProcessRole};
use crate::model::UnixMillis;

use super::exposition::Exposition;

pub fn add(admin: &Admin, page: &mut Exposition) {
    if !matches!(admin.role, ProcessRole::Coordinator { .. }) {
        return;
    }
    let standing = admin.sharing.as_ref().map(|sharing| sharing.standing());
    let up = standing.map(|standing| u8::from(standing.is_fresh()));
    let counts = standing.map(|standing| standing.counts());
    let stale = counts.map(|counts| {
        let since = counts.stale_since;
        since.map_or(0, |since| UnixMillis::now().since(since).as_secs())
    });
    page.gauge("coordinators", "Coordinators that share the store")
        .sample_if_known(counts.map(|counts| counts.coordinators));
    page.gauge("store_up", "1 while the store that coordinators share answers").sample_if_known(up);
    page.gauge("store_stale_seconds", "Seconds since which the store has not answered")
        .sample_if_known(stale);
    page.counter("store_losses_total", "How often the store has stopped answering")
        .sample_if_known(counts.map(|counts| counts.losses));
    page.counter("store_emptied_total", "How often the store was found empty")
        .sample_if_known(counts.map(|counts| counts.emptied));
    page.counter(
        "store_decisions_alone_total",
        "Questions to the store that were decided without it",
    )
    .sample_if_known(counts.map(|counts| counts.alone));
    page.counter(
        "store_claims_lost_total",
        "Bindings that another coordinator had decided otherwise meanwhile",
    )
    .sample_if_known(counts.map(|counts| counts.lost_claims));
}
