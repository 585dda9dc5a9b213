//! The calls of nodes to the coordinator: register, heartbeat, deregister.
//!
//! A registration is accepted only after a callback: the coordinator proves that this start of the
//! node is at its address, and asks it for the sessions that it holds.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use crate::cluster::messages::{Heartbeat, HeartbeatAnswer, ProtocolReport, Registration};
use crate::cluster::own_drain::OwnDrain;
use crate::cluster::trouble::ServerNotes;
use crate::config::Secret;
use crate::model::{Absence, NodeId, Reports};
use crate::net::{Sign, Unreached};
use crate::protocol::proof::handshake::Party;
use crate::protocol::proof::request_proof::RequestProof;
use crate::seam::Link;
use crate::store::DataFolder;
use crate::store::sharing::Sharing;
use crate::sync::{Locked, now, since};
use crate::tls::ClusterTls;

use super::admissions::Admissions;
use super::bounds;
use super::callback::Callback;
use super::claims::Claims;
use super::drain::DrainOrders;
use super::heard::Heard;
use super::known_nodes::{self, KnownNode, KnownNodes};
use super::known_sessions::KnownSessions;
use super::liveness::Liveness;
use super::node_entry::{LeaseStatus, NodeEntry};
use super::proofs::{Proofs, ProvedMessage, once};
use super::registration;
use super::registry::{Beat, Registry};
use super::rejected::Rejected;
use super::replays::OwnReplays;
use super::take_over::refuse_second;

/// Handles the calls of nodes, and calls them back.
pub struct Control {
    pub registry: Arc<Registry>,
    /// What the requests of nodes have to prove.
    pub proofs: Proofs,
    /// Passes orders to drain to nodes.
    pub drains: DrainOrders,
    known: Arc<KnownSessions>,
    callback: Callback,
    snapshot: KnownNodes,
    admissions: Admissions,
    reports: watch::Sender<Reports>,
    /// Nodes of the last start that have not reported yet.
    expected: Locked<BTreeSet<NodeId>>,
    folder: DataFolder,
    /// Registrations whose sessions were not all taken in.
    cut_off: AtomicU64,
    /// What other coordinators have to know, if there may be any.
    fellows: OnceLock<(Arc<Sharing>, mpsc::UnboundedSender<Heard>)>,
}

