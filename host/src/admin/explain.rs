//! `GET /api/cluster/explain`: why sessions are where they are.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::RoomReport;
use crate::edge::{
    Attempt, AttemptOutcome, Candidate, ChosenBy, Decision, DecisionResult, InputValue,
};
use crate::model::{Health, NodeId, ServerName, SessionId};
use crate::protocol::objects::object_only;
use crate::store::Binding;
use crate::wasm::vocabulary::AffinityAction;

use super::answer::ApiAnswer;
use super::extract::{AdmittedCaller, QueryParams};
use super::{Admin, ApiCaller};

/// Decisions unless the request says how many.
const USUAL: usize = 20;
/// The most of one answer.
const MOST: usize = 200;
/// Digits of a session's short name.
const SHORT: usize = 8;

#[derive(Deserialize)]
#[serde(remote = "Self")]
pub struct ExplainFilter {
    /// A whole id, a uuid, or the short name of the log.
    session: Option<String>,
    /// What a response has as `X-Request-Id`.
    request: Option<String>,
    server: Option<String>,
    limit: Option<usize>,
}
object_only!(ExplainFilter);

pub async fn explain(
    AdmittedCaller(caller): AdmittedCaller,
    State(admin): State<Arc<Admin>>,
    QueryParams(filter): QueryParams<ExplainFilter>,
) -> ApiAnswer {
    let session = match filter.session.as_deref().map(|text| named(&admin, text)) {
        None => None,
        Some(Some(session)) => Some(session),
        Some(None) => {
            let text = "session is neither the id of a session of this gateway, nor its uuid, nor \
                        the 8 digits by which the log names it";
            return ApiAnswer::failure(StatusCode::BAD_REQUEST, text);
        }
    };
    let wanted = |decision: &Decision| {
        session.as_ref().is_none_or(|session| session.is(decision.session))
            && filter.request.as_deref().is_none_or(|id| decision.request.as_deref() == Some(id))
            && filter.server.as_deref().is_none_or(|name| decision.server.as_str() == name)
            && caller.sees(&decision.server)
    };
    let limit = filter.limit.unwrap_or(USUAL).clamp(1, MOST);
    let found = admin.decisions.last(limit, wanted);
    let known = found.first().map(|decision| decision.session);
    let bound = session.and_then(|session| match session {
        SessionName::Whole(id) => Some(id),
        SessionName::Short(_) => known,
    });
    let bindings = bound.map_or_else(Vec::new, |session| bindings(&admin, &caller, session));
    let is_named = bound.is_some() || filter.session.is_some() || filter.request.is_some();
    if found.is_empty() && bindings.is_empty() && is_named {
        let text = "No decision is known: this process keeps its last 500. A session that its node \
                    has reported was decided elsewhere, or before the start";
        return ApiAnswer::failure(StatusCode::NOT_FOUND, text);
    }
    ApiAnswer::Data(json!({
        "decisions": found.iter().map(|decision| shown(decision)).collect::<Vec<_>>(),
        "bindings": bindings,
    }))
}

enum SessionName {
    Whole(SessionId),
    Short(String),
}

impl SessionName {
    fn is(&self, session: SessionId) -> bool {
        match self {
            Self::Whole(id) => *id == session,
            Self::Short(short) => session.short() == *short,
        }
    }
}

fn named(admin: &Admin, text: &str) -> Option<SessionName> {
    if text.len() == SHORT && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Some(SessionName::Short(text.to_ascii_lowercase()));
    }
    let whole = SessionId::parse(text).or_else(|| admin.keys.peek(text));
    whole.map(SessionName::Whole)
}

/// Where the session's servers are now.
fn bindings(admin: &Admin, caller: &ApiCaller, session: SessionId) -> Vec<Value> {
    let Some(record) = admin.bindings.record(session) else { return Vec::new() };
    let one = |(server, binding): &(ServerName, Binding)| {
        json!({
            "serverId": server.as_str(),
            "nodeId": binding.node.as_str(),
            "createdAt": binding.since.0,
            "lastAccessed": binding.last_used.0,
            "decidedHere": binding.decided_here,
        })
    };
    record.servers.iter().filter(|(server, _)| caller.sees(server)).map(one).collect()
}

