//! The client's calls to a server whose state comes along: which of them set state, and what became
//! of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::edge::delivery::call::Call;
use crate::edge::delivery::outgoing::Outgoing;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::{Keep, ServerName, StatePlan, UnixMillis};
use crate::protocol::jsonrpc::{self, Envelope, Kind};
use crate::protocol::methods::{self, Destination};
use crate::protocol::splice::{self, RequestTarget};
use crate::store::KeptCall;

use super::activity::UnderWay;
use super::answer_kind::{self, AnswerKind};
use super::kept_state::bounds;
use super::saving;

/// What a request does to the server's state.
#[derive(Debug, Clone)]
enum Effect {
    /// None that is kept.
    None,
    /// It may change it.
    Change,
    /// It sets it. Its parameters are `None` if it cannot be repeated.
    Set { tool: String, params: Option<String>, keep: Keep, errors: bool },
}

/// The requests of one message of the client, until they are answered.
pub struct Tracked {
    worker: Worker,
    session: Session,
    server: ServerName,
    plan: Arc<StatePlan>,
    /// By the request's id as it was written.
    open: Vec<(String, Effect)>,
    _under_way: UnderWay,
}

impl Call<'_> {
    /// The plan for the server's state, if any of it comes along.
    #[must_use]
    pub fn state_plan(&self) -> Option<Arc<StatePlan>> {
        self.worker.edge.topology.load().state_plan(self.server).map(Arc::clone)
    }

    /// The requests of a message, and what each of them does to the server's state.
    pub async fn tracked(&self, outgoing: &Outgoing, plan: Arc<StatePlan>) -> Tracked {
        let Self { worker, session, server, .. } = *self;
        let under_way = worker.edge.state.activity.begin(session.id, server);
        let mut open = Vec::new();
        match Envelope::parse(&outgoing.body) {
            Ok(envelope) => open.extend(self.effect_of(&envelope, &plan).await),
            Err(_) => {
                // In 2025-03-26 it may be a batch.
                for part in jsonrpc::batch(&outgoing.body).ok().flatten().unwrap_or_default() {
                    if let Ok(envelope) = Envelope::parse(part.get().as_bytes()) {
                        open.extend(self.effect_of(&envelope, &plan).await);
                    }
                }
            }
        }
        if open.iter().any(|(_, effect)| !matches!(effect, Effect::None)) {
            self.join_keepers().await;
        }
        Tracked {
            worker: worker.clone(),
            session: session.clone(),
            server: server.clone(),
            plan,
            open,
            _under_way: under_way,
        }
    }

    /// The id of a request and what it does. `None` for other messages.
    async fn effect_of(
        &self,
        envelope: &Envelope<'_>,
        plan: &StatePlan,
    ) -> Option<(String, Effect)> {
        if envelope.kind() != Kind::Request {
            return None;
        }
        let id = envelope.id_text()?.to_owned();
        if methods::destination(envelope.method()) != Destination::Tool {
            return Some((id, Effect::None));
        }
        let target = RequestTarget::of(envelope.params);
        let Some(tool) = target.and_then(|target| splice::string(target.name?)) else {
            return Some((id, Effect::None));
        };
        let set = self.worker.set_of(self.session);
        let says = self.worker.tool_says(self.server, set, &tool).await;
        let rule = plan.replay.as_ref().and_then(|replay| replay.rule(&tool, says.sets_state));
        let effect = match rule {
            Some((keep, errors)) => {
                let params = envelope.params.and_then(repeatable);
                Effect::Set { tool, params, keep, errors }
            }
            None if plan.saving.is_some() && !says.only_reads => Effect::Change,
            None => Effect::None,
        };
        Some((id, effect))
    }
}

/// The parameters of a call without what belongs to its first run: the client's progress token.
/// `None` for a call that runs as a task, whose answer says nothing of its end.
fn repeatable(params: &RawValue) -> Option<String> {
    let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(params.get()).ok()?;
    if members.contains_key("task") {
        return None;
    }
    if let Some(meta) = members.get("_meta") {
        let mut meta: BTreeMap<String, Box<RawValue>> = serde_json::from_str(meta.get()).ok()?;
        meta.remove("progressToken");
        match meta.is_empty() {
            true => members.remove("_meta"),
            false => {
                members.insert("_meta".to_owned(), serde_json::value::to_raw_value(&meta).ok()?)
            }
        };
    }
    serde_json::to_string(&members).ok()
}

