//! The end of a call: its result or error, or what the client is asked, as the client gets it.

use bytes::Bytes;
use http::StatusCode;
use serde_json::value::RawValue;

use crate::edge::refusal::Refusal;
use crate::edge::session::client_session::Origin;
use crate::protocol::era::fault::{self, EraFault};
use crate::protocol::era::methods::Method;
use crate::protocol::era::result::Additions;
use crate::protocol::era::tasks::{self, TaskName};
use crate::protocol::jsonrpc::{self, Envelope, code};
use crate::protocol::lenient::Members;
use crate::protocol::request_state::{MOST_QUESTIONS, RequestState, WaitingQuestion};
use crate::protocol::{error_kind, splice};

use super::call::InnerCall;
use super::notices;
use super::questions::{self, ClientQuestion};
use super::source::number_of;

impl InnerCall {
    /// The server's answer for the client. `None` for a message that is none.
    pub fn answered(&mut self, envelope: &Envelope<'_>) -> Option<(StatusCode, Bytes)> {
        match (envelope.result, envelope.error) {
            (Some(result), _) => Some(self.result(result)),
            (None, Some(error)) => Some(self.failed(error)),
            (None, None) => None,
        }
    }

    fn result(&mut self, result: &RawValue) -> (StatusCode, Bytes) {
        let named = match self.method {
            Method::Tool => self.as_task(result),
            // The client knows it by the id under which it has asked.
            Method::Task => Some(tasks::with_id(result, &self.named)),
            _ => None,
        };
        let is_task = self.method == Method::Tool && named.is_some();
        let named: Option<&RawValue> =
            named.as_deref().and_then(|named| serde_json::from_str(named).ok());
        let result = named.unwrap_or(result);
        let told = self.worker.edge.untold_losses(&self.session);
        let mut meta = self.additions.meta.clone();
        meta.extend(notices::in_meta(&told));
        let additions = Additions { is_kept: self.additions.is_kept, is_task, meta };
        let Some(result) = additions.to(result) else {
            return self.error(code::INTERNAL, "the server's result is no object");
        };
        let with_content = match self.method {
            Method::Tool => notices::in_content(&result, &told),
            _ => None,
        };
        let result = with_content.unwrap_or(result);
        (StatusCode::OK, jsonrpc::result(&self.client_id, result.as_bytes()))
    }

    /// The result of a call that has begun a task, under the id by which its client finds it again, from
    /// any gateway. `None` for any other result, and if the client takes no tasks.
    fn as_task(&mut self, result: &RawValue) -> Option<String> {
        let server = self.owner.as_ref().filter(|_| self.context.takes_tasks())?;
        let edge = &self.worker.edge;
        let (id, session) = (tasks::id_in(result)?, &self.session);
        if !self.worker.has_modern_tasks(session, server) {
            return None;
        }
        let node = edge.bindings.look(session.id, server);
        let name = TaskName {
            server: server.to_string(),
            id,
            tool: self.named.clone(),
            node: node.map(|node| node.to_string()).unwrap_or_default(),
            alone: session.origin == Origin::Request,
        };
        let bytes = name.to_bytes();
        let sealed = edge.keys.seal_task(session.id, &bytes, &self.scope, &session.principal)?;
        // The process that has the task may be that of the session.
        self.in_use.goes_on();
        Some(tasks::with_id(result, &sealed))
    }

