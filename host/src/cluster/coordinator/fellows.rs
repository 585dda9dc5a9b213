//! Nodes as several coordinators know them: what one of them hears is told to the others over the
//! store, and each calls a node itself before it believes that it is there.
//!
//! A node's entry is leased for the node timeout by whoever has heard from the node, sealed with the
//! coordinators' secret, since it holds what the node is proved by. Whether a node answers requests
//! is each coordinator's own matter.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::config::Secret;
use crate::model::{NodeId, Reach};
use crate::protocol::proof::mac;
use crate::seam::Link;
use crate::store::DataFolder;
use crate::store::shared::{Leased, SharedEvent};
use crate::store::sharing::{Notice, Sharing};

use super::control::Control;
use super::heard::Heard;
use super::known_nodes::{is_kept, kept_of, known_nodes, node_of};
use super::node_entry::{LeaseStatus, NodeEntry};
use super::recall::recall_all;

/// What the entries are sealed as.
const NODE: &str = "node";
/// Longest wait of a start for the store, until the nodes of the data folder are called.
const START: Duration = Duration::from_secs(2);
/// Longest wait for a question about one node.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time for heartbeats to come together before they are told.
const GATHER: Duration = Duration::from_millis(50);

/// Keeps this coordinator's nodes and those of the others the same.
pub struct Fellows {
    pub control: Arc<Control>,
    pub sharing: Arc<Sharing>,
    pub link: Link,
    pub folder: DataFolder,
    /// How long a node counts after its last heartbeat.
    pub node_timeout: Duration,
    /// What each node's entry was when it was written or read last.
    entries: HashMap<NodeId, Vec<u8>>,
}

impl Fellows {
    #[must_use]
    pub fn new(
        control: Arc<Control>,
        sharing: Arc<Sharing>,
        (folder, link): (DataFolder, Link),
        node_timeout: Duration,
    ) -> Self {
        let entries = HashMap::new();
        Self { control, sharing, link, folder, node_timeout, entries }
    }

    /// Runs until both channels are closed.
    pub async fn run(
        mut self,
        mut notices: mpsc::Receiver<Notice>,
        mut heard: mpsc::UnboundedReceiver<Heard>,
    ) {
        let connected = tokio::time::timeout(START, notices.recv()).await;
        let of_store = if let Ok(Some(_)) = connected { self.all().await } else { Vec::new() };
        let is_known = is_kept(&self.folder) || !of_store.is_empty();
        self.control.expect_told(of_store.clone());
        let mut nodes = known_nodes(&self.folder);
        nodes.retain(|node| !of_store.iter().any(|other| other.id == node.id));
        nodes.extend(of_store);
        // Beside the loop: nodes that do not answer take seconds.
        tokio::spawn(recall_all(Arc::clone(&self.control), nodes, is_known, self.link.clone()));
        loop {
            tokio::select! {
                notice = notices.recv() => match notice {
                    None => return,
                    Some(Notice::Connected) => self.connected().await,
                    Some(Notice::Event(event)) => match event {
                        SharedEvent::Node(node) | SharedEvent::Heard(node) => self.told(node).await,
                        SharedEvent::Left(node, start) => self.left(&node, start),
                        // They are about sessions.
                        _ => {}
                    },
                },
                first = heard.recv() => {
                    let Some(first) = first else { return };
                    tokio::time::sleep(GATHER).await;
                    let mut all = vec![first];
                    while let Ok(next) = heard.try_recv() {
                        if !all.contains(&next) {
                            all.push(next);
                        }
                    }
                    for next in all {
                        self.tell(next).await;
                    }
                }
            }
        }
    }

    /// The entries of all nodes in the store.
    async fn all(&mut self) -> Vec<NodeEntry> {
        let names = self.sharing.ask(self.sharing.store().all_leased(Leased::Node)).await;
        let mut nodes = Vec::new();
        for name in names.unwrap_or_default() {
            let Ok(id) = NodeId::parse(&name) else { continue };
            nodes.extend(self.entry(&id).await);
        }
        nodes
    }

    /// A node's entry in the store, if it can be read.
    async fn entry(&mut self, id: &NodeId) -> Option<NodeEntry> {
        let store = self.sharing.store();
        let sealed = self.sharing.ask(store.leased(Leased::Node, id.as_str())).await??;
        let text = self.sharing.keys().open_shared(NODE, id, &sealed)?;
        let entry = node_of(&text).filter(|entry| entry.id == *id)?;
        self.entries.insert(id.clone(), text);
        Some(entry)
    }

