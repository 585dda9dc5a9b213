//! What the tasks of one session share.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::model::ServerName;
use crate::protocol::era::answered::Audience;
use crate::protocol::era::arguments::Mirrored;
use crate::protocol::era::discovered::Announced;
use crate::protocol::era::methods::{LISTEN, Method};
use crate::protocol::era::outgoing::{self, Introduction, OfRequest};
use crate::protocol::era::tasks;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::lenient::Members;
use crate::protocol::log_level::LogLevel;
use crate::protocol::splice::{self, RequestTarget, quoted};
use crate::runner::channel::pipe::Pipe;
use crate::sync::{Locked, Signal};

use super::eras::Eras;
use super::exchange::Outgoing;
use super::questions::Questions;
use super::server::{Exchange, ModernServer};
use super::tools::ToolHeaders;

/// What a server has acknowledged.
#[derive(Debug, Default, Clone)]
pub struct Acknowledged {
    /// The resources that it was asked for.
    pub asked: BTreeSet<String>,
    /// Those that it will tell of. `None` if it has refused to tell of anything.
    pub honoured: Option<Vec<String>>,
}

/// A session, as its tasks see it.
pub struct Talk {
    pub server: ServerName,
    pub pipe: Arc<Pipe>,
    pub at: ModernServer,
    /// What the client has said of itself.
    pub client: Introduction,
    pub announced: Announced,
    /// The answer to `initialize`.
    pub result: Bytes,
    pub eras: Arc<Eras>,
    pub tools: Arc<ToolHeaders>,
    /// Whether somebody is there to be told anything.
    pub has_client: bool,
    /// Whether the edge has the session in place of a client without one: then each request says for
    /// itself whether its client takes tasks.
    pub is_inner: bool,
    pub level: Locked<Option<LogLevel>>,
    pub questions: Questions,
    /// The resources that the client has subscribed to.
    pub subscribed: watch::Sender<BTreeSet<String>>,
    /// What the server has last said that it will tell of.
    pub acknowledged: watch::Sender<Acknowledged>,
    /// Raised once a server of another era answers in the server's place.
    pub replaced: Signal,
}

/// A request of the session, as it is to be sent once.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    pub method: &'a str,
    /// The client's parameters.
    pub params: Option<&'a RawValue>,
    pub wants_progress: bool,
    pub answers: Option<&'a str>,
    pub state: Option<&'a str>,
}

impl Talk {
    /// Sends a request. `None` if its parameters are no object.
    pub async fn send(&self, turn: Turn<'_>) -> Option<Exchange> {
        let number = self.at.number();
        let id = number.to_string();
        // Log messages come with requests that end.
        let level = if turn.method == LISTEN { None } else { *self.level.lock() };
        let request = OfRequest {
            level,
            token: turn.wants_progress.then_some(&id),
            answers: turn.answers,
            state: turn.state,
            takes_tasks: self.takes_tasks(turn.params),
            brings_answers: self.is_inner && turn.method == tasks::UPDATE,
        };
        let params = outgoing::params(turn.params, &self.client, request)?;
        let mirrored = self.mirrored(&turn);
        let headers =
            outgoing::headers(turn.method, turn.params, mirrored.as_deref().unwrap_or_default());
        let method = quoted(turn.method);
        let message =
            format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{method},\"params\":{params}}}");
        let message = Bytes::from(message);
        Some(self.at.send(Outgoing { number, message, headers, takes_logs: level.is_some() }).await)
    }

    /// Whether a request's client takes a task for its answer.
    #[must_use]
    pub fn takes_tasks(&self, params: Option<&RawValue>) -> bool {
        let said = || Members::of(params?.get())?.object("_meta")?.get(tasks::TAKEN);
        self.is_inner && said().is_some_and(|said| said.get() == "true")
    }

    /// Whether a request is one about tasks of this revision.
    #[must_use]
    pub fn is_for_tasks(&self, envelope: &Envelope<'_>) -> bool {
        Method::of(envelope.method()) == Some(Method::Task) && self.takes_tasks(envelope.params)
    }

    /// For whom the answer to a request with these parameters is.
    #[must_use]
    pub fn audience(&self, params: Option<&RawValue>) -> Audience {
        match self.is_inner {
            true => Audience::Sessionless { takes_tasks: self.takes_tasks(params) },
            false => Audience::Session,
        }
    }

    /// The arguments of the tool that it calls which stand in headers.
    fn mirrored(&self, turn: &Turn<'_>) -> Option<Arc<[Mirrored]>> {
        if turn.method != "tools/call" || matches!(self.at, ModernServer::Process(_)) {
            return None;
        }
        self.tools.of(&splice::string(RequestTarget::of(turn.params)?.name?)?)
    }

    /// Hands a message to the session without waiting for its reader.
    pub fn hand(&self, message: Bytes) {
        if let Ok(envelope) = Envelope::parse(&message) {
            self.pipe.hand(message.clone(), &envelope);
        }
    }
}
