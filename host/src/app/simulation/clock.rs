//! The clock of each simulated process. Timers follow the paused time of tokio; what a process
//! takes for the time of day may jump.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::time::Instant;

use crate::model::played::{self, PlayedWorld};
use crate::sync::do_at_once;

use super::chance::Chance;

/// When every simulation begins, in milliseconds since 1970.
const BEGINNING: u64 = 1_800_000_000_000;

thread_local! {
    static START: Cell<Option<Instant>> = const { Cell::new(None) };
    static AHEAD: Cell<i64> = const { Cell::new(0) };
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}

/// Clock and chance of this thread are simulated until it is dropped.
pub struct Simulated;

impl Simulated {
    pub fn begin(seed: u64) -> Self {
        START.set(Some(Instant::now()));
        AHEAD.set(0);
        RANDOM.set(!seed);
        played::play(Some(PlayedWorld { now, random }));
        do_at_once(true);
        Self
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        played::play(None);
        do_at_once(false);
        START.set(None);
    }
}

/// Milliseconds since the simulation began, by a clock that never jumps.
pub fn elapsed() -> u64 {
    let passed = START.get().map(|start| Instant::now().saturating_duration_since(start));
    passed.map_or(0, |passed| u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
}

fn now() -> u64 {
    (BEGINNING + elapsed()).saturating_add_signed(AHEAD.get())
}

fn random() -> u128 {
    let mut chance = Chance::of(RANDOM.get());
    let (high, low) = (chance.number(), chance.number());
    RANDOM.set(chance.number());
    (u128::from(high) << 64) | u128::from(low)
}

/// Clock and chance of a process. Clones share them.
#[derive(Clone)]
pub struct OwnClock {
    /// How far the clock is ahead, in milliseconds.
    ahead: Arc<AtomicI64>,
    random: Arc<AtomicU64>,
}

impl OwnClock {
    pub fn new(seed: u64, host: &str) -> Self {
        let random = Chance::of_one(seed, host).number();
        Self { ahead: Arc::default(), random: Arc::new(AtomicU64::new(random)) }
    }

    pub fn set_ahead(&self, millis: i64) {
        self.ahead.store(millis, Ordering::Relaxed);
    }

    /// Does something with this clock.
    pub fn with<T>(&self, work: impl FnOnce() -> T) -> T {
        let ahead = AHEAD.replace(self.ahead.load(Ordering::Relaxed));
        let random = RANDOM.replace(self.random.load(Ordering::Relaxed));
        let done = work();
        AHEAD.set(ahead);
        self.random.store(RANDOM.replace(random), Ordering::Relaxed);
        done
    }

    /// The future, which sees this clock.
    pub fn on<F: Future>(&self, inner: F) -> OnClock<F> {
        OnClock { clock: self.clone(), inner: Box::pin(inner) }
    }
}

pub struct OnClock<F> {
    clock: OwnClock,
    inner: Pin<Box<F>>,
}

impl<F: Future> Future for OnClock<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let clock = self.clock.clone();
        clock.with(|| self.inner.as_mut().poll(cx))
    }
}