    /// The store is there, or again: what each side knows is made known to the other.
    async fn connected(&mut self) {
        self.entries.clear();
        for entry in self.control.registry.entries() {
            if entry.reach != Reach::Local && entry.status == LeaseStatus::Active {
                self.tell(Heard::From(entry.id)).await;
            }
        }
        for entry in self.all().await {
            self.meet(entry);
        }
    }

    /// Tells the others what was heard here.
    async fn tell(&mut self, heard: Heard) {
        let (id, store) = match heard {
            Heard::Left(id, incarnation) => return self.tell_left(id, &incarnation).await,
            Heard::From(id) => (id, Arc::clone(self.sharing.store())),
        };
        let entry = self.control.registry.get(&id);
        let Some(entry) = entry.filter(|entry| entry.status == LeaseStatus::Active) else { return };
        let text = kept_of(entry);
        if self.entries.get(&id) == Some(&text) {
            let renewing = store.renew(Leased::Node, id.as_str(), self.node_timeout);
            if self.sharing.ask(renewing).await == Some(true) {
                self.sharing.ask(store.tell(&SharedEvent::Heard(id))).await;
                return;
            }
        }
        let Some(sealed) = self.sharing.keys().seal_shared(NODE, &id, &text) else { return };
        let leasing = store.lease(Leased::Node, id.as_str(), sealed.as_bytes(), self.node_timeout);
        if self.sharing.ask(leasing).await.is_some() {
            self.entries.insert(id.clone(), text);
            self.sharing.ask(store.tell(&SharedEvent::Node(id))).await;
        }
    }

    /// Its next start may have registered with another coordinator meanwhile.
    async fn tell_left(&mut self, id: NodeId, incarnation: &str) {
        let store = Arc::clone(self.sharing.store());
        let known = self.entry(&id).await;
        if known.is_some_and(|entry| entry.is_start(incarnation)) {
            self.sharing.ask(store.let_go(Leased::Node, id.as_str())).await;
        }
        self.entries.remove(&id);
        self.sharing.ask(store.tell(&SharedEvent::Left(id, start_of(incarnation)))).await;
    }

    /// Another coordinator has heard from a node.
    async fn told(&mut self, id: NodeId) {
        let known = self.entries.get(&id).cloned();
        let asking = tokio::time::timeout(PATIENCE, self.entry(&id)).await;
        let Ok(Some(entry)) = asking else { return };
        let registry = &self.control.registry;
        let incarnation = entry.incarnation.expose().to_owned();
        if !registry.heard(&id, &incarnation, Instant::now()) {
            return self.meet(entry);
        }
        // What this process has written or read itself is known already.
        if known != self.entries.get(&id).cloned() {
            registry.update(&id, &incarnation, &entry);
        }
    }

    fn left(&mut self, id: &NodeId, start: u64) {
        self.entries.remove(id);
        let registry = &self.control.registry;
        let incarnation = registry.read(id, |entry| entry.incarnation.clone());
        let is_it = |known: &Secret| start_of(known.expose()) == start;
        let Some(incarnation) = incarnation.filter(is_it) else { return };
        if registry.deregister(id, incarnation.expose()) {
            tracing::info!("Node deregistered at another coordinator: {id}");
        }
    }

    /// Calls a node that is not known here, or was given up, and registers it if it answers.
    fn meet(&self, entry: NodeEntry) {
        let is_here = |known: &NodeEntry| {
            known.status == LeaseStatus::Active && known.is_start(entry.incarnation.expose())
        };
        if self.control.registry.read(&entry.id, is_here) == Some(true) {
            return;
        }
        let (control, link) = (Arc::clone(&self.control), self.link.clone());
        tokio::spawn(async move {
            let id = entry.id.clone();
            if let Err(why) = control.meet(entry, &link).await {
                tracing::info!(
                    node = %id,
                    "another coordinator knows this node, and it is not registered here: {why}"
                );
            }
        });
    }
}

/// A digest of an incarnation, which nodes prove themselves by.
fn start_of(incarnation: &str) -> u64 {
    let digest = mac::hmac_sha256(b"mooring start of a node", &[incarnation.as_bytes()]);
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}
