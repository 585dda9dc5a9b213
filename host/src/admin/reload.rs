//! `/api/reload`: asks for a reload of the settings, and says what became of it and of the last one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::config::OpenDoor;
use crate::model::UnixMillis;
use crate::model::visible::{page, visible};

use super::answer::ApiAnswer;
use super::extract::WholeCaller;
use super::{Admin, ApiCaller};

/// Callers that may wait for a reload at once; all of them are answered by the next one.
const WAITING: usize = 64;
/// Warnings of one answer; the log has all.
const MOST_WARNINGS: usize = 100;
/// Bytes of a reason in a line.
const MAX_REASON: usize = 1024;
/// Bytes of all reasons in an answer.
const MAX_REASONS: usize = 8192;

/// What became of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// The settings are in force, but for those in `stays`.
    Applied,
    /// There was nothing to apply.
    Unchanged,
    /// Nothing has changed, for these reasons.
    Refused,
}

impl ReloadOutcome {
    pub const ALL: [Self; 3] = [Self::Applied, Self::Unchanged, Self::Refused];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

/// The outcome, and what it is about.
#[derive(Debug, Clone, Default)]
pub struct ReloadReport {
    /// Why it was refused; empty if it was not.
    pub reasons: Vec<String>,
    /// Names of servers.
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
    /// Other parts of the settings that are new now.
    pub also: Vec<&'static str>,
    /// Changes that take effect with the next start.
    pub stays: Vec<&'static str>,
    /// What was found in the file that does not keep it from being in force.
    pub warnings: Vec<String>,
}

impl ReloadReport {
    #[must_use]
    pub fn outcome(&self) -> ReloadOutcome {
        let servers = [&self.added, &self.changed, &self.removed];
        match self.reasons.is_empty() {
            false => ReloadOutcome::Refused,
            true if servers.iter().all(|names| names.is_empty()) && self.also.is_empty() => {
                ReloadOutcome::Unchanged
            }
            true => ReloadOutcome::Applied,
        }
    }
}

/// What operators see of the settings, which a reload may change.
#[derive(Debug)]
pub struct SettingsFacts {
    /// What neither key nor token closes.
    pub open_doors: Vec<OpenDoor>,
    /// Whether the settings have no server that could run here.
    pub runs_no_server: bool,
    /// The header that carries a client's key.
    pub key_header: HeaderName,
}

/// Who waits for a reload's report.
pub type Asked = oneshot::Sender<ReloadReport>;

/// The reload that was the last.
#[derive(Debug)]
pub struct LastReload {
    pub at: UnixMillis,
    /// What has asked for it.
    pub cause: &'static str,
    pub report: ReloadReport,
}

impl LastReload {
    /// What is wrong with the settings that wait to be in force, in one line.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let reason = self.report.reasons.first()?;
        let others = self.report.reasons.len() - 1;
        let others = if others > 0 { format!(" (and {others} more)") } else { String::new() };
        let reason = visible(reason, MAX_REASON);
        Some(format!("the last reload of the settings was refused: {reason}{others}"))
    }
}

/// How reloads are asked for, and what became of them. The task that carries them out has the other
/// end.
pub struct Reloads {
    ask: mpsc::Sender<Asked>,
    counts: [AtomicU64; 3],
    /// Unix milliseconds of the last one that was not refused: at first, of the start.
    last_success: AtomicU64,
    last: ArcSwapOption<LastReload>,
    pub facts: ArcSwap<SettingsFacts>,
}

impl Reloads {
    #[must_use]
    pub fn new(facts: SettingsFacts) -> (Arc<Self>, mpsc::Receiver<Asked>) {
        let (ask, asked) = mpsc::channel(WAITING);
        let reloads = Self {
            ask,
            counts: Default::default(),
            last_success: UnixMillis::now().0.into(),
            last: ArcSwapOption::empty(),
            facts: ArcSwap::from_pointee(facts),
        };
        (Arc::new(reloads), asked)
    }

