//! Tasks on an aggregate. Those of 2025-11-25 have ids that carry their server's name, by which later
//! requests find them (basic/utilities/tasks). Those of clients without a session (SEP-2663) have sealed
//! ids, which the front for such clients makes and opens: behind it they are as the others.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::edge::catalog::merge::{Asked, ScopeCatalog};
use crate::edge::delivery::call::Call;
use crate::edge::refusal::Refusal;
use crate::edge::scope;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::{Scope, ServerName};
use crate::protocol::era::discovered;
use crate::protocol::era::tasks::TAKEN;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::lenient::Members;
use crate::protocol::objects::object_only;
use crate::protocol::strict::StrictParams;
use crate::protocol::{methods, splice};

use super::addressed::Addressed;
use super::rewrite::Rewriter;
use super::server_ids;

/// Most pages read from one server: its cursors might never end.
const MAX_PAGES: usize = 100;
/// Longest wait for one page.
const PAGE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow)]
    tasks: Vec<&'a RawValue>,
    next_cursor: Option<String>,
}
object_only!(Page<'de>);

/// Says on a response in a session of the gateway's own which server has made it.
#[derive(Debug, Clone)]
pub struct AnsweredBy(pub ServerName);

/// The message, which says that its client takes a task for an answer. It has `_meta`, as every message
/// that is made for a client without a session.
#[must_use]
pub fn taking_tasks(message: Bytes) -> Bytes {
    let edit = Envelope::parse(&message).ok().and_then(|envelope| {
        let params = Members::of(envelope.params?.get())?;
        splice::insertion(&message, params.get("_meta")?, &format!("\"{TAKEN}\":true"))
    });
    match edit {
        Some(edit) => splice::edit(&message, vec![edit]),
        None => message,
    }
}

impl Worker {
    /// Whether a server has tasks for clients without a session.
    pub(in crate::edge) fn has_modern_tasks(&self, session: &Session, server: &ServerName) -> bool {
        let topology = self.edge.topology.load();
        let catalog = self.edge.catalogs.known(&topology, server, self.set_of(session));
        catalog.is_some_and(|catalog| discovered::has_tasks(catalog.initialize.get()))
    }

    /// Whether a server of the scope has.
    pub(in crate::edge) fn offers_modern_tasks(&self, scope: &Scope, session: &Session) -> bool {
        let members = scope::members(self, scope);
        members.iter().any(|member| self.has_modern_tasks(session, &member.server))
    }

    /// Whether a server has the tool of this name, and the client may use it.
    ///
    /// # Errors
    /// If a server may have it whose lists are unknown.
    pub(in crate::edge) async fn has_tool(
        &self,
        scope: &Scope,
        session: &Session,
        name: &str,
        server: &ServerName,
    ) -> Result<bool, Refusal> {
        let find = |merged: &ScopeCatalog| merged.owner(Asked::Tool, name);
        let found = match self.find(scope, session, find).await {
            Some(owner) => Some(owner),
            None => Box::pin(self.prefixed_owner(scope, session, Asked::Tool, name)).await,
        };
        match found {
            Some(owner) => Ok(owner.server == *server),
            None => {
                let absent = self.not_listed_yet(scope, session, Asked::Tool, name);
                absent.map_or(Ok(false), Err)
            }
        }
    }

    /// Whether a server of the scope is known to have tasks.
    pub(in crate::edge) fn has_tasks(&self, scope: &Scope, session: &Session) -> bool {
        let set = self.set_of(session);
        let members = scope::members(self, scope);
        members.iter().any(|m| self.is_known_for(&m.server, set, "tasks"))
    }

    /// The owner of the task that the request names.
    pub(in crate::edge) fn task_owner(
        &self,
        scope: &Scope,
        message: &Bytes,
        params: &StrictParams<'_>,
    ) -> Result<Addressed, Refusal> {
        let missing = || Refusal::InvalidParams("params.taskId is missing".into());
        let raw = params.target.task_id.ok_or_else(missing)?;
        let shown = splice::string(raw).ok_or_else(missing)?;
        let members = scope::members(self, scope);
        let owner = server_ids::of_thing(members.iter().map(|member| &member.server), &shown);
        match (owner, splice::span(message, raw)) {
            (Some((server, own)), Some(span)) => {
                let message = splice::replace(message, span, splice::quoted(own).as_bytes());
                Ok(Addressed { server: server.clone(), message })
            }
            _ => Err(Refusal::InvalidParams(format!("Unknown task: {shown}"))),
        }
    }

    /// The tasks of every server that the session has open, on one page.
    pub(in crate::edge) async fn list_tasks(&self, scope: &Scope, session: &Session) -> Bytes {
        let set = self.set_of(session);
        let members = scope::members(self, scope);
        let record = self.edge.bindings.record(session.id);
        let open = record.iter().flat_map(|record| &record.servers).map(|(server, _)| server);
        let asked = open.filter(|server| {
            members.iter().any(|member| member.server == **server)
                && self.is_known_for(server, set, "tasks")
        });
        let asking = asked.map(|server| tasks_of(Call::own(self, session, server)));
        let found = futures_util::future::join_all(asking).await.concat();
        let mut result = b"{\"tasks\":[".to_vec();
        result.extend_from_slice(&found.join(&b","[..]));
        result.extend_from_slice(b"]}");
        result.into()
    }
}

/// The tasks of one server, as the client is to see them; those read so far if it stops answering.
async fn tasks_of(call: Call<'_>) -> Vec<Bytes> {
    let rewriter = Rewriter {
        server: call.server.clone(),
        uris: std::sync::Arc::default(),
        judge: None,
        tasks: true,
        mark: None,
    };
    let mut tasks = Vec::new();
    let mut cursor: Option<String> = None;
    let topology = call.worker.edge.topology.load_full();
    let Some(node) = call.bound(&topology, &[]) else { return tasks };
    for _ in 0..MAX_PAGES {
        let params = match &cursor {
            Some(cursor) => format!("{{\"cursor\":{}}}", splice::quoted(cursor)),
            None => "{}".to_owned(),
        };
        let request = (methods::TASK_LIST, params.as_str());
        let asking = call.ask(&node, request, PAGE_TIMEOUT);
        let Ok(Some(page)) = asking.await else { break };
        let Some(page) = rewriter.message(page) else { break };
        let envelope = Envelope::parse(&page).ok();
        let result = envelope.and_then(|envelope| envelope.result);
        let Some(read) = result.and_then(|r| serde_json::from_str::<Page<'_>>(r.get()).ok()) else {
            break;
        };
        tasks.extend(read.tasks.iter().map(|t| Bytes::copy_from_slice(t.get().as_bytes())));
        // The same cursor would bring the same page again.
        if read.next_cursor.is_none() || read.next_cursor == cursor {
            break;
        }
        cursor = read.next_cursor;
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_that_its_client_takes_tasks() {
        let message =
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"n":1.0,"_meta":{}}}"#;
        assert_eq!(
            taking_tasks(Bytes::from_static(message.as_bytes())),
            message.replace(r#""_meta":{}"#, r#""_meta":{"mooring/tasks":true}"#)
        );
        let bare = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"method":"m"}"#);
        assert_eq!(taking_tasks(bare.clone()), bare);
    }
}
