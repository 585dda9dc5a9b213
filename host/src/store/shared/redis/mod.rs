//! The store in Redis or Valkey; the only module that names the crate.
//!
//! | key, after the prefix | what it is |
//! |---|---|
//! | `generation` | made at the first connection; if it is gone, everything is |
//! | `b:{session}` | hash: server → binding |
//! | `s:{session}` | what the client has set |
//! | `p:{session}` | large parameters |
//! | `m:{session}` | set: the coordinators that keep what sets the state of its servers |
//! | `t:{session}` | the session has ended |
//! | `n:{node}`, `c:{coordinator}`, `r:{session}`, `v:{session}/{coordinator}` | leased values |
//! | `k:{name}` | generated secrets |
//! | `events` | stream: what coordinators tell each other, the last 100,000 or so |
//!
//! All of them expire but `generation`, `events` and the secrets. One connection is for questions,
//! which workers send side by side, and one waits for events.

mod answers;
mod connection;
mod scripts;

use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Pipeline, Value, cmd};

use crate::config::RedisUrl;
use crate::model::{Epoch, SessionId, UnixMillis};
use crate::protocol::seal::MAX_AGE;
use crate::sync::Locked;

use super::{
    Answer, Claimed, Connected, EventCursor, Leased, MAX_ENTRIES, MAX_VALUE, SharedBinding,
    SharedClaim, SharedEvent, SharedSession, SharedStore, StoreError, event_text,
};

use connection::Connection;
use scripts::{CLAIM, END, KEEPERS, SESSION};

/// Events that the stream keeps, about: 10 MB. A coordinator that has missed more asks for every
/// session that it knows.
const EVENTS: usize = 100_000;
/// Events that are read at once.
const EVENTS_AT_ONCE: usize = 512;
/// Longest wait for an event, in milliseconds.
const EVENT_WAIT: usize = 400;
/// Names that one step of a search looks at.
const SCAN: usize = 500;
/// How far the clock of Redis may be ahead.
const MAX_AHEAD: Duration = Duration::from_secs(24 * 3600);
/// Steps of a search: more keys than that are not those of one cluster.
const MAX_SCANS: usize = 100_000;

/// A connection to Redis, for one cluster.
pub struct RedisStore {
    connection: Connection,
    prefix: String,
    /// Time without use after which bindings and settings go.
    lifetime: Duration,
    /// The latest event that was read, or was there at a connection.
    reached: Locked<EventId>,
}

/// The id of an event: Unix ms, and a number.
type EventId = (u64, u64);

impl RedisStore {
    /// Not connected yet. All keys begin with the prefix.
    #[must_use]
    pub fn new(url: &RedisUrl, prefix: &str, lifetime: Duration) -> Self {
        Self {
            connection: Connection::to(url),
            prefix: prefix.to_owned(),
            lifetime,
            reached: Locked::default(),
        }
    }

    fn key(&self, kind: &str, name: impl std::fmt::Display) -> String {
        format!("{}{kind}:{name}", self.prefix)
    }

