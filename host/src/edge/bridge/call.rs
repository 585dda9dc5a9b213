//! One request of a client without a session, at a server that has them.
//!
//! ```text
//!            ┌── note (progress, log) ──► client, on an event stream
//! messages ──┼── question ── for a moment, others with it ──► client, as input that is required
//!            └── answer ──► client
//! ```
//!
//! The call runs in a task of its own. When the client closes its response, nobody receives any more,
//! and the request is cancelled at the server.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::edge::aggregate::reply::rewritten;
use crate::edge::aggregate::server_ids;
use crate::edge::client_request::ClientRequest;
use crate::edge::delivery::call::Call;
use crate::edge::delivery::outgoing::Outgoing;
use crate::edge::refusal::{Refusal, lost_words};
use crate::edge::scope;
use crate::edge::session::client_session::{Origin, Session};
use crate::edge::worker::Worker;
use crate::model::{Scope, ServerName};
use crate::net::Body;
use crate::protocol::era::fault;
use crate::protocol::era::methods::Method;
use crate::protocol::era::result::Additions;
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::lenient::Members;
use crate::protocol::log_level::LogLevel;
use crate::protocol::request_state::{MOST_QUESTIONS, Question, RequestState};
use crate::protocol::{error_kind, methods, splice};
use crate::streams::EventId;

use super::inner_session::InnerInUse;
use super::notices;
use super::questions;
use super::source::{Source, Told, before, number_of};
use super::suspension::Returned;

/// How long further questions are waited for: servers ask several at a time.
const TOGETHER: Duration = Duration::from_millis(40);
/// Messages that wait for the client to read them.
const AHEAD: usize = 16;

/// What the client gets.
#[derive(Debug)]
pub enum Said {
    /// A notification.
    Note(Bytes),
    /// The answer, and the status of a response that has nothing but it.
    Answer(StatusCode, Bytes),
    /// The same, of the gateway.
    Refused(Refusal),
}

/// How the call begins.
pub enum Beginning {
    /// The message for the server.
    New(Bytes),
    /// The client has come back with input, which the server has by now.
    Returned(Returned, Vec<Question>),
}

/// A request, as the gateway makes it in the client's place.
pub struct InnerCall {
    pub worker: Worker,
    pub context: ClientRequest,
    pub scope: Scope,
    pub session: Session,
    pub in_use: InnerInUse,
    pub method: Method,
    /// The client's id for it, as JSON.
    pub client_id: String,
    /// The id at the server, which is its progress token too.
    pub id: String,
    /// The client's progress token, as JSON.
    pub token: Option<String>,
    pub log_level: Option<LogLevel>,
    /// The client's capabilities, as JSON.
    pub capabilities: String,
    /// Of what was asked for.
    pub digest: String,
    /// What results get.
    pub additions: Additions,
}

/// A question that the client is to be asked.
struct Asked {
    question: Question,
    /// As the client gets it.
    text: String,
    event: String,
}

/// What one message means.
enum Step {
    On,
    Note(Bytes),
    Ask(Asked),
    Answer(StatusCode, Bytes),
}

/// Where the call stands.
#[derive(Default)]
struct Progress {
    asked: Vec<Asked>,
    /// The last number in a question's name.
    named: u32,
    /// The last event that was read.
    seen: Option<String>,
    /// Messages up to this one have been seen by the client, but for the questions that wait.
    skips: Option<u64>,
    /// Questions of before that wait.
    waiting: Vec<Question>,
}

