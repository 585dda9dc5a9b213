//! Why servers cannot be used on a node, and what is wrong with those that run, as nodes report it.

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
/// Flaws of one server that are kept.
pub const MAX_FLAWS: usize = 16;
/// Bytes of a flaw; a longer one is cut.
const MAX_FLAW: usize = 512;
/// Bytes of the flaws of all servers of one node; those of further servers are left out, and the list
/// of the node's instances has them.
const MAX_ALL_FLAWS: usize = 64 << 10;

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

/// What is wrong with what a server answers, although it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(default)]
pub struct FlawReport {
    pub server: String,
    pub flaws: Vec<String>,
}
object_only!(both FlawReport);

/// All that is wrong with the servers of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerNotes {
    pub troubles: Vec<TroubleReport>,
    pub flaws: Vec<FlawReport>,
}

impl ServerNotes {
    /// What a node says, within its bounds. What exceeds them is cut, not refused: a node must not
    /// lose its lease because a server of it fails at length.
    #[must_use]
    pub fn bounded(troubles: Vec<TroubleReport>, flaws: Vec<FlawReport>) -> Self {
        Self { troubles: bounded_troubles(troubles), flaws: bounded_flaws(flaws) }
    }

    /// Bytes that they take in memory, about.
    #[must_use]
    pub fn size(&self) -> usize {
        let texts = |report: &TroubleReport| {
            let reason = report.reason.as_ref().map_or(0, String::len);
            report.server.len() + report.status.len() + reason
        };
        let troubles = self.troubles.iter();
        let troubles = troubles.map(|report| std::mem::size_of::<TroubleReport>() + texts(report));
        troubles.chain(self.flaws.iter().map(FlawReport::size)).sum()
    }
}

impl FlawReport {
    fn size(&self) -> usize {
        let text = |flaw: &String| std::mem::size_of::<String>() + flaw.len();
        std::mem::size_of::<Self>() + self.server.len() + self.flaws.iter().map(text).sum::<usize>()
    }
}

/// The flaws of the servers of one node within their bounds.
#[must_use]
pub fn bounded_flaws(mut reports: Vec<FlawReport>) -> Vec<FlawReport> {
    let mut all = 0;
    reports.retain_mut(|report| {
        cut(&mut report.server, MAX_WORD);
        report.flaws.truncate(MAX_FLAWS);
        report.flaws.iter_mut().for_each(|flaw| cut(flaw, MAX_FLAW));
        all += report.size();
        !report.flaws.is_empty() && all <= MAX_ALL_FLAWS
    });
    reports
}

fn bounded_troubles(mut reports: Vec<TroubleReport>) -> Vec<TroubleReport> {
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
        let notes = ServerNotes::bounded((0..5000).map(long).collect(), Vec::new());
        assert!(notes.size() < 1 << 20);
        let kept = notes.troubles;
        assert_eq!(kept.len(), MAX_TROUBLES);
        assert!(kept.iter().all(|report| report.status.len() == MAX_WORD));
        assert_eq!(kept[0].reason.as_ref().map(String::len), Some(MAX_REASON));
        assert_eq!(kept.iter().filter(|report| report.reason.is_some()).count(), WITH_REASON);
    }

    #[test]
    fn flaws_are_cut_too_and_servers_without_any_are_no_report() {
        let flawed =
            |number: usize, flaws: Vec<String>| FlawReport { server: format!("s{number}"), flaws };
        let few = vec![flawed(0, vec!["é".repeat(10_000); 40]), flawed(1, Vec::new())];
        let kept = ServerNotes::bounded(Vec::new(), few).flaws;
        assert_eq!((kept.len(), kept[0].flaws.len()), (1, MAX_FLAWS));
        assert!(kept[0].flaws.iter().all(|flaw| flaw.len() == MAX_FLAW));
        let many = (0..100_000).map(|number| flawed(number, vec!["x".to_owned()])).collect();
        let notes = ServerNotes::bounded(Vec::new(), many);
        assert!(notes.flaws.len() > 100 && notes.size() <= MAX_ALL_FLAWS, "{}", notes.size());
    }

    #[test]
    fn a_report_without_a_reason_is_read_too() {
        let read: TroubleReport =
            serde_json::from_str(r#"{"server":"s","status":"backoff"}"#).unwrap();
        assert_eq!((read.server.as_str(), read.reason), ("s", None));
    }
}