    fn of_all(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn leased_key(&self, kind: Leased, name: &str) -> String {
        self.key(kind_of(kind), name)
    }

    fn claim_command(&self, claim: &SharedClaim) -> Cmd {
        let SharedClaim { session, server, seen, binding, is_news } = claim;
        let SharedBinding { node, epoch, opened, was_open } = binding;
        let event = SharedEvent::Moved(*session, server.clone(), binding.clone());
        let number = |epoch: Option<Epoch>| epoch.map_or(0, Epoch::get);
        let mut command =
            CLAIM.command(&[self.key("b", session), self.key("t", session), self.of_all("events")]);
        command
            .arg(server.as_str())
            .arg(epoch.get())
            .arg(number(*opened))
            .arg(if *was_open { "open" } else { "new" })
            .arg(node.as_str())
            .arg(number(*seen))
            .arg(millis(self.lifetime))
            .arg(event_text::write(&event))
            .arg(EVENTS)
            .arg(u8::from(*is_news));
        command
    }

    /// Asks several things at once. A failure of one is a value.
    async fn ask_all(&self, commands: impl Iterator<Item = Cmd>) -> Result<Vec<Value>, StoreError> {
        let mut pipeline = Pipeline::new();
        pipeline.ignore_errors();
        for command in commands {
            pipeline.add_command(command);
        }
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        self.connection.ask_all(&pipeline).await
    }

    async fn ask(&self, command: &Cmd) -> Result<Value, StoreError> {
        self.connection.ask(command).await
    }

    fn get(key: &str) -> Cmd {
        // Whatever is there, no more than this comes here.
        let mut command = cmd("GETRANGE");
        command.arg(key).arg(0).arg(MAX_VALUE - 1);
        command
    }

    async fn connect_again(&self) -> Result<Connected, StoreError> {
        self.connection.open().await?;
        let (generation, events) = (self.of_all("generation"), self.of_all("events"));
        let fresh = SessionId::mint().to_string();
        let made = self.ask(cmd("SET").arg(&generation).arg(&fresh).arg("NX")).await?;
        let now = answers::text(self.ask(&Self::get(&generation)).await?);
        let now = now.ok_or_else(|| StoreError::Refused(format!("{generation} is no text")))?;
        let is_other = self.connection.set_generation(&now) || made == Value::Okay;
        let kind = answers::text(self.ask(cmd("TYPE").arg(&events)).await?);
        if kind.is_some_and(|kind| kind != "stream" && kind != "none") {
            self.ask(cmd("DEL").arg(&events)).await?;
        }
        let last = cmd("XREVRANGE").arg(&events).arg("+").arg("-").arg("COUNT").arg(1).clone();
        let mut last = answers::last_event(self.ask(&last).await?);
        if last.as_deref().is_some_and(|last| is_far(event_id(last))) {
            self.ask(cmd("DEL").arg(&events)).await?;
            last = None;
        }
        // It may have begun again with a file of before, where the latest is missing.
        let at = last.as_deref().map(event_id).unwrap_or_default();
        let went_back = std::mem::replace(&mut *self.reached.lock(), at) > at;
        let from = EventCursor(last.unwrap_or_else(|| "0-0".to_owned()));
        Ok(Connected { from, was_emptied: is_other || went_back })
    }

    async fn next(
        &self,
        after: &EventCursor,
    ) -> Result<(Vec<SharedEvent>, EventCursor), StoreError> {
        let generation = self.of_all("generation");
        let now = answers::text(self.ask(&Self::get(&generation)).await?);
        if !now.is_some_and(|now| self.connection.is_generation(&now)) {
            return Err(StoreError::Emptied);
        }
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(EVENTS_AT_ONCE).arg("BLOCK").arg(EVENT_WAIT);
        read.arg("STREAMS").arg(self.of_all("events")).arg(&after.0);
        let read = self.connection.wait(&read, Duration::from_millis(EVENT_WAIT as u64)).await?;
        answers::done(&read)?;
        let (texts, last) = answers::events(read);
        if let Some(last) = &last {
            *self.reached.lock() = event_id(last);
        }
        let events = texts.iter().filter_map(|text| event_text::read(text)).collect();
        Ok((events, last.map_or_else(|| after.clone(), EventCursor)))
    }

    async fn names(&self, kind: Leased) -> Result<Vec<String>, StoreError> {
        let start = self.key(kind_of(kind), "");
        let pattern = format!("{}*", escaped(&start));
        let (mut names, mut at) = (Vec::new(), "0".to_owned());
        for _ in 0..MAX_SCANS {
            let mut scan = cmd("SCAN");
            scan.arg(&at).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCAN);
            let (next, keys) = answers::scanned(self.ask(&scan).await?)
                .ok_or_else(|| StoreError::Refused("SCAN answers otherwise".to_owned()))?;
            let found = keys.iter().filter_map(|key| key.strip_prefix(&start).map(str::to_owned));
            names.extend(found);
            if next == "0" || names.len() >= MAX_ENTRIES {
                break;
            }
            at = next;
        }
        names.sort();
        names.dedup();
        names.truncate(MAX_ENTRIES);
        Ok(names)
    }
}

