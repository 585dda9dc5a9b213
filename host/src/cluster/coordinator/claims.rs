//! The sessions that a node says it holds: asked for page by page, and taken in as they come.
//!
//! A node may say anything. So what it claims is bounded in number, bytes and time, and it never
//! takes a session from a node that is alive: the ids of sessions are secret, but a node knows
//! those of the sessions that it serves, and may claim another of their servers.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use tokio::time::Instant;

use crate::cluster::messages::{BindingsPage, HeldSession};
use crate::model::{Epoch, GatewayStart, NodeId, Reach, ServerName, SessionId, UnixMillis};
use crate::net::{Body, TooLong, collect};
use crate::protocol::log_level::LogLevel;
use crate::seam::Link;
use crate::store::sharing::Sharing;
use crate::store::{ReportOutcome, Reported};

use super::closings::{Closing, close_all};
use super::known_sessions::{Found, KnownSessions};
use super::node_entry::NodeEntry;
use super::registry::Registry;

/// Time for all pages of one node. Its registration is answered after that.
const DEADLINE: Duration = Duration::from_secs(5);
/// Longest wait for one page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of one page.
const PAGE_SIZE: usize = 4 << 20;
/// Bytes of all pages of one node: three times what the most claims need.
const MAX_BYTES: usize = 64 << 20;
/// The fewest claims that are taken of a node, whatever it reports: sessions of remote servers
/// and of shared processes need no slot.
const LEAST_CLAIMS: usize = 20_000;
/// The most claims of one node.
const MOST_CLAIMS: usize = 100_000;
/// Sessions that are known here, above which no claim makes another one known, unless
/// `limits.sessions` allows more.
const MOST_SESSIONS: usize = 1_000_000;
/// Bytes of one subscription's URI.
const MAX_URI: usize = 4 * 1024;
/// Bytes of the subscriptions in all claims of one registration.
const MAX_SUBSCRIPTIONS: usize = 16 << 20;
/// Bytes of all sessions' subscriptions above which none is taken from claims.
const MOST_SUBSCRIBED: usize = 32 << 20;
/// Conflicts of one registration that are logged one by one.
const SHOWN: usize = 10;
/// Sessions that are asked of the other coordinators' store at once.
const LEARNED_AT_ONCE: usize = 256;
/// Instances that are closed after one registration; further ones end when they are idle.
const MOST_CLOSED: usize = 10_000;
/// How long a client of HTTP+SSE has for coming back to this process. It waits as long where its
/// stream alone has broken off, and some clients take a moment more to find the gateway again.
pub const STREAM_GRACE: Duration = Duration::from_secs(8);

/// Takes in what one node claims.
pub struct Claims<'a> {
    node: &'a NodeEntry,
    registry: &'a Registry,
    known: &'a Arc<KnownSessions>,
    link: &'a Link,
    /// Reaches every registered node: sessions are lost at others too.
    others: &'a Link,
    deadline: Instant,
    /// Bindings to the node above which no further one is taken.
    limit: usize,
    /// Bytes of pages and of subscriptions that are left.
    bytes: usize,
    subscriptions: usize,
    conflicts: usize,
    /// Why the first page was left out.
    too_long: Option<String>,
    closing: Vec<Closing>,
    /// Sessions of streams that were open in another process.
    awaited: Vec<Closing>,
    ended: usize,
    /// What other coordinators know of the sessions, if there may be any.
    pub sharing: Option<Arc<Sharing>>,
}

/// Why there is no page.
enum NoPage {
    /// It has more bytes than it may have.
    TooLong(String),
    Failed(String),
}

impl From<String> for NoPage {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// Why no further claim of a node is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CutOff {
    /// The node has as many bindings as it may have.
    Claims,
    /// The coordinator knows as many sessions as it may.
    Sessions,
}

impl<'a> Claims<'a> {
    /// Of a node that has proved which node it is. The first link reaches that node alone, the
    /// second one every registered node.
    #[must_use]
    pub fn of(
        node: &'a NodeEntry,
        (registry, known): (&'a Registry, &'a Arc<KnownSessions>),
        (link, others): (&'a Link, &'a Link),
    ) -> Self {
        Self {
            node,
            registry,
            known,
            link,
            others,
            deadline: Instant::now() + DEADLINE,
            limit: most_claims(node),
            bytes: MAX_BYTES,
            subscriptions: MAX_SUBSCRIPTIONS,
            conflicts: 0,
            too_long: None,
            closing: Vec::new(),
            awaited: Vec::new(),
            ended: 0,
            sharing: None,
        }
    }

    /// The first page, before the node counts as registered: a node that refuses it serves no
    /// session either.
    ///
    /// # Errors
    /// Why it is none. One that is too long only counts as cut off.
    pub async fn first(&mut self) -> Result<BindingsPage, String> {
        match self.page("").await {
            Ok(page) => Ok(page),
            Err(NoPage::Failed(why)) => Err(why),
            Err(NoPage::TooLong(why)) => {
                self.too_long = Some(why);
                Ok(BindingsPage::default())
            }
        }
    }

