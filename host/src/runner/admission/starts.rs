//! Who may start a server now: the driver of `backoff` and `caps`, and the turns
//! of those that start at the same time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::model::{Principal, ServerName};
use crate::runner::stderr::tail;
use crate::sync::Locked;

use super::backoff::{Backoff, Pause, ServerStatus, Verdict};
use super::caps::{self, Caps, Full, Permit};
use super::eviction::Eviction;
use super::open_error::TURN;

/// A start that takes longer is waiting for something else than this machine:
/// it goes on, and the next one may begin.
const HOLDS: Duration = Duration::from_secs(5);

/// Everything that is known of the servers' starts.
#[derive(Debug)]
pub struct Starts {
    ledgers: BTreeMap<ServerName, Ledger>,
    pub caps: Caps,
    pub eviction: Eviction,
    limit: usize,
    turns: Arc<Semaphore>,
    /// Discovery never takes more than half of the turns.
    of_discovery: Arc<Semaphore>,
}

#[derive(Debug)]
struct Ledger {
    backoff: Locked<Backoff>,
    /// Counts outcomes of attempts, for whoever waits for one.
    outcomes: watch::Sender<u64>,
    /// Counts good starts after bad ones.
    recoveries: watch::Sender<u64>,
    /// What the last one that died had on stderr.
    last_words: Locked<Vec<String>>,
    recycled: AtomicU64,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            backoff: Locked::default(),
            outcomes: watch::Sender::new(0),
            recoveries: watch::Sender::new(0),
            last_words: Locked::default(),
            recycled: AtomicU64::new(0),
        }
    }
}

impl Ledger {
    fn backoff(&self) -> MutexGuard<'_, Backoff> {
        self.backoff.lock()
    }

    fn keep_words(&self, words: Vec<String>) {
        *self.last_words.lock() = words;
    }
}

/// How one server does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerState {
    pub status: ServerStatus,
    /// Since it was last known to be well.
    pub failures: u32,
    /// Until the next attempt may be made.
    pub next_attempt: Option<Duration>,
    pub last_error: Option<Arc<str>>,
    pub restarts: u64,
    /// Ended at a quiet point for age or memory.
    pub recycled: u64,
    /// Processes of sessions.
    pub processes: usize,
    /// Processes that wait for a session.
    pub spares: usize,
    /// The last stderr lines of the process that died last.
    pub last_words: Vec<String>,
}

/// A place among those that start now; both are given back on drop.
#[derive(Debug)]
pub struct StartTurn {
    _all: OwnedSemaphorePermit,
    _of_discovery: Option<OwnedSemaphorePermit>,
}

impl StartTurn {
    /// Keeps the turn during this start, but for no longer than a start should take.
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

/// No turn came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowded(pub usize);

impl Starts {
    pub fn new<'a>(
        servers: impl Iterator<Item = &'a ServerName>,
        caps: caps::ProcessCaps,
        at_once: usize,
    ) -> Arc<Self> {
        let at_once = at_once.max(1);
        Arc::new(Self {
            ledgers: servers.map(|server| (server.clone(), Ledger::default())).collect(),
            caps: Caps::new(caps),
            eviction: Eviction::default(),
            limit: at_once,
            turns: Arc::new(Semaphore::new(at_once)),
            of_discovery: Arc::new(Semaphore::new((at_once / 2).max(1))),
        })
    }

    /// Waits for the outcome if somebody tries the server after a failure.
    ///
    /// # Errors
    /// If it is left alone for a while.
    pub async fn settled(&self, server: &ServerName) -> Result<(), Pause> {
        let Some(ledger) = self.ledgers.get(server) else { return Ok(()) };
        let mut outcomes = ledger.outcomes.subscribe();
        loop {
            outcomes.borrow_and_update();
            let verdict = ledger.backoff().look(Instant::now());
            match verdict {
                Verdict::Go => return Ok(()),
                Verdict::Refused(pause) => return Err(pause),
                // The sender is in self: it cannot be gone.
                Verdict::Wait => drop(outcomes.changed().await),
            }
        }
    }

    /// Begins a start, unless somebody tries the server after a failure.
    ///
    /// # Errors
    /// If it is left alone for a while.
    pub fn begin(self: &Arc<Self>, server: &ServerName) -> Result<Option<Attempt>, Pause> {
        let began = Instant::now();
        let verdict = self.ledgers.get(server).map(|ledger| ledger.backoff().attempt(began));
        match verdict.unwrap_or(Verdict::Go) {
            Verdict::Go => {
                let (starts, server) = (Arc::clone(self), server.clone());
                Ok(Some(Attempt { starts, server, began, is_settled: false }))
            }
            Verdict::Wait => Ok(None),
            Verdict::Refused(pause) => Err(pause),
        }
    }

    /// A turn among those that start at the same time.
    ///
    /// # Errors
    /// If none comes in time.
    pub async fn turn(&self, discovers: bool) -> Result<StartTurn, Crowded> {
        let both = async {
            let _of_discovery = match discovers {
                true => Some(Arc::clone(&self.of_discovery).acquire_owned().await.ok()?),
                false => None,
            };
            let _all = Arc::clone(&self.turns).acquire_owned().await.ok()?;
            Some(StartTurn { _all, _of_discovery })
        };
        match tokio::time::timeout(TURN, both).await {
            Ok(Some(turn)) => Ok(turn),
            Ok(None) | Err(_) => Err(Crowded(self.limit)),
        }
    }

