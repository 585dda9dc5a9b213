//! The requests of the host that are under way.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use super::message::Request;

/// Requests whose answers are awaited.
pub struct OpenRequests {
    all: watch::Sender<Vec<OpenRequest>>,
}

struct OpenRequest {
    id: String,
    /// A subscription has no answer until it ends, and nothing waits for it.
    is_subscription: bool,
    /// Whether it is ended here: without a session nothing else belongs to it.
    is_alone: bool,
    end: Arc<Notify>,
}

/// A request is open for as long as this is there.
pub struct Opened {
    requests: Arc<OpenRequests>,
    end: Arc<Notify>,
}

impl OpenRequests {
    pub fn new() -> Self {
        Self { all: watch::channel(Vec::new()).0 }
    }

    pub fn open(this: &Arc<Self>, request: &Request) -> Opened {
        let end = Arc::new(Notify::new());
        let open = OpenRequest {
            id: request.id.clone(),
            is_subscription: request.is_subscription(),
            is_alone: request.revision.is_some(),
            end: Arc::clone(&end),
        };
        this.all.send_modify(|all| all.push(open));
        Opened { requests: Arc::clone(this), end }
    }

    /// Ends the request with this id. False if there is none that ends here.
    pub fn cancel(&self, id: &str) -> bool {
        let all = self.all.borrow();
        let found = all.iter().find(|open| open.is_alone && open.id == id);
        found.map(|open| open.end.notify_one()).is_some()
    }

    /// Waits until every request is answered.
    pub async fn answered(&self) {
        let mut all = self.all.subscribe();
        let _ = all.wait_for(|all| all.iter().all(|open| open.is_subscription)).await;
    }

    /// Ends all, and returns the ids of those that should have been answered.
    pub fn give_up(&self) -> Vec<String> {
        let all = self.all.borrow();
        all.iter().for_each(|open| open.end.notify_one());
        let unanswered = all.iter().filter(|open| !open.is_subscription);
        unanswered.map(|open| open.id.clone()).collect()
    }
}

impl Opened {
    /// Waits until the request is not wanted any more.
    pub async fn ended(&self) {
        self.end.notified().await;
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let all = &self.requests.all;
        all.send_modify(|all| all.retain(|open| !Arc::ptr_eq(&open.end, &self.end)));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn request(id: &str, method: &str, revision: Option<&str>) -> Request {
        let revision = revision.map(str::to_owned);
        Request { id: id.to_owned(), method: method.to_owned(), revision }
    }

    #[test]
    fn a_request_without_a_session_is_ended_here_and_no_other() {
        let requests = Arc::new(OpenRequests::new());
        let alone = OpenRequests::open(&requests, &request("1", "tools/call", Some("2026-07-28")));
        let within = OpenRequests::open(&requests, &request("2", "tools/call", None));
        assert!(!requests.cancel("2") && !requests.cancel("3"));
        assert!(alone.ended().now_or_never().is_none());
        assert!(requests.cancel("1"));
        assert!(alone.ended().now_or_never().is_some());
        drop(alone);
        assert!(!requests.cancel("1"));
        assert_eq!(requests.give_up(), ["2"]);
        assert!(within.ended().now_or_never().is_some());
    }

    #[test]
    fn nothing_waits_for_a_subscription() {
        let requests = Arc::new(OpenRequests::new());
        let listen = request("1", "subscriptions/listen", Some("2026-07-28"));
        let _listening = OpenRequests::open(&requests, &listen);
        assert!(requests.answered().now_or_never().is_some());
        let call = OpenRequests::open(&requests, &request("2", "tools/call", None));
        assert!(requests.answered().now_or_never().is_none());
        drop(call);
        assert!(requests.answered().now_or_never().is_some());
        assert!(requests.give_up().is_empty());
    }
}