    /// Takes in a page and asks for those that follow. What exceeds a limit is left out and
    /// logged; the node is registered all the same. Returns whether any was left out.
    pub async fn take(mut self, mut page: BindingsPage) -> bool {
        let mut after = String::new();
        let mut taken = 0;
        let cut = loop {
            let next = page.next.take().filter(|_| !page.bindings.is_empty());
            self.learn(&page).await;
            let full = page.bindings.drain(..).find_map(|held| {
                taken += 1;
                self.claim(held).err()
            });
            if let Some(full) = full {
                break Some(self.say(full));
            }
            // A page that does not go on would be asked for without end.
            let Some(next) = next.filter(|next| *next > after) else { break self.too_long.take() };
            after = next;
            page = match self.page(&after).await {
                Ok(page) => page,
                Err(NoPage::Failed(why) | NoPage::TooLong(why)) => break Some(why),
            };
        };
        let is_cut = cut.is_some();
        if let Some(why) = cut {
            tracing::warn!(
                node = %self.node.id,
                "{} sessions of the node are taken in, and no further ones: {why}",
                taken
            );
        }
        if self.conflicts > SHOWN {
            tracing::warn!(
                node = %self.node.id,
                "session affinity: {} sessions of the node are bound to others",
                self.conflicts
            );
        }
        self.close_lost();
        is_cut
    }

    /// What other coordinators know of these sessions counts more than the claims.
    async fn learn(&self, page: &BindingsPage) {
        let Some(sharing) = &self.sharing else { return };
        let sessions = page.bindings.iter().filter_map(|held| SessionId::parse(&held.session));
        let mut sessions: Vec<SessionId> = sessions.collect();
        sessions.dedup();
        for sessions in sessions.chunks(LEARNED_AT_ONCE) {
            sharing.learn_all(sessions).await;
        }
    }

    fn say(&self, full: CutOff) -> String {
        match full {
            CutOff::Claims => {
                format!("a node with its slots and servers has at most {}", self.limit)
            }
            CutOff::Sessions => {
                let most = MOST_SESSIONS.max(self.known.bindings.most());
                format!("this coordinator knows at most {most}")
            }
        }
    }

