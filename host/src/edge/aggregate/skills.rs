//! The skills extension on an aggregate (SEP-2640): instructions for models, as resources that no list
//! has. What several servers have is one list; what one of them is asked for finds its server again.
//!
//! Where anything of a server's resources is hidden, or its client may use only some, its skills are not
//! offered: nobody has judged them.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::value::RawValue;

use crate::edge::delivery::call::Call;
use crate::edge::delivery::outgoing::Outgoing;
use crate::edge::refusal::Refusal;
use crate::edge::relay::json;
use crate::edge::scope;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::{Scope, ServerName};
use crate::net::{Body, collect};
use crate::protocol::era::answered::code_of;
use crate::protocol::jsonrpc::{self, Envelope, code};
use crate::protocol::lenient::{self, Members};
use crate::protocol::{methods, splice};

use super::requests::AggregateRequest;

/// The extension's name in capabilities.
const EXTENSION: &str = "io.modelcontextprotocol/skills";
/// Most pages read from one server: its cursors might never end.
const MAX_PAGES: usize = 100;
/// Bytes of one server's skills.
const MAX_BYTES: usize = 4 << 20;
/// Longest wait for one answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

impl Worker {
    /// What the scope's servers say of the extension, as JSON; `None` if none has it.
    pub(in crate::edge) fn skills_offered(
        &self,
        scope: &Scope,
        session: &Session,
    ) -> Option<String> {
        let with = self.with_skills(scope, session);
        let reads = with.iter().any(|(_, reads_directories)| *reads_directories);
        let settings = if reads { "{\"directoryRead\":true}" } else { "{}" };
        (!with.is_empty()).then(|| format!("{{\"{EXTENSION}\":{settings}}}"))
    }

    /// The servers that have skills for this client, and whether they read directories.
    fn with_skills(&self, scope: &Scope, session: &Session) -> Vec<(ServerName, bool)> {
        if scope.rights().is_some() {
            return Vec::new();
        }
        let set = self.set_of(session);
        let topology = self.edge.topology.load();
        let merged = self.scope_catalog_now(scope, set);
        let has = |server: &ServerName| {
            let catalog = self.edge.catalogs.known(&topology, server, set)?;
            let offered = Members::of(catalog.initialize.get())?.object("capabilities")?;
            let settings = offered.object("extensions")?.object(EXTENSION)?;
            let reads = settings.get("directoryRead").is_some_and(|raw| raw.get() == "true");
            let is_judged = self.judge_of_session(scope, session, server, &merged).is_some();
            (!is_judged).then_some(reads)
        };
        let members = scope::members(self, scope).into_iter().map(|member| member.server);
        members.filter_map(|server| has(&server).map(|reads| (server, reads))).collect()
    }

    /// The skills of all servers on one page.
    pub(in crate::edge) async fn list_skills(
        &self,
        request: &AggregateRequest<'_>,
    ) -> Result<Bytes, Refusal> {
        let AggregateRequest { scope, session, envelope, params, .. } = *request;
        if params.target.cursor.is_some_and(|cursor| cursor.get() != "null") {
            let text = "params.cursor is unknown; all skills are on one page";
            return Err(Refusal::InvalidParams(text.into()));
        }
        let servers = self.with_skills(scope, session);
        if servers.is_empty() {
            return Err(Refusal::MethodNotFound(envelope.method().to_owned()));
        }
        let asking = servers.iter().map(|(server, _)| self.skills_of(request, server));
        let found = futures_util::future::join_all(asking).await;
        let mut known = std::collections::BTreeSet::new();
        let mut skills = Vec::new();
        for ((server, _), found) in servers.iter().zip(found) {
            for skill in found {
                let read = Members::of_bytes(&skill).unwrap_or_default();
                let Some(uri) = read.text("uri") else { continue };
                // The first of two with one URI counts, as everywhere.
                if !known.insert(uri.clone()) {
                    continue;
                }
                let owners = &self.edge.found_owners;
                owners.keep(session.id, &uri, server);
                for file in lenient::elements(read.get("resources")).unwrap_or_default() {
                    if let Some(uri) = Members::of(file.get()).and_then(|file| file.text("uri")) {
                        owners.keep(session.id, &uri, server);
                    }
                }
                skills.push(skill);
            }
        }
        let mut result = b"{\"skills\":[".to_vec();
        result.extend_from_slice(&skills.join(&b","[..]));
        result.extend_from_slice(b"]}");
        Ok(result.into())
    }

