//! Progress tokens of requests that became tasks: they live until the task is over (2025-11-25,
//! basic/utilities/tasks, "Task Progress Notifications").

use std::collections::VecDeque;

use serde_json::value::RawValue;

use crate::protocol::jsonrpc::Envelope;
use crate::protocol::lenient::Members;
use crate::protocol::methods;
use crate::protocol::splice::RequestTarget;
use crate::runner::channel::in_flight::{InFlight, TaskRequest};
use crate::runner::channel::message_ids::{LONGEST_ID, key, other_forms};

/// Tokens kept of one session; then the oldest is dropped.
const MOST: usize = 256;
/// The states in which a task is over.
const OVER: [&str; 3] = ["completed", "failed", "cancelled"];

/// Token and task, the oldest first.
#[derive(Default)]
pub struct TaskTokens(VecDeque<(String, String)>);

impl TaskTokens {
    /// What a request asks of a task, if anything.
    #[must_use]
    pub fn asks(request: &Envelope<'_>) -> Option<TaskRequest> {
        let params = request.params?;
        if request.method().starts_with("tasks/") {
            let task = Members::of(params.get())?.text("taskId")?;
            return Some(TaskRequest::About(task));
        }
        if !params.get().contains("\"task\"") {
            return None;
        }
        let task = RequestTarget::of(Some(params))?.task;
        task.filter(|task| task.get() != "null").map(|_| TaskRequest::Creates)
    }

    /// Notes the answer to a request: a task that was made keeps the request's token.
    pub fn answered(&mut self, request: &InFlight, result: Option<&RawValue>) {
        let Some(asked) = &request.task else { return };
        let Some(result) = result.and_then(|result| Members::of(result.get())) else { return };
        match asked {
            TaskRequest::Creates => {
                let task = result.object("task").and_then(|task| task.text("taskId"));
                if let (Some(task), Some(token)) = (task, &request.progress_token)
                    && task.len() <= LONGEST_ID
                {
                    if self.0.len() >= MOST {
                        self.0.pop_front();
                    }
                    self.0.push_back((token.clone(), task));
                }
            }
            TaskRequest::About(task) => {
                // `tasks/result` comes when it is over, without a status.
                let status = result.text("status");
                if status.is_none_or(|status| OVER.contains(&&*status)) {
                    self.end(task);
                }
            }
        }
    }

    /// Notes that a task is over, if this notification says so.
    pub fn heard(&mut self, notification: &Envelope<'_>) {
        if self.0.is_empty() || notification.method() != methods::TASK_STATUS {
            return;
        }
        let params = notification.params.and_then(|params| Members::of(params.get()));
        if let Some(params) = params
            && let (Some(task), Some(status)) = (params.text("taskId"), params.text("status"))
            && OVER.contains(&&*status)
        {
            self.end(&task);
        }
    }

    /// Whether a task has this token. The text is its own, if the server has written another.
    #[must_use]
    pub fn find(&self, token: &str) -> Option<Option<String>> {
        let has = |token: &str| self.0.iter().any(|(known, _)| known == token);
        let token = key(token);
        if has(&token) {
            return Some(None);
        }
        other_forms(&token).find(|own| has(own)).map(Some)
    }

    fn end(&mut self, task: &str) {
        self.0.retain(|(_, of)| of != task);
    }
}
