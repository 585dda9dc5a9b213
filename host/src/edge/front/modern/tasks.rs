//! Requests about tasks (SEP-2663): `tasks/get`, `tasks/update` and `tasks/cancel`.
//!
//! The gateway makes the ids of tasks that its clients see. Each is sealed for one URL and one client, and
//! says which server has the task, in which session and on which node it began, and by which tool. So any
//! gateway with the key finds the task, and nobody else's id leads to one; with the tool it is hidden.

use bytes::Bytes;
use http::Response;

use crate::edge::aggregate::server_ids;
use crate::edge::bridge::call::CallStart;
use crate::edge::bridge::legacy_message::legacy_message;
use crate::edge::refusal::Refusal;
use crate::edge::scope;
use crate::edge::session::client_session::{Origin, Session};
use crate::model::{NodeId, ServerName};
use crate::net::Body;
use crate::protocol::era::fault::EraFault;
use crate::protocol::era::tasks::TaskName;
use crate::protocol::jsonrpc::{Envelope, Malformed};
use crate::protocol::request_state::digest;
use crate::protocol::splice::{self, RequestTarget};
use crate::protocol::strict::StrictParams;

use super::calls::BegunCall;
use super::request::ModernRequest;

/// A task of this client.
#[derive(Debug, Clone)]
pub struct KnownTask {
    /// Its id, as the client knows it.
    pub shown: String,
    pub server: ServerName,
    /// The server's own id for it.
    pub own: String,
    /// The session in which it began.
    pub session: Session,
}

impl KnownTask {
    /// Its id as parts of the gateway know it that serve several servers.
    #[must_use]
    pub fn qualified(&self) -> String {
        server_ids::thing(&self.server, &self.own)
    }
}

impl ModernRequest<'_> {
    /// The answer of the server that has the task.
    ///
    /// # Errors
    /// If the client has not declared the extension, has no such task here, or no server can take the
    /// request.
    pub async fn task_call(&self) -> Result<Response<Body>, Refusal> {
        let params = StrictParams::of(self.envelope.params).map_err(Refusal::from)?;
        let session = self.session()?;
        if !self.context.takes_tasks() {
            let offers = self.worker.offers_modern_tasks(self.scope, &session);
            let unknown = || EraFault::Method(self.envelope.method().to_owned());
            return Err(if offers { EraFault::NoTasks } else { unknown() }.into());
        }
        let missing = || Refusal::InvalidParams("params.taskId is missing".into());
        let shown = params.target.task_id.and_then(splice::string).ok_or_else(missing)?;
        let task = self.known_task(&shown, &session).await?.ok_or_else(unknown_task)?;
        let in_use = self.worker.use_inner(self.context, &task.session)?;
        let id = self.worker.edge.own_ids.id();
        let unreadable = || Malformed::Message("params cannot be read");
        let message = legacy_message(self.message, self.envelope, self.claim, &id);
        let message = message.and_then(|message| renamed(&message, &task.qualified()));
        let message = message.ok_or_else(unreadable)?;
        self.answered_by(BegunCall {
            session: task.session,
            in_use,
            id,
            digest: digest(self.envelope.method(), params.target.task_id, None),
            named: shown,
            handle: self.handle(),
            demands_task: false,
            beginning: CallStart::New(message),
        })
        .await
    }

    /// The task of this id, if it is one of this client at this URL, whose tool the client may use.
    ///
    /// # Errors
    /// If all nodes are away that may have the tool.
    pub(super) async fn known_task(
        &self,
        shown: &str,
        asking: &Session,
    ) -> Result<Option<KnownTask>, Refusal> {
        let edge = &self.worker.edge;
        let Some((id, since, name)) = edge.keys.open_task(shown, self.scope, self.principal) else {
            return Ok(None);
        };
        let Some(name) = TaskName::read(&name) else { return Ok(None) };
        let Ok(server) = ServerName::parse(&name.server) else { return Ok(None) };
        if !self.worker.has_tool(self.scope, asking, &name.tool, &server).await? {
            return Ok(None);
        }
        let task = server_ids::thing(&server, &name.id);
        let members = scope::members(self.worker, self.scope);
        // One that reads as that of a server with a longer name is no use.
        if server_ids::of_thing(members.iter().map(|member| &member.server), &task)
            != Some((&server, &*name.id))
        {
            return Ok(None);
        }
        // Whoever asks, it is found where it began. After a restart, what nodes have is waited for.
        let session = Session {
            id,
            minted_at: since,
            has_id: true,
            origin: Origin::Conversation,
            ..asking.clone()
        };
        // Other coordinators do not hear of a session that only one request had.
        if name.alone
            && edge.bindings.look(id, &server).is_none()
            && let Ok(node) = NodeId::parse(&name.node)
            && edge.topology.load().node(&node).is_some_and(|node| node.health.serves())
        {
            edge.bindings.claim(id, &server, None, &node);
        }
        Ok(Some(KnownTask { shown: shown.to_owned(), server, own: name.id, session }))
    }
}

/// For every reason alike.
fn unknown_task() -> Refusal {
    Refusal::InvalidParams("params.taskId is no task of this client at this URL".into())
}

/// The message about a task of another id.
fn renamed(message: &Bytes, id: &str) -> Option<Bytes> {
    let envelope = Envelope::parse(message).ok()?;
    let span = splice::span(message, RequestTarget::of(envelope.params)?.task_id?)?;
    Some(splice::replace(message, span, splice::quoted(id).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_task_as_its_server_is_found() {
        let message = Bytes::from_static(
            br#"{"id":1,"jsonrpc":"2.0","method":"tasks/get","params":{"x":1.0,"taskId":"m1"}}"#,
        );
        let expect =
            r#"{"id":1,"jsonrpc":"2.0","method":"tasks/get","params":{"x":1.0,"taskId":"a~t"}}"#;
        assert_eq!(renamed(&message, "a~t").unwrap(), expect);
        let bare = Bytes::from_static(br#"{"id":1,"jsonrpc":"2.0","method":"tasks/get"}"#);
        assert_eq!(renamed(&bare, "a~t"), None);
    }
}
