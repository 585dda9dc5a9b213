//! What a scope lists of a server at which the client's user has to log in: while its lists are unknown, a
//! tool that asks for the login, and then what it offers to this user. No list of one user is shown to
//! another: what a server lists may be that user's own.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::edge::config::Member;
use crate::edge::delivery::call::Call;
use crate::edge::delivery::tried::Tried;
use crate::edge::refusal::Refusal;
use crate::edge::scope;
use crate::edge::session::client_session::Session;
use crate::edge::session::get_streams::say_lists_changed;
use crate::edge::worker::Worker;
use crate::model::{Principal, Scope, ServerName};
use crate::protocol::catalog::Catalog;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::methods::{self, Destination, List};
use crate::protocol::splice::{self, RequestTarget};
use crate::seam::Handshake;

/// The tool's name, before the server's name is put in front.
const NAME: &str = "mooring_log_in";
/// Longest wait of a list request for a server that is opened for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a server offers whose lists are unknown since nobody has logged in.
static CATALOG: LazyLock<Option<Arc<Catalog>>> = LazyLock::new(|| {
    let raw = |value: serde_json::Value| RawValue::from_string(value.to_string()).ok();
    let mut catalog = Catalog::new(raw(serde_json::json!({"capabilities": {"tools": {}}}))?);
    catalog.tools.push(raw(serde_json::json!({
        "name": NAME,
        "description": "Asks the user to log in at this server, whose tools are listed after that. \
                        Call it when the user wants something of this server.",
        "inputSchema": {"type": "object", "properties": {}},
        "annotations": {"title": "Log in", "readOnlyHint": true, "openWorldHint": true},
    }))?);
    Some(Arc::new(catalog))
});

/// The catalog with the tool alone.
#[must_use]
pub fn catalog() -> Option<Arc<Catalog>> {
    CATALOG.clone()
}

/// A member with all that it shows, under the name that clients of the scope see: nothing else is in the
/// catalog of the tool.
#[must_use]
pub fn whole(member: &Member) -> Member {
    Member { alias: member.alias.clone(), ..Member::whole(member.server.clone()) }
}

impl Worker {
    /// The servers of a scope at which users log in.
    pub(in crate::edge) fn login_members(&self, scope: &Scope) -> Vec<ServerName> {
        let logins = &self.edge.config.logins;
        if logins.is_empty() {
            return Vec::new();
        }
        let members = scope::members(self, scope).into_iter().map(|member| member.server);
        members.filter(|server| logins.contains_key(server)).collect()
    }

    /// Opens the servers at which the client's user is logged in, so that their lists are known. One
    /// that does not open in time is left out.
    pub(in crate::edge) async fn open_logged_in(&self, scope: &Scope, session: &Session) {
        let servers = self.login_members(scope);
        if servers.is_empty() || session.principal == Principal::anonymous() {
            return;
        }
        let opening = servers.iter().map(|server| async move {
            let edge = &self.edge;
            let Some(terms) = edge.config.logins.get(server) else { return };
            let key = (session.principal.clone(), server.clone());
            if edge.logins.ready(&key, terms, self.link.pool()).await.is_err() {
                return;
            }
            let record = edge.bindings.record(session.id);
            if record.is_some_and(|record| record.servers.iter().any(|(open, _)| open == server)) {
                return;
            }
            let (call, mut tried) = (Call::own(self, session, server), Tried::default());
            let opening = call.establish(b"", Handshake::Runner, &mut tried);
            match tokio::time::timeout(PATIENCE, opening).await {
                Ok(Ok(_)) => {}
                Ok(Err(why)) => {
                    tracing::debug!(server = %server, "not opened for its lists: {why}")
                }
                Err(_) => tracing::debug!(server = %server, "not opened for its lists in time"),
            }
        });
        futures_util::future::join_all(opening).await;
    }

    /// The result of the tool, if a message calls it: nothing of it is for the server.
    ///
    /// # Errors
    /// If the user has yet to log in.
    pub(in crate::edge) async fn log_in_result(
        &self,
        call: &Call<'_>,
        message: &Bytes,
    ) -> Result<Option<Bytes>, Refusal> {
        if !self.edge.config.logins.contains_key(call.server) || !calls_tool(message) {
            return Ok(None);
        }
        call.check_login().await?;
        if let Some(own) = self.edge.streams.get(call.session.id) {
            say_lists_changed(&own.stream, &List::NOTIFIED);
        }
        let text = format!("You are logged in at server {}. List the tools again.", call.server);
        let content = serde_json::json!({"content": [{"type": "text", "text": text}]});
        Ok(Some(content.to_string().into()))
    }
}

fn calls_tool(message: &Bytes) -> bool {
    let Ok(sent) = Envelope::parse(message) else { return false };
    methods::destination(sent.method()) == Destination::Tool
        && RequestTarget::of(sent.params)
            .and_then(|target| splice::string(target.name?))
            .is_some_and(|name| name == NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tool_is_known_by_its_name_alone() {
        let tool = catalog().unwrap();
        let listed: serde_json::Value = serde_json::from_str(tool.tools[0].get()).unwrap();
        assert_eq!(listed["name"], NAME);
        let message = |method: &str, name: &str| {
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"name":"{name}"}}}}"#
            );
            calls_tool(&Bytes::from(text))
        };
        assert!(message("tools/call", NAME));
        assert!(!message("tools/call", "log_in") && !message("prompts/get", NAME));
    }
}
