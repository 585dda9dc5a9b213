//! `subscriptions/listen` at servers without sessions, at all nodes that have one: each has a process of
//! its own, and any of them may take the request that changes something.
//!
//! A node that comes later is listened to as well, and one whose stream breaks is listened to again
//! ([`super::node_listening`]). What several nodes say alike at about the same time is told once: they may
//! have the same server behind a URL.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use crate::model::{Node, NodeId};
use crate::sync::until;

use super::listened::{ListenedServer, NodeSaid};
use super::node_listening::{Ended, NodeListener};

/// Messages of nodes that wait to be told.
const AHEAD: usize = 16;
/// Between two looks for nodes that have come. Most of them are announced.
const LOOK: Duration = Duration::from_secs(1);
/// How long a message waits for the same one from other nodes.
const GATHER: Duration = Duration::from_millis(50);
/// A server that no node has had for so long is gone.
const GONE: Duration = Duration::from_secs(10);

impl ListenedServer {
    /// Asks the server at all of its nodes, for as long as somebody hears what they say. Returns how
    /// many they are now: so many of them acknowledge, end or fail, unless it `is_late`. What comes
    /// late says nothing but what has changed. The handle tells when that has ended.
    pub fn ask(
        self,
        sender: &mpsc::Sender<(NodeId, NodeSaid)>,
        is_late: bool,
    ) -> (usize, AbortHandle) {
        let this = Arc::new(self);
        let nodes = Self::nodes(&this.worker, &this.server);
        let count = nodes.len();
        let sender = sender.clone();
        let mut following = Following::of(this);
        following.begin(nodes, is_late);
        let task = tokio::spawn(async move {
            tokio::select! {
                biased;
                // Dropping the listeners cancels their requests.
                () = sender.closed() => {}
                () = following.run(&sender) => {}
            }
        });
        (count, task.abort_handle())
    }
}

/// Listens at the nodes that have the server, as they come and go.
struct Following {
    of: Arc<ListenedServer>,
    said: mpsc::Receiver<(NodeId, NodeSaid)>,
    sayer: mpsc::Sender<(NodeId, NodeSaid)>,
    tasks: JoinSet<(NodeId, Ended)>,
    /// Nodes at which it is listened.
    heard: HashSet<NodeId>,
    /// Nodes whose server has answered.
    over: HashSet<NodeId>,
    gathered: Gathered,
}

impl Following {
    fn of(of: Arc<ListenedServer>) -> Self {
        let (sayer, said) = mpsc::channel(AHEAD);
        let (tasks, gathered) = (JoinSet::new(), Gathered::default());
        let (heard, over) = (HashSet::new(), HashSet::new());
        Self { of, said, sayer, tasks, heard, over, gathered }
    }

    /// Listens at those of these nodes that are new.
    fn begin(&mut self, nodes: Vec<Arc<Node>>, is_late: bool) {
        for node in nodes {
            let id = node.id.clone();
            if self.over.contains(&id) || !self.heard.insert(id.clone()) {
                continue;
            }
            let (of, sender) = (Arc::clone(&self.of), self.sayer.clone());
            let listener = NodeListener { of, node: id.clone(), sender };
            self.tasks.spawn(async move { (id, listener.run(is_late).await) });
        }
    }

    /// Looks which nodes have the server now. Whether any has, or may come back with it.
    fn look(&mut self) -> bool {
        let edge = &self.of.worker.edge;
        let nodes = ListenedServer::nodes(&self.of.worker, &self.of.server);
        // One that comes back has another process.
        self.over.retain(|id| nodes.iter().any(|node| node.id == *id));
        let is_known = edge.topology.load().knows(&self.of.server) || edge.cold_start.expects();
        self.begin(nodes, true);
        is_known
    }

