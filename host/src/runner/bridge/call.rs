//! One request of a session: it is sent again with what its client has answered, for as long as the
//! server asks for more (2026-07-28, basic/patterns/mrtr).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use serde_json::value::RawValue;

use crate::protocol::era::answered;
use crate::protocol::era::discovered::error_serves_revision;
use crate::protocol::era::input::{InputRequired, answers};
use crate::protocol::era::methods::Method;
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::lenient::Members;
use crate::protocol::methods::{self, List};
use crate::protocol::splice::{self, RequestTarget};
use crate::runner::channel::message_ids::{key, progress_token};
use crate::runner::channel::sink::MessageSink as _;
use crate::seam::UserTokenRefused;

use super::exchange::{Heard, Unanswered};
use super::questions::Ready;
use super::replaced;
use super::server::Exchange;
use super::talk::{Talk, Turn};

/// Times that one request is sent at most.
const ROUNDS: usize = 10;
/// Pause before a request is sent again whose server has asked nothing: it is busy.
const PAUSE: Duration = Duration::from_millis(250);
/// Pages of the list of tools that are read to learn which arguments stand in headers.
const PAGES: usize = 50;

/// Serves one request of the session. Returns its id, as a key.
pub async fn call(talk: Arc<Talk>, message: Bytes) -> String {
    let Ok(envelope) = Envelope::parse(&message) else { return String::new() };
    let Some(id) = envelope.id_text() else { return String::new() };
    let token = progress_token(&envelope);
    let call = Call { talk: &talk, envelope: &envelope, id, token: token.as_deref() };
    match call.run().await {
        Ok(Answer::Message(answer)) => talk.pipe.take(answer).await,
        Ok(Answer::Error(code, text)) => talk.pipe.answer_for_server(id, code, &text),
        Err(NotRun::Unread) => talk.pipe.note_unsent(id),
        Err(NotRun::Refused(refused)) => talk.pipe.note_refused(id, &refused),
    }
    key(id)
}

/// What the client is answered.
enum Answer {
    /// A message: what the server has said, or a result for a tool's model in its place.
    Message(Bytes),
    /// An error in the server's place: its code and text.
    Error(i64, String),
}

/// Why the server has not run the request, which may be sent again.
enum NotRun {
    /// It has not read it.
    Unread,
    /// It has refused the token of the client's user.
    Refused(UserTokenRefused),
}

/// How an exchange ends without an answer to be judged.
enum Ended {
    Unanswered(Unanswered),
    Refused(UserTokenRefused),
    /// Another server has answered, of the era with sessions.
    Replaced,
}

struct Call<'a> {
    talk: &'a Talk,
    envelope: &'a Envelope<'a>,
    /// As JSON.
    id: &'a str,
    /// The client's progress token, as JSON.
    token: Option<&'a str>,
}

/// What has happened already while a request was served.
#[derive(Default)]
struct Course {
    /// What the server has asked for, answered.
    answers: Option<String>,
    state: Option<String>,
    was_repeated: bool,
    has_read_tools: bool,
}

/// What follows from an answer.
enum Next {
    Answer(Answer),
    Again,
}

