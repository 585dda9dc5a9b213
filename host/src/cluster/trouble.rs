//! Why servers cannot be used on a node, as nodes report it.

use serde::{Deserialize, Serialize};

use crate::protocol::objects::object_only;

/// Troubles of one node whose reason is kept; of further ones only the status is.
const WITH_REASON: usize = 100;
/// Servers of one node that are in trouble: as many as it may have.
const MAX_TROUBLES: usize = 1000;
/// Bytes of a reason; a longer one is cut.
const MAX_REASON: usize = 512;
/// Bytes of a status or name.
const MAX_WORD: usize = 256;

/// A server that cannot be used on its node now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase", default)]
pub struct TroubleReport {
    pub server: String,
    /// As in the list of instances: `backoff`, `crash-loop`, `misconfigured`, `needs-oauth`, or
    /// `failed` where its lists could not be read.
    pub status: String,
    /// Failed starts in a row.
    pub failures: u32,
    /// Since when, in Unix ms of the node's clock.
    pub since: u64,
    /// May quote its stderr.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
object_only!(both TroubleReport);

/// The reports within their bounds. What exceeds them is cut, not refused: a node must not lose its
/// lease because a server of it fails at length.
#[must_use]
pub fn bounded(mut reports: Vec<TroubleReport>) -> Vec<TroubleReport> {
    reports.truncate(MAX_TROUBLES);
    for (place, report) in reports.iter_mut().enumerate() {
        cut(&mut report.server, MAX_WORD);
        cut(&mut report.status, MAX_WORD);
        match &mut report.reason {
            Some(reason) if place < WITH_REASON => cut(reason, MAX_REASON),
            reason => *reason = None,
        }
    }
    reports
}

/// Bytes that the reports take in memory, about.
#[must_use]
pub fn size_of_troubles(reports: &[TroubleReport]) -> usize {
    let texts = |report: &TroubleReport| {
        report.server.len() + report.status.len() + report.reason.as_ref().map_or(0, String::len)
    };
    reports.iter().map(|report| std::mem::size_of::<TroubleReport>() + texts(report)).sum()
}

fn cut(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_reports_at_length_is_cut_and_never_refused() {
        let long = |number: usize| TroubleReport {
            server: format!("s{number}"),
            status: "x".repeat(1000),
            reason: Some("é".repeat(10_000)),
            ..TroubleReport::default()
        };
        let kept = bounded((0..5000).map(long).collect());
        assert_eq!(kept.len(), MAX_TROUBLES);
        assert!(kept.iter().all(|report| report.status.len() == MAX_WORD));
        assert_eq!(kept[0].reason.as_ref().map(String::len), Some(MAX_REASON));
        assert_eq!(kept.iter().filter(|report| report.reason.is_some()).count(), WITH_REASON);
        assert!(size_of_troubles(&kept) < 1 << 20);
    }

    #[test]
    fn a_report_without_a_reason_is_read_too() {
        let read: TroubleReport =
            serde_json::from_str(r#"{"server":"s","status":"backoff"}"#).unwrap();
        assert_eq!((read.server.as_str(), read.reason), ("s", None));
    }
}
