//! Which servers of which sessions are at work, and when their state was last saved: so that it is
//! saved at quiet points, and not too often.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::model::{ServerName, SessionId};
use crate::sync::Locked;

/// Entries from which those that are of no use any more are dropped.
const SWEEP_AT: usize = 1024;
/// The longest time between two savings that a plan may ask for.
const LONGEST: Duration = Duration::from_secs(3600);

pub type ActivityKey = (SessionId, ServerName);

/// The servers that are at work. Clones are handles.
#[derive(Clone, Default)]
pub struct Activity(Arc<Shared>);

#[derive(Default)]
struct Shared {
    servers: Locked<HashMap<ActivityKey, Busy>>,
    /// Whether savings wait for nothing but a quiet point.
    hurries: AtomicBool,
    /// Whether a node drains: then savings of its sessions do the same.
    any_drains: AtomicBool,
}

#[derive(Default)]
struct Busy {
    requests: usize,
    is_saving: bool,
    saved: Option<Instant>,
    /// Notified whenever the server has nothing more to do, and when its saving is to hurry or over.
    changed: Arc<Notify>,
}

/// A request under way; it is over when this is dropped.
pub struct UnderWay {
    activity: Activity,
    key: ActivityKey,
}

impl Activity {
    /// Notes that a request begins.
    pub fn begin(&self, session: SessionId, server: &ServerName) -> UnderWay {
        let key = (session, server.clone());
        let mut servers = self.0.servers.lock();
        if servers.len() >= SWEEP_AT && servers.len() == servers.capacity() {
            servers.retain(|_, busy| {
                let is_recent = busy.saved.is_some_and(|saved| saved.elapsed() < LONGEST);
                busy.requests > 0 || busy.is_saving || is_recent
            });
        }
        let busy = servers.entry(key.clone()).or_default();
        busy.requests += 1;
        // Who waits for a saving before its own request has to wait no more.
        busy.changed.notify_waiters();
        UnderWay { activity: self.clone(), key }
    }

    /// Whether the caller is the one that saves: nobody else does.
    pub fn begin_saving(&self, key: &ActivityKey) -> bool {
        let mut servers = self.0.servers.lock();
        !std::mem::replace(&mut servers.entry(key.clone()).or_default().is_saving, true)
    }

    /// Ends a saving, or the wait for it.
    pub fn end_saving(&self, key: &ActivityKey) {
        if let Some(busy) = self.0.servers.lock().get_mut(key) {
            busy.is_saving = false;
            busy.changed.notify_waiters();
        }
    }

    /// Notes that the state was saved, or that this was tried.
    pub fn note_saved(&self, key: &ActivityKey) {
        self.0.servers.lock().entry(key.clone()).or_default().saved = Some(Instant::now());
    }

    /// Lets the savings that wait now begin at their next quiet point.
    pub fn save_soon(&self) {
        for busy in self.0.servers.lock().values_mut().filter(|busy| busy.is_saving) {
            busy.saved = None;
            busy.changed.notify_waiters();
        }
    }

