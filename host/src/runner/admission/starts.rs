//! Decides whether a server may be started now: drives `backoff` and `caps`, and
//! gives turns to starts, since few may be under way at the same time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::model::{QuotaKey, ServerName};
use crate::runner::stderr::tail;
use crate::sync::{LimitCounts, Locked, now};

use super::backoff::{Backoff, Pause, ServerStatus, Verdict};
use super::caps::{Caps, Permit};
use super::make_room::Eviction;
use super::open_error::TURN;
use super::process_limits::{Full, ProcessCaps};
use super::reach::{Before, Reach};
use super::server_state::{ServerState, chance, say};
use super::turns::{Turn, Turns};

/// Longest time for which a start keeps its turn. A slower one waits for something
/// other than this machine: it goes on, and the next may begin.
const HOLDS: Duration = Duration::from_secs(5);

/// The records of all servers' starts, the limits on processes, and the turns.
#[derive(Debug)]
pub struct Starts {
    ledgers: ArcSwap<BTreeMap<ServerName, Arc<Ledger>>>,
    pub caps: Caps,
    pub eviction: Eviction,
    limit: usize,
    turns: Arc<Turns>,
    /// Starts that found no turn.
    pub crowded: LimitCounts,
    /// Half of the turns, at least one: starts of discoveries and spares take no more.
    of_discovery: Arc<Semaphore>,
}

#[derive(Debug)]
struct Ledger {
    backoff: Locked<Backoff>,
    /// Counts attempts that are over: `settled` waits for one.
    outcomes: watch::Sender<u64>,
    /// Counts successful starts that followed failures.
    recoveries: watch::Sender<u64>,
    /// Counts refusals of clients at a server that is known to open sessions.
    doubts: watch::Sender<u64>,
    opened: Locked<OpenedFor>,
    reach: Locked<Reach>,
    /// The last stderr lines of the process that died last.
    last_words: Locked<Vec<String>>,
    recycled: AtomicU64,
}

/// For whom a server has opened a session since this process started.
#[derive(Debug, Default, Clone, Copy)]
struct OpenedFor {
    gateway: bool,
    client: bool,
}

/// Whose `initialize` parameters a server was started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opener {
    /// The gateway's own, which are always the same.
    Gateway,
    /// A client's, which may be anything.
    Client,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            backoff: Locked::default(),
            outcomes: watch::Sender::new(0),
            recoveries: watch::Sender::new(0),
            doubts: watch::Sender::new(0),
            opened: Locked::default(),
            reach: Locked::default(),
            last_words: Locked::default(),
            recycled: AtomicU64::new(0),
        }
    }
}

impl Ledger {
    fn backoff(&self) -> MutexGuard<'_, Backoff> {
        self.backoff.lock()
    }

    /// Notes that the server was reached. Returns whether anything was wrong before.
    fn is_back(&self, server: &ServerName) -> bool {
        let before = self.reach.lock().reached();
        if before == Before::InVain {
            tracing::info!(server = %server, "the server can be reached again");
        }
        // Its lists may be unknown since then.
        before != Before::Well
    }

    /// That of the same server with other settings.
    fn begun_anew(&self) -> Self {
        let backoff = Backoff::after(self.backoff().restarts());
        let recycled = self.recycled.load(Ordering::Relaxed).into();
        Self { backoff: Locked::new(backoff), recycled, ..Self::default() }
    }

    fn keep_words(&self, words: Vec<String>) {
        *self.last_words.lock() = words;
    }
}

/// A turn to start, given back on drop.
#[derive(Debug)]
pub struct StartTurn {
    _all: Turn,
    _of_discovery: Option<OwnedSemaphorePermit>,
}

impl StartTurn {
    /// Runs this start, and keeps the turn for its first 5 s at most.
    pub async fn during<T>(self, starting: impl Future<Output = T>) -> T {
        let mut starting = Box::pin(starting);
        match tokio::time::timeout(HOLDS, &mut starting).await {
            Ok(started) => started,
            Err(_) => {
                drop(self);
                starting.await
            }
        }
    }
}

/// No turn came in time; how many starts may be under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowded(pub usize);

