//! Whether a connection is in use. A client that is silent, or takes for ever over
//! the head of a request, is cut off.
//!
//! hyper can do that too, with a timer that it sets anew for every request; one
//! look now and then costs the data path nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(30);
/// Looks in a row that see no request before the connection is silent: for at
/// least 90 s then, and less than 120 s.
const QUIET_LOOKS: u32 = 3;

/// What is under way on one connection.
#[derive(Default)]
pub struct Activity {
    begun: AtomicU64,
    open: AtomicU64,
}

/// Held until a request has been answered to the last byte.
pub struct InUse(Arc<Activity>);

impl Activity {
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> InUse {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        InUse(Arc::clone(self))
    }

    /// Resolves when nothing has been under way for a long time.
    pub async fn silence(&self) {
        let mut looks = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut seen, mut quiet) = (0, 0);
        while quiet < QUIET_LOOKS {
            looks.tick().await;
            let begun = self.begun.load(Ordering::Relaxed);
            let is_used = self.open.load(Ordering::Relaxed) > 0 || begun != seen;
            quiet = if is_used { 0 } else { quiet + 1 };
            seen = begun;
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_silent_after_a_while() {
        let activity = Arc::new(Activity::default());
        let began = Instant::now();
        activity.silence().await;
        assert_eq!(began.elapsed(), LOOK * QUIET_LOOKS);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_is_waited_for_however_long_it_takes() {
        let activity = Arc::new(Activity::default());
        let began = Instant::now();
        let call = activity.begin();
        let hour = Duration::from_secs(3600);
        tokio::spawn(async move {
            tokio::time::sleep(hour).await;
            drop(call);
        });
        activity.silence().await;
        assert!(began.elapsed() >= hour + LOOK * QUIET_LOOKS, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn each_request_begins_the_time_anew() {
        let activity = Arc::new(Activity::default());
        let began = Instant::now();
        let calls = tokio::spawn({
            let activity = Arc::clone(&activity);
            async move {
                for _ in 0..10 {
                    tokio::time::sleep(Duration::from_secs(80)).await;
                    drop(activity.begin());
                }
            }
        });
        activity.silence().await;
        assert!(calls.is_finished());
        assert!(began.elapsed() < Duration::from_secs(800 + 121), "{:?}", began.elapsed());
    }
}