impl Call<'_> {
    async fn run(&self) -> Result<Answer, NotRun> {
        let mut course = Course::default();
        for _ in 0..ROUNDS {
            let turn = Turn {
                method: self.envelope.method(),
                params: self.envelope.params,
                wants_progress: self.token.is_some(),
                answers: course.answers.as_deref(),
                state: course.state.as_deref(),
            };
            let Some(exchange) = self.talk.send(turn).await else {
                return Ok(error(code::INVALID_PARAMS, "params must be an object"));
            };
            let is_first = course.answers.is_none() && course.state.is_none();
            let next = match self.heard(exchange, is_first).await {
                Ok(answer) => self.judge(&answer, &mut course).await,
                Err(Ended::Unanswered(why)) => self.unanswered(why, &mut course).await?,
                Err(Ended::Refused(refused)) => return Err(NotRun::Refused(refused)),
                Err(Ended::Replaced) => return Err(NotRun::Unread),
            };
            if let Next::Answer(answer) = next {
                return Ok(answer);
            }
        }
        let text = format!("the server has asked for input {ROUNDS} times");
        Ok(self.failed(&text))
    }

    /// Reads on to the answer; what comes before it goes to the client. `is_first`: whether the client
    /// has answered nothing yet, so that the request may begin anew.
    async fn heard(&self, mut exchange: Exchange, is_first: bool) -> Result<Bytes, Ended> {
        loop {
            match exchange.next().await {
                Heard::Notice(notice) => self.pass(notice).await,
                Heard::Answer(answer) => {
                    if let Some(refused) = self.talk.at.refuses_user(&exchange) {
                        return Err(Ended::Refused(refused));
                    }
                    let is_odd = is_first && replaced::may_be(exchange.head(), &answer);
                    if is_odd && self.talk.has_been_replaced().await {
                        return Err(Ended::Replaced);
                    }
                    return Ok(answer);
                }
                Heard::Failed(unanswered) => return Err(Ended::Unanswered(unanswered)),
            }
        }
    }

    async fn pass(&self, notice: Bytes) {
        let Ok(envelope) = Envelope::parse(&notice) else { return };
        if envelope.kind() != Kind::Notification {
            return;
        }
        if envelope.method() != methods::PROGRESS {
            return self.talk.pipe.take_about(self.id, notice.clone()).await;
        }
        // The server knows it by the gateway's token.
        let named = RequestTarget::of(envelope.params).and_then(|target| target.progress_token);
        let span = named.and_then(|named| splice::span(&notice, named));
        if let (Some(token), Some(span)) = (self.token, span) {
            self.talk.pipe.take(splice::replace(&notice, span, token.as_bytes())).await;
        }
    }

    async fn unanswered(&self, why: Unanswered, course: &mut Course) -> Result<Next, NotRun> {
        if why.is_gone {
            let is_first = course.answers.is_none() && course.state.is_none();
            if !why.may_have_run && is_first {
                return Err(NotRun::Unread);
            }
            // The session ends with the process, and answers what is under way.
            return std::future::pending().await;
        }
        let may_repeat = methods::is_safe_to_repeat(self.envelope.method());
        if may_repeat && !std::mem::replace(&mut course.was_repeated, true) {
            return Ok(Next::Again);
        }
        let code = if why.may_have_run { code::SERVER_LOST } else { code::UNAVAILABLE };
        Ok(Next::Answer(error(code, &why.why)))
    }

    async fn judge(&self, answer: &Bytes, course: &mut Course) -> Next {
        let method = self.envelope.method();
        let envelope = match Envelope::parse(answer) {
            Ok(envelope) => envelope,
            Err(why) => return Next::Answer(error(code::INTERNAL, &why.to_string())),
        };
        let Some(result) = envelope.result else {
            return match envelope.error {
                Some(said) => self.refused(said, course).await,
                None => Next::Answer(error(code::INTERNAL, "neither a result nor an error")),
            };
        };
        let input = match InputRequired::of(result) {
            None => {
                if method == List::Tools.method() {
                    self.talk.tools.learn(result);
                }
                return Next::Answer(self.whole(result));
            }
            Some(Err(why)) => return Next::Answer(self.failed(&why.to_string())),
            Some(Ok(_)) if !Method::of(method).is_some_and(Method::may_ask) => {
                let text = format!("the server asks for input in answer to {method}");
                return Next::Answer(error(code::INTERNAL, &text));
            }
            Some(Ok(input)) => input,
        };
        if input.questions.is_empty() {
            (course.answers, course.state) = (None, input.state);
            tokio::time::sleep(PAUSE).await;
            return Next::Again;
        }
        match self.ask(&input).await {
            Ok(given) => {
                (course.answers, course.state) = (Some(given), input.state);
                Next::Again
            }
            Err(why) => Next::Answer(self.failed(&why)),
        }
    }

    /// Asks the client all the questions at once, if it can be asked each of them. If one is not
    /// answered, the others are taken back. Returns its answers, as JSON.
    async fn ask(&self, input: &InputRequired) -> Result<String, String> {
        let Talk { pipe, client, questions, .. } = self.talk;
        let ready = input.questions.iter().map(|question| questions.ready(client, question));
        let ready: Vec<Ready> = ready.collect::<Result<_, _>>()?;
        let asked = ready.into_iter().map(|question| questions.ask(pipe, self.id, question));
        let said = try_join_all(asked).await?;
        let keys = input.questions.iter().map(|question| &*question.key);
        Ok(answers(keys.zip(said.iter().map(|said| &**said))))
    }

    async fn refused(&self, error: &RawValue, course: &mut Course) -> Next {
        match answered::code_of(error) {
            // The tool's schema may be newer than the list that was read last.
            Some(code::HEADER_MISMATCH)
                if !std::mem::replace(&mut course.has_read_tools, true)
                    && self.envelope.method() == "tools/call" =>
            {
                read_tools(self.talk).await;
                return Next::Again;
            }
            Some(code::UNSUPPORTED_VERSION) => {
                let names_it = error_serves_revision(error.get().as_bytes()) == Some(true);
                if names_it && !std::mem::replace(&mut course.was_repeated, true) {
                    return Next::Again;
                }
                self.talk.eras.doubt(&self.talk.server);
            }
            _ => {}
        }
        let audience = self.talk.audience(self.envelope.params);
        let error = answered::error(self.envelope.method(), error, audience);
        let id = self.id;
        let message = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}");
        Next::Answer(Answer::Message(message.into()))
    }

    fn whole(&self, result: &RawValue) -> Answer {
        let audience = self.talk.audience(self.envelope.params);
        match answered::result(self.envelope.method(), result, audience) {
            Ok(result) => Answer::Message(jsonrpc::result(self.id, &result)),
            Err(kind) => {
                let text = format!("the server's result is of type {kind:?}, which no session has");
                error(code::INTERNAL, &text)
            }
        }
    }

    /// The request cannot be served: a tool's model is told, another client gets an error.
    fn failed(&self, why: &str) -> Answer {
        if self.envelope.method() == "tools/call" {
            return Answer::Message(jsonrpc::result(self.id, &answered::tool_error(why)));
        }
        error(code::INVALID_REQUEST, why)
    }
}

fn error(code: i64, text: &str) -> Answer {
    Answer::Error(code, text.to_owned())
}

/// Reads the list of tools, to learn which arguments stand in headers.
async fn read_tools(talk: &Talk) {
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES {
        let params = cursor.as_ref().map(|cursor| format!("{{\"cursor\":{cursor}}}"));
        let params = params.as_ref().and_then(|params| serde_json::from_str(params).ok());
        let turn = Turn {
            method: List::Tools.method(),
            params,
            wants_progress: false,
            answers: None,
            state: None,
        };
        let Some(mut exchange) = talk.send(turn).await else { return };
        let Ok(answer) = exchange.answer().await else { return };
        let Some(result) = Envelope::parse(&answer).ok().and_then(|answer| answer.result) else {
            return;
        };
        talk.tools.learn(result);
        let members = Members::of(result.get()).unwrap_or_default();
        let next = members.get("nextCursor").map(|next| next.get().to_owned());
        if next.is_none() || next == cursor {
            return;
        }
        cursor = next;
    }
}