impl Starts {
    pub fn new<'a>(
        servers: impl Iterator<Item = &'a ServerName>,
        caps: ProcessCaps,
        at_once: usize,
    ) -> Arc<Self> {
        let at_once = at_once.max(1);
        Arc::new(Self {
            ledgers: ArcSwap::from_pointee(
                servers.map(|server| (server.clone(), Arc::default())).collect(),
            ),
            caps: Caps::new(caps),
            eviction: Eviction::default(),
            limit: at_once,
            turns: Turns::new(at_once),
            crowded: LimitCounts::new("simultaneousStarts"),
            of_discovery: Arc::new(Semaphore::new((at_once / 2).max(1))),
        })
    }

    /// Keeps records of these servers from now on: that of before for each with `true`, a new one
    /// for the others. What is counted goes on in either case.
    pub fn renew<'a>(&self, servers: impl Iterator<Item = (&'a ServerName, bool)>) {
        let before = self.ledgers.load_full();
        let now = servers.map(|(server, is_kept)| {
            let ledger = match before.get(server) {
                Some(known) if is_kept => Arc::clone(known),
                Some(known) => Arc::new(known.begun_anew()),
                None => Arc::default(),
            };
            (server.clone(), ledger)
        });
        self.ledgers.store(Arc::new(now.collect()));
    }

    fn ledger(&self, server: &ServerName) -> Option<Arc<Ledger>> {
        self.ledgers.load().get(server).map(Arc::clone)
    }

    /// Waits for the outcome if another start tests the server after a failure.
    ///
    /// # Errors
    /// If the server has a pause.
    pub async fn settled(&self, server: &ServerName) -> Result<(), Pause> {
        let Some(ledger) = self.ledger(server) else { return Ok(()) };
        let mut outcomes = ledger.outcomes.subscribe();
        loop {
            outcomes.borrow_and_update();
            let verdict = ledger.backoff().look(now());
            match verdict {
                Verdict::Go => return Ok(()),
                Verdict::Refused(pause) => return Err(pause),
                // The sender is in `self`, so this cannot fail.
                Verdict::Wait => drop(outcomes.changed().await),
            }
        }
    }

    /// Begins a start. `None` if another start tests the server after a failure.
    ///
    /// # Errors
    /// If the server has a pause.
    pub fn begin(self: &Arc<Self>, server: &ServerName) -> Result<Option<StartAttempt>, Pause> {
        let began = now();
        let ledger = self.ledger(server);
        let verdict = ledger.as_ref().map(|ledger| ledger.backoff().attempt(began));
        match verdict.unwrap_or(Verdict::Go) {
            Verdict::Go => {
                let (starts, server) = (Arc::clone(self), server.clone());
                Ok(Some(StartAttempt { starts, ledger, server, began, is_settled: false }))
            }
            Verdict::Wait => Ok(None),
            Verdict::Refused(pause) => Err(pause),
        }
    }

    /// Begins to open a session at a server elsewhere, which needs no turn.
    ///
    /// # Errors
    /// If the server has a pause.
    pub async fn begin_elsewhere(
        self: &Arc<Self>,
        server: &ServerName,
    ) -> Result<StartAttempt, Pause> {
        loop {
            self.settled(server).await?;
            if let Some(attempt) = self.begin(server)? {
                return Ok(attempt);
            }
        }
    }

    /// Waits for a turn to start, for this key. Without one it is a start without a session; these
    /// take at most half of the turns.
    ///
    /// # Errors
    /// If none comes within 60 s.
    pub async fn turn(&self, key: Option<&QuotaKey>) -> Result<StartTurn, Crowded> {
        let both = async {
            let _of_discovery = match key.is_none() {
                true => Some(Arc::clone(&self.of_discovery).acquire_owned().await.ok()?),
                false => None,
            };
            let _all = self.turns.take(key.cloned()).await?;
            Some(StartTurn { _all, _of_discovery })
        };
        match tokio::time::timeout(TURN, both).await {
            Ok(Some(turn)) => Ok(turn),
            Ok(None) | Err(_) => {
                let limit = self.limit;
                self.crowded.note_refused(|since| {
                    tracing::warn!(
                        since,
                        "a start found no turn: {limit} servers are being started at the same \
                         time (limits.simultaneousStarts)"
                    );
                });
                Err(Crowded(limit))
            }
        }
    }

    /// A server that had started has ended by itself: the next start is a restart.
    pub fn ended(&self, server: &ServerName) {
        if let Some(ledger) = self.ledger(server) {
            ledger.backoff().ended();
        }
    }

    /// Records such an end once the process's exit (`how`) and its last stderr lines
    /// are known.
    pub fn died(
        &self,
        server: &ServerName,
        began: Instant,
        lived: Duration,
        has_answered: bool,
        how: &str,
        words: Vec<String>,
    ) {
        let Some(ledger) = self.ledger(server) else { return };
        let error = format!("{how}{}", tail::shown(&words));
        ledger.keep_words(words);
        let now = now();
        let failed = {
            let mut backoff = ledger.backoff();
            let before = backoff.failures();
            backoff.died((began, lived), now, has_answered, chance(), &error);
            (backoff.failures() > before).then(|| backoff.pause(now))
        };
        if let Some(pause) = failed {
            say(server, pause, &error);
        }
    }

    /// Records that a server is still running after `lived`.
    pub fn lives(&self, server: &ServerName, lived: Duration, has_answered: bool) {
        if let Some(ledger) = self.ledger(server) {
            ledger.backoff().lives(lived, has_answered);
        }
    }

    /// Records that a process beside was asked what the server is, and could not say it.
    pub fn probed_in_vain(&self, server: &ServerName, error: &str) {
        if let Some(ledger) = self.ledger(server) {
            ledger.backoff().probed_in_vain(now(), chance(), error);
        }
    }

    /// Counts an instance that was ended for its age or memory.
    pub fn recycled(&self, server: &ServerName) {
        if let Some(ledger) = self.ledger(server) {
            ledger.recycled.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the server has failed since it was last known to be well. The log has told it.
    #[must_use]
    pub fn has_failed(&self, server: &ServerName) -> bool {
        self.ledger(server).is_some_and(|ledger| ledger.backoff().failures() > 0)
    }

    /// Whether the server may be started as far as its record goes.
    #[must_use]
    pub fn is_well(&self, server: &ServerName) -> bool {
        self.ledger(server).is_none_or(|ledger| {
            let status = ledger.backoff().status(now());
            matches!(status, ServerStatus::Running | ServerStatus::Starting)
        })
    }

    /// Notes that the gateway itself could not reach a server elsewhere.
    pub fn in_vain(&self, server: &ServerName, why: &str) {
        if let Some(ledger) = self.ledger(server) {
            ledger.reach.lock().in_vain = Some(why.into());
        }
    }

    /// Notes that a session was opened at a server elsewhere.
    pub fn reached(&self, server: &ServerName) {
        if let Some(ledger) = self.ledger(server)
            && ledger.is_back(server)
        {
            ledger.recoveries.send_modify(|count| *count += 1);
        }
    }

    /// Whether the log is to tell why a server could not be opened: once a minute, and when the
    /// reason has changed.
    #[must_use]
    pub fn is_news(&self, server: &ServerName, why: &str) -> bool {
        self.ledger(server).is_none_or(|ledger| ledger.reach.lock().is_news(why, now()))
    }

    /// Changes when a successful start follows failures. `None` for an unknown server.
    #[must_use]
    pub fn recoveries(&self, server: &ServerName) -> Option<watch::Receiver<u64>> {
        self.ledger(server).map(|ledger| ledger.recoveries.subscribe())
    }

    /// Changes when a server refuses a client that has opened sessions before: perhaps it refuses
    /// everybody now. `None` for an unknown server.
    #[must_use]
    pub fn doubts(&self, server: &ServerName) -> Option<watch::Receiver<u64>> {
        self.ledger(server).map(|ledger| ledger.doubts.subscribe())
    }

    #[must_use]
    pub fn state(&self, server: &ServerName) -> Option<ServerState> {
        let ledger = self.ledger(server)?;
        let (processes, now) = (self.caps.of(server), now());
        let last_words = ledger.last_words.lock().clone();
        let backoff = ledger.backoff();
        Some(ServerState {
            status: backoff.status(now),
            is_failing: backoff.is_failing(),
            unreached: ledger.reach.lock().in_vain.clone(),
            failures: backoff.failures(),
            next_attempt: backoff.pause(now).map(|pause| pause.left),
            last_error: backoff.last_error(),
            restarts: backoff.restarts(),
            recycled: ledger.recycled.load(Ordering::Relaxed),
            processes,
            spares: 0,
            last_words,
            flaws: Vec::new(),
        })
    }
}

/// One start under way. Dropped without an outcome, it counts for nothing.
#[derive(Debug)]
pub struct StartAttempt {
    starts: Arc<Starts>,
    /// That of the moment at which it began: a reload may have replaced it since.
    ledger: Option<Arc<Ledger>>,
    server: ServerName,
    began: Instant,
    is_settled: bool,
}

impl StartAttempt {
    /// The server has answered `initialize`.
    pub fn succeeded(mut self, opener: Opener) {
        self.is_settled = true;
        let Some(ledger) = self.ledger.clone() else { return };
        match opener {
            Opener::Gateway => ledger.opened.lock().gateway = true,
            Opener::Client => ledger.opened.lock().client = true,
        }
        let recovers = {
            let mut backoff = ledger.backoff();
            let recovers = backoff.failures() > 0;
            backoff.started();
            recovers
        };
        let is_back = ledger.is_back(&self.server);
        if recovers || is_back {
            ledger.recoveries.send_modify(|count| *count += 1);
        }
    }

    /// A session was opened at a server elsewhere, which is well by that.
    pub fn opened_elsewhere(self, opener: Opener) {
        let (starts, server) = (Arc::clone(&self.starts), self.server.clone());
        self.succeeded(opener);
        starts.lives(&server, Duration::MAX, true);
    }

    /// The server has refused `initialize`. That is a failed start, unless the reason may be what
    /// this client has sent: then another client's sessions must not suffer from it.
    pub fn refused(self, opener: Opener, error: &str) {
        let Some(ledger) = self.ledger.clone() else { return };
        let opened = *ledger.opened.lock();
        match opener {
            Opener::Gateway if opened.client && !opened.gateway => {}
            Opener::Client if opened.client || opened.gateway => {
                ledger.doubts.send_modify(|count| *count += 1);
            }
            Opener::Gateway | Opener::Client => self.failed(error, Vec::new()),
        }
    }

    /// The start has failed; `words` are the process's last stderr lines.
    pub fn failed(mut self, error: &str, words: Vec<String>) {
        self.is_settled = true;
        let Some(ledger) = self.ledger.clone() else { return };
        if !words.is_empty() {
            ledger.keep_words(words);
        }
        let now = now();
        let failed = {
            let mut backoff = ledger.backoff();
            let before = backoff.failures();
            backoff.failed(self.began, now, chance(), error);
            // Of starts that fail together, one is counted and told.
            (backoff.failures() > before).then(|| backoff.pause(now))
        };
        if let Some(pause) = failed {
            say(&self.server, pause, error);
        }
    }
}

impl Drop for StartAttempt {
    fn drop(&mut self) {
        if let Some(ledger) = &self.ledger {
            if !self.is_settled {
                ledger.backoff().given_up();
            }
            ledger.outcomes.send_modify(|count| *count += 1);
        }
    }
}

/// How often room is made for one start: another start may take the freed place.
pub const ATTEMPTS: u32 = 3;

impl Starts {
    /// Takes a place for one more process, and ends an unused one if there is none.
    ///
    /// # Errors
    /// The limit that is reached.
    pub async fn place(&self, server: &ServerName, key: &QuotaKey) -> Result<Permit, Full> {
        let mut promise = None;
        let mut entered = self.caps.enter(server, key).await;
        for _ in 0..ATTEMPTS {
            match &entered {
                Err(full) if self.eviction.make_room(full, server, key) => {
                    self.caps.note_gave_way(server, full);
                }
                _ => break,
            }
            // Nobody else takes what was freed for this start.
            promise.get_or_insert_with(|| self.caps.promise(server, key));
            entered = self.caps.enter(server, key).await;
        }
        drop(promise);
        if let Err(full) = &entered {
            self.caps.note_refused(server, full);
        }
        entered
    }
}
