//! Keeps this coordinator and the store at one: connects, hands over what is known, reads what the
//! others tell, writes what has changed, and begins anew when the store was away.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{SessionId, UnixMillis};
use crate::protocol::seal::MAX_AGE;
use crate::store::bindings::SHARDS;
use crate::store::shared::{
    Claimed, Connected, EventCursor, SharedClaim, SharedEvent, SharedLoss, StoreError,
};

use super::{Notice, PARAMS, SETTINGS, Sharing};

/// Pause after a failed connection.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest pause where connections do not last.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// A connection that has lasted.
const STEADY: Duration = Duration::from_secs(10);
/// Claims or sessions in one question.
const AT_ONCE: usize = 256;
/// Ended sessions in one question.
const ENDS_AT_ONCE: usize = 512;
/// Time for changes to come together before they are written.
const GATHER: Duration = Duration::from_millis(5);

impl Sharing {
    /// Runs as long as the process. `lifetime` is the time without use after which bindings go;
    /// those in use are renewed twice in it.
    pub async fn run(self: Arc<Self>, lifetime: Duration) {
        let (mut at, mut pause) = (None, PAUSE);
        loop {
            let (begun, losses) = (Instant::now(), self.standing.counts().losses);
            if let Err(why) = self.one_connection(&mut at, lifetime / 2).await {
                if why == StoreError::Emptied {
                    tracing::warn!(
                        "the store was emptied: what this coordinator and the nodes know is \
                         written into it again"
                    );
                }
                self.standing.lost(&why);
            }
            // One that lets in and then refuses what is asked would be connected to all the time.
            let is_lost = self.standing.counts().losses > losses && begun.elapsed() < STEADY;
            pause = if is_lost { (pause * 2).min(LONGEST_PAUSE) } else { PAUSE };
            tokio::time::sleep(pause).await;
        }
    }

    /// Connects, catches up, and serves until the store is away.
    async fn one_connection(
        &self,
        at: &mut Option<EventCursor>,
        renewal: Duration,
    ) -> Result<(), StoreError> {
        let Connected { from, was_emptied } = self.store.connect().await?;
        if was_emptied && at.is_some() {
            self.standing.note_emptied();
        }
        if was_emptied {
            self.standing.owes_params();
        }
        if was_emptied || at.is_none() {
            *at = Some(from);
        }
        self.hand_over_secrets().await?;
        self.hand_over_ends(was_emptied).await?;
        // From here on claims are asked for: none is decided between this and the going through.
        self.standing.fresh();
        // Told to whoever keeps the nodes.
        let _ = self.notices.send(Notice::Connected).await;
        let renewing = async {
            loop {
                self.hand_over_all().await?;
                self.hand_over_params().await?;
                tokio::time::sleep(renewal).await;
            }
        };
        let writing = async {
            loop {
                self.changes.some().await;
                tokio::time::sleep(GATHER).await;
                self.write_changes().await?;
            }
        };
        tokio::select! {
            done = self.read_events(at) => done,
            done = renewing => done,
            done = writing => done,
            () = self.standing.gone() => Ok(()),
        }
    }

    /// Events are read from the place where the last connection has ended, as far as the store has
    /// kept them.
    async fn read_events(&self, at: &mut Option<EventCursor>) -> Result<(), StoreError> {
        let mut after = at.clone().unwrap_or_default();
        loop {
            let (events, next) = self.store.events(&after).await?;
            for event in events {
                self.take(event).await;
            }
            *at = Some(next.clone());
            after = next;
        }
    }

    /// The receivers are gone only while the process ends.
    async fn take(&self, event: SharedEvent) {
        match event {
            // Of a session that is not known here everything is asked when it comes.
            SharedEvent::Moved(session, ..) if !self.bindings.is_learned(session) => {}
            SharedEvent::Moved(session, ref server, ref binding) => {
                self.adopt(session, server, binding);
                let _ = self.of_sessions.send(event).await;
            }
            SharedEvent::Ended(session, until) => {
                self.ended_elsewhere(session, until);
                let _ = self.of_sessions.send(event).await;
            }
            // What this coordinator has told itself it knows.
            SharedEvent::Lost(SharedLoss { teller, .. })
            | SharedEvent::Told(_, teller)
            | SharedEvent::Feed(_, teller, _)
                if teller == self.teller => {}
            SharedEvent::Lost(..)
            | SharedEvent::Told(..)
            | SharedEvent::Feed(..)
            | SharedEvent::Listens(..)
            | SharedEvent::Rest(..) => {
                let _ = self.of_sessions.send(event).await;
            }
            SharedEvent::Node(_) | SharedEvent::Heard(_) | SharedEvent::Left(..) => {
                let _ = self.notices.send(Notice::Event(event)).await;
            }
        }
    }