impl SharedStore for RedisStore {
    fn connect(&self) -> Answer<'_, Connected> {
        Box::pin(self.connect_again())
    }

    fn claim<'a>(&'a self, claims: &'a [SharedClaim]) -> Answer<'a, Vec<Claimed>> {
        Box::pin(async move {
            let commands = claims.iter().map(|claim| self.claim_command(claim));
            let answers = self.ask_all(commands).await?;
            answers.into_iter().map(answers::claimed).collect()
        })
    }

    fn sessions<'a>(&'a self, sessions: &'a [SessionId]) -> Answer<'a, Vec<SharedSession>> {
        Box::pin(async move {
            let commands = sessions.iter().flat_map(|session| {
                let keys = [self.key("b", session), self.key("t", session)];
                [SESSION.command(&keys), Self::get(&self.key("s", session))]
            });
            let answers = self.ask_all(commands).await?;
            answers.chunks(2).map(answers::session).collect()
        })
    }

    fn set<'a>(&'a self, session: SessionId, settings: &'a [u8]) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut set = cmd("SET");
            set.arg(self.key("s", session)).arg(settings).arg("PX").arg(millis(self.lifetime));
            self.ask(&set).await.map(drop)
        })
    }

    fn end<'a>(&'a self, ended: &'a [(SessionId, UnixMillis)]) -> Answer<'a, ()> {
        Box::pin(async move {
            let now = UnixMillis::now();
            let commands =
                ended.iter().filter(|(_, until)| *until > now).map(|(session, until)| {
                    let event = event_text::write(&SharedEvent::Ended(*session, *until));
                    let mut end = END.command(&[
                        self.key("t", session),
                        self.key("b", session),
                        self.key("s", session),
                        self.key("p", session),
                        self.key("m", session),
                        self.of_all("events"),
                    ]);
                    end.arg(millis(until.since(now))).arg(event).arg(EVENTS);
                    end
                });
            let answers = self.ask_all(commands).await?;
            answers.iter().try_for_each(answers::done)
        })
    }

    fn keep_params<'a>(
        &'a self,
        session: SessionId,
        params: &'a [u8],
        until: UnixMillis,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let left = millis(until.since(UnixMillis::now())).max(1);
            let mut set = cmd("SET");
            set.arg(self.key("p", session)).arg(params).arg("PX").arg(left);
            self.ask(&set).await.map(drop)
        })
    }

    fn params(&self, session: SessionId) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move {
            let answer = self.ask(&Self::get(&self.key("p", session))).await?;
            Ok(answers::bytes(answer).filter(|found| !found.is_empty()).map(Bytes::from))
        })
    }

    fn join_keepers<'a>(&'a self, session: SessionId, own: &'a str) -> Answer<'a, Vec<String>> {
        Box::pin(async move {
            let mut join = KEEPERS.command(&[self.key("m", session), self.key("t", session)]);
            join.arg(own).arg(millis(MAX_AGE));
            answers::names(&self.ask(&join).await?)
        })
    }

    fn secret<'a>(&'a self, name: &'a str, fresh: &'a [u8]) -> Answer<'a, Vec<u8>> {
        Box::pin(async move {
            let key = self.key("k", name);
            self.ask(cmd("SET").arg(&key).arg(fresh).arg("NX")).await?;
            let kept = answers::bytes(self.ask(&Self::get(&key)).await?);
            let kept = kept.filter(|kept| kept.len() >= fresh.len());
            kept.ok_or_else(|| StoreError::Refused(format!("{key} is not a secret")))
        })
    }

    fn lease<'a>(
        &'a self,
        kind: Leased,
        name: &'a str,
        value: &'a [u8],
        time: Duration,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut set = cmd("SET");
            set.arg(self.leased_key(kind, name)).arg(value).arg("PX").arg(millis(time));
            self.ask(&set).await.map(drop)
        })
    }

    fn renew<'a>(&'a self, kind: Leased, name: &'a str, time: Duration) -> Answer<'a, bool> {
        Box::pin(async move {
            let key = self.leased_key(kind, name);
            let answer = self.ask(cmd("PEXPIRE").arg(key).arg(millis(time))).await?;
            Ok(answer == Value::Int(1))
        })
    }

    fn lease_first<'a>(
        &'a self,
        kind: Leased,
        name: &'a str,
        value: &'a [u8],
        time: Duration,
    ) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut set = cmd("SET");
            set.arg(self.leased_key(kind, name)).arg(value).arg("NX").arg("PX").arg(millis(time));
            Ok(self.ask(&set).await? != Value::Nil)
        })
    }

    fn let_go<'a>(&'a self, kind: Leased, name: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            let answer = self.ask(cmd("DEL").arg(self.leased_key(kind, name))).await?;
            Ok(answer == Value::Int(1))
        })
    }

    fn leased<'a>(&'a self, kind: Leased, name: &'a str) -> Answer<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            let answer = self.ask(&Self::get(&self.leased_key(kind, name))).await?;
            Ok(answers::bytes(answer).filter(|found| !found.is_empty()))
        })
    }

    fn all_leased(&self, kind: Leased) -> Answer<'_, Vec<String>> {
        Box::pin(self.names(kind))
    }

    fn tell<'a>(&'a self, event: &'a SharedEvent) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut add = cmd("XADD");
            add.arg(self.of_all("events")).arg("MAXLEN").arg("~").arg(EVENTS);
            add.arg("*").arg("e").arg(event_text::write(event));
            self.ask(&add).await.map(drop)
        })
    }

    fn events<'a>(&'a self, after: &'a EventCursor) -> Answer<'a, (Vec<SharedEvent>, EventCursor)> {
        Box::pin(self.next(after))
    }
}

fn kind_of(kind: Leased) -> &'static str {
    match kind {
        Leased::Node => "n",
        Leased::Coordinator => "c",
        Leased::Rest => "r",
        Leased::State => "v",
        Leased::Login => "l",
    }
}

/// Whether an event is of a time that has yet to come: none can be added behind it.
fn is_far((at, _): EventId) -> bool {
    UnixMillis(at) > UnixMillis::now().plus(MAX_AHEAD)
}

fn event_id(text: &str) -> EventId {
    let (at, number) = text.split_once('-').unwrap_or((text, ""));
    (at.parse().unwrap_or(0), number.parse().unwrap_or(0))
}

fn millis(time: Duration) -> u64 {
    // Redis adds it to the time of day.
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 45)
}

/// A text in which no character stands for others.
fn escaped(text: &str) -> String {
    let special = |character| matches!(character, '*' | '?' | '[' | ']' | '\\' | '^');
    text.chars()
        .flat_map(|character| special(character).then_some('\\').into_iter().chain([character]))
        .collect()
}
