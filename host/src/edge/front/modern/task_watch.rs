//! Tasks that a client listens to (SEP-2663): the gateway asks their servers in its place, and tells it
//! what has changed.
//!
//! A server's own notifications would come on a stream of one process and one node. To ask reaches a task
//! wherever it is, after a restart and from another gateway too. It is asked as often as the task itself
//! says, and no more once the task has ended.

use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::edge::aggregate::tasks::taking_tasks;
use crate::edge::bridge::ahead;
use crate::edge::client_request::ClientRequest;
use crate::edge::delivery::call::Call;
use crate::edge::delivery::outgoing::Outgoing;
use crate::edge::worker::Worker;
use crate::model::Scope;
use crate::net::collect;
use crate::protocol::era::{meta, tasks};
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::lenient::Members;
use crate::protocol::{splice, sse};

use super::tasks::KnownTask;

/// Pause between two questions if the task does not say, and the bounds of what it says.
const PAUSE: Duration = Duration::from_secs(2);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client that listens to tasks.
pub struct TaskWatch {
    pub worker: Worker,
    pub context: ClientRequest,
    pub scope: Scope,
    /// The id of its request, as JSON.
    pub id: String,
}

/// A task as its server describes it.
struct Description {
    /// What a client has to hear of, if it differs.
    seen: String,
    /// As JSON, without the task's id.
    members: String,
    pause: Duration,
    is_over: bool,
}

impl TaskWatch {
    /// Tells the client what changes, until all tasks have ended; the first word on each is what it is
    /// now.
    pub async fn run(&self, listened: &[KnownTask], sender: &mpsc::Sender<Bytes>) {
        let watching = listened.iter().map(|task| self.watch(task, sender));
        futures_util::future::join_all(watching).await;
    }

    async fn watch(&self, task: &KnownTask, sender: &mpsc::Sender<Bytes>) {
        let Ok(_in_use) = self.worker.use_inner(&self.context, &task.session) else { return };
        let mut told = String::new();
        let mut unanswered = PAUSE;
        loop {
            let asked = tokio::time::timeout(PATIENCE, self.ask(task)).await;
            let pause = match asked {
                Ok(Some(Ok(now))) => {
                    if now.seen != told {
                        let params = params(&task.shown, &now.members, &self.id);
                        let notice = jsonrpc::notification_with(tasks::CHANGED, &params);
                        let event = sse::event(&splice::on_one_line(notice));
                        match ahead::try_put(sender, event.len(), event) {
                            Ok(()) => told = now.seen,
                            // For a client that does not read nothing is kept: the task is asked again.
                            Err(TrySendError::Full(_)) => {
                                tokio::time::sleep(now.pause).await;
                                continue;
                            }
                            Err(TrySendError::Closed(_)) => return,
                        }
                    }
                    if now.is_over {
                        return;
                    }
                    unanswered = PAUSE;
                    now.pause
                }
                // The server has it no more.
                Ok(Some(Err(Gone))) => return,
                Ok(None) | Err(_) => {
                    unanswered = (unanswered * 2).min(LONGEST);
                    unanswered
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// `None` if the server cannot be asked now.
    async fn ask(&self, task: &KnownTask) -> Option<Result<Description, Gone>> {
        let Self { worker, context, scope, .. } = self;
        let params = format!("{{\"taskId\":{},\"_meta\":{{}}}}", splice::quoted(&task.own));
        let message = jsonrpc::request(&worker.edge.own_ids.id(), tasks::GET, &params);
        let outgoing = Outgoing::asking(taking_tasks(message));
        let call = Call::of_client(worker, context, &task.session, &task.server);
        let delivered = call.deliver(&outgoing).await.ok()?;
        let answer = collect(delivered.response.into_body(), worker.edge.config.line).await.ok()?;
        let mut rewriter = worker.rewriter(scope, &task.session, &task.server);
        rewriter.tasks = true;
        let answer = rewriter.message(answer)?;
        let said = Envelope::parse(&answer).ok()?;
        match (said.result, said.error) {
            (Some(result), _) => described(result).map(Ok),
            (None, Some(error)) => is_unknown(error).then_some(Err(Gone)),
            (None, None) => None,
        }
    }
}

/// The server does not know the task.
struct Gone;

fn is_unknown(error: &RawValue) -> bool {
    let code = Members::of(error.get()).and_then(|error| error.get("code").map(RawValue::get));
    code.and_then(|code| code.parse().ok()) == Some(jsonrpc::code::INVALID_PARAMS)
}

fn described(task: &RawValue) -> Option<Description> {
    let read = Members::of(task.get())?;
    let status = read.text("status")?;
    let is_over = matches!(status.as_str(), "completed" | "failed" | "cancelled");
    let said = read.get("pollIntervalMs").and_then(|raw| raw.get().parse().ok());
    let pause = said.map_or(PAUSE, Duration::from_millis).clamp(SHORTEST, LONGEST);
    // The time of the last change alone would do if every server kept to it.
    let seen = ["status", "statusMessage", "lastUpdatedAt", "inputRequests"];
    let seen = seen.map(|name| read.get(name).map_or("", RawValue::get)).join("\n");
    let kept = read.iter().filter(|(name, _)| !matches!(*name, "taskId" | "_meta" | "resultType"));
    let kept = kept.map(|(name, value)| format!("{}:{}", splice::quoted(name), value.get()));
    let members = kept.collect::<Vec<_>>().join(",");
    Some(Description { seen, members, pause, is_over })
}

/// The notification of a task's present state, by the result of a question about it. `None` if that is
/// no task.
#[must_use]
pub fn changed(task: &RawValue, shown: &str, id: &str) -> Option<Bytes> {
    let now = described(task)?;
    Some(jsonrpc::notification_with(tasks::CHANGED, &params(shown, &now.members, id)))
}

fn params(shown: &str, members: &str, id: &str) -> String {
    let shown = splice::quoted(shown);
    format!("{{\"taskId\":{shown},{members},\"_meta\":{{\"{}\":{id}}}}}", meta::SUBSCRIPTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_client_hears_of_the_task_under_its_own_id() {
        let task = raw(
            r#"{"taskId":"a~t","status":"working","pollIntervalMs":5000,"x":1.0,"_meta":{"y":1}}"#,
        );
        let now = described(task).unwrap();
        assert_eq!((now.pause, now.is_over), (Duration::from_secs(5), false));
        assert_eq!(
            params("m1", &now.members, "\"s\""),
            r#"{"taskId":"m1","status":"working","pollIntervalMs":5000,"x":1.0,"_meta":{"io.modelcontextprotocol/subscriptionId":"s"}}"#
        );
        let same = raw(r#"{"taskId":"a~t","status":"working","pollIntervalMs":1}"#);
        let same = described(same).unwrap();
        assert_eq!((same.seen, same.pause), (now.seen.clone(), SHORTEST));
        let done = described(raw(r#"{"status":"completed","pollIntervalMs":1e99}"#)).unwrap();
        assert!(done.is_over && done.seen != now.seen && done.pause == PAUSE);
        for other in ["{}", "[]", r#"{"status":7}"#] {
            assert!(described(raw(other)).is_none(), "{other}");
        }
    }

    #[test]
    fn a_server_says_that_it_has_no_such_task() {
        assert!(is_unknown(raw(r#"{"code":-32602,"message":"m"}"#)));
        assert!(!is_unknown(raw(r#"{"code":-32603,"message":"m"}"#)) && !is_unknown(raw("7")));
    }
}