impl Tracked {
    /// Forgets its requests: none of them has run.
    pub fn give_up(&mut self) {
        self.open.clear();
    }

    /// Whether all of its requests are answered.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether one of its requests may change what the server saves.
    #[must_use]
    pub fn is_to_be_saved(&self) -> bool {
        let changes = |(_, effect): &(String, Effect)| !matches!(effect, Effect::None);
        self.plan.saving.is_some() && self.open.iter().any(changes)
    }

    /// Largest message of a server, in bytes.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.worker.edge.config.line
    }

    /// Takes what a server has sent. Only answers to these requests count.
    pub fn hear(&mut self, message: &[u8]) {
        if self.is_settled() {
            return;
        }
        match Envelope::parse(message) {
            Ok(envelope) => self.hear_one(&envelope),
            Err(_) => {
                for part in jsonrpc::batch(message).ok().flatten().unwrap_or_default() {
                    if let Ok(envelope) = Envelope::parse(part.get().as_bytes()) {
                        self.hear_one(&envelope);
                    }
                }
            }
        }
    }

    fn hear_one(&mut self, envelope: &Envelope<'_>) {
        if envelope.kind() != Kind::Response {
            return;
        }
        let Some(at) = self.open.iter().position(|(id, _)| envelope.id_text() == Some(id)) else {
            return;
        };
        let (_, effect) = self.open.swap_remove(at);
        self.settle(effect, answer_kind::kind_of(envelope));
    }

    fn settle(&self, effect: Effect, answer: AnswerKind) {
        let states = &self.worker.edge.state.states;
        let (session, server) = (self.session.id, &self.server);
        match (effect, answer) {
            (Effect::None, _) => return,
            (Effect::Change | Effect::Set { errors: false, .. }, AnswerKind::Error) => {
                if self.plan.saving.is_none() {
                    return;
                }
                states.change(session, server, |log| log.note_failure());
            }
            (Effect::Set { tool, .. }, AnswerKind::Unknown)
            | (Effect::Set { tool, params: None, .. }, _) => {
                states.change(session, server, |log| log.note_unsettled(&tool));
            }
            (Effect::Change, AnswerKind::Result | AnswerKind::Unknown) => {
                states.change(session, server, |log| log.note_change());
            }
            (Effect::Set { tool, params: Some(params), keep, .. }, answer) => {
                let was_error = answer == AnswerKind::Error;
                let (at, number, mark) = (UnixMillis::now(), 0, by_chance());
                let call = KeptCall { tool, params, at, keep, was_error, number, mark };
                let bounds = bounds(&self.plan);
                states.change(session, server, |log| log.keep(call, &bounds));
            }
        }
        if self.plan.saving.is_some() {
            saving::schedule(&self.worker, &self.session, &self.server);
        }
    }
}

/// Zero where the system has none.
fn by_chance() -> u64 {
    let mut bytes = [0; 8];
    let filled = getrandom::fill(&mut bytes);
    filled.map_or(0, |()| u64::from_le_bytes(bytes))
}

impl Drop for Tracked {
    fn drop(&mut self) {
        for (_, effect) in std::mem::take(&mut self.open) {
            self.settle(effect, AnswerKind::Unknown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_has_no_token_of_its_first_run() {
        let of = |text: &str| {
            let raw = RawValue::from_string(text.to_owned()).unwrap();
            repeatable(&raw)
        };
        for (params, expect) in [
            (
                r#"{"name":"a","arguments":{"n":1.50}}"#,
                Some(r#"{"arguments":{"n":1.50},"name":"a"}"#),
            ),
            (r#"{"name":"a","_meta":{"progressToken":1}}"#, Some(r#"{"name":"a"}"#)),
            (
                r#"{"name":"a","_meta":{"progressToken":1,"x/y":{"z":2}}}"#,
                Some(r#"{"_meta":{"x/y":{"z":2}},"name":"a"}"#),
            ),
            (r#"{"name":"a","task":{}}"#, None),
            (r#"{"name":"a","_meta":1}"#, None),
            ("[]", None),
        ] {
            assert_eq!(of(params).as_deref(), expect, "{params}");
        }
    }
}