    async fn run(mut self, sender: &mpsc::Sender<(NodeId, NodeSaid)>) {
        let edge = Arc::clone(&self.of.worker.edge);
        let mut changes = edge.catalogs.changes();
        let mut reports = edge.cold_start.reports();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = Instant::now();
        loop {
            let due = self.gathered.due();
            tokio::select! {
                biased;
                Some((node, said)) = self.said.recv() => {
                    if !self.take(node, said, sender).await { return }
                    continue;
                }
                () = until(due) => {
                    if !send(sender, self.gathered.take_due(Instant::now())).await { return }
                    continue;
                }
                Some(Ok((node, ended))) = self.tasks.join_next() => {
                    self.heard.remove(&node);
                    if ended == Ended::ByServer {
                        self.over.insert(node);
                    }
                }
                Ok(()) = changes.changed() => {}
                Ok(()) = reports.changed() => {}
                _ = look.tick() => {}
            }
            if self.look() {
                known = Instant::now();
            }
            // All have answered, or none is left: what they have said is told first.
            let is_over = !self.over.is_empty() || known.elapsed() > GONE;
            if self.heard.is_empty() && is_over {
                while let Ok((node, said)) = self.said.try_recv() {
                    if !self.take(node, said, sender).await {
                        return;
                    }
                }
                send(sender, self.gathered.take_all()).await;
                return;
            }
        }
    }

    /// Hands on what a node says. False if nobody hears it.
    async fn take(
        &mut self,
        node: NodeId,
        said: NodeSaid,
        sender: &mpsc::Sender<(NodeId, NodeSaid)>,
    ) -> bool {
        let is_first_word = said.is_acknowledgement();
        match said {
            NodeSaid::Note(note) if !is_first_word && self.heard.len() > 1 => {
                self.gathered.put(node, note, Instant::now());
                self.gathered.len() < AHEAD || send(sender, self.gathered.take_all()).await
            }
            said => {
                send(sender, self.gathered.take_all()).await
                    && sender.send((node, said)).await.is_ok()
            }
        }
    }
}

/// False if nobody hears it.
async fn send(sender: &mpsc::Sender<(NodeId, NodeSaid)>, notes: Vec<(NodeId, Bytes)>) -> bool {
    for (node, note) in notes {
        if sender.send((node, NodeSaid::Note(note))).await.is_err() {
            return false;
        }
    }
    true
}

/// What waits a moment for the same of other nodes. Nothing is lost by it: what is told is told after
/// the last of those that it stands for.
#[derive(Default)]
struct Gathered(VecDeque<Gathering>);

struct Gathering {
    note: Bytes,
    /// One node may say the same twice, and mean it.
    from: Vec<NodeId>,
    due: Instant,
}

impl Gathered {
    fn put(&mut self, node: NodeId, note: Bytes, now: Instant) {
        let same = self.0.iter_mut().find(|it| it.note == note && !it.from.contains(&node));
        match same {
            Some(same) => same.from.push(node),
            None => self.0.push_back(Gathering { note, from: vec![node], due: now + GATHER }),
        }
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn due(&self) -> Option<Instant> {
        self.0.front().map(|first| first.due)
    }

    fn take_due(&mut self, now: Instant) -> Vec<(NodeId, Bytes)> {
        let count = self.0.iter().take_while(|it| it.due <= now).count();
        self.0.drain(..count).filter_map(Gathering::said).collect()
    }

    fn take_all(&mut self) -> Vec<(NodeId, Bytes)> {
        self.0.drain(..).filter_map(Gathering::said).collect()
    }
}

impl Gathering {
    fn said(mut self) -> Option<(NodeId, Bytes)> {
        Some((self.from.pop()?, self.note))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_say_alike_is_told_once_and_in_order() {
        let [a, b] = ["a", "b"].map(|id| NodeId::parse(id).unwrap());
        let now = Instant::now();
        let mut gathered = Gathered::default();
        gathered.put(a.clone(), "1".into(), now);
        gathered.put(a.clone(), "2".into(), now);
        gathered.put(b.clone(), "1".into(), now + GATHER / 2);
        gathered.put(a, "1".into(), now + GATHER / 2);
        assert_eq!(gathered.due(), Some(now + GATHER));
        let notes =
            |said: Vec<(NodeId, Bytes)>| said.into_iter().map(|(_, note)| note).collect::<Vec<_>>();
        assert_eq!(notes(gathered.take_due(now)), Vec::<Bytes>::new());
        assert_eq!(notes(gathered.take_due(now + GATHER)), ["1", "2"]);
        gathered.put(b, "1".into(), now + GATHER);
        assert_eq!(
            notes(gathered.take_all()),
            ["1"],
            "the other node's, said twice by one of them"
        );
        assert_eq!(gathered.due(), None);
    }
}
