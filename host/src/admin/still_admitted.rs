//! Streams of the management API end when a reload of the settings does not let their readers in any
//! more.

use std::sync::Arc;

use http::{HeaderMap, Request};
use tokio::sync::watch;

use crate::edge::Manager;
use crate::net::Body;

use super::{Admin, ApiCaller};

/// What answers with streams.
const STREAMS: [&str; 2] = ["/api/events", "/api/logs"];

/// A request that was let in, and is to be judged again by newer settings.
pub struct StillAdmitted {
    admin: Arc<Admin>,
    settings: watch::Receiver<u64>,
    /// `None` where the answer is no stream.
    asked: Option<(HeaderMap, ApiCaller)>,
    /// Whether newer settings are there by which it was not judged yet.
    is_due: bool,
}

impl StillAdmitted {
    /// Call it before the request is judged.
    #[must_use]
    pub fn of(admin: &Arc<Admin>, request: &Request<Body>, caller: &ApiCaller) -> Self {
        let is_stream = STREAMS.contains(&request.uri().path());
        let settings = admin.settings.clone();
        Self {
            admin: Arc::clone(admin),
            settings,
            asked: is_stream.then(|| (request.headers().clone(), caller.clone())),
            is_due: false,
        }
    }

    /// Resolves once newer settings refuse the request, or let its caller see something else: it
    /// has to ask again then. Cancel-safe.
    pub async fn ended(&mut self) {
        let Some((headers, caller)) = &self.asked else { return std::future::pending().await };
        loop {
            if !self.is_due {
                // Cannot fail: the edge has the sender.
                let _ = self.settings.changed().await;
                self.is_due = true;
            }
            let judged = (self.admin.admit)(headers, caller.peer, caller.local).await;
            let rights = |manager: &Manager| manager.rights.clone();
            if judged.ok().as_ref().map(rights) != caller.admitted.get().map(rights) {
                return;
            }
            self.is_due = false;
        }
    }
}
