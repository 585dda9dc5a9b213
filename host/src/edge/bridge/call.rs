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

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::sync::mpsc;

use crate::edge::aggregate::reply::rewritten;
use crate::edge::aggregate::server_ids;
use crate::edge::aggregate::tasks::AnsweredBy;
use crate::edge::client_request::ClientRequest;
use crate::edge::delivery::call::Call;
use crate::edge::delivery::outgoing::Outgoing;
use crate::edge::refusal::{Refusal, lost_words};
use crate::edge::scope;
use crate::edge::session::client_session::{Origin, Session};
use crate::edge::worker::Worker;
use crate::model::{Scope, ServerName, SessionId};
use crate::net::Body;
use crate::protocol::era::methods::Method;
use crate::protocol::era::result::Additions;
use crate::protocol::jsonrpc::{self, Envelope, Kind, MAX_ID, code};
use crate::protocol::lenient::Members;
use crate::protocol::log_level::LogLevel;
use crate::protocol::request_state::{MOST_QUESTIONS, RequestState, WaitingQuestion};
use crate::protocol::splice::RequestTarget;
use crate::protocol::{methods, splice};
use crate::streams::EventId;
use crate::sync::Locked;

use super::ahead::{self, AHEAD};
use super::inner_session::InnerInUse;
use super::questions::{self, ClientQuestion};
use super::source::{CallMessages, Told, before, number_of};
use super::suspension::Returned;

/// How long further questions are waited for: servers ask several at a time.
const TOGETHER: Duration = Duration::from_millis(40);

/// What the client gets.
#[derive(Debug)]
pub enum CallOutput {
    /// A notification.
    Note(Bytes),
    /// The answer, and the status of a response that has nothing but it.
    Answer(StatusCode, Bytes),
    /// The same, of the gateway.
    Refused(Refusal),
}

/// How the call begins.
pub enum CallStart {
    /// The message for the server.
    New(Bytes),
    /// The client has come back with input, which the server has by now.
    Returned(Returned, Vec<WaitingQuestion>),
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
    /// The id at the server.
    pub id: String,
    /// That of the call itself, which is its progress token too.
    pub first_id: String,
    /// The client's progress token, as JSON.
    pub token: Option<String>,
    pub log_level: Option<LogLevel>,
    /// The client's capabilities, as JSON.
    pub capabilities: String,
    /// Of what was asked for.
    pub digest: String,
    /// What it names: the tool of a call, or the task, as the client knows it.
    pub named: String,
    /// The conversation, if the client has named it by the gateway's own name.
    pub handle: Option<SessionId>,
    /// The server that answers, once that is known.
    pub owner: Option<ServerName>,
    /// Whether the server is asked for a task, whose result is waited for then.
    pub demands_task: bool,
    /// The task whose result is waited for, as several servers' are told apart.
    pub task: Option<String>,
    /// What results get.
    pub additions: Additions,
    /// Headers of the response, which are there before anything is said.
    pub carried: Arc<Locked<HeaderMap>>,
}

/// What one message means.
enum Meaning {
    On,
    /// The call goes on as this task.
    Task(String),
    Note(Bytes),
    Ask(ClientQuestion),
    /// The server asks this no more.
    TakenBack(String),
    Answer(StatusCode, Bytes),
}

/// Where the call stands.
#[derive(Default)]
struct Progress {
    asked: Vec<ClientQuestion>,
    /// The last number in a question's name.
    named: u32,
    /// The last event that was read.
    seen: Option<String>,
    /// Messages up to this one have been seen by the client, but for the questions that wait.
    skips: Option<u64>,
    /// Questions of before that wait.
    waiting: Vec<WaitingQuestion>,
}