impl InnerCall {
    /// Begins the call, of which the receiver gets what the client gets.
    pub fn begin(mut self, beginning: Beginning) -> mpsc::Receiver<Said> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            let is_over = tokio::select! {
                biased;
                () = self.run(beginning, &sender) => true,
                () = sender.closed() => false,
            };
            if !is_over {
                self.cancel().await;
            }
        });
        receiver
    }

    async fn run(&mut self, beginning: Beginning, sender: &mpsc::Sender<Said>) {
        let said = match self.answer(beginning, sender).await {
            Ok((status, answer)) => Said::Answer(status, answer),
            Err(refusal) => Said::Refused(refusal),
        };
        let _ = sender.send(said).await;
    }

    async fn answer(
        &mut self,
        beginning: Beginning,
        sender: &mpsc::Sender<Said>,
    ) -> Result<(StatusCode, Bytes), Refusal> {
        let mut progress = Progress::default();
        let response = match beginning {
            Beginning::New(message) => {
                self.set_level().await;
                let answer = self.worker.aggregate_one(
                    &self.context,
                    &self.scope,
                    &self.session,
                    message,
                );
                answer.await.map_err(|(refusal, _)| refusal)?
            }
            Beginning::Returned(returned, waiting) => {
                let RequestState { request, first, seen, asked, .. } = returned.state;
                self.id = request;
                progress.named = asked;
                progress.skips = number_of(&seen);
                progress.seen = Some(seen);
                progress.waiting = waiting;
                self.resumed(&first).await?
            }
        };
        let mut source = Source::of(response, self.worker.edge.config.line).await;
        loop {
            let told = match progress.asked.is_empty() {
                true => source.next().await,
                false => match tokio::time::timeout(TOGETHER, source.next()).await {
                    Ok(told) => told,
                    Err(_) => return self.suspend(progress),
                },
            };
            let Some(told) = told else {
                let text = "the connection to the server broke during the call, which may have run";
                return Ok(self.error(code::SERVER_LOST, text));
            };
            match self.step(told, &mut progress).await {
                Step::On => {}
                Step::Note(note) => {
                    let _ = sender.send(Said::Note(note)).await;
                }
                Step::Ask(asked) => progress.asked.push(asked),
                Step::Answer(status, answer) => return Ok((status, answer)),
            }
        }
    }

    /// The rest of the stream of a call, from before its first question that waits.
    async fn resumed(&self, first: &str) -> Result<Response<Body>, Refusal> {
        let gone = || {
            Refusal::InvalidParams("params.requestState names no call that this server has".into())
        };
        let last = before(first).ok_or_else(gone)?;
        let (server, own) = server_ids::of_event(&last).ok_or_else(gone)?;
        if !scope::has(&self.worker, &self.scope, &server) {
            return Err(gone());
        }
        let place = EventId::parse(own).ok_or_else(gone)?;
        let outgoing = Outgoing::get(HeaderValue::from_str(own).ok());
        let call = Call::of_client(&self.worker, &self.context, &self.session, &server);
        let response = call.resume(&outgoing, place).await?;
        let rewriter = self.worker.rewriter(&self.scope, &self.session, &server);
        let id = self.id.clone();
        let last_words = move |server: &ServerName| lost_words(&id, server);
        let limit = self.worker.edge.config.line;
        Ok(rewritten(response, rewriter, Some(last_words), limit).await)
    }

    async fn step(&self, told: Told, progress: &mut Progress) -> Step {
        let Told { message, event } = told;
        let Ok(envelope) = Envelope::parse(&message) else { return Step::On };
        if envelope.kind() == Kind::Response {
            let is_ours = envelope.id_text().is_none_or(|id| id == self.id || id == "null");
            return if is_ours { self.answered(&envelope) } else { Step::On };
        }
        let number = event.as_deref().and_then(number_of);
        let is_seen = progress.skips.zip(number).is_some_and(|(last, this)| this <= last);
        if !is_seen && event.is_some() {
            progress.seen.clone_from(&event);
        }
        match envelope.kind() {
            Kind::Request => self.asked(&envelope, event, is_seen, progress).await,
            Kind::Notification if is_seen => Step::On,
            Kind::Notification | Kind::Response => {
                self.note(&message, &envelope).map_or(Step::On, Step::Note)
            }
        }
    }

    /// A question of the server.
    async fn asked(
        &self,
        envelope: &Envelope<'_>,
        event: Option<String>,
        is_seen: bool,
        progress: &mut Progress,
    ) -> Step {
        let (Some(id), method) = (envelope.id_text(), envelope.method()) else { return Step::On };
        let known = progress.waiting.iter().find(|question| question.id == id).cloned();
        if is_seen && known.is_none() {
            return Step::On;
        }
        if method == methods::PING {
            self.reply(&jsonrpc::result(id, b"{}")).await;
            return Step::On;
        }
        let may_ask = self.method.may_ask()
            && progress.asked.len() < MOST_QUESTIONS
            && questions::may_be_asked(method, &self.capabilities);
        let Some(event) = event.filter(|event| may_ask && before(event).is_some()) else {
            self.reply(&questions::refused(id, method)).await;
            return Step::On;
        };
        let question = known.unwrap_or_else(|| {
            progress.named += 1;
            let key = format!("input-{}", progress.named);
            Question { key, id: id.to_owned(), method: method.to_owned() }
        });
        let text = questions::request(method, envelope.params);
        Step::Ask(Asked { question, text, event })
    }

    /// A notification for the client: progress that it has asked for, and log messages from its
    /// level on.
    fn note(&self, message: &Bytes, envelope: &Envelope<'_>) -> Option<Bytes> {
        let params = envelope.params.and_then(|params| Members::of(params.get()))?;
        match envelope.method() {
            methods::PROGRESS => {
                let token = params.get("progressToken").filter(|token| token.get() == self.id)?;
                let span = splice::span(message, token)?;
                let own = self.token.as_deref()?;
                Some(splice::replace(message, span, own.as_bytes()))
            }
            methods::MESSAGE => {
                let least = self.log_level?;
                let level = params.text("level").and_then(|level| LogLevel::parse(&level))?;
                (level.rank() >= least.rank()).then(|| message.clone())
            }
            _ => None,
        }
    }

    fn answered(&self, envelope: &Envelope<'_>) -> Step {
        let (status, answer) = match (envelope.result, envelope.error) {
            (Some(result), _) => self.result(result),
            (None, Some(error)) => self.failed(error),
            (None, None) => return Step::On,
        };
        Step::Answer(status, answer)
    }

    fn result(&self, result: &RawValue) -> (StatusCode, Bytes) {
        let told = self.worker.edge.untold_losses(&self.session);
        let mut meta = self.additions.meta.clone();
        meta.extend(notices::in_meta(&told));
        let additions = Additions { is_kept: self.additions.is_kept, meta };
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

    fn failed(&self, error: &RawValue) -> (StatusCode, Bytes) {
        let known = error_kind::code_of(error.get());
        if known == Some(code::URL_REQUIRED)
            && self.method.may_ask()
            && questions::may_be_asked("elicitation/create", &self.capabilities)
            && let Some(asks) = self.asks_for_urls(error)
        {
            return asks;
        }
        let mut text = error.get().to_owned();
        // Clients without sessions know another code for it.
        if self.method == Method::Resource
            && known == Some(code::RESOURCE)
            && let Some(span) = code_in(error)
        {
            text.replace_range(span, &code::INVALID_PARAMS.to_string());
        }
        let id = &self.client_id;
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
            questions: Vec::new(),
            asked: 0,
            alone: self.session.origin == Origin::Request,
        };
        let asked = keys.iter().map(String::as_str).zip(urls.iter().map(String::as_str));
        Some((StatusCode::OK, self.input_required(asked, &state)?))
    }

    /// Ends the client's request with what the server asks.
    fn suspend(&mut self, progress: Progress) -> Result<(StatusCode, Bytes), Refusal> {
        let Progress { asked, named, seen, .. } = progress;
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

    fn error(&self, code: i64, text: &str) -> (StatusCode, Bytes) {
        (StatusCode::OK, jsonrpc::error(Some(&self.client_id), code, text))
    }

    async fn reply(&self, answer: &Bytes) {
        self.worker.answer_question(Some(&self.context), &self.session, answer).await;
    }

    /// Has the session's servers log from the client's level on, if it wants log messages at all.
    async fn set_level(&self) {
        let Some(level) = self.log_level else { return };
        let edge = &self.worker.edge;
        let known = edge.bindings.record(self.session.id).and_then(|record| record.log_level);
        if known.is_some_and(|known| known.rank() <= level.rank()) {
            return;
        }
        let params = format!("{{\"level\":{}}}", level.json());
        let message = jsonrpc::request(&edge.own_ids.id(), methods::SET_LEVEL, &params);
        let Self { context, scope, session, .. } = self;
        // A server without the feature refuses; then it logs as it likes.
        let _ = self.worker.aggregate_one(context, scope, session, message).await;
    }

    /// The client waits no more.
    async fn cancel(&self) {
        if self.session.origin == Origin::Request {
            // It ends with the request.
            return;
        }
        let cancelled = jsonrpc::cancelled(&self.id, "the client has closed its response");
        let Some(record) = self.worker.edge.bindings.record(self.session.id) else { return };
        for (server, _) in record.servers {
            let call = Call::own(&self.worker, &self.session, &server);
            call.tell_holder(&Outgoing::post(cancelled.clone())).await;
        }
    }
}

/// Where the code stands in an error.
fn code_in(error: &RawValue) -> Option<std::ops::Range<usize>> {
    let code = Members::of(error.get())?.get("code")?;
    splice::span(error.get().as_bytes(), code)
}
