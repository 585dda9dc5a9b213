//! A tool call while it runs: how it reports progress, waits, and learns that it was cancelled.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::jsonrpc::Notify;

/// What a running tool can use: notifications to the client, and a wait that can be cancelled.
pub struct Call<'a> {
    pub(crate) outbox: &'a dyn Notify,
    pub(crate) progress_token: Option<Value>,
    pub(crate) cancellation: Arc<Cancellation>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Waited {
    Full,
    /// The client has cancelled the call: stop, the answer will not be sent.
    Cancelled,
}

impl Call<'_> {
    pub fn notify(&self, method: &str, params: Value) {
        self.outbox.notify(method, params);
    }

    /// Reports progress, if the client has given a progress token.
    pub fn progress(&self, done: u64, total: u64) {
        if let Some(token) = &self.progress_token {
            let params = json!({"progressToken": token, "progress": done, "total": total});
            self.outbox.notify("notifications/progress", params);
        }
    }

    pub fn wait(&self, time: Duration) -> Waited {
        self.cancellation.wait(time)
    }
}

/// Set once, by `notifications/cancelled` or the end of input.
#[derive(Default)]
pub(crate) struct Cancellation {
    cancelled: Mutex<bool>,
    changed: Condvar,
}

impl Cancellation {
    pub(crate) fn cancel(&self) {
        *lock(&self.cancelled) = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        *lock(&self.cancelled)
    }

    fn wait(&self, time: Duration) -> Waited {
        let waiting =
            self.changed.wait_timeout_while(lock(&self.cancelled), time, |cancelled| !*cancelled);
        let (cancelled, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        if *cancelled { Waited::Cancelled } else { Waited::Full }
    }
}

/// The slow calls in flight, by request id.
#[derive(Default)]
pub(crate) struct CallsInFlight {
    by_id: Mutex<HashMap<String, Arc<Cancellation>>>,
}

impl CallsInFlight {
    /// Enters a call, which is in flight until the guard is dropped.
    pub(crate) fn enter(&self, id: &Value) -> CallGuard<'_> {
        let cancellation = Arc::new(Cancellation::default());
        let key = id.to_string();
        lock(&self.by_id).insert(key.clone(), Arc::clone(&cancellation));
        CallGuard { calls: self, key, cancellation }
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.by_id).len()
    }

    pub(crate) fn cancel(&self, id: &Value) {
        if let Some(cancellation) = lock(&self.by_id).get(&id.to_string()) {
            cancellation.cancel();
        }
    }

    pub(crate) fn cancel_all(&self) {
        for cancellation in lock(&self.by_id).values() {
            cancellation.cancel();
        }
    }
}

pub(crate) struct CallGuard<'a> {
    calls: &'a CallsInFlight,
    key: String,
    pub(crate) cancellation: Arc<Cancellation>,
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        lock(&self.calls.by_id).remove(&self.key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
