//! A store in memory, which several coordinators of one process share: for tests. It can be taken
//! away and emptied as Redis can.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::model::{ServerName, SessionId, UnixMillis};
use crate::sync::Locked;

use super::{
    Answer, Claimed, Connected, EventCursor, Leased, SharedBinding, SharedClaim, SharedEvent,
    SharedSession, SharedStore, StoreError,
};

/// Events that are kept.
const EVENTS: usize = 100_000;
/// Longest wait for an event.
const EVENT_WAIT: Duration = Duration::from_millis(400);

/// A store whose clones are several coordinators' connections to the same one.
#[derive(Default)]
pub struct MemoryStore {
    state: Locked<State>,
    told: Notify,
}

#[derive(Default)]
struct State {
    is_gone: bool,
    /// Rises when everything is removed.
    generation: u64,
    seen: u64,
    bindings: HashMap<SessionId, BTreeMap<ServerName, SharedBinding>>,
    settings: HashMap<SessionId, Vec<u8>>,
    params: HashMap<SessionId, Bytes>,
    keepers: HashMap<SessionId, BTreeSet<String>>,
    ended: HashMap<SessionId, UnixMillis>,
    secrets: HashMap<String, Vec<u8>>,
    leased: BTreeMap<(Leased, String), (Vec<u8>, Instant)>,
    events: VecDeque<(u64, SharedEvent)>,
    last: u64,
}

impl MemoryStore {
    /// Takes the store away, or brings it back.
    pub fn set_gone(&self, is_gone: bool) {
        self.state.lock().is_gone = is_gone;
        self.told.notify_waiters();
    }

    /// Removes everything.
    pub fn empty(&self) {
        let mut state = self.state.lock();
        let (generation, is_gone, seen) = (state.generation + 1, state.is_gone, state.seen);
        *state = State { generation, is_gone, seen, ..State::default() };
    }

    fn with<'a, T: Send + 'a>(
        &'a self,
        work: impl FnOnce(&mut State) -> Result<T, StoreError> + Send + 'a,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            let mut state = self.state.lock();
            if state.is_gone {
                return Err(StoreError::Gone("it is away".to_owned()));
            }
            let last = state.last;
            let answer = work(&mut state);
            let is_told = state.last != last;
            drop(state);
            if is_told {
                self.told.notify_waiters();
            }
            answer
        })
    }
}

impl State {
    fn claim(&mut self, claim: &SharedClaim) -> Claimed {
        let SharedClaim { session, server, seen, binding, is_news } = claim;
        if self.is_ended(*session) {
            return Claimed::Ended;
        }
        let servers = self.bindings.entry(*session).or_default();
        let mut own = binding.clone();
        let mut moved = *is_news;
        if let Some(known) = servers.get(server) {
            moved = known.node != binding.node;
            if Some(known.epoch) > *seen || (moved && known.epoch >= binding.epoch) {
                return Claimed::Lost(known.clone());
            }
            own.was_open |= known.was_open;
            own.opened = own.opened.max(known.opened);
        }
        servers.insert(server.clone(), own);
        if moved {
            self.tell(SharedEvent::Moved(*session, server.clone(), binding.clone()));
        }
        Claimed::Kept
    }

    fn is_ended(&self, session: SessionId) -> bool {
        self.ended.get(&session).is_some_and(|until| *until > UnixMillis::now())
    }

    fn session(&self, id: SessionId) -> SharedSession {
        let bindings = self.bindings.get(&id).cloned().unwrap_or_default();
        SharedSession {
            is_ended: self.is_ended(id),
            bindings: bindings.into_iter().collect(),
            settings: self.settings.get(&id).cloned(),
        }
    }

    fn tell(&mut self, event: SharedEvent) {
        self.last += 1;
        self.events.push_back((self.last, event));
        while self.events.len() > EVENTS {
            self.events.pop_front();
        }
    }

    fn live(&mut self, kind: Leased, name: &str) -> Option<&mut (Vec<u8>, Instant)> {
        let found = self.leased.get_mut(&(kind, name.to_owned()));
        found.filter(|(_, until)| *until > Instant::now())
    }
}

