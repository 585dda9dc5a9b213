//! Metrics of the settings in force: what they leave open, and when they were read.

use crate::admin::{Admin, ReloadOutcome};

use super::exposition::Exposition;

pub fn add(admin: &Admin, page: &mut Exposition) {
    let open = page.gauge("open_door", "1 for what neither key nor token closes");
    for door in &admin.reloads.facts.load().open_doors {
        open.add(&[("door", door.as_str())], 1_u8);
    }
    let ends = page.gauge(
        "certificate_not_after_timestamp_seconds",
        "When a certificate that this process shows, or one of its chain, ends",
    );
    for shown in admin.tls.iter().flat_map(|tls| tls.certificates()) {
        if let Some(not_after) = shown.not_after {
            let file = shown.file.display().to_string();
            ends.add(&[("use", shown.used_for), ("file", &file)], not_after);
        }
    }
    let reloads = page.counter("reloads_total", "Reloads of the settings, by what became of them");
    for outcome in ReloadOutcome::ALL {
        reloads.add(&[("outcome", outcome.as_str())], admin.reloads.counted(outcome));
    }
    page.gauge(
        "reload_last_success_timestamp_seconds",
        "When settings were last read that are in force now: at the start, or by a reload",
    )
    .is(admin.reloads.last_success());
}
