//! Tasks of 2025-11-25 on an aggregate. The id of each carries its server's name, by which later
//! requests find it (basic/utilities/tasks).

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::edge::delivery::call::Call;
use crate::edge::refusal::Refusal;
use crate::edge::scope;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::Scope;
use crate::protocol::jsonrpc::Envelope;
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

impl Worker {
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