    /// Asks for a reload that begins from now on, and waits for its report. `None` if this process
    /// ends, or too many wait already.
    pub async fn ask(&self) -> Option<ReloadReport> {
        let (answer, report) = oneshot::channel();
        self.ask.try_send(answer).ok()?;
        report.await.ok()
    }

    /// Notes what became of a reload.
    pub fn note(&self, cause: &'static str, report: &ReloadReport) {
        let (at, outcome) = (UnixMillis::now(), report.outcome());
        self.last.store(Some(Arc::new(LastReload { at, cause, report: report.clone() })));
        self.count(outcome).fetch_add(1, Ordering::Relaxed);
        if outcome != ReloadOutcome::Refused {
            self.last_success.store(at.0, Ordering::Relaxed);
        }
    }

    /// The last one; `None` before the first.
    #[must_use]
    pub fn last(&self) -> Option<Arc<LastReload>> {
        self.last.load_full()
    }

    /// How many there were with this outcome.
    #[must_use]
    pub fn counted(&self, outcome: ReloadOutcome) -> u64 {
        self.count(outcome).load(Ordering::Relaxed)
    }

    /// Unix seconds of the last success.
    #[must_use]
    pub fn last_success(&self) -> u64 {
        self.last_success.load(Ordering::Relaxed) / 1000
    }

    fn count(&self, outcome: ReloadOutcome) -> &AtomicU64 {
        let [applied, unchanged, refused] = &self.counts;
        match outcome {
            ReloadOutcome::Applied => applied,
            ReloadOutcome::Unchanged => unchanged,
            ReloadOutcome::Refused => refused,
        }
    }
}

/// What became of the last reload, whatever has asked for it.
pub async fn last(_: WholeCaller, State(admin): State<Arc<Admin>>) -> ApiAnswer {
    let last = admin.reloads.last().map(|last| {
        let mut shown = data(&last.report);
        shown["at"] = last.at.0.into();
        shown["cause"] = last.cause.into();
        shown
    });
    ApiAnswer::Data(json!({"last": last}))
}

fn data(report: &ReloadReport) -> Value {
    json!({
        "outcome": report.outcome().as_str(),
        "reasons": report.reasons,
        "added": report.added,
        "changed": report.changed,
        "removed": report.removed,
        "also": report.also,
        "needsRestart": report.stays,
        "warnings": report.warnings.iter().take(MOST_WARNINGS).collect::<Vec<_>>(),
    })
}

/// Reloads the settings. A refusal is a 422 with all reasons.
pub async fn reload(WholeCaller(caller): WholeCaller, State(admin): State<Arc<Admin>>) -> Response {
    let report = admin.reloads.ask().await;
    audit(&admin, &caller, report.as_ref());
    let Some(report) = report else {
        let text = "no reload now: the process ends, or many wait for one";
        return ApiAnswer::failure(StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let data = data(&report);
    if report.outcome() != ReloadOutcome::Refused {
        return ApiAnswer::Data(data).into_response();
    }
    let reasons = report.reasons.join("\n");
    let message = format!("nothing was changed: {}", page(&reasons, MAX_REASONS));
    let body = json!({"success": false, "message": message, "data": data});
    (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
}

fn audit(admin: &Admin, caller: &ApiCaller, report: Option<&ReloadReport>) {
    let Some(audit) = &admin.telemetry.audit else { return };
    let outcome = report.map(ReloadReport::outcome);
    let why = match (outcome, report.and_then(|report| report.reasons.first())) {
        (_, Some(reason)) => visible(reason, MAX_REASON).to_string(),
        (Some(outcome), None) => outcome.as_str().to_owned(),
        (None, None) => "no reload now".to_owned(),
    };
    let is_done = outcome.is_some_and(|outcome| outcome != ReloadOutcome::Refused);
    audit.add(caller.audited("reload", is_done, why));
}
