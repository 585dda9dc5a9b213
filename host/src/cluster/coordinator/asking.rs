//! Which nodes are to be asked whether they are there, and what their answers change.

use std::time::{Duration, Instant};

use crate::model::{Absence, NodeId, Reach};

use super::node_entry::{LeaseStatus, NodeEntry};
use super::registry::{LeaseChange, Registry};

/// The parts of a lease without a heartbeat, of two, after which a node is asked.
const PART_OF_LEASE: u32 = 2;
/// Questions within a node timeout to a node whose lease has run out.
const QUESTIONS_WHEN_OUT: u32 = 3;

/// What an answer means for the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// Its lease goes on.
    GoesOn,
    /// It was given up, and its sessions may have moved meanwhile: it has to report them.
    Returned,
    /// That start of it is not registered any more, or has said good-bye.
    Over,
}

impl Registry {
    /// Notes that a request to the node failed: it is avoided until it has answered. Returns
    /// whether that is new.
    pub fn suspect(&self, id: &NodeId, now: Instant) -> bool {
        self.change_if(|nodes| {
            let entry = nodes.get_mut(id).filter(|entry| entry.reach != Reach::Local);
            let is_new = entry.is_some_and(|entry| {
                entry.goes_away(Absence::Unreachable, now);
                entry.liveness.suspect(now)
            });
            (is_new, is_new)
        })
    }

    /// Notes a reason to ask a node whether it is there.
    pub fn doubt(&self, id: &NodeId, now: Instant) {
        if let Some(entry) = self.nodes.lock().get_mut(id) {
            entry.liveness.doubt(now);
        }
    }

    /// The nodes that are to be asked now. Each counts as asked until the outcome is told.
    pub fn due(&self, now: Instant) -> Vec<NodeEntry> {
        let mut nodes = self.nodes.lock();
        let due = nodes.values_mut().filter(|entry| self.is_due(entry, now));
        due.map(|entry| {
            let asked = entry.clone();
            entry.liveness.ask(now);
            asked
        })
        .collect()
    }

    fn is_due(&self, entry: &NodeEntry, now: Instant) -> bool {
        if entry.reach == Reach::Local {
            return false;
        }
        let since = now.saturating_duration_since(entry.last_seen);
        match entry.status {
            LeaseStatus::Active => {
                entry.liveness.is_due(since > self.node_timeout / PART_OF_LEASE, now)
            }
            LeaseStatus::Unhealthy => {
                let pause = self.node_timeout / QUESTIONS_WHEN_OUT;
                entry.liveness.has_rested(pause, now)
            }
            LeaseStatus::Inactive => false,
        }
    }

    /// Notes that a node answered what it was asked at that time.
    pub fn answered(&self, asked: &NodeEntry, at: Instant) -> Answered {
        self.change_if(|nodes| {
            let Some(entry) = start_of(nodes.get_mut(&asked.id), asked) else {
                return (Answered::Over, false);
            };
            match entry.status {
                LeaseStatus::Inactive => return (Answered::Over, false),
                LeaseStatus::Active if !entry.liveness.is_silent() => {}
                LeaseStatus::Active | LeaseStatus::Unhealthy => {
                    entry.liveness.unclear();
                    return (Answered::Returned, false);
                }
            }
            let before = entry.health();
            entry.liveness.answered();
            if !entry.liveness.is_suspect() {
                entry.away = None;
            }
            entry.last_seen = entry.last_seen.max(at);
            (Answered::GoesOn, entry.health() != before)
        })
    }

    /// Notes that a node did not answer. Nothing is expected of it until it does. Returns whether
    /// that is new.
    pub fn unanswered(&self, asked: &NodeEntry, now: Instant) -> Option<LeaseChange> {
        self.change_if(|nodes| {
            let is_new = start_of(nodes.get_mut(&asked.id), asked).is_some_and(|entry| {
                entry.goes_away(Absence::Silent, now);
                entry.liveness.unanswered()
            });
            let silent = || LeaseChange::Silent { id: asked.id.clone() };
            (is_new.then(silent), is_new)
        })
    }

    /// Notes that a question has shown nothing: the fault may be on this side.
    pub fn unclear(&self, asked: &NodeEntry) {
        if let Some(entry) = start_of(self.nodes.lock().get_mut(&asked.id), asked) {
            entry.liveness.unclear();
        }
    }

    /// Notes that this process stood still for so long, in which it heard nobody: every lease is
    /// as much longer.
    pub fn stood_still(&self, gap: Duration) {
        for entry in self.nodes.lock().values_mut() {
            entry.last_seen += gap;
        }
    }
}