    /// The skills of one server; those read so far if it stops answering.
    async fn skills_of(&self, request: &AggregateRequest<'_>, server: &ServerName) -> Vec<Bytes> {
        let (mut skills, mut bytes) = (Vec::new(), 0);
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let params = match &cursor {
                Some(cursor) => format!("{{\"cursor\":{}}}", splice::quoted(cursor)),
                None => "{}".to_owned(),
            };
            let Some(page) = self.asked(request, server, methods::SKILLS, &params).await else {
                break;
            };
            let Some(result) = Envelope::parse(&page).ok().and_then(|said| said.result) else {
                break;
            };
            let read = Members::of(result.get()).unwrap_or_default();
            for skill in lenient::elements(read.get("skills")).unwrap_or_default() {
                bytes += skill.get().len();
                if bytes > MAX_BYTES {
                    return skills;
                }
                skills.push(Bytes::copy_from_slice(skill.get().as_bytes()));
            }
            let next = read.text("nextCursor");
            // The same cursor would bring the same page again.
            if next.is_none() || next == cursor {
                break;
            }
            cursor = next;
        }
        skills
    }

    /// What the server says that has the skill or directory of `params.uri`.
    pub(in crate::edge) async fn skill(
        &self,
        request: &AggregateRequest<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let AggregateRequest { scope, session, envelope, params, .. } = *request;
        let uri = params.target.uri.and_then(splice::string);
        let uri = uri.ok_or_else(|| Refusal::InvalidParams("params.uri is missing".into()))?;
        let mut servers = self.with_skills(scope, session);
        if servers.is_empty() {
            return Err(Refusal::MethodNotFound(envelope.method().to_owned()));
        }
        if let Some(owner) = self.edge.found_owners.get(session.id, &uri) {
            servers.sort_by_key(|(server, _)| *server != owner);
        }
        let asked = own_params(envelope.params);
        let (mut refused, mut is_unknown) = (None, false);
        for (server, _) in &servers {
            let said = self.asked(request, server, envelope.method(), &asked).await;
            let Some(said) = said else { continue };
            let Ok(read) = Envelope::parse(&said) else { continue };
            match (read.result, read.error) {
                (Some(result), _) => {
                    self.edge.found_owners.keep(session.id, &uri, server);
                    let answer = jsonrpc::result(request.id, result.get().as_bytes());
                    return Ok(json(StatusCode::OK, answer));
                }
                // Not all of them read directories: another one says what is wrong.
                (None, Some(error)) if code_of(error) == Some(code::METHOD_NOT_FOUND) => {
                    is_unknown = true;
                }
                (None, Some(error)) => refused = refused.or_else(|| Some(error.get().to_owned())),
                (None, None) => {}
            }
        }
        match refused {
            Some(error) => {
                let id = request.id;
                let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}");
                Ok(json(StatusCode::OK, Bytes::from(text)))
            }
            None if is_unknown => Err(Refusal::MethodNotFound(envelope.method().to_owned())),
            None => Err(Refusal::InvalidParams(format!("Resource not found: {uri}"))),
        }
    }

    /// A server's answer to a request of the gateway's own in the session; `None` if there is none.
    async fn asked(
        &self,
        request: &AggregateRequest<'_>,
        server: &ServerName,
        method: &str,
        params: &str,
    ) -> Option<Bytes> {
        let AggregateRequest { context, scope, session, .. } = *request;
        let message = jsonrpc::request(&self.edge.own_ids.id(), method, params);
        let outgoing = Outgoing::asking(message.clone());
        let call = Call::of_client(self, context, session, server);
        let asking = async {
            let delivered = call.deliver(&outgoing).await.ok()?;
            request.call.is_for(server, &message);
            request.call.was_at(&delivered.node.id);
            collect(delivered.response.into_body(), self.edge.config.line).await.ok()
        };
        let answer = tokio::time::timeout(PATIENCE, asking).await.ok()??;
        self.rewriter(scope, session, server).message(answer)
    }
}

/// The client's parameters without its token for progress, which is not the gateway's.
fn own_params(params: Option<&RawValue>) -> String {
    let members = params.and_then(|params| Members::of(params.get())).unwrap_or_default();
    let kept = members.iter().filter(|(name, _)| *name != "_meta");
    let kept = kept.map(|(name, value)| format!("{}:{}", splice::quoted(name), value.get()));
    format!("{{{}}}", kept.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_passed_without_what_is_the_clients() {
        let raw: &RawValue = serde_json::from_str(
            r#"{"uri":"skill://a/SKILL.md","_meta":{"progressToken":1},"cursor":"x"}"#,
        )
        .unwrap();
        assert_eq!(own_params(Some(raw)), r#"{"uri":"skill://a/SKILL.md","cursor":"x"}"#);
        assert_eq!(own_params(None), "{}");
    }
}