impl Control {
    /// `own` is the coordinator itself, as it introduces itself to nodes.
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        known: KnownSessions,
        own: Party,
        (token, tls): (Option<Secret>, Option<Arc<ClusterTls>>),
        folder: DataFolder,
        own_drain: Arc<OwnDrain>,
    ) -> Self {
        let snapshot = KnownNodes::new(folder.clone(), Arc::clone(&registry));
        Self {
            proofs: Proofs::new(token.clone(), Arc::clone(&registry)).over(tls.clone()),
            drains: DrainOrders { registry: Arc::clone(&registry), own: own_drain },
            registry,
            known: Arc::new(known),
            callback: Callback { own, token, tls },
            snapshot,
            admissions: Admissions::default(),
            reports: watch::Sender::default(),
            expected: Locked::default(),
            folder,
            cut_off: AtomicU64::default(),
            fellows: OnceLock::new(),
        }
    }

    /// Shares what is heard of nodes with other coordinators from now on.
    #[must_use]
    pub fn share(&self, sharing: Arc<Sharing>) -> mpsc::UnboundedReceiver<Heard> {
        let (heard, told) = mpsc::unbounded_channel();
        // The first one stays.
        let _ = self.fellows.set((sharing, heard));
        told
    }

    fn heard(&self, heard: Heard) {
        if let Some((_, fellows)) = self.fellows.get() {
            // The receiver is gone only while the process ends.
            let _ = fellows.send(heard);
        }
    }

    /// Registers a node that another coordinator knows.
    pub(in crate::cluster) async fn meet(
        &self,
        entry: NodeEntry,
        link: &Link,
    ) -> Result<NodeEntry, Rejected> {
        let _admission = self.admissions.enter_again(&entry.id).await?;
        let entry = self.admit(entry, None, link).await?;
        self.snapshot.save().await;
        Ok(entry)
    }

    /// Writes the nodes that are registered now, for the next start to call.
    pub async fn save(&self) {
        self.snapshot.save().await;
    }

    /// Keeps nothing from now on: another process does.
    pub fn retire(&self) {
        self.snapshot.retire();
    }

    /// Writes them again if the data folder has come back.
    pub async fn save_if_renewed(&self) {
        self.snapshot.save_if_renewed().await;
    }

    /// How many registrations there were whose sessions were not all taken in.
    #[must_use]
    pub fn cut_off(&self) -> u64 {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// How many nodes have reported since the start, and whether all have.
    #[must_use]
    pub fn reports(&self) -> watch::Receiver<Reports> {
        self.reports.subscribe()
    }

    /// Enters the nodes of the last start into the registry, to be asked by `recall`.
    /// Those that were there are waited for.
    pub fn expect_known(&self) {
        let known = known_nodes::read(&self.folder);
        let was_there = |kept: &KnownNode| kept.was_there();
        let (there, away): (Vec<_>, Vec<_>) = known.into_iter().partition(was_there);
        let entries = |kept: Vec<KnownNode>| kept.into_iter().filter_map(known_nodes::entry_of);
        // Of a node of an earlier version nothing is known that it could prove.
        let can_prove = |entry: &NodeEntry| !entry.incarnation.expose().is_empty();
        let there: Vec<NodeEntry> = entries(there).collect();
        self.expected.lock().extend(there.iter().map(|entry| entry.id.clone()));
        let known = there.into_iter().chain(entries(away));
        self.registry.expect(known.filter(can_prove).collect());
    }

    /// The same for nodes that another coordinator knows.
    pub(in crate::cluster) fn expect_told(&self, nodes: Vec<NodeEntry>) {
        let is_new = |node: &NodeEntry| self.registry.read(&node.id, |_| ()).is_none();
        let new: Vec<NodeEntry> = nodes.into_iter().filter(is_new).collect();
        self.expected.lock().extend(new.iter().map(|node| node.id.clone()));
        self.registry.expect(new);
    }

    /// Notes that a node has reported, or is not expected any more. Once none is, nobody waits.
    pub(in crate::cluster) fn settled(&self, id: &NodeId) {
        let is_last = {
            let mut expected = self.expected.lock();
            expected.remove(id) && expected.is_empty()
        };
        self.reports.send_modify(|reports| {
            reports.count += 1;
            reports.all |= is_last;
        });
    }

    /// Notes that all nodes of the last start have been called. Those that are still expected may
    /// register by themselves.
    pub(in crate::cluster) async fn all_called(&self) {
        let is_none_expected = self.expected.lock().is_empty();
        if is_none_expected {
            self.reports.send_modify(|reports| reports.all = true);
        }
        self.save().await;
    }

    /// Registers a node.
    ///
    /// # Errors
    /// If a field is missing or invalid, the address does not answer as that node, or
    /// another process has the id.
    pub async fn register(
        &self,
        proved: ProvedMessage<Registration>,
        link: &Link,
    ) -> Result<NodeEntry, Rejected> {
        let Callback { token, tls, .. } = &self.callback;
        registration::check_scheme(&proved.message.url, tls.as_deref())?;
        let entry = registration::entry_of(proved.message, proved.peer, token.is_some())?;
        let _admission = self.admissions.enter(&entry.id).await?;
        let entry = self.admit(entry, proved.proof.as_ref(), link).await?;
        self.snapshot.save().await;
        Ok(entry)
    }

    /// Registers a node of the last start, which has not called.
    pub(in crate::cluster) async fn recall(
        &self,
        entry: NodeEntry,
        link: &Link,
    ) -> Result<NodeEntry, Rejected> {
        let _admission = self.admissions.enter_again(&entry.id).await?;
        self.admit(entry, None, link).await
    }

    /// Whether nobody is at the node's address. Silence says nothing, and neither does another
    /// process there: that may be the node, which is about to register.
    pub(in crate::cluster) async fn is_gone(&self, entry: &NodeEntry, link: &Link) -> bool {
        let proved = self.callback.prove(entry, link).await;
        proved.is_err_and(|unreached| unreached.sign == Sign::Gone)
    }

    /// Registers a node again that was given up and answers: it reports the sessions that it holds.
    pub(in crate::cluster) async fn readmit(
        &self,
        asked: &NodeEntry,
        link: &Link,
    ) -> Result<NodeEntry, Rejected> {
        let _admission = self.admissions.enter_again(&asked.id).await?;
        // It may have registered by itself meanwhile, or another start of it.
        let is_awaited = |now: &NodeEntry| {
            now.is_start(asked.incarnation.expose())
                && (now.status == LeaseStatus::Unhealthy || now.liveness.is_silent())
        };
        let entry = self.registry.get(&asked.id).filter(is_awaited);
        let entry = entry.ok_or_else(|| Rejected::Unknown(asked.id.to_string()))?;
        let (status, liveness) = (LeaseStatus::Active, Liveness::default());
        self.admit(NodeEntry { status, liveness, last_seen: now(), ..entry }, None, link).await
    }

    /// Asks whether this start of the node is at its address, on a new connection.
    ///
    /// # Errors
    /// Why that does not show.
    pub(in crate::cluster) async fn ask(
        &self,
        entry: &NodeEntry,
        link: &Link,
    ) -> Result<(), Unreached> {
        self.callback.ask(entry, link).await
    }

    /// Calls a node back, registers it, and takes its report of sessions. The proof is that of its
    /// registration, if it has sent one. No other registration of the node may be under way.
    async fn admit(
        &self,
        entry: NodeEntry,
        proof: Option<&RequestProof>,
        link: &Link,
    ) -> Result<NodeEntry, Rejected> {
        let own_link = self.callback.prove(&entry, link).await.map_err(|unproved| {
            Rejected::BadRequest(format!(
                "the node does not answer at {}: {}; check cluster.node.advertiseUrl, the port \
                 and firewalls between coordinator and node",
                entry.url, unproved.why
            ))
        })?;
        let entry = NodeEntry { replays: self.replays_of(&entry), ..entry };
        let known = (&*self.registry, &self.known);
        let mut claims = Claims::of(&entry, known, (&own_link, link));
        claims.sharing = self.fellows.get().map(|(sharing, _)| Arc::clone(sharing));
        let first = claims.first().await.map_err(Rejected::BadRequest)?;
        refuse_second(&entry, &self.registry, &self.callback, link).await?;
        // Only now: what is not that node's must not count as its requests.
        proof.map_or(Ok(()), |proof| once(proof, &entry.replays))?;
        // A node of the last start that is called says it here.
        let drain = first.drain.clone().or_else(|| entry.drain.clone());
        let registered = NodeEntry { drain, ..entry.clone() };
        let silent_since = self.silent_since(&entry.id);
        self.registry.register(registered).map_err(|full| Rejected::Full(full.to_string()))?;
        if claims.take(first).await {
            self.cut_off.fetch_add(1, Ordering::Relaxed);
        }
        self.settled(&entry.id);
        tracing::info!(
            node = %entry.id, servers = entry.servers.len(),
            "Node registered: {} ({}) with {} servers",
            entry.name,
            entry.id,
            entry.servers.len()
        );
        if let Some(heard) = silent_since {
            let seconds = since(heard).as_secs_f64();
            tracing::info!(node = %entry.id, "the node is back: it was not heard for {seconds:.1} s");
        }
        if entry.version != env!("CARGO_PKG_VERSION") && !entry.version.is_empty() {
            tracing::warn!(
                node = %entry.id,
                "the node runs mooring {}, this coordinator {}: run one version of mooring on all",
                entry.version,
                env!("CARGO_PKG_VERSION")
            );
        }
        let own = ProtocolReport::own();
        if let Some(said) = entry.protocol.as_ref().filter(|said| **said != own) {
            tracing::warn!(
                node = %entry.id,
                "the node speaks revision {} of the seam and MCP up to {}, this coordinator {} and \
                 {}: run one version of mooring on all",
                said.seam, said.mcp, own.seam, own.mcp
            );
        }
        self.heard(Heard::From(entry.id.clone()));
        Ok(entry)
    }

    /// Renews a node's lease.
    ///
    /// # Errors
    /// If the node is not registered, or a server's name is invalid.
    pub fn heartbeat(&self, proved: ProvedMessage<Heartbeat>) -> Result<HeartbeatAnswer, Rejected> {
        self.of_its_start(&proved)?;
        let heartbeat = proved.message;
        let unknown = || Rejected::Unknown(heartbeat.id.clone());
        let id = NodeId::parse(&heartbeat.id).map_err(|_| unknown())?;
        if let Some(load) = &heartbeat.load {
            bounds::check_load(load).map_err(Rejected::BadRequest)?;
        }
        let mut beat =
            Beat { draining: heartbeat.draining, load: heartbeat.load.clone(), ..Beat::default() };
        beat.drain = heartbeat.drain.clone();
        beat.notes = ServerNotes::bounded(heartbeat.troubles.clone(), heartbeat.flaws.clone());
        if let Some(reports) = &heartbeat.servers {
            beat.size = bounds::check_servers(reports).map_err(Rejected::BadRequest)?;
            beat.servers = Some(registration::replicas(reports.clone())?);
        }
        let incarnation = &heartbeat.incarnation;
        self.registry.heartbeat(&id, incarnation, beat, now()).map_err(|_| unknown())?;
        tracing::debug!(node = %id, "heartbeat");
        let only_here = match heartbeat.drain {
            Some(_) => self.registry.only_at(&id).iter().map(ToString::to_string).collect(),
            None => Vec::new(),
        };
        self.heard(Heard::From(id));
        Ok(HeartbeatAnswer { only_here })
    }

    /// Marks a node that stops as inactive.
    ///
    /// # Errors
    /// If the node is not registered, or as another start of it.
    pub async fn deregister(&self, proved: ProvedMessage<Heartbeat>) -> Result<(), Rejected> {
        self.of_its_start(&proved)?;
        let Heartbeat { id, incarnation, .. } = proved.message;
        let known = NodeId::parse(&id).ok().filter(|id| self.registry.deregister(id, &incarnation));
        let Some(id) = known else { return Err(Rejected::Unknown(id)) };
        tracing::info!(node = %id, "Node deregistered: {id}");
        self.heard(Heard::Left(id, incarnation));
        self.snapshot.save().await;
        Ok(())
    }

    /// Refuses a message that is not of the registered start of its node, or was here before.
    fn of_its_start(&self, proved: &ProvedMessage<Heartbeat>) -> Result<(), Rejected> {
        let Heartbeat { id, incarnation, .. } = &proved.message;
        let replays =
            |entry: &NodeEntry| entry.is_start(incarnation).then(|| Arc::clone(&entry.replays));
        let known = NodeId::parse(id).ok().and_then(|id| self.registry.read(&id, replays)?);
        match (&proved.proof, known) {
            (Some(proof), Some(replays)) => once(proof, &replays),
            _ => Err(Rejected::Unknown(id.clone())),
        }
    }

    /// When a node whose lease has run out was heard of last.
    fn silent_since(&self, id: &NodeId) -> Option<Instant> {
        let is_silent = |known: &NodeEntry| {
            known.status == LeaseStatus::Unhealthy
                && known.away.is_none_or(|(away, _)| away.how != Absence::NotBack)
        };
        let silent = |known: &NodeEntry| is_silent(known).then_some(known.last_seen);
        self.registry.read(id, silent)?
    }

    /// What this start has sent before, if it is known.
    fn replays_of(&self, entry: &NodeEntry) -> OwnReplays {
        let known = |known: &NodeEntry| {
            known.is_start(entry.incarnation.expose()).then(|| Arc::clone(&known.replays))
        };
        self.registry.read(&entry.id, known).flatten().unwrap_or_default()
    }
}