impl InnerCall {
    /// Begins the call, of which the receiver gets what the client gets.
    pub fn begin(mut self, beginning: CallStart) -> mpsc::Receiver<CallOutput> {
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

    async fn run(&mut self, beginning: CallStart, sender: &mpsc::Sender<CallOutput>) {
        let said = match self.answer(beginning, sender).await {
            Ok((status, answer)) => CallOutput::Answer(status, answer),
            Err(refusal @ Refusal::LogIn(_)) => self.ask_to_log_in(refusal),
            Err(refusal) => CallOutput::Refused(refusal),
        };
        let _ = sender.send(said).await;
    }

    /// The user is asked to log in, as if the server itself had asked.
    fn ask_to_log_in(&mut self, refusal: Refusal) -> CallOutput {
        let message = refusal.message(Some(&self.id));
        let answer = Envelope::parse(&message).ok().and_then(|it| self.answered(&it));
        answer.map_or(CallOutput::Refused(refusal), |(status, answer)| {
            CallOutput::Answer(status, answer)
        })
    }

    async fn answer(
        &mut self,
        beginning: CallStart,
        sender: &mpsc::Sender<CallOutput>,
    ) -> Result<(StatusCode, Bytes), Refusal> {
        let mut progress = Progress::default();
        let response = match beginning {
            CallStart::New(message) => {
                self.set_level().await;
                let answer =
                    self.worker.aggregate_one(&self.context, &self.scope, &self.session, message);
                let response = answer.await.map_err(|(refusal, _)| refusal)?;
                self.owner = response.extensions().get::<AnsweredBy>().map(|by| by.0.clone());
                self.carry(response.headers());
                response
            }
            CallStart::Returned(returned, waiting) => {
                let RequestState { request, first, seen, asked, .. } = returned.state;
                self.id = request;
                progress.named = asked;
                progress.skips = number_of(&seen);
                progress.seen = Some(seen);
                progress.waiting = waiting;
                self.owner = server_ids::of_event(&first).map(|(server, _)| server);
                self.resumed(&first).await?
            }
        };
        let mut source = CallMessages::of(response, self.worker.edge.config.line).await;
        loop {
            let told = match progress.asked.is_empty() {
                true => source.next().await,
                false => match tokio::time::timeout(TOGETHER, source.next()).await {
                    Ok(told) => told,
                    Err(_) => break,
                },
            };
            let Some(told) = told else {
                let text = "the connection to the server broke during the call, which may have run";
                return Ok(self.error(code::SERVER_LOST, text));
            };
            match self.step(told, &mut progress).await {
                Meaning::On => {}
                Meaning::Task(task) => {
                    // Its questions stand in the stream of another request.
                    (progress.seen, progress.skips) = (None, None);
                    source = self.wait_for_task(task).await?;
                }
                Meaning::Note(note) => {
                    let _ = ahead::put(sender, note.len(), CallOutput::Note(note)).await;
                }
                Meaning::Ask(asked) => progress.asked.push(asked),
                Meaning::TakenBack(id) => progress.asked.retain(|asked| asked.question.id != id),
                Meaning::Answer(status, answer) => {
                    if progress.asked.is_empty() || !self.asks_for_others(&answer) {
                        return Ok((status, answer));
                    }
                    // The answer is kept, and read when the client comes back.
                    break;
                }
            }
        }
        source.set_aside();
        let Progress { asked, named, seen, .. } = progress;
        self.suspend(&asked, named, seen)
    }

    /// Keeps what brings further conversations of the client to the same node.
    fn carry(&self, headers: &HeaderMap) {
        if let Some((name, value)) = self.worker.edge.token_in(headers) {
            self.carried.lock().insert(name, value);
        }
    }

    /// The rest of the stream of a call, from before its first question that waits.
    async fn resumed(&self, first: &str) -> Result<Response<Body>, Refusal> {
        let gone = || {
            Refusal::InvalidParams("params.requestState names no call that this server has".into())
        };
        let last = before(first).ok_or_else(gone)?;
        let (server, own) = server_ids::of_event(&last).ok_or_else(gone)?;
        // A token of the same principal that may use less cannot have begun the call.
        if !scope::has(&self.worker, &self.scope, &server)
            || !self.worker.may_resume(&self.scope, &self.session, &server, &last)
        {
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

    async fn step(&mut self, told: Told, progress: &mut Progress) -> Meaning {
        let Told { message, event } = told;
        let Ok(envelope) = Envelope::parse(&message) else { return Meaning::On };
        if envelope.kind() == Kind::Response {
            if let Some(task) = self.task_in(&envelope) {
                return Meaning::Task(task);
            }
            let is_ours = envelope.id_text().is_none_or(|id| id == self.id || id == "null");
            let answer = if is_ours { self.answered(&envelope) } else { None };
            return answer.map_or(Meaning::On, |(status, answer)| Meaning::Answer(status, answer));
        }
        let number = event.as_deref().and_then(number_of);
        let is_seen = progress.skips.zip(number).is_some_and(|(last, this)| this <= last);
        if !is_seen && event.is_some() {
            progress.seen.clone_from(&event);
        }
        match envelope.kind() {
            Kind::Request => self.asked(&envelope, event, is_seen, progress).await,
            Kind::Notification if envelope.method() == methods::CANCELLED => {
                let target = RequestTarget::of(envelope.params);
                let id = target.and_then(|target| target.request_id);
                id.map_or(Meaning::On, |id| Meaning::TakenBack(id.get().to_owned()))
            }
            Kind::Notification if is_seen => Meaning::On,
            Kind::Notification | Kind::Response => {
                self.note(&message, &envelope).map_or(Meaning::On, Meaning::Note)
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
    ) -> Meaning {
        let (Some(id), method) = (envelope.id_text(), envelope.method()) else {
            return Meaning::On;
        };
        let known = progress.waiting.iter().find(|question| question.id == id).cloned();
        if is_seen && known.is_none() {
            return Meaning::On;
        }
        if method == methods::PING {
            self.reply(&jsonrpc::result(id, b"{}")).await;
            return Meaning::On;
        }
        let asked = questions::may_be_asked(method, envelope.params, &self.capabilities);
        let may_ask = asked.is_ok()
            && self.method.may_ask()
            && progress.asked.len() < MOST_QUESTIONS
            && id.len() <= MAX_ID;
        let Some(event) = event.filter(|event| may_ask && before(event).is_some()) else {
            let why = asked.err().unwrap_or(questions::NotAsked::Undeclared);
            self.reply(&questions::refused(id, method, why)).await;
            return Meaning::On;
        };
        let question = known.unwrap_or_else(|| {
            progress.named += 1;
            let key = format!("input-{}", progress.named);
            WaitingQuestion { key, id: id.to_owned(), method: method.to_owned() }
        });
        let text = questions::request(method, envelope.params);
        Meaning::Ask(ClientQuestion { question, text, event })
    }

    /// A notification for the client: progress that it has asked for, and log messages from its
    /// level on.
    fn note(&self, message: &Bytes, envelope: &Envelope<'_>) -> Option<Bytes> {
        let params = envelope.params.and_then(|params| Members::of(params.get()));
        let params = params.unwrap_or_default();
        match envelope.method() {
            methods::PROGRESS => {
                let token = params.get("progressToken")?;
                // A task keeps the token of the call that has made it.
                if token.get() != self.id && token.get() != self.first_id {
                    return None;
                }
                let span = splice::span(message, token)?;
                let own = self.token.as_deref()?;
                Some(splice::replace(message, span, own.as_bytes()))
            }
            methods::MESSAGE => {
                let least = self.log_level?;
                let level = params.text("level").and_then(|level| LogLevel::parse(&level))?;
                (level.rank() >= least.rank()).then(|| message.clone())
            }
            // It is about the server and not about the call, on whose stream it came.
            other if methods::is_unrelated(other) => {
                self.worker.edge.hear_of_call(&self.session, message);
                None
            }
            _ => None,
        }
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
        self.cancel_task().await;
        let cancelled = jsonrpc::cancelled(&self.id, "the client has closed its response");
        let Some(record) = self.worker.edge.bindings.record(self.session.id) else { return };
        for (server, _) in record.servers {
            let call = Call::own(&self.worker, &self.session, &server);
            call.tell_holder(&Outgoing::post(cancelled.clone())).await;
        }
    }
}