    /// Lets all savings that wait begin at their next quiet point, and waits for them.
    pub async fn save_all(&self) {
        const PAUSE: Duration = Duration::from_millis(10);
        self.0.hurries.store(true, Ordering::Release);
        self.hurry();
        while self.0.servers.lock().values().any(|busy| busy.is_saving) {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Savings wait for their time again.
    pub fn hurry_no_more(&self) {
        self.0.hurries.store(false, Ordering::Release);
    }

    /// Notes whether any node drains.
    pub fn note_drains(&self, any_drains: bool) {
        self.0.any_drains.store(any_drains, Ordering::Release);
        if any_drains {
            self.hurry();
        }
    }

    #[must_use]
    pub fn any_drains(&self) -> bool {
        self.0.any_drains.load(Ordering::Acquire)
    }

    /// Has all savings that wait look again whether they are due.
    fn hurry(&self) {
        self.0.servers.lock().values().for_each(|busy| busy.changed.notify_waiters());
    }

    /// Waits until the saving under way is over, or until it has to wait itself: for another request.
    pub async fn saved(&self, key: &ActivityKey) {
        loop {
            let changed = self.changed(key);
            let mut changed = std::pin::pin!(changed.notified());
            changed.as_mut().enable();
            let is_awaited = |busy: &Busy| busy.is_saving && busy.requests == 0;
            if !self.0.servers.lock().get(key).is_some_and(is_awaited) {
                return;
            }
            changed.await;
        }
    }

    fn changed(&self, key: &ActivityKey) -> Arc<Notify> {
        self.0.servers.lock().get(key).map(|busy| Arc::clone(&busy.changed)).unwrap_or_default()
    }

    /// Waits until the last saving is `every` ago, and no request is under way. At a node that the
    /// session `leaves`, the quiet point alone counts.
    pub async fn due(&self, key: &ActivityKey, every: Duration, leaves: impl Fn() -> bool) {
        loop {
            let changed = self.changed(key);
            let mut quiet = std::pin::pin!(changed.notified());
            // What is notified from here on is not missed.
            quiet.as_mut().enable();
            let (is_busy, saved) = {
                let servers = self.0.servers.lock();
                let busy = servers.get(key);
                (busy.is_some_and(|b| b.requests > 0), busy.and_then(|b| b.saved))
            };
            let hurries = self.0.hurries.load(Ordering::Acquire) || (self.any_drains() && leaves());
            let due = saved.map(|saved| saved + every).filter(|due| *due > Instant::now());
            match due.filter(|_| !hurries) {
                Some(due) => tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = quiet => {}
                },
                None if is_busy => quiet.await,
                None => return,
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let shared = &self.activity.0;
        let mut servers = shared.servers.lock();
        let Some(busy) = servers.get_mut(&self.key) else { return };
        busy.requests = busy.requests.saturating_sub(1);
        if busy.requests == 0 {
            busy.changed.notify_waiters();
            if busy.saved.is_none() && !busy.is_saving {
                servers.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_saving_waits_for_its_time_and_for_a_quiet_point() {
        let activity = Activity::default();
        let key = (SessionId::mint(), ServerName::parse("a").unwrap());
        let every = Duration::from_secs(5);
        let soon = Duration::from_millis(10);
        let under_way = activity.begin(key.0, &key.1);
        assert!(activity.begin_saving(&key) && !activity.begin_saving(&key));
        assert!(tokio::time::timeout(soon, activity.due(&key, every, || false)).await.is_err());
        drop(under_way);
        activity.due(&key, every, || false).await;
        activity.note_saved(&key);
        let began = Instant::now();
        activity.due(&key, every, || false).await;
        assert!(began.elapsed() >= every);
        // Nor does one that is waiting when instances are about to be replaced.
        activity.note_saved(&key);
        let (began, due) = (Instant::now(), activity.due(&key, every, || false));
        tokio::join!(due, async { activity.save_soon() });
        assert!(began.elapsed() < every);
        activity.end_saving(&key);
        assert!(activity.begin_saving(&key));
        activity.note_saved(&key);
        // At the end of the process nothing waits for its time.
        let began = Instant::now();
        let hurried = async {
            activity.due(&key, every, || false).await;
            activity.end_saving(&key);
        };
        tokio::join!(activity.save_all(), hurried);
        assert!(began.elapsed() < every);
    }

    #[tokio::test(start_paused = true)]
    async fn at_a_node_that_drains_a_saving_waits_for_the_quiet_point_alone() {
        let activity = Activity::default();
        let key = (SessionId::mint(), ServerName::parse("a").unwrap());
        let (every, soon) = (Duration::from_secs(5), Duration::from_millis(10));
        activity.note_saved(&key);
        assert!(activity.begin_saving(&key));
        // Where another node drains, nothing is different.
        activity.note_drains(true);
        let due = activity.due(&key, every, || false);
        assert!(tokio::time::timeout(soon, due).await.is_err());
        activity.note_drains(false);
        let began = Instant::now();
        let drains = async {
            tokio::time::sleep(soon).await;
            activity.note_drains(true);
        };
        tokio::join!(activity.due(&key, every, || true), drains);
        assert!(began.elapsed() < every);
        let under_way = activity.begin(key.0, &key.1);
        assert!(tokio::time::timeout(soon, activity.due(&key, every, || true)).await.is_err());
        // It has to wait for that request; so nobody waits for it.
        activity.saved(&key).await;
        drop(under_way);
        assert!(tokio::time::timeout(soon, activity.saved(&key)).await.is_err());
        tokio::join!(activity.saved(&key), async { activity.end_saving(&key) });
    }
}