    /// A server that had been started ends by itself: the next start is a restart.
    pub fn ended(&self, server: &ServerName) {
        if let Some(ledger) = self.ledgers.get(server) {
            ledger.backoff().ended();
        }
    }

    /// What is to be learnt from such an end, once it is known how it came.
    pub fn died(
        &self,
        server: &ServerName,
        began: Instant,
        lived: Duration,
        has_answered: bool,
        how: &str,
        words: Vec<String>,
    ) {
        let Some(ledger) = self.ledgers.get(server) else { return };
        let error = format!("{how}{}", tail::shown(&words));
        ledger.keep_words(words);
        let now = Instant::now();
        let pause = {
            let mut backoff = ledger.backoff();
            backoff.died((began, lived), now, has_answered, chance(), &error);
            backoff.pause(now)
        };
        say(server, pause);
    }

    /// A server lives, and has done so for some time.
    pub fn lives(&self, server: &ServerName, lived: Duration, has_answered: bool) {
        if let Some(ledger) = self.ledgers.get(server) {
            ledger.backoff().lives(lived, has_answered);
        }
    }

    /// An instance was ended to make way for a new one.
    pub fn recycled(&self, server: &ServerName) {
        if let Some(ledger) = self.ledgers.get(server) {
            ledger.recycled.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether nothing speaks against starting it.
    #[must_use]
    pub fn is_well(&self, server: &ServerName) -> bool {
        self.ledgers.get(server).is_none_or(|ledger| {
            let status = ledger.backoff().status(Instant::now());
            matches!(status, ServerStatus::Running | ServerStatus::Starting)
        })
    }

    /// Tells when a good start follows bad ones.
    #[must_use]
    pub fn recoveries(&self, server: &ServerName) -> Option<watch::Receiver<u64>> {
        self.ledgers.get(server).map(|ledger| ledger.recoveries.subscribe())
    }

    #[must_use]
    pub fn state(&self, server: &ServerName) -> Option<ServerState> {
        let ledger = self.ledgers.get(server)?;
        let (processes, now) = (self.caps.of(server), Instant::now());
        let last_words = ledger.last_words.lock().clone();
        let backoff = ledger.backoff();
        Some(ServerState {
            status: backoff.status(now),
            failures: backoff.failures(),
            next_attempt: backoff.pause(now).map(|pause| pause.left),
            last_error: backoff.last_error(),
            restarts: backoff.restarts(),
            recycled: ledger.recycled.load(Ordering::Relaxed),
            processes,
            spares: 0,
            last_words,
        })
    }
}

/// One start. Dropped without an outcome, it says nothing about the server.
#[derive(Debug)]
pub struct Attempt {
    starts: Arc<Starts>,
    server: ServerName,
    began: Instant,
    is_settled: bool,
}

impl Attempt {
    /// The server has answered.
    pub fn succeeded(mut self) {
        self.is_settled = true;
        let Some(ledger) = self.starts.ledgers.get(&self.server) else { return };
        let recovers = {
            let mut backoff = ledger.backoff();
            let recovers = backoff.failures() > 0;
            backoff.started();
            recovers
        };
        if recovers {
            ledger.recoveries.send_modify(|count| *count += 1);
        }
    }

    /// It has not, for this reason.
    pub fn failed(mut self, error: &str, words: Vec<String>) {
        self.is_settled = true;
        let Some(ledger) = self.starts.ledgers.get(&self.server) else { return };
        if !words.is_empty() {
            ledger.keep_words(words);
        }
        let now = Instant::now();
        let pause = {
            let mut backoff = ledger.backoff();
            backoff.failed(self.began, now, chance(), error);
            backoff.pause(now)
        };
        say(&self.server, pause);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(ledger) = self.starts.ledgers.get(&self.server) {
            if !self.is_settled {
                ledger.backoff().given_up();
            }
            ledger.outcomes.send_modify(|count| *count += 1);
        }
    }
}

fn say(server: &ServerName, pause: Option<Pause>) {
    let Some(Pause { left, failures, is_crash_loop, last_error }) = pause else { return };
    let next_ms = left.as_millis();
    if is_crash_loop {
        tracing::error!(server = %server, failures, next_ms, "it is in a crash loop: {last_error}");
    } else {
        tracing::warn!(server = %server, failures, next_ms, "it has failed and is left alone for a moment: {last_error}");
    }
}

/// From 0 to 1. Without a source of chance there is no jitter, and nothing else
/// is lost.
fn chance() -> f64 {
    let mut byte = [0];
    match getrandom::fill(&mut byte) {
        Ok(()) => f64::from(byte[0]) / 255.0,
        Err(_) => 1.0,
    }
}

/// Of those who find room, somebody may come first; so often it is made.
pub const ATTEMPTS: u32 = 3;

impl Starts {
    /// A place for one more process, for which another may have to give way.
    ///
    /// # Errors
    /// The limit that stands against it.
    pub async fn place(&self, server: &ServerName, principal: &Principal) -> Result<Permit, Full> {
        for _ in 0..ATTEMPTS {
            match self.caps.enter(server, principal).await {
                Err(full) if self.eviction.make_room(&full, server, principal) => {}
                entered => return entered,
            }
        }
        self.caps.enter(server, principal).await
    }
}
