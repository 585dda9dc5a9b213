//! Tools of servers with sessions that run as tasks alone (2025-11-25, server/tools,
//! `execution.taskSupport: "required"`).
//!
//! A client without a session knows no such tasks. The gateway has the task made and waits for its result
//! in the client's place: what the server asks and says meanwhile comes with the result, as with that of
//! any call.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::edge::aggregate::server_ids;
use crate::edge::catalog::merge::{Asked, ScopeCatalog};
use crate::edge::delivery::call::Call;
use crate::edge::refusal::Refusal;
use crate::edge::session::client_session::{Origin, Session};
use crate::edge::worker::Worker;
use crate::model::Scope;
use crate::protocol::era::tasks;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::lenient::Members;
use crate::protocol::methods::{List, TASK_RESULT};
use crate::protocol::splice;

use super::call::InnerCall;
use super::source::CallMessages;

/// How long a server may take to take note that nobody waits for a task any more.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

impl Worker {
    /// Whether a tool is one of these, as far as is known.
    pub(in crate::edge) fn demands_task(
        &self,
        scope: &Scope,
        session: &Session,
        name: &str,
    ) -> bool {
        let set = self.set_of(session);
        let known = self.scope_catalog_now(scope, set);
        let demands = entry_of(&known, name).is_some_and(|tool| is_demanding(&tool));
        demands
            && known.owner(Asked::Tool, name).is_some_and(|owner| {
                // A server without sessions makes the tasks of its own revision.
                self.is_known_for(&owner.server, set, "tasks")
            })
    }
}

/// A tool's entry in the list, if it says anything of tasks.
fn entry_of(known: &ScopeCatalog, name: &str) -> Option<Bytes> {
    let says_so = memchr::memmem::Finder::new("taskSupport");
    let is_it = |item: &&Bytes| {
        says_so.find(item).is_some()
            && Members::of_bytes(item).and_then(|item| item.text("name")).as_deref() == Some(name)
    };
    known.items(List::Tools).iter().find(is_it).cloned()
}

fn is_demanding(tool: &[u8]) -> bool {
    let execution = Members::of_bytes(tool).and_then(|tool| tool.object("execution"));
    execution.and_then(|said| said.text("taskSupport")).as_deref() == Some("required")
}

/// The message, which asks for a task. It has `_meta`, as every message that is made for a client without a
/// session, and no `task`.
#[must_use]
pub fn asking_for_task(message: Bytes) -> Bytes {
    let edit = Envelope::parse(&message)
        .ok()
        .and_then(|envelope| splice::insertion(&message, envelope.params?, "\"task\":{}"));
    match edit {
        Some(edit) => splice::edit(&message, vec![edit]),
        None => message,
    }
}

/// The task that a call was answered with.
fn made_task(result: &RawValue) -> Option<String> {
    Members::of(result.get())?.object("task")?.text("taskId")
}

impl InnerCall {
    /// The task that an answer stands for, where the call has asked for one.
    #[must_use]
    pub fn task_in(&self, envelope: &Envelope<'_>) -> Option<String> {
        let is_it = self.demands_task && envelope.id_text() == Some(&*self.id);
        envelope.result.filter(|_| is_it).and_then(made_task)
    }

    /// Asks for the task's result, which comes when there is one.
    ///
    /// # Errors
    /// If the server cannot be asked.
    pub async fn wait_for_task(&mut self, task: String) -> Result<CallMessages, Refusal> {
        let edge = &self.worker.edge;
        let id = edge.own_ids.id();
        let params = format!("{{\"taskId\":{},\"_meta\":{{}}}}", splice::quoted(&task));
        let message = jsonrpc::request(&id, TASK_RESULT, &params);
        let asking = self.worker.aggregate_one(&self.context, &self.scope, &self.session, message);
        let response = Box::pin(asking).await.map_err(|(refusal, _)| refusal)?;
        (self.id, self.task, self.demands_task) = (id, Some(task), false);
        Ok(CallMessages::of(response, edge.config.line).await)
    }

    /// The client waits no more for the task that was made for it.
    pub async fn cancel_task(&self) {
        let (Some(task), Some(server)) = (&self.task, &self.owner) else { return };
        if self.session.origin == Origin::Request {
            // It ends with its session.
            return;
        }
        let own = server_ids::of_thing(std::iter::once(server), task);
        let call = Call::own(&self.worker, &self.session, server);
        let topology = self.worker.edge.topology.load_full();
        if let (Some((_, own)), Some(node)) = (own, call.bound(&topology, &[])) {
            let params = format!("{{\"taskId\":{}}}", splice::quoted(own));
            let _ = call.ask(&node, (tasks::CANCEL, &params), PATIENCE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_says_that_it_runs_as_a_task_alone() {
        for (tool, expect) in [
            (r#"{"name":"t","execution":{"taskSupport":"required"}}"#, true),
            (r#"{"name":"t","execution":{"taskSupport":"optional"}}"#, false),
            (r#"{"name":"t","description":"taskSupport required"}"#, false),
            ("[]", false),
        ] {
            assert_eq!(is_demanding(tool.as_bytes()), expect, "{tool}");
        }
    }

    #[test]
    fn a_call_asks_for_a_task_and_is_answered_with_one() {
        let message = Bytes::from_static(
            br#"{"id":1,"jsonrpc":"2.0","method":"tools/call","params":{"_meta":{}}}"#,
        );
        let expect =
            r#"{"id":1,"jsonrpc":"2.0","method":"tools/call","params":{"task":{},"_meta":{}}}"#;
        assert_eq!(asking_for_task(message), expect);
        let made = |text: &str| made_task(serde_json::from_str(text).unwrap());
        assert_eq!(made(r#"{"task":{"taskId":"a~1","status":"working"}}"#).as_deref(), Some("a~1"));
        for other in [r#"{"content":[]}"#, r#"{"task":7}"#, r#"{"task":{"taskId":7}}"#, "[]"] {
            assert_eq!(made(other), None, "{other}");
        }
    }
}
