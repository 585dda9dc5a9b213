//! Whether the store answers, and since when it does not.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::model::UnixMillis;
use crate::store::shared::StoreError;
use crate::sync::{Locked, Seldom};

/// How long others may need to notice that the store was emptied, and to fill it: they look twice a
/// second, and write some ten thousand bindings a second.
const FILLING: Duration = Duration::from_secs(3);

/// The state of the store as it is seen from here.
#[derive(Default)]
pub struct Standing {
    is_fresh: AtomicBool,
    stale: Locked<Option<(UnixMillis, String)>>,
    /// When the store was found empty last.
    emptied_at: Locked<Option<(Instant, UnixMillis)>>,
    /// Whether sessions have ended that the store does not know of.
    owes_ends: AtomicBool,
    /// Whether it lacks large parameters of sessions.
    owes_params: AtomicBool,
    changed: Notify,
    alone: AtomicU64,
    losses: AtomicU64,
    emptied: AtomicU64,
    lost_claims: AtomicU64,
    coordinators: AtomicUsize,
    said: Seldom,
}

/// What has happened with the store, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreCounts {
    /// Unix ms since when it has not answered.
    pub stale_since: Option<UnixMillis>,
    /// Decisions that were made without it.
    pub alone: u64,
    /// How often it has gone away, and was found empty.
    pub losses: u64,
    pub emptied: u64,
    /// Bindings that were found to be others' when it was back.
    pub lost_claims: u64,
    /// Coordinators that share it, as they were when it was asked last; 0 before that.
    pub coordinators: usize,
}

impl Standing {
    /// Whether the store answers.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.is_fresh.load(Ordering::Acquire)
    }

    /// Since when the store has not answered, and why; `None` while it does.
    #[must_use]
    pub fn stale(&self) -> Option<(UnixMillis, String)> {
        if self.is_fresh() { None } else { self.stale.lock().clone() }
    }

    #[must_use]
    pub fn counts(&self) -> StoreCounts {
        let number = |count: &AtomicU64| count.load(Ordering::Relaxed);
        StoreCounts {
            stale_since: self.stale().map(|(since, _)| since),
            alone: number(&self.alone),
            losses: number(&self.losses),
            emptied: number(&self.emptied),
            lost_claims: number(&self.lost_claims),
            // Of the others it hears with their next entries; this one is there.
            coordinators: self.coordinators.load(Ordering::Relaxed).max(1),
        }
    }

    pub(super) fn fresh(&self) {
        let was = self.stale.lock().take();
        self.is_fresh.store(true, Ordering::Release);
        match was {
            Some((since, _)) => tracing::info!(
                "the store answers again, after {:.1} s: what was decided meanwhile is written",
                UnixMillis::now().since(since).as_secs_f32()
            ),
            None => tracing::info!("the store is connected"),
        }
    }

    pub(super) fn lost(&self, why: &StoreError) {
        let mut stale = self.stale.lock();
        self.is_fresh.store(false, Ordering::Release);
        let text = why.to_string();
        if let Some((_, known)) = stale.as_mut() {
            *known = text;
        } else {
            self.losses.fetch_add(1, Ordering::Relaxed);
            *stale = Some((UnixMillis::now(), text.clone()));
            self.said.warn(|| {
                format!(
                    "the store is not used until it answers again: {text}; sessions go on, and new \
                     ones are bound by what this coordinator knows"
                )
            });
        }
        drop(stale);
        self.changed.notify_one();
    }

    /// Returns once the store was found not to answer.
    pub(super) async fn gone(&self) {
        while self.is_fresh() {
            self.changed.notified().await;
        }
    }

    pub(super) fn owes_ends(&self) {
        self.owes_ends.store(true, Ordering::Relaxed);
    }

    pub(super) fn owes_params(&self) {
        self.owes_params.store(true, Ordering::Relaxed);
    }

    pub(super) fn take_owed_params(&self) -> bool {
        self.owes_params.swap(false, Ordering::Relaxed)
    }

    pub(super) fn take_owed_ends(&self) -> bool {
        self.owes_ends.swap(false, Ordering::Relaxed)
    }

    /// Notes how many coordinators share it.
    pub fn set_coordinators(&self, count: usize) {
        self.coordinators.store(count, Ordering::Relaxed);
    }

    pub(super) fn note_alone(&self) {
        self.alone.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the store was emptied a moment ago, so that other coordinators may still be about to
    /// write into it what they know.
    pub(super) fn is_being_filled(&self) -> bool {
        let emptied = *self.emptied_at.lock();
        self.is_fresh() && emptied.is_some_and(|(at, _)| at.elapsed() < FILLING)
    }

    /// Whether the store was emptied after this time, as far as this process has seen it.
    pub(super) fn was_emptied_since(&self, time: UnixMillis) -> bool {
        self.emptied_at.lock().is_some_and(|(_, at)| at >= time)
    }

    pub(super) fn note_emptied(&self) {
        *self.emptied_at.lock() = Some((Instant::now(), UnixMillis::now()));
        self.emptied.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_lost_claims(&self, count: u64) {
        self.lost_claims.fetch_add(count, Ordering::Relaxed);
    }
}
