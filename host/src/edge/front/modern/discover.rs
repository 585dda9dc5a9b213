//! `server/discover`: what the scope offers, and which revisions without sessions are served.

use http::Response;
use http::header::{self, HeaderValue};
use serde_json::{Map, Value, json};

use crate::edge::bridge::conversation::COOKIE;
use crate::edge::refusal::Refusal;
use crate::edge::scope;
use crate::edge::session::client_session::Session;
use crate::model::{Scope, ServerName};
use crate::net::Body;
use crate::protocol::era::{REVISION, meta, tasks};
use crate::protocol::initialize::InitializeResult;
use crate::protocol::lenient::Members;
use crate::protocol::methods::List;
use crate::protocol::splice;
use crate::protocol::version::Version;

use super::request::ModernRequest;

/// Capabilities of servers with sessions that mean something else without one.
const OF_SESSIONS: [&str; 1] = ["tasks"];

impl ModernRequest<'_> {
    /// The answer to `server/discover`.
    ///
    /// # Errors
    /// If it names a conversation that is not its client's.
    pub async fn discover(&self) -> Result<Response<Body>, Refusal> {
        let session = self.session()?;
        self.observed(&session, async { Ok(self.discovered(&session).await) }).await
    }

    async fn discovered(&self, session: &Session) -> Response<Body> {
        let mut offered = self.offered(session).await;
        if self.worker.offers_modern_tasks(self.scope, session) {
            offered.add_extension(tasks::EXTENSION);
        }
        let mut result = json!({
            "supportedVersions": [REVISION],
            "capabilities": offered.capabilities,
        });
        if let Some(text) = offered.instructions {
            result["instructions"] = text.into();
        }
        let mut additions = self.additions(session);
        let edge = &self.worker.edge;
        let new = edge.new_conversation(self.scope, self.principal);
        if let Some(new) = &new
            && self.claim.conversation.is_none()
        {
            additions.meta.push((meta::CONVERSATION, splice::quoted(&new.handle)));
        }
        let mut response = self.answer(result.to_string().as_bytes(), &additions);
        // One that does not open, as of another key, is replaced.
        let has_none = edge.cookie_handle(&self.speaker()).is_none();
        if let Some(text) = new.and_then(|new| new.cookie).filter(|_| has_none)
            && let Ok(cookie) = HeaderValue::from_str(&self.cookie(&text))
        {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        response
    }

    fn cookie(&self, name: &str) -> String {
        let base = &self.worker.edge.config.base_path;
        let path = if base.is_empty() { "/" } else { base };
        format!("{COOKIE}={name}; Path={path}; HttpOnly; SameSite=Lax")
    }

    async fn offered(&self, session: &Session) -> Offered {
        let worker = self.worker;
        if let Some(server) = scope::pass_through_server(&worker.edge, self.scope)
            && let Some(offered) = self.offered_by(server, session).await
        {
            return offered;
        }
        let result = worker.own_result(self.scope, session, Version::LATEST).await;
        Offered::of(&result)
    }

    /// What the one server of the scope says of itself, once that is known.
    async fn offered_by(&self, server: &ServerName, session: &Session) -> Option<Offered> {
        let (worker, set) = (self.worker, self.worker.set_of(session));
        let scope = Scope::Server(server.clone());
        worker.await_lists(&scope, session).await;
        worker.scope_catalog(&scope, set).await;
        let topology = worker.edge.topology.load();
        let catalog = worker.edge.catalogs.known(&topology, server, set)?;
        let mut offered = Offered::of(catalog.initialize.get().as_bytes());
        // The gateway itself says when a list has changed.
        for list in List::NOTIFIED {
            if let Some(said) = offered.capabilities.get_mut(list.capability())
                && let Some(said) = said.as_object_mut()
            {
                said.insert("listChanged".into(), true.into());
            }
        }
        Some(offered)
    }
}

#[derive(Debug, Default)]
struct Offered {
    capabilities: Map<String, Value>,
    instructions: Option<String>,
}

impl Offered {
    fn of(initialize: &[u8]) -> Self {
        let raw = Members::of_bytes(initialize).and_then(|said| said.get("capabilities"));
        let said: Option<Map<String, Value>> =
            raw.and_then(|raw| serde_json::from_str(raw.get()).ok());
        let mut capabilities = said.unwrap_or_default();
        for name in OF_SESSIONS {
            capabilities.shift_remove(name);
        }
        // A server in whose sessions it says so serves such tasks to others alone.
        if let Some(all) = capabilities.get_mut("extensions").and_then(Value::as_object_mut) {
            all.shift_remove(tasks::EXTENSION);
        }
        Self { capabilities, instructions: InitializeResult::of(initialize).instructions }
    }

    fn add_extension(&mut self, name: &str) {
        let all = self.capabilities.entry("extensions").or_insert_with(|| json!({}));
        if let Some(all) = all.as_object_mut() {
            all.insert(name.to_owned(), json!({}));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_sessions_have_is_not_offered() {
        let offered = Offered::of(
            br#"{"capabilities":{"tools":{},"tasks":{"list":{}},"x":1},"instructions":"i"}"#,
        );
        assert_eq!(Value::Object(offered.capabilities), json!({"tools": {}, "x": 1}));
        assert_eq!(offered.instructions.as_deref(), Some("i"));
        assert!(Offered::of(b"[").capabilities.is_empty());
        let mut offered = Offered::of(
            br#"{"capabilities":{"extensions":{"a/b":{},"io.modelcontextprotocol/tasks":{}}}}"#,
        );
        assert_eq!(offered.capabilities["extensions"], json!({"a/b": {}}));
        offered.add_extension("c/d");
        assert_eq!(offered.capabilities["extensions"], json!({"a/b": {}, "c/d": {}}));
        let mut bare = Offered::default();
        bare.add_extension("c/d");
        assert_eq!(bare.capabilities["extensions"], json!({"c/d": {}}));
    }
}
