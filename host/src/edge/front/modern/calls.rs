//! Requests that servers answer.

use std::sync::Arc;

use http::{HeaderMap, Response};
use serde_json::value::RawValue;

use crate::edge::aggregate::server_ids;
use crate::edge::bridge::call::{CallStart, InnerCall};
use crate::edge::bridge::demanded_task::asking_for_task;
use crate::edge::bridge::inner_session::InnerInUse;
use crate::edge::bridge::legacy_message::legacy_message;
use crate::edge::bridge::questions;
use crate::edge::bridge::suspension::{Returned, input_of, is_declined};
use crate::edge::catalog::merge::ScopeCatalog;
use crate::edge::refusal::Refusal;
use crate::edge::session::client_session::{Origin, Session};
use crate::model::SessionId;
use crate::net::Body;
use crate::protocol::era::answered::tool_error;
use crate::protocol::era::arguments;
use crate::protocol::era::methods::Method;
use crate::protocol::jsonrpc::Malformed;
use crate::protocol::lenient::Members;
use crate::protocol::methods::List;
use crate::protocol::request_state::{WaitingQuestion, digest};
use crate::protocol::splice;
use crate::protocol::strict::StrictParams;
use crate::sync::Locked;

use super::request::ModernRequest;
use super::respond::respond;

/// What the client sends back of a request that has waited.
#[derive(Default)]
struct SentBack<'a> {
    responses: Option<&'a RawValue>,
    state: Option<&'a RawValue>,
}

impl<'a> SentBack<'a> {
    fn of(params: Option<&'a RawValue>) -> Self {
        let Some(params) = params.and_then(|params| Members::of(params.get())) else {
            return Self::default();
        };
        Self { responses: params.get("inputResponses"), state: params.get("requestState") }
    }
}

/// A call that is ready to begin.
pub(super) struct BegunCall {
    pub session: Session,
    pub in_use: InnerInUse,
    /// Its id at the server.
    pub id: String,
    /// Of what was asked for.
    pub digest: String,
    /// What it names, as the client knows it.
    pub named: String,
    /// The conversation, if the client has named it by the gateway's own name.
    pub handle: Option<SessionId>,
    /// Whether the server is asked for a task, whose result is waited for then.
    pub demands_task: bool,
    pub beginning: CallStart,
}

