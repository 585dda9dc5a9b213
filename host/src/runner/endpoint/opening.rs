//! Opens sessions at servers: one opening for all that ask for it at a time.

use std::sync::Arc;

use http::{HeaderMap, Request, Response, StatusCode};

use crate::model::{Principal, QuotaKey};
use crate::net::{Body, collect};
use crate::runner::admission::open_error::OpenError;
use crate::runner::catalog::probe;
use crate::runner::session::instance::Instance;
use crate::runner::session::open;
use crate::runner::session::opening::Opening;
use crate::runner::session::owner::SessionOwner;
use crate::runner::session::table::{InstanceKey, SlotClaim};
use crate::runner::unserved::{cannot_open, newer, plain, unreadable};
use crate::runner::upkeep::watch;
use crate::seam::{Handshake, Start, write_epoch};
use crate::streams::response as events;

use super::{Asked, Runner};

/// What an opening needs from its request.
struct OpenRequest {
    principal: Principal,
    quota: QuotaKey,
    handshake: Handshake,
    params: bytes::Bytes,
    forwarded: HeaderMap,
    renews: bool,
    /// Whether its state is to be brought back before it serves the client.
    holds: bool,
    is_inner: bool,
}

impl Runner {
    /// Opens the session at the server; concurrent requests wait for the same opening.
    /// The body of the answer is the `InitializeResult`.
    pub(super) async fn open(
        &self,
        key: InstanceKey,
        (principal, quota): (Principal, QuotaKey),
        asked: Asked,
        request: Request<Body>,
    ) -> Response<Body> {
        let Asked { handshake, epochs, stream, holds, is_inner } = asked;
        let forwarded = self.forwarded(&key.1, request.headers());
        let params = match collect(request.into_body(), self.shared.config.message).await {
            Ok(params) => params,
            Err(error) => return unreadable(&error, None),
        };
        if handshake == Handshake::Runner {
            probe::probe(&self.shared.table, &key, &self.pool).await;
        }
        if holds {
            self.end_left_restoration(&key).await;
        }
        let (start, epoch, mut opened) = match self.shared.table.enter(&key, epochs, stream) {
            SlotClaim::Newer(epoch) => return newer(epoch),
            SlotClaim::Wait(opened, epoch) => (Start::Existing, epoch, opened),
            SlotClaim::Opening(sender, left) => {
                let opened = sender.subscribe();
                let renews = self.shared.table.renewals.take(&key) && left.is_none();
                if let Some(left) = left {
                    self.close_left(&key, left);
                }
                // On its own task, so that the opening goes on if this client leaves.
                let asked = OpenRequest {
                    principal,
                    quota,
                    handshake,
                    params,
                    forwarded,
                    renews,
                    holds,
                    is_inner,
                };
                tokio::spawn(self.clone().run_opening(key.clone(), asked, sender));
                (if renews { Start::Renewed } else { Start::Fresh }, epochs.given, opened)
            }
        };
        let outcome = match opened.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        match outcome {
            Some(Ok(instance)) => {
                // An opening that another request has left: its state is still to be brought back.
                let is_left = holds && start == Start::Existing && instance.is_held();
                let start = match start {
                    Start::Fresh if instance.loses_nothing() && !holds => Start::Renewed,
                    _ if is_left => Start::Fresh,
                    _ => start,
                };
                let mut response = events::json(instance.result.clone());
                start.write(response.headers_mut());
                write_epoch(response.headers_mut(), epoch);
                response
            }
            Some(Err(error)) => cannot_open(&error),
            None => plain(StatusCode::BAD_GATEWAY, "opening the session was given up"),
        }
    }

    /// Closes an instance that the session has left, on a task of its own: its server may be slow,
    /// and the session goes on without it.
    fn close_left(&self, key: &InstanceKey, left: Arc<Instance>) {
        let (session, server) = (key.0.short(), &key.1);
        tracing::info!(session, server = %server, "closed an instance that its session has left");
        let pool = self.pool.clone();
        tokio::spawn(async move { left.close(&pool).await });
    }

    async fn run_opening(
        self,
        key: InstanceKey,
        asked: OpenRequest,
        told: tokio::sync::watch::Sender<Option<Result<Arc<Instance>, OpenError>>>,
    ) {
        let served = self.shared.servers.load().get(&key.1).map(Arc::clone);
        let Some(served) = served else { return };
        let opening = Opening {
            params: &asked.params,
            handshake: asked.handshake,
            forwarded: &asked.forwarded,
            owner: Some(SessionOwner {
                session: key.0,
                principal: &asked.principal,
                quota: &asked.quota,
                is_inner: asked.is_inner,
            }),
        };
        let open = open::open(&key.1, &served, opening, &self.pool, &self.shared.resources);
        let outcome = open.await.map(Arc::new);
        match &outcome {
            Ok(instance) => {
                if asked.renews || (instance.loses_nothing() && !asked.holds) {
                    instance.mark_renewal();
                }
                if asked.holds {
                    instance.hold(true);
                }
                tracing::debug!(session = %key.0.short(), server = %key.1, pid = instance.pid(), "session opened");
                let shared = Arc::downgrade(&self.shared);
                let watching =
                    watch::watch_instance(shared, self.pool.clone(), key.clone(), instance);
                tokio::spawn(watching);
                if served.logs_in {
                    instance.list_changes().mark_unknown();
                }
            }
            Err(error) => {
                // The log has told it already.
                let starts = &self.shared.resources.starts;
                let is_told = error.is_failed_start()
                    && (starts.has_failed(&key.1) || !starts.is_news(&key.1, &error.to_string()));
                self.shared.complaints.say(&key, error, is_told);
            }
        }
        let opened = outcome.as_ref().ok().map(Arc::clone);
        told.send_replace(Some(outcome));
        // The session may have ended or moved while its server started.
        if let Some(instance) = opened.filter(|instance| !self.shared.table.holds(&key, instance)) {
            instance.close(&self.pool).await;
        }
    }
}
