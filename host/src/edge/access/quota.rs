//! Limits the sessions of one credential or address. A session is counted before it begins, and
//! uncounted if it then fails to begin.

use std::sync::Arc;

use http::HeaderMap;

use crate::edge::client_request::ClientRequest;
use crate::edge::refusal::{Refusal, TooManySessions};
use crate::edge::session::client_session::Session;
use crate::edge::worker::{Edge, Worker};
use crate::model::{QuotaKey, SessionId};
use crate::store::{Bindings, InUse, NoRoom};

use super::forwarded;

/// A session that is counted while it begins. Unless it is marked to stay, dropping this uncounts
/// it, and ends the servers that were opened for it.
#[must_use]
pub struct CountedSession {
    worker: Worker,
    session: Session,
    /// While its server starts, which may take minutes, it must not give way.
    held: Option<InUse>,
}

impl CountedSession {
    /// Marks the session as begun: it stays counted until it ends.
    pub fn stays(mut self) {
        drop(self.held.take());
        self.worker.edge.bindings.begun(self.session.id);
    }
}

impl Drop for CountedSession {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        drop(held);
        let bindings = &self.worker.edge.bindings;
        let record = bindings.record(self.session.id);
        if record.is_none_or(|record| record.servers.is_empty()) {
            // One of HTTP+SSE is held, and counted, as long as its stream is open.
            bindings.forget_unless_held(self.session.id);
            return;
        }
        // The client has left while its server was being opened.
        let (worker, session) = (self.worker.clone(), self.session.clone());
        tokio::spawn(async move { worker.end(&session).await });
    }
}

/// The place of an HTTP+SSE stream, which counts as a session from its beginning to its end, with
/// or without `initialize`.
pub struct CountedStream {
    bindings: Arc<Bindings>,
    session: SessionId,
    held: Option<InUse>,
}

impl Drop for CountedStream {
    fn drop(&mut self) {
        drop(self.held.take());
        self.bindings.forget_unless_held(self.session);
    }
}

impl Worker {
    /// Counts a session that is about to begin.
    pub(in crate::edge) fn admit_session(
        &self,
        context: &ClientRequest,
        session: &Session,
    ) -> Result<CountedSession, Refusal> {
        let edge = &self.edge;
        let admitted = edge.bindings.admit(session.id, &context.quota);
        admitted.map_err(|why| refused(edge, why, &context.quota, &context.headers))?;
        edge.warn_of_proxy(&context.quota, &context.headers);
        let held = Some(edge.bindings.hold(session.id));
        Ok(CountedSession { worker: self.clone(), session: session.clone(), held })
    }

    /// Counts an HTTP+SSE stream that has just been opened.
    pub(in crate::edge) fn admit_stream(
        &self,
        quota: &QuotaKey,
        headers: &HeaderMap,
        session: SessionId,
    ) -> Result<CountedStream, Refusal> {
        let edge = &self.edge;
        let admitted = edge.bindings.admit(session, quota);
        admitted.map_err(|why| refused(edge, why, quota, headers))?;
        edge.warn_of_proxy(quota, headers);
        let held = Some(edge.bindings.hold(session));
        Ok(CountedStream { bindings: Arc::clone(&edge.bindings), session, held })
    }
}

impl Worker {
    /// Counts the stream of a session that goes on. It is never refused: it may have begun before
    /// this process did.
    pub(in crate::edge) fn readmit_stream(
        &self,
        quota: &QuotaKey,
        session: SessionId,
    ) -> CountedStream {
        let bindings = &self.edge.bindings;
        let held = Some(bindings.hold_for(session, quota));
        CountedStream { bindings: Arc::clone(bindings), session, held }
    }
}

fn refused(edge: &Edge, why: NoRoom, whom: &QuotaKey, headers: &HeaderMap) -> Refusal {
    let met = &edge.bindings.met;
    let limit = match why {
        NoRoom::OfKey(_) => &met.per_key,
        NoRoom::InAll(_) => &met.in_all,
    };
    let refusal =
        TooManySessions { why, whom: whom.clone(), by_proxy: edge.counts_a_proxy(whom, headers) };
    limit.note_refused(|since| tracing::warn!(since, "{refusal}"));
    Refusal::TooManySessions(Box::new(refusal))
}

impl Edge {
    /// Whether the address that is counted may be a proxy's, which nobody has told us to trust.
    fn counts_a_proxy(&self, whom: &QuotaKey, headers: &HeaderMap) -> bool {
        let QuotaKey::Address(address) = whom else { return false };
        self.config.trusted_proxies.is_empty()
            && is_private(*address)
            && forwarded::is_forwarded(headers)
    }

    /// Says once that all clients of a proxy count as one.
    fn warn_of_proxy(&self, whom: &QuotaKey, headers: &HeaderMap) {
        if self.counts_a_proxy(whom, headers) && self.metrics.first_proxy() {
            tracing::warn!(
                "requests come through a proxy: all clients without a credential count as {whom}, \
                 and share its limits. If it is yours, name it in systemConfig.trustedProxies"
            );
        }
    }
}

/// Whether the address is of this machine or of a private network, as proxies' mostly are.
fn is_private(address: std::net::IpAddr) -> bool {
    match address {
        std::net::IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        // The address is the network, whose own part is zero: `::/64` is loopback's.
        std::net::IpAddr::V6(v6) => {
            v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local()
        }
    }
}