/// The entry, if it still is that start of the node.
fn start_of<'a>(entry: Option<&'a mut NodeEntry>, asked: &NodeEntry) -> Option<&'a mut NodeEntry> {
    entry.filter(|entry| entry.is_start(asked.incarnation.expose()))
}

#[cfg(test)]
mod tests {
    use crate::config::Secret;
    use crate::model::Health;

    use super::super::registry::{Beat, Unknown};

    use super::*;

    const LEASE: Duration = Duration::from_secs(15);
    const SECOND: Duration = Duration::from_secs(1);

    struct Coordinator {
        registry: Registry,
        start: Instant,
    }

    impl Coordinator {
        fn with(ids: &[&str]) -> Self {
            let (registry, start) = (Registry::new(LEASE), Instant::now());
            for id in ids {
                registry.register(entry(id, start)).unwrap();
            }
            Self { registry, start }
        }

        fn due(&self, after: Duration) -> Vec<NodeEntry> {
            self.registry.due(self.start + after)
        }

        fn ids_due(&self, after: Duration) -> Vec<String> {
            self.due(after).iter().map(|entry| entry.id.to_string()).collect()
        }

        fn health(&self, id: &str) -> Health {
            self.registry.current().load().node(&node(id)).unwrap().health
        }

        fn beat(&self, id: &str, after: Duration) -> Result<(), Unknown> {
            self.registry.heartbeat(&node(id), "one", Beat::default(), self.start + after)
        }
    }

    fn node(id: &str) -> NodeId {
        NodeId::parse(id).unwrap()
    }

    fn entry(id: &str, at: Instant) -> NodeEntry {
        let reach = Reach::Remote(format!("http://{id}:3000").as_str().into());
        NodeEntry {
            incarnation: Secret::new("one"),
            last_seen: at,
            ..NodeEntry::new(node(id), id.to_owned(), reach, id.to_owned(), 3000)
        }
    }

    #[test]
    fn a_node_is_asked_once_at_a_time_however_many_doubt_it() {
        let cluster = Coordinator::with(&["a", "b"]);
        assert!(cluster.due(SECOND).is_empty());
        for _ in 0..1000 {
            cluster.registry.doubt(&node("a"), cluster.start + SECOND);
        }
        let asked = cluster.due(SECOND);
        assert_eq!(asked.len(), 1);
        cluster.registry.doubt(&node("a"), cluster.start + SECOND);
        assert!(cluster.due(SECOND * 2).is_empty(), "the question is under way");
        assert_eq!(cluster.registry.answered(&asked[0], cluster.start + SECOND), Answered::GoesOn);
        assert_eq!(cluster.health("a"), Health::Healthy);
        assert_eq!(cluster.ids_due(SECOND * 2), ["a"], "doubted since it was asked");
    }

    #[test]
    fn a_node_that_answers_keeps_its_lease_without_any_heartbeat() {
        let cluster = Coordinator::with(&["a"]);
        let mut questions = 0;
        for second in 0..300 {
            let after = SECOND * second;
            for asked in cluster.due(after) {
                questions += 1;
                cluster.registry.answered(&asked, cluster.start + after);
            }
            assert_eq!(cluster.registry.expire(cluster.start + after), []);
        }
        assert!((30..50).contains(&questions), "after half a lease each: {questions}");
        assert_eq!(cluster.health("a"), Health::Healthy);
    }

    #[test]
    fn a_silent_node_gets_nothing_until_it_has_reported() {
        let cluster = Coordinator::with(&["a"]);
        assert!(cluster.registry.suspect(&node("a"), cluster.start));
        assert!(!cluster.registry.suspect(&node("a"), cluster.start));
        assert_eq!(cluster.health("a"), Health::Suspect);
        let asked = cluster.due(SECOND).remove(0);
        let silent = LeaseChange::Silent { id: node("a") };
        assert_eq!(cluster.registry.unanswered(&asked, cluster.start), Some(silent));
        assert_eq!(cluster.registry.unanswered(&asked, cluster.start), None, "said once");
        assert_eq!(cluster.health("a"), Health::Silent);
        assert!(!cluster.health("a").serves() && !cluster.health("a").accepts());
        // Heartbeats come over another way than requests go.
        assert_eq!(cluster.beat("a", SECOND), Ok(()));
        assert_eq!(cluster.health("a"), Health::Silent);
        assert_eq!(cluster.registry.get(&node("a")).unwrap().last_seen, cluster.start);
        let asked = cluster.due(SECOND).remove(0);
        let answer = cluster.registry.answered(&asked, cluster.start + SECOND);
        assert_eq!((answer, cluster.health("a")), (Answered::Returned, Health::Silent));
        cluster.registry.register(entry("a", cluster.start + SECOND)).unwrap();
        assert_eq!(cluster.health("a"), Health::Healthy);
    }

