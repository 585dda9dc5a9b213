//! What an inner session hears outside of requests: one stream for all clients that listen, since a
//! session has one reader of it.
//!
//! Of several coordinators at which clients listen to one conversation, one reads that stream, the one
//! at which a client has come last, and tells the others. They wait for as long as it does, and one of
//! them goes on when it leaves, or is not heard of any more.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, MissedTickBehavior};

use crate::edge::refusal::Refusal;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::Scope;
use crate::net::{Body, EventReader, Read};
use crate::protocol::jsonrpc::{Envelope, Kind};
use crate::store::shared::FeedWord;

use super::questions;
use super::session_feeds::{self, FeedItem, OpenFeed, OtherFeed};

/// Notices by which a client may be behind. Who is further behind is told that all lists may differ.
const BEHIND: usize = 64;
/// Words of other coordinators that wait to be read.
const WORDS: usize = 16;
/// Time after which a coordinator that waits says so again, and is answered.
const BEAT: Duration = Duration::from_secs(5);
/// One that is not heard of for so long waits, or reads, no more.
const SILENCE: Duration = Duration::from_secs(16);

impl Worker {
    /// What the session hears from now on, of all that its URL has: those who listen may have different
    /// rights, and hear what is theirs.
    ///
    /// # Errors
    /// If it cannot listen.
    pub(in crate::edge) fn session_feed(
        &self,
        scope: &Scope,
        session: &Session,
    ) -> Result<broadcast::Receiver<FeedItem>, Refusal> {
        let mut feeds = self.edge.feeds.open.lock();
        if let Some(feed) = feeds.get(&session.id) {
            return Ok(feed.sender.subscribe());
        }
        let response = self.aggregate_stream(scope.of_url(), session, None, None)?;
        let (sender, receiver) = broadcast::channel(BEHIND);
        let (others, words) = mpsc::channel(WORDS);
        feeds.insert(session.id, OpenFeed { sender: sender.clone(), others });
        let (worker, scope, session) = (self.clone(), scope.of_url().clone(), session.clone());
        // One that has read before says that it waits only after a moment.
        let waiting = worker.edge.sharing.is_some().then(Instant::now);
        let feed = Feed { worker, scope, session, sender, words, waiting };
        tokio::spawn(feed.run(response.into_body()));
        Ok(receiver)
    }
}

struct Feed {
    worker: Worker,
    scope: Scope,
    session: Session,
    sender: broadcast::Sender<FeedItem>,
    /// What is learned of the feeds of other coordinators.
    words: mpsc::Receiver<OtherFeed>,
    /// When another one has last said that it waits to be told what is heard here.
    waiting: Option<Instant>,
}

/// What follows.
enum Next {
    /// Another coordinator hears the servers.
    Wait,
    /// This one does.
    Read(Body),
    Over,
}

impl Feed {
    async fn run(mut self, body: Body) {
        let mut next = Next::Read(body);
        loop {
            next = match next {
                Next::Read(body) => self.read(body).await,
                Next::Wait => self.wait().await,
                Next::Over => break,
            };
        }
        if self.is_waited_for() {
            self.worker.edge.tell_of_feed(self.session.id, FeedWord::Leaves);
        }
    }

    /// Reads the session's stream, until it ends or nobody listens.
    async fn read(&mut self, body: Body) -> Next {
        let mut events = EventReader::new(body, self.worker.edge.config.line);
        let mut is_taken_over = false;
        loop {
            tokio::select! {
                read = events.next() => match read {
                    Some(Read::Event(event)) if event.has_message() => {
                        self.hear(event.data.into()).await;
                    }
                    Some(Read::Event(_) | Read::Comment) => {}
                    Some(Read::Broken(_)) | None => break,
                },
                Some(word) = self.words.recv() => is_taken_over |= self.learn(word),
                () = self.sender.closed() => {
                    if self.is_left() { return Next::Over }
                }
            }
        }
        while let Ok(word) = self.words.try_recv() {
            is_taken_over |= self.learn(word);
        }
        if is_taken_over && !self.is_ended() {
            return Next::Wait;
        }
        self.worker.edge.feeds.open.lock().remove(&self.session.id);
        Next::Over
    }

    /// Lets another coordinator hear the servers, until it does no more or nobody listens here.
    async fn wait(&mut self) -> Next {
        let session = self.session.id;
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard_of = Instant::now();
        self.waiting = None;
        loop {
            tokio::select! {
                Some(word) = self.words.recv() => match word {
                    OtherFeed::Hears => heard_of = Instant::now(),
                    OtherFeed::Leaves => return self.go_on(),
                    OtherFeed::Waits | OtherFeed::TookOver => {}
                },
                _ = beat.tick() => {
                    if self.is_ended() {
                        self.worker.edge.feeds.open.lock().remove(&session);
                        return Next::Over;
                    }
                    if heard_of.elapsed() > SILENCE {
                        // Nobody knows what has changed meanwhile.
                        let _ = self.sender.send(FeedItem::Missed);
                        return self.go_on();
                    }
                    self.worker.edge.tell_of_feed(session, FeedWord::Waits);
                }
                () = self.sender.closed() => {
                    if self.is_left() { return Next::Over }
                }
            }
        }
    }

    /// Hears the servers again.
    fn go_on(&mut self) -> Next {
        self.worker.keep_up();
        self.waiting = Some(Instant::now());
        match self.worker.aggregate_stream(&self.scope, &self.session, None, None) {
            Ok(response) => Next::Read(response.into_body()),
            Err(_) => {
                self.worker.edge.feeds.open.lock().remove(&self.session.id);
                Next::Over
            }
        }
    }

    /// Takes note of a word about another feed, while this one reads. Whether it has taken the stream
    /// over.
    fn learn(&mut self, word: OtherFeed) -> bool {
        match word {
            OtherFeed::TookOver => return true,
            OtherFeed::Waits => {
                self.waiting = Some(Instant::now());
                self.worker.edge.tell_of_feed(self.session.id, FeedWord::Hears);
            }
            OtherFeed::Hears | OtherFeed::Leaves => {}
        }
        false
    }

    fn is_waited_for(&self) -> bool {
        self.waiting.is_some_and(|at| at.elapsed() < SILENCE)
    }

    fn is_ended(&self) -> bool {
        self.worker.edge.records.is_ended(self.session.id)
    }

    /// Whether nobody listens any more: then the next one begins another feed.
    fn is_left(&self) -> bool {
        let mut feeds = self.worker.edge.feeds.open.lock();
        let is_left = self.sender.receiver_count() == 0;
        if is_left {
            feeds.remove(&self.session.id);
        }
        is_left
    }

    /// Hands a notification on. A question belongs to no request, so that its client cannot be asked.
    async fn hear(&self, message: Bytes) {
        let Ok(envelope) = Envelope::parse(&message) else { return };
        match (envelope.kind(), envelope.id_text()) {
            (Kind::Notification, _) => {
                if self.is_waited_for() {
                    self.worker.edge.relay(&self.session, &message);
                }
                if let Some(item) = session_feeds::notice(&message) {
                    let _ = self.sender.send(item);
                }
            }
            (Kind::Request, Some(id)) => {
                let why = questions::NotAsked::Undeclared;
                let refused = questions::refused(id, envelope.method(), why);
                self.worker.answer_question(None, &self.session, &refused).await;
            }
            (Kind::Request | Kind::Response, _) => {}
        }
    }
}
