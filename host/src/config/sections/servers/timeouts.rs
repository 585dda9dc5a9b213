//! How long a request to a server may take: `options`, and `timeout` of other clients' files.

use std::time::Duration;

use crate::config::reader::item::Item;
use crate::config::reader::section::Section;

/// Longest timeout: a day.
pub(in crate::config) const MAX_TIMEOUT_MS: u64 = 24 * 3600 * 1000;

/// A `timeout` below this is taken for seconds: some clients write those, others milliseconds, and
/// no server is given less than a second.
const LEAST_MS: u64 = 1000;

/// How long requests to a server may take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestOptions {
    /// Longest time without an answer to a request; progress may restart it.
    pub timeout: Option<Duration>,
    pub reset_timeout_on_progress: bool,
    /// Longest time for a request in total, whatever its progress.
    pub max_total_timeout: Option<Duration>,
}

pub(in crate::config) fn read(entry: &Section<'_>) -> RequestOptions {
    let section = entry.section("options");
    let own = section.millis("timeout", 1..=MAX_TIMEOUT_MS);
    let others = entry.get("timeout").and_then(|item| of_clients(&item));
    RequestOptions {
        timeout: own.or(others),
        reset_timeout_on_progress: section.flag("resetTimeoutOnProgress", false),
        max_total_timeout: section.millis("maxTotalTimeout", 1..=MAX_TIMEOUT_MS),
    }
}

fn of_clients(item: &Item<'_>) -> Option<Duration> {
    let number = item.whole(1..=MAX_TIMEOUT_MS)?;
    Some(match number {
        ..LEAST_MS => Duration::from_secs(number),
        _ => Duration::from_millis(number),
    })
}
