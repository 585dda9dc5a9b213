//! Resources that no list names: tools link to such (2025-11-25, server/tools, "Resource Links").
//! The servers of the scope that have resources are asked for them one after the other, those first
//! that the session has open; reading does no harm.
//!
//! Where anything of a server is hidden, its judge decides whether it may be asked at all.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::edge::catalog::part::Owner;
use crate::edge::delivery::call::Call;
use crate::edge::delivery::outgoing::Outgoing;
use crate::edge::refusal::Refusal;
use crate::edge::relay::json;
use crate::edge::scope;
use crate::edge::worker::Worker;
use crate::model::ServerName;
use crate::net::{Body, collect};
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::{methods, splice};

use super::requested::Requested;
use super::requests::{AggregateRequest, addressed};

/// Longest wait for one server's answer, where others may be asked too.
const PATIENCE: Duration = Duration::from_secs(10);

impl Worker {
    /// Answers a request for a resource that no server of the scope lists.
    pub(in crate::edge) async fn ask_for_unlisted(
        &self,
        request: &AggregateRequest<'_>,
        requested: Requested<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let AggregateRequest { session, message, envelope, .. } = *request;
        let uri = requested.name.clone();
        let (has_likely, mut owners) = self.possible_owners(request, &uri);
        let known = self.edge.found_owners.get(session.id, &uri);
        if let Some(at) = known.and_then(|known| owners.iter().position(|o| o.server == known)) {
            owners = vec![owners.swap_remove(at)];
        } else if has_likely && self.is_for_likely(request, &uri) {
            owners.truncate(1);
        }
        if let [owner] = &owners[..] {
            // It says itself what it does not have.
            let owner = owner.clone();
            return self.send_to(request, addressed(message, requested.raw, &uri, owner)).await;
        }
        let is_read = envelope.method() == methods::READ;
        // The first stands for all that are asked.
        let _under_way = match owners.first() {
            Some(owner) => self.call_under_way(request, &owner.server, message)?,
            None => None,
        };
        // What the likely owner says is told, if no other has it, and what has kept the gateway from
        // asking one.
        let (mut refusal, mut absent) = (None, None);
        for (place, owner) in owners.into_iter().enumerate() {
            let asking = self.reads(request, &requested, &owner);
            let answer = match tokio::time::timeout(PATIENCE, asking).await {
                Ok(Reading::Read(answer)) => answer,
                Ok(Reading::Refused(said)) => {
                    if has_likely && place == 0 && is_read {
                        refusal = Some(said);
                    }
                    continue;
                }
                Ok(Reading::Absent(why)) => {
                    absent = absent.or(Some(why));
                    continue;
                }
                Ok(Reading::None) | Err(_) => continue,
            };
            self.edge.found_owners.keep(session.id, &uri, &owner.server);
            if is_read {
                return Ok(json(StatusCode::OK, answer));
            }
            return self.send_to(request, addressed(message, requested.raw, &uri, owner)).await;
        }
        match (refusal, absent) {
            (Some(said), _) => Ok(json(StatusCode::OK, said)),
            (None, Some(absent)) => Err(absent),
            (None, None) => Err(requested.unknown()),
        }
    }

    /// Whether only the likely owner is asked: its template has the URI, so that another server's answer
    /// would be of another resource; or the request changes something.
    fn is_for_likely(&self, request: &AggregateRequest<'_>, uri: &str) -> bool {
        let AggregateRequest { scope, session, envelope, .. } = *request;
        let merged = self.scope_catalog_now(scope, self.set_of(session));
        merged.uris.has_template_of(uri) || envelope.method() != methods::READ
    }

    /// The servers that may have a resource. The first is the likely one, if there is one.
    fn possible_owners(&self, request: &AggregateRequest<'_>, uri: &str) -> (bool, Vec<Owner>) {
        let AggregateRequest { scope, session, .. } = *request;
        let set = self.set_of(session);
        let merged = self.scope_catalog_now(scope, set);
        if merged.uris.leads_nowhere(uri) {
            return (false, Vec::new());
        }
        let record = self.edge.bindings.record(session.id);
        let is_open = |server: &ServerName| {
            record.as_ref().is_some_and(|record| record.servers.iter().any(|(s, _)| s == server))
        };
        let likely = merged.uris.likely(uri);
        let members = scope::members(self, scope).into_iter().map(|member| member.server);
        let mut others: Vec<ServerName> = members
            .filter(|server| likely.as_ref().is_none_or(|likely| likely.server != *server))
            .filter(|server| self.capability(server, set, "resources"))
            .filter(|server| {
                // Its lists may be unknown yet: then what is hidden decides alone.
                let judge = self.judge_of_session(scope, session, server, &merged);
                judge.is_none_or(|judge| judge.allows(uri))
            })
            .collect();
        others.sort_by_key(|server| !is_open(server));
        let others = others.into_iter().map(|server| Owner { server, name: uri.to_owned() });
        (likely.is_some(), likely.into_iter().chain(others).collect())
    }

    /// The server's answer to `resources/read`, for the client.
    async fn reads(
        &self,
        request: &AggregateRequest<'_>,
        requested: &Requested<'_>,
        owner: &Owner,
    ) -> Reading {
        let AggregateRequest { context, scope, session, message, envelope, .. } = *request;
        let server = &owner.server;
        let body = if envelope.method() == methods::READ {
            addressed(message, requested.raw, &requested.name, owner.clone()).message
        } else {
            let params = format!("{{\"uri\":{}}}", splice::quoted(&owner.name));
            jsonrpc::request(&self.edge.own_ids.id(), methods::READ, &params)
        };
        let outgoing = Outgoing::asking(body);
        let call = Call::of_client(self, context, session, server);
        let delivered = match call.deliver(&outgoing).await {
            Ok(delivered) => {
                request.call.is_for(server, &outgoing.body);
                request.call.was_at(&delivered.node.id);
                delivered
            }
            Err(refusal @ Refusal::Absent(_)) => return Reading::Absent(refusal),
            Err(_) => return Reading::None,
        };
        let answer = collect(delivered.response.into_body(), self.edge.config.line).await;
        let Ok(answer) = answer else { return Reading::None };
        let Ok(envelope) = Envelope::parse(&answer) else { return Reading::None };
        let has_result = envelope.result.is_some();
        let mut rewriter = self.rewriter(scope, session, server);
        if owner.name != requested.name {
            let uris = std::sync::Arc::make_mut(&mut rewriter.uris);
            uris.insert(owner.name.clone(), requested.name.clone());
        }
        match rewriter.message(answer) {
            Some(answer) if has_result => Reading::Read(answer),
            Some(answer) => Reading::Refused(answer),
            None => Reading::None,
        }
    }
}

/// What came of asking one server.
enum Reading {
    Read(Bytes),
    /// The error that the server has given.
    Refused(Bytes),
    /// All its nodes are away: it may have the resource.
    Absent(Refusal),
    None,
}
