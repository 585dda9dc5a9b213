//! The lines of the log about a reload.

use crate::admin::{ReloadOutcome, ReloadReport};
use crate::model::visible::page;

/// Bytes of a reason.
const MAX_REASON: usize = 2048;

pub fn log(report: &ReloadReport) {
    match report.outcome() {
        ReloadOutcome::Applied => {
            let names = |names: &[String]| names.join(", ");
            tracing::info!(
                added = names(&report.added),
                changed = names(&report.changed),
                removed = names(&report.removed),
                also = report.also.join(", "),
                "the new settings are in force"
            );
        }
        ReloadOutcome::Unchanged => tracing::info!("the settings have not changed"),
        ReloadOutcome::Refused => {
            for reason in &report.reasons {
                tracing::error!(
                    "the new settings are refused, those of before stay in force: {}",
                    page(reason, MAX_REASON)
                );
            }
        }
    }
    if !report.stays.is_empty() {
        tracing::warn!("takes effect with the next start only: {}", report.stays.join(", "));
    }
}