impl SharedStore for MemoryStore {
    fn connect(&self) -> Answer<'_, Connected> {
        self.with(move |state| {
            let was_emptied = state.seen != state.generation;
            state.seen = state.generation;
            Ok(Connected { from: EventCursor(state.last.to_string()), was_emptied })
        })
    }

    fn claim<'a>(&'a self, claims: &'a [SharedClaim]) -> Answer<'a, Vec<Claimed>> {
        self.with(move |state| Ok(claims.iter().map(|claim| state.claim(claim)).collect()))
    }

    fn sessions<'a>(&'a self, sessions: &'a [SessionId]) -> Answer<'a, Vec<SharedSession>> {
        self.with(move |state| Ok(sessions.iter().map(|session| state.session(*session)).collect()))
    }

    fn set<'a>(&'a self, session: SessionId, settings: &'a [u8]) -> Answer<'a, ()> {
        self.with(move |state| {
            state.settings.insert(session, settings.to_vec());
            Ok(())
        })
    }

    fn end<'a>(&'a self, ended: &'a [(SessionId, UnixMillis)]) -> Answer<'a, ()> {
        self.with(move |state| {
            for (session, until) in ended {
                let is_new = state.ended.insert(*session, *until).is_none();
                state.bindings.remove(session);
                state.settings.remove(session);
                state.params.remove(session);
                state.keepers.remove(session);
                if is_new {
                    state.tell(SharedEvent::Ended(*session, *until));
                }
            }
            Ok(())
        })
    }

    fn keep_params<'a>(
        &'a self,
        session: SessionId,
        params: &'a [u8],
        _until: UnixMillis,
    ) -> Answer<'a, ()> {
        self.with(move |state| {
            state.params.insert(session, Bytes::copy_from_slice(params));
            Ok(())
        })
    }

    fn params(&self, session: SessionId) -> Answer<'_, Option<Bytes>> {
        self.with(move |state| Ok(state.params.get(&session).cloned()))
    }

    fn join_keepers<'a>(&'a self, session: SessionId, own: &'a str) -> Answer<'a, Vec<String>> {
        self.with(move |state| {
            let keepers = state.keepers.entry(session).or_default();
            if !own.is_empty() {
                keepers.insert(own.to_owned());
            }
            Ok(keepers.iter().cloned().collect())
        })
    }

    fn secret<'a>(&'a self, name: &'a str, fresh: &'a [u8]) -> Answer<'a, Vec<u8>> {
        self.with(move |state| {
            let kept = state.secrets.entry(name.to_owned());
            Ok(kept.or_insert_with(|| fresh.to_vec()).clone())
        })
    }

    fn lease<'a>(
        &'a self,
        kind: Leased,
        name: &'a str,
        value: &'a [u8],
        time: Duration,
    ) -> Answer<'a, ()> {
        self.with(move |state| {
            let kept = (value.to_vec(), Instant::now() + time);
            state.leased.insert((kind, name.to_owned()), kept);
            Ok(())
        })
    }

    fn renew<'a>(&'a self, kind: Leased, name: &'a str, time: Duration) -> Answer<'a, bool> {
        self.with(move |state| {
            let live = state.live(kind, name);
            Ok(live.map(|(_, until)| *until = Instant::now() + time).is_some())
        })
    }

    fn lease_first<'a>(
        &'a self,
        kind: Leased,
        name: &'a str,
        value: &'a [u8],
        time: Duration,
    ) -> Answer<'a, bool> {
        self.with(move |state| {
            if state.live(kind, name).is_some() {
                return Ok(false);
            }
            let kept = (value.to_vec(), Instant::now() + time);
            state.leased.insert((kind, name.to_owned()), kept);
            Ok(true)
        })
    }

    fn let_go<'a>(&'a self, kind: Leased, name: &'a str) -> Answer<'a, bool> {
        self.with(move |state| {
            let was_there = state.live(kind, name).is_some();
            state.leased.remove(&(kind, name.to_owned()));
            Ok(was_there)
        })
    }

    fn leased<'a>(&'a self, kind: Leased, name: &'a str) -> Answer<'a, Option<Vec<u8>>> {
        self.with(move |state| Ok(state.live(kind, name).map(|(value, _)| value.clone())))
    }

    fn all_leased(&self, kind: Leased) -> Answer<'_, Vec<String>> {
        self.with(move |state| {
            let now = Instant::now();
            let of_kind = |(leased, _): &&(Leased, String)| *leased == kind;
            let live = state.leased.iter().filter(|(key, (_, until))| of_kind(key) && *until > now);
            Ok(live.map(|((_, name), _)| name.clone()).collect())
        })
    }

    fn tell<'a>(&'a self, event: &'a SharedEvent) -> Answer<'a, ()> {
        self.with(move |state| {
            state.tell(event.clone());
            Ok(())
        })
    }

    fn events<'a>(&'a self, after: &'a EventCursor) -> Answer<'a, (Vec<SharedEvent>, EventCursor)> {
        Box::pin(async move {
            let after: u64 = after.0.parse().unwrap_or(0);
            let deadline = Instant::now() + EVENT_WAIT;
            loop {
                let told = self.told.notified();
                let found = self.with(move |state| {
                    if state.seen != state.generation {
                        return Err(StoreError::Emptied);
                    }
                    let later = state.events.iter().filter(|(number, _)| *number > after);
                    let later: Vec<(u64, SharedEvent)> = later.cloned().collect();
                    Ok(later)
                });
                let found = found.await?;
                let last = found.last().map_or(after, |(number, _)| *number);
                if !found.is_empty() || tokio::time::timeout_at(deadline, told).await.is_err() {
                    let events = found.into_iter().map(|(_, event)| event).collect();
                    return Ok((events, EventCursor(last.to_string())));
                }
            }
        })
    }
}