/// A decision as the API shows it.
pub(super) fn shown(decision: &Decision) -> Value {
    let (outcome, node, why) = match &decision.result {
        DecisionResult::Opened(node) => ("opened", Some(node), None),
        DecisionResult::Refused(why) => ("refused", None, Some(why.as_str())),
        DecisionResult::Left => ("left", None, Some("the client left before the server was open")),
    };
    let took = u64::try_from(decision.took.as_millis()).unwrap_or(u64::MAX);
    json!({
        "number": decision.number,
        "at": decision.at.0,
        "tookMs": took,
        "request": decision.request,
        "conversation": decision.conversation,
        "session": decision.session.short(),
        "server": decision.server.as_str(),
        "outcome": outcome,
        "node": node.map(NodeId::as_str),
        "why": why,
        "inputs": decision.inputs.iter().map(|input| {
            let (value, state) = match &input.value {
                InputValue::Missing => (None, "missing"),
                InputValue::Hidden => (None, "hidden"),
                InputValue::Shown(value) => (Some(value), "shown"),
            };
            json!({"name": input.name, "state": state, "value": value})
        }).collect::<Vec<_>>(),
        "affinity": decision.affinity.as_ref().map(NodeId::as_str),
        "candidates": decision.candidates.iter().map(candidate).collect::<Vec<_>>(),
        "moreCandidates": decision.more_candidates,
        "attempts": decision.attempts.iter().map(attempt).collect::<Vec<_>>(),
        "moreAttempts": decision.more_attempts,
    })
}

fn candidate(candidate: &Candidate) -> Value {
    json!({
        "node": candidate.node.as_str(),
        "health": health(candidate.health),
        "room": RoomReport::from(candidate.room),
        "zone": candidate.zone,
        "weight": candidate.weight,
        "bindings": candidate.bindings,
    })
}

fn attempt(attempt: &Attempt) -> Value {
    let (by, why) = match attempt.by {
        ChosenBy::Strategy => ("strategy", None),
        ChosenBy::Fallback => ("fallback", None),
        ChosenBy::LeastLoaded(why) => ("least-loaded", Some(why)),
    };
    let (outcome, reason) = match &attempt.outcome {
        AttemptOutcome::UnderWay => ("under-way", None),
        AttemptOutcome::Opened => ("opened", None),
        AttemptOutcome::Refused(why) => ("refused", Some(why)),
    };
    let asked = attempt.asked.as_deref();
    json!({
        "by": by,
        "why": why,
        "fallback": asked.and_then(|asked| asked.fallback).map(|reason| reason.label()),
        "strategy": asked.map(|asked| json!({
            "name": asked.plugin, "version": asked.version, "generation": asked.generation,
        })),
        "answers": asked.map_or_else(Vec::new, |asked| asked.named.iter().map(|(node, usable)| {
            json!({"node": &**node, "usable": usable})
        }).collect()),
        "generation": attempt.generation,
        "excluded": attempt.excluded.iter().map(NodeId::as_str).collect::<Vec<_>>(),
        "node": attempt.node.as_ref().map(NodeId::as_str),
        "affinity": match attempt.token {
            AffinityAction::Keep => "keep",
            AffinityAction::Pin => "pin",
            AffinityAction::Clear => "clear",
        },
        "outcome": if attempt.node.is_none() { "no-node" } else { outcome },
        "reason": reason,
    })
}

/// As the registry's words for people.
pub(super) fn health(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Suspect => "suspect",
        Health::Draining => "draining",
        Health::Silent => "silent",
        Health::Unhealthy => "unhealthy",
        Health::Inactive => "inactive",
    }
}