    #[test]
    fn the_lease_of_a_silent_node_ends_although_it_is_asked_all_the_time() {
        let cluster = Coordinator::with(&["a"]);
        cluster.registry.suspect(&node("a"), cluster.start);
        let asked = cluster.due(SECOND).remove(0);
        cluster.registry.unanswered(&asked, cluster.start + SECOND);
        assert_eq!(cluster.due(LEASE).len(), 1);
        assert_eq!(cluster.registry.expire(cluster.start + LEASE + SECOND).len(), 1);
        assert_eq!(cluster.health("a"), Health::Unhealthy);
    }

    #[test]
    fn what_broke_while_the_node_was_asked_is_asked_for_again() {
        let cluster = Coordinator::with(&["a"]);
        cluster.registry.suspect(&node("a"), cluster.start);
        let asked = cluster.due(SECOND).remove(0);
        cluster.registry.suspect(&node("a"), cluster.start + SECOND);
        cluster.registry.answered(&asked, cluster.start + SECOND);
        assert_eq!(cluster.health("a"), Health::Suspect);
        let asked = cluster.due(SECOND).remove(0);
        cluster.registry.answered(&asked, cluster.start + SECOND);
        assert_eq!(cluster.health("a"), Health::Healthy);
    }

    #[test]
    fn silent_and_lost_nodes_are_asked_at_intervals() {
        let cluster = Coordinator::with(&["a"]);
        cluster.registry.doubt(&node("a"), cluster.start);
        for second in [0, 1, 2, 3] {
            let asked = cluster.due(SECOND * second).remove(0);
            cluster.registry.unanswered(&asked, cluster.start);
            cluster.registry.doubt(&node("a"), cluster.start + SECOND * second);
            assert!(cluster.due(SECOND * second + SECOND / 2).is_empty(), "not within a second");
        }
        assert_eq!(cluster.registry.expire(cluster.start + LEASE * 2).len(), 1);
        let asked = cluster.due(LEASE * 2).remove(0);
        cluster.registry.unanswered(&asked, cluster.start);
        assert!(cluster.due(LEASE * 2 + SECOND * 4).is_empty());
        let asked = cluster.due(LEASE * 2 + SECOND * 5).remove(0);
        let answer = cluster.registry.answered(&asked, cluster.start + LEASE * 3);
        assert_eq!(answer, Answered::Returned);
        assert!(cluster.registry.deregister(&node("a"), "one"));
        assert!(cluster.due(LEASE * 9).is_empty(), "it has said good-bye");
    }

    #[test]
    fn a_lease_does_not_run_out_while_the_node_is_asked() {
        let cluster = Coordinator::with(&["a", "b"]);
        let late = LEASE + SECOND;
        let asked = cluster.due(late);
        assert_eq!(asked.len(), 2);
        assert_eq!(cluster.registry.expire(cluster.start + late), []);
        cluster.registry.answered(&asked[0], cluster.start + late);
        cluster.registry.unanswered(&asked[1], cluster.start);
        let lost = cluster.registry.expire(cluster.start + late);
        assert!(matches!(&lost[..], [LeaseChange::Unhealthy { id, .. }] if *id == node("b")));
        // A question whose outcome is never told holds nothing up for long.
        assert_eq!(cluster.ids_due(LEASE * 3), ["a", "b"]);
        assert_eq!(cluster.registry.expire(cluster.start + LEASE * 3), []);
        assert_eq!(cluster.registry.expire(cluster.start + LEASE * 4).len(), 1);
    }

    #[test]
    fn a_pause_of_this_process_is_nobodys_silence() {
        let cluster = Coordinator::with(&["a"]);
        let pause = LEASE * 4;
        cluster.registry.stood_still(pause);
        assert_eq!(cluster.registry.expire(cluster.start + pause + LEASE), []);
        assert!(cluster.due(pause + SECOND).is_empty());
        assert_eq!(cluster.registry.expire(cluster.start + pause + LEASE + SECOND).len(), 1);
    }

    #[test]
    fn an_answer_of_an_earlier_start_changes_nothing() {
        let cluster = Coordinator::with(&["a"]);
        cluster.registry.suspect(&node("a"), cluster.start);
        let asked = cluster.due(SECOND).remove(0);
        let again = NodeEntry { incarnation: Secret::new("two"), ..entry("a", cluster.start) };
        cluster.registry.register(again).unwrap();
        assert_eq!(cluster.registry.unanswered(&asked, cluster.start), None);
        assert_eq!(cluster.registry.answered(&asked, cluster.start), Answered::Over);
        assert_eq!(cluster.health("a"), Health::Healthy);
    }
}