    fn failed(&self, error: &RawValue) -> (StatusCode, Bytes) {
        let known = error_kind::code_of(error.get());
        let id = &self.client_id;
        if known == Some(code::URL_REQUIRED) {
            if !questions::opens_urls(&self.capabilities) {
                let fault = EraFault::NoUrls;
                let status = fault.status();
                return (status, Refusal::from(fault).message(Some(id)));
            }
            let asks = if self.method.may_ask() { self.asks_for_urls(error) } else { None };
            if let Some(asks) = asks {
                return asks;
            }
        }
        let mut text = error.get().to_owned();
        // Clients without sessions know other codes for it.
        let other = match known {
            Some(code::RESOURCE) => Some(code::INVALID_PARAMS),
            Some(code::URL_REQUIRED) => Some(code::INTERNAL),
            _ => None,
        };
        if let (Some(other), Some(span)) = (other, code_in(error)) {
            text.replace_range(span, &other.to_string());
        }
        let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{text}}}");
        let status = known.and_then(fault::status_of).unwrap_or(StatusCode::OK);
        (status, answer.into())
    }

    /// The URLs are opened by the client, and the request is sent anew.
    fn asks_for_urls(&self, error: &RawValue) -> Option<(StatusCode, Bytes)> {
        let urls = questions::urls_to_open(error);
        if urls.is_empty() || urls.len() > MOST_QUESTIONS {
            return None;
        }
        let keys: Vec<String> = (1..=urls.len()).map(|n| format!("url-{n}")).collect();
        let state = RequestState {
            digest: self.digest.clone(),
            request: String::new(),
            first: String::new(),
            seen: String::new(),
            questions: keys.iter().map(|key| WaitingQuestion::of_url(key)).collect(),
            asked: 0,
            alone: self.session.origin == Origin::Request,
            handle: self.handle.map(|handle| handle.to_string()).unwrap_or_default(),
        };
        let asked = keys.iter().map(String::as_str).zip(urls.iter().map(String::as_str));
        Some((StatusCode::OK, self.input_required(asked, &state)?))
    }

    /// Whether questions that came with this call are still to be asked though it is answered: they are
    /// about another call of the conversation then, which waits for them.
    #[must_use]
    pub fn asks_for_others(&self, answer: &[u8]) -> bool {
        let error = Envelope::parse(answer).ok().and_then(|answer| answer.error);
        let code = error.and_then(|error| error_kind::code_of(error.get()));
        self.session.origin == Origin::Conversation && code != Some(code::SERVER_LOST)
    }

    /// Ends the client's request with what the server asks.
    ///
    /// # Errors
    /// If the state cannot be sealed.
    pub fn suspend(
        &mut self,
        asked: &[ClientQuestion],
        named: u32,
        seen: Option<String>,
    ) -> Result<(StatusCode, Bytes), Refusal> {
        let first = asked.iter().min_by_key(|asked| number_of(&asked.event));
        let first = first.map(|asked| asked.event.clone()).unwrap_or_default();
        let state = RequestState {
            digest: self.digest.clone(),
            request: self.id.clone(),
            seen: seen.unwrap_or_else(|| first.clone()),
            first,
            questions: asked.iter().map(|asked| asked.question.clone()).collect(),
            asked: named,
            alone: self.session.origin == Origin::Request,
            handle: self.handle.map(|handle| handle.to_string()).unwrap_or_default(),
        };
        let texts = asked.iter().map(|asked| (&*asked.question.key, &*asked.text));
        let answer = self.input_required(texts, &state).ok_or(Refusal::NoKey)?;
        self.worker.expire_later(&self.session, &state);
        self.in_use.goes_on();
        Ok((StatusCode::OK, answer))
    }

    fn input_required<'a>(
        &self,
        asked: impl Iterator<Item = (&'a str, &'a str)>,
        state: &RequestState,
    ) -> Option<Bytes> {
        let (edge, session) = (&self.worker.edge, &self.session);
        let bytes = state.to_bytes();
        let sealed =
            edge.keys.seal_request_state(session.id, &bytes, &self.scope, &session.principal)?;
        let result = questions::input_required(asked, &sealed);
        Some(jsonrpc::result(&self.client_id, result.as_bytes()))
    }

    /// An error of the gateway's own.
    #[must_use]
    pub fn error(&self, code: i64, text: &str) -> (StatusCode, Bytes) {
        (StatusCode::OK, jsonrpc::error(Some(&self.client_id), code, text))
    }
}

/// Where the code stands in an error.
fn code_in(error: &RawValue) -> Option<std::ops::Range<usize>> {
    let code = Members::of(error.get())?.get("code")?;
    splice::span(error.get().as_bytes(), code)
}