    /// The secrets that this coordinator has got from the store, or given to it.
    async fn hand_over_secrets(&self) -> Result<(), StoreError> {
        for (name, own) in &self.secrets {
            if self.store.secret(name, own).await? != *own {
                tracing::error!(
                    "the store has another {name} than this coordinator, which has got its own \
                     there before it was emptied: clients of one coordinator are unknown to the \
                     other; set one MOORING_SECRET on all, or restart this one"
                );
            }
        }
        Ok(())
    }

    /// Sessions that have ended, for a store that does not know of them.
    async fn hand_over_ends(&self, was_emptied: bool) -> Result<(), StoreError> {
        if !(self.standing.take_owed_ends() || was_emptied) {
            return Ok(());
        }
        let handed = async {
            for ends in self.records.ended().chunks(ENDS_AT_ONCE) {
                self.store.end(ends).await?;
            }
            Ok(())
        };
        handed.await.inspect_err(|_| self.standing.owes_ends())
    }

    /// Large parameters of all sessions, for a store that lacks some.
    async fn hand_over_params(&self) -> Result<(), StoreError> {
        if !self.standing.take_owed_params() {
            return Ok(());
        }
        let handed = async {
            for session in self.records.with_params().await {
                if let Some(params) = self.records.kept_params(session).await
                    && let Some(text) = self.keys.seal_shared(PARAMS, session, &params)
                {
                    let until = UnixMillis::now().plus(MAX_AGE);
                    self.store.keep_params(session, text.as_bytes(), until).await?;
                }
            }
            Ok(())
        };
        handed.await.inspect_err(|_| self.standing.owes_params())
    }

    /// Claims the bindings of all sessions, which also renews their time.
    async fn hand_over_all(&self) -> Result<(), StoreError> {
        let begun = Instant::now();
        let mut count = 0;
        for part in 0..SHARDS {
            let sessions = self.bindings.part(part);
            count += sessions.len();
            for sessions in sessions.chunks(AT_ONCE) {
                self.hand_over(sessions).await?;
            }
        }
        tracing::debug!(count, "sessions handed over to the store in {:?}", begun.elapsed());
        Ok(())
    }

    async fn write_changes(&self) -> Result<(), StoreError> {
        if self.changes.is_full() {
            self.hand_over_all().await?;
        }
        loop {
            let sessions = self.changes.take(AT_ONCE);
            if sessions.is_empty() {
                return Ok(());
            }
            let handed = self.hand_over(&sessions).await;
            if handed.is_err() {
                sessions.iter().for_each(|session| self.changes.note(*session));
            }
            self.changes.written();
            handed?;
        }
    }

    /// Makes what is known of sessions here what all know, and takes over what they know better.
    async fn hand_over(&self, sessions: &[SessionId]) -> Result<(), StoreError> {
        let known = sessions.iter().filter_map(|session| {
            self.bindings.shared_of(*session).map(|shared| (*session, shared))
        });
        let mut claims: Vec<SharedClaim> = Vec::new();
        for (session, (own, settings)) in known {
            // What is about to be written is not known to the others yet.
            let is_news = self.changes.has(session);
            claims.extend(own.into_iter().map(|claim| SharedClaim { is_news, ..claim }));
            if let Some(settings) = settings
                && let Some(text) = self.keys.seal_shared(SETTINGS, session, &settings.text())
            {
                self.store.set(session, text.as_bytes()).await?;
            }
        }
        let mut lost = 0;
        for claims in claims.chunks(AT_ONCE) {
            for (claim, claimed) in claims.iter().zip(self.store.claim(claims).await?) {
                match claimed {
                    Claimed::Kept => {}
                    Claimed::Lost(winner) => {
                        lost += 1;
                        self.adopt(claim.session, &claim.server, &winner);
                    }
                    Claimed::Ended => {
                        self.ended_elsewhere(claim.session, UnixMillis::now().plus(MAX_AGE));
                    }
                }
            }
        }
        self.standing.note_lost_claims(lost);
        Ok(())
    }
}