impl ModernRequest<'_> {
    /// The answer of the server that owns what the request names.
    ///
    /// # Errors
    /// If no server can take it.
    pub async fn call(&self) -> Result<Response<Body>, Refusal> {
        let mut session = self.session()?;
        let sent_back = SentBack::of(self.envelope.params);
        if !self.is_suspended(&sent_back)
            && let Some(response) = Box::pin(self.passed_on(&session)).await?
        {
            return Ok(response);
        }
        let params = StrictParams::of(self.envelope.params).map_err(Refusal::from)?;
        let target = params.target;
        let named = target.name.or(target.uri);
        let asked_for = digest(self.envelope.method(), named, target.arguments);
        let handle = self.handle();
        let returned = match sent_back.state.filter(|_| self.method.may_ask()) {
            Some(state) => {
                let text = splice::string(state).unwrap_or_default();
                let edge = &self.worker.edge;
                Some(edge.returned(
                    &text,
                    self.scope,
                    self.principal,
                    (asked_for.as_str(), handle),
                )?)
            }
            None => None,
        };
        let responses = sent_back.responses;
        if returned.as_ref().is_some_and(|returned| is_declined(&returned.state, responses)) {
            return self.observed(&session, async { self.declined(&session) }).await;
        }
        // Where only URLs had to be opened, the request begins anew.
        let returned = returned.filter(|returned| !returned.state.request.is_empty());
        if let Some(returned) = &returned {
            // After a restart, what nodes have of it is waited for.
            (session.id, session.minted_at) = (returned.session, returned.since);
            session.has_id = !returned.state.alone;
            session.origin =
                if returned.state.alone { Origin::Request } else { Origin::Conversation };
        }
        self.check_capability(&session)?;
        if self.method == Method::Tool {
            self.check_arguments(&session, &params)?;
        }
        let in_use = self.worker.use_inner(self.context, &session)?;
        let id = self.worker.edge.own_ids.id();
        let named_text = named.and_then(splice::string).unwrap_or_default();
        let mut demands_task = false;
        let mut goes_on = None;
        let beginning = match returned {
            Some(returned) => {
                let at = server_ids::of_event(&returned.state.first).map(|(server, _)| server);
                goes_on = Some((at, session.clone()));
                self.worker.expires_no_more(&returned);
                let waiting = self.hand_over(&session, &returned, sent_back.responses).await;
                CallStart::Returned(returned, waiting)
            }
            None => {
                let unreadable = || Malformed::Message("params cannot be read");
                let message = legacy_message(self.message, self.envelope, self.claim, &id);
                let message = message.ok_or_else(unreadable)?;
                demands_task = self.method == Method::Tool
                    && self.worker.demands_task(self.scope, &session, &named_text);
                CallStart::New(if demands_task { asking_for_task(message) } else { message })
            }
        };
        let (digest, named) = (asked_for, named_text);
        let begun =
            BegunCall { session, in_use, id, digest, named, handle, demands_task, beginning };
        match goes_on {
            None => self.answered_by(begun).await,
            // What begins is noted as it is sent to its server. This is sent nowhere.
            Some((at, session)) => {
                self.observed_at(at.as_ref(), &session, self.answered_by(begun)).await
            }
        }
    }

    /// The response with what a call brings.
    ///
    /// # Errors
    /// If no server can take it.
    pub(super) async fn answered_by(&self, begun: BegunCall) -> Result<Response<Body>, Refusal> {
        let BegunCall { session, in_use, id, digest, named, handle, demands_task, beginning } =
            begun;
        let additions = self.additions(&session);
        let carried: Arc<Locked<HeaderMap>> = Arc::default();
        let call = InnerCall {
            worker: self.worker.clone(),
            context: self.context.clone(),
            scope: self.scope.clone(),
            session,
            in_use,
            method: self.method,
            client_id: self.id.to_owned(),
            first_id: id.clone(),
            id,
            demands_task,
            task: None,
            token: self.claim.progress_token.map(str::to_owned),
            log_level: self.claim.log_level,
            capabilities: self.claim.capabilities.to_owned(),
            digest,
            named,
            handle,
            owner: None,
            additions,
            carried: Arc::clone(&carried),
        };
        let said = call.begin(beginning);
        let mut response = respond(said, self.id, self.worker.edge.config.keep_alive).await?;
        response.headers_mut().extend(std::mem::take(&mut *carried.lock()));
        Ok(response)
    }

    /// The answer to a client whose user has not opened what its server needs: the server would only
    /// want it again.
    fn declined(&self, session: &Session) -> Result<Response<Body>, Refusal> {
        let text = "the user has not opened the URL that the server needs for this request";
        match self.method {
            Method::Tool => Ok(self.answer(&tool_error(text), &self.additions(session))),
            _ => Err(Refusal::InvalidParams(text.to_owned())),
        }
    }

    /// Whether the client goes on with a request that waits in a session of the gateway's own.
    fn is_suspended(&self, sent_back: &SentBack<'_>) -> bool {
        let text = sent_back.state.and_then(splice::string);
        let keys = &self.worker.edge.keys;
        text.is_some_and(|text| {
            keys.open_request_state(&text, self.scope, self.principal).is_some()
        })
    }

    /// Gives the server the answers that have come. Returns the questions that go on waiting.
    async fn hand_over(
        &self,
        session: &Session,
        returned: &Returned,
        responses: Option<&RawValue>,
    ) -> Vec<WaitingQuestion> {
        let mut waiting = Vec::new();
        for question in &returned.state.questions {
            match input_of(responses, &question.key, &question.method) {
                Some(answer) => {
                    let answer = questions::for_server(&question.id, answer);
                    self.worker.answer_question(Some(self.context), session, &answer).await;
                }
                None => waiting.push(question.clone()),
            }
        }
        waiting
    }

    /// Checks the headers that have to repeat arguments of the tool. A tool that is not listed yet
    /// has none.
    fn check_arguments(&self, session: &Session, params: &StrictParams<'_>) -> Result<(), Refusal> {
        let name = params.target.name.and_then(splice::string).unwrap_or_default();
        let known = self.worker.scope_catalog_now(self.scope, self.worker.set_of(session));
        let Some(tool) = tool_of(&known, &name) else { return Ok(()) };
        let mirrored = arguments::mirrored(&tool);
        if mirrored.is_empty() {
            return Ok(());
        }
        let arguments = params.target.arguments.map(RawValue::get);
        arguments::check(&mirrored, arguments, &self.context.headers)?;
        Ok(())
    }
}

/// A tool's entry in the list, if its schema annotates anything.
fn tool_of(known: &ScopeCatalog, name: &str) -> Option<bytes::Bytes> {
    let items = known.items(List::Tools);
    let annotation = memchr::memmem::Finder::new(arguments::ANNOTATION);
    let mut annotated = items.iter().filter(|item| annotation.find(item).is_some());
    annotated
        .find(|item| {
            Members::of_bytes(item).and_then(|item| item.text("name")).as_deref() == Some(name)
        })
        .cloned()
}