    /// The page after a place in the list, within what is left of time and bytes.
    async fn page(&mut self, after: &str) -> Result<BindingsPage, NoPage> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let (wait, limit) = (PAGE_TIMEOUT.min(left), PAGE_SIZE.min(self.bytes));
        let path = format!("/cluster/bindings?after={}", crate::net::percent_encoded(after));
        let exchange = async {
            let request = Request::new(Body::Empty);
            let response = self.link.remote(&self.node.url, &path, request).await;
            let response = response.map_err(|failure| failure.to_string())?;
            if !response.status().is_success() {
                return Err(format!("it answered {}", response.status()).into());
            }
            collect(response.into_body(), limit).await.map_err(|error| match error {
                TooLong::Limit(_) => NoPage::TooLong(format!("a page of its list: {error}")),
                _ => error.to_string().into(),
            })
        };
        let body = tokio::time::timeout(wait, exchange).await.unwrap_or_else(|_| {
            Err(format!("no answer within {:.1} s", wait.as_secs_f32()).into())
        })?;
        self.bytes = self.bytes.saturating_sub(body.len());
        serde_json::from_slice(&body)
            .map_err(|error| format!("the node's list of sessions is invalid: {error}").into())
    }

    /// Takes in one claim. The error says why no further one is taken.
    fn claim(&mut self, held: HeldSession) -> Result<(), CutOff> {
        let (Some(session), Ok(server)) =
            (SessionId::parse(&held.session), ServerName::parse(&held.server))
        else {
            return Ok(());
        };
        // The name that all claims share, instead of one for each.
        let Some((server, _)) = self.node.servers.get_key_value(&server) else {
            return Ok(());
        };
        let server = server.clone();
        let epoch = held.epoch.and_then(Epoch::new);
        let closing = |reach: &Reach, up_to| Closing {
            reach: reach.clone(),
            session,
            server: server.clone(),
            up_to,
        };
        match self.known.find(session, held.stream.and_then(GatewayStart::new)) {
            Found::Alive => {}
            // It may be open at another coordinator. The node knows when that one is gone.
            Found::Awaited if self.sharing.is_some() || self.node.has_several => {}
            Found::Awaited => self.awaited.push(closing(&self.node.reach, None)),
            Found::Ended => {
                self.ended += 1;
                self.close(closing(&self.node.reach, None));
                return Ok(());
            }
        }
        let node = &self.node.id;
        if self.known.bindings.look(session, &server).as_ref() != Some(node) {
            if self.known.bindings.load(node.as_str()) as usize >= self.limit {
                return Err(CutOff::Claims);
            }
            if self.known.bindings.sessions() >= MOST_SESSIONS.max(self.known.bindings.most()) {
                return Err(CutOff::Sessions);
            }
        }
        let is_alive = |holder: &NodeId| {
            self.registry.current().load().node(holder).is_some_and(|node| node.health.serves())
        };
        // Claims of the future would win against every later one.
        let opened_at = UnixMillis(held.opened_at.min(UnixMillis::now().0));
        let reported = Reported { node: node.clone(), epoch, opened_at };
        match self.known.bindings.report(session, &server, &reported, is_alive) {
            ReportOutcome::Taken => self.restore(session, &server, held),
            ReportOutcome::Older(winner) => {
                self.conflict(session, node, &format!("the session is bound to {winner}"));
                self.close(closing(&self.node.reach, epoch));
            }
            ReportOutcome::Left => {
                self.conflict(session, node, "the session has been open elsewhere since");
                self.close(closing(&self.node.reach, epoch));
            }
            ReportOutcome::Replaced(loser, up_to) => {
                self.conflict(session, &loser, &format!("the session is open at {node}"));
                if let Some(entry) = self.registry.get(&loser) {
                    self.close(closing(&entry.reach, up_to));
                }
                self.restore(session, &server, held);
            }
        }
        Ok(())
    }

    fn close(&mut self, closing: Closing) {
        if self.closing.len() < MOST_CLOSED {
            self.closing.push(closing);
        }
    }

    /// Notes what the client of a claimed session has set in it.
    fn restore(&mut self, session: SessionId, server: &ServerName, held: HeldSession) {
        if let Some(level) = held.level.as_deref().and_then(LogLevel::of_json) {
            self.known.bindings.set_log_level_if_unknown(session, level);
        }
        for uri in held.subscriptions.iter().filter(|uri| uri.len() <= MAX_URI) {
            let Some(left) = self.subscriptions.checked_sub(uri.len()) else { return };
            if self.known.bindings.subscribed() >= MOST_SUBSCRIBED {
                return;
            }
            self.subscriptions = left;
            self.known.bindings.subscribe(session, server, uri);
        }
    }

    fn conflict(&mut self, session: SessionId, loser: &NodeId, why: &str) {
        self.conflicts += 1;
        if self.conflicts <= SHOWN {
            tracing::warn!(
                session = %session.short(), node = %loser,
                "session affinity: {why}; closed on this node"
            );
        }
    }

    /// Closes, in the background, what the nodes do not keep.
    fn close_lost(self) {
        let Self { node, known, others, closing, awaited, ended, .. } = self;
        if ended > 0 {
            tracing::info!(
                node = %node.id, sessions = ended,
                "sessions have ended while the node was away; closed there"
            );
        }
        if !closing.is_empty() {
            tokio::spawn(close_all(others.clone(), closing));
        }
        if !awaited.is_empty() {
            let (known, node) = (Arc::clone(known), node.id.clone());
            tokio::spawn(await_streams(known, node, others.clone(), awaited));
        }
    }
}

/// Closes the sessions of HTTP+SSE whose clients have not come back to this process.
async fn await_streams(known: Arc<KnownSessions>, node: NodeId, link: Link, awaited: Vec<Closing>) {
    tokio::time::sleep(STREAM_GRACE).await;
    let is_away = |closing: &Closing| !(known.has_stream)(closing.session);
    let left: Vec<Closing> = awaited.into_iter().filter(is_away).collect();
    if left.is_empty() {
        return;
    }
    tracing::info!(
        node = %node, sessions = left.len(),
        "clients of HTTP+SSE have not come back; their sessions are closed at the node"
    );
    for closing in &left {
        known.bindings.leave(closing.session, &closing.server, &node);
    }
    close_all(link, left).await;
}

/// The most sessions that a node may hold: its slots times its servers, within limits.
fn most_claims(node: &NodeEntry) -> usize {
    let slots = node.load.as_ref().map_or(0, |load| load.slots as usize);
    slots.saturating_mul(node.servers.len()).clamp(LEAST_CLAIMS, MOST_CLAIMS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::messages::LoadReport;
    use crate::model::Replica;

    fn node(slots: u32, servers: usize) -> NodeEntry {
        let name = |n: usize| ServerName::parse(&format!("s{n}")).unwrap();
        let servers = (0..servers).map(|n| (name(n), Replica::of_weight(1))).collect();
        let load = Some(LoadReport { slots, ..LoadReport::default() });
        let (id, reach) = (NodeId::parse("n").unwrap(), Reach::Remote("http://n".into()));
        NodeEntry { servers, load, ..NodeEntry::new(id, "n".into(), reach, "n".into(), 80) }
    }

    #[test]
    fn a_node_claims_what_it_has_room_for_within_limits() {
        for (slots, servers, most) in [
            (0, 1, LEAST_CLAIMS),
            (1, 3, LEAST_CLAIMS),
            (10_000, 5, 50_000),
            (u32::MAX, 1000, MOST_CLAIMS),
        ] {
            assert_eq!(most_claims(&node(slots, servers)), most, "{slots} × {servers}");
        }
    }
}
