use std::collections::{HashMap, HashSet};

use super::*;
use crate::model::{Epochs, Standing};

fn node(id: &str) -> NodeId {
    NodeId::parse(id).unwrap()
}

fn server() -> ServerName {
    ServerName::parse("a").unwrap()
}

fn reported(id: &str, epoch: u64, at: u64) -> Reported {
    Reported { node: node(id), epoch: Epoch::new(epoch), opened_at: UnixMillis(at) }
}

/// What an open of the session's server at this node says.
fn epochs(bindings: &Bindings, session: SessionId, id: &str) -> Epochs {
    bindings.opening(session, &server(), &node(id)).unwrap()
}

#[test]
fn the_higher_epoch_wins_whoever_reports_first_and_lives() {
    for order in [[0, 1], [1, 0]] {
        let (bindings, session) = (Bindings::default(), SessionId::mint());
        // The one that was left has opened the session earlier.
        let reports = [reported("left", 5, 10), reported("current", 6, 20)];
        let outcomes = order.map(|at| bindings.report(session, &server(), &reports[at], |_| true));
        assert_eq!(bindings.look(session, &server()), Some(node("current")));
        let expected = match order[0] {
            0 => ReportOutcome::Replaced(node("left"), Epoch::new(5)),
            _ => ReportOutcome::Older(node("current")),
        };
        assert_eq!(outcomes, [ReportOutcome::Taken, expected]);
    }
}

#[test]
fn a_higher_epoch_takes_nothing_from_a_node_that_this_process_has_chosen() {
    let (bindings, session) = (Bindings::default(), SessionId::mint());
    bindings.claim(session, &server(), None, &node("chosen"));
    let lie = reported("liar", u64::from(u32::MAX) << 20, 1);
    let outcome = bindings.report(session, &server(), &lie, |_| false);
    assert_eq!(outcome, ReportOutcome::Older(node("chosen")));
}

#[test]
fn what_was_taken_back_while_the_client_used_it_is_told() {
    let (bindings, session) = (Bindings::default(), SessionId::mint());
    for is_used in [false, true] {
        let session = if is_used { session } else { SessionId::mint() };
        bindings.report(session, &server(), &reported("left", 5, 10), |_| true);
        if is_used {
            std::thread::sleep(std::time::Duration::from_millis(3));
            assert!(bindings.get(session, &server()).is_some());
        }
        bindings.report(session, &server(), &reported("current", 6, 20), |_| true);
        assert_eq!(!bindings.take_unreported_losses(session).is_empty(), is_used);
    }
}

#[test]
fn a_released_session_is_given_back_to_what_it_had_open_last_and_to_nothing_older() {
    let (bindings, session) = (Bindings::default(), SessionId::mint());
    let open = |from: Option<&str>, to: &str| {
        let from = from.map(node);
        bindings.claim(session, &server(), from.as_ref(), &node(to));
        let given = epochs(&bindings, session, to).given;
        assert!(bindings.opened(session, &server(), &node(to), given));
        given.unwrap()
    };
    let first = open(None, "n1");
    let second = open(Some("n1"), "n2");
    // Both are away, and a third one refuses.
    bindings.claim(session, &server(), Some(&node("n2")), &node("n3"));
    bindings.release(session, &server(), &node("n3"));
    let says = |id: &str, epoch: Epoch| {
        bindings.report(session, &server(), &reported(id, epoch.get(), 1), |_| false)
    };
    assert_eq!(says("n1", first), ReportOutcome::Left);
    assert_eq!(says("n2", second), ReportOutcome::Taken);
    assert!(!bindings.get(session, &server()).unwrap().must_open);
    assert!(bindings.was_open(session, &server()));
}

#[test]
fn a_node_that_the_session_has_moved_back_to_keeps_nothing_of_before() {
    let (bindings, session) = (Bindings::default(), SessionId::mint());
    let first = {
        bindings.claim(session, &server(), None, &node("n1"));
        epochs(&bindings, session, "n1")
    };
    assert_eq!(first.opened, None);
    assert!(bindings.opened(session, &server(), &node("n1"), first.given));
    assert!(!bindings.get(session, &server()).unwrap().must_open);
    bindings.claim(session, &server(), Some(&node("n1")), &node("n2"));
    let second = epochs(&bindings, session, "n2");
    assert!(bindings.get(session, &server()).unwrap().must_open);
    assert_eq!(bindings.look_open(session, &server()), None);
    assert!(bindings.opened(session, &server(), &node("n2"), second.given));
    bindings.claim(session, &server(), Some(&node("n2")), &node("n1"));
    let third = epochs(&bindings, session, "n1");
    assert_eq!(third.standing_of(first.given), Standing::Left);
    assert_eq!(third.standing_of(second.given), Standing::Current);
    // Its report may have been on the way before the session came back.
    let old = reported("n1", first.given.unwrap().get(), 1);
    assert_eq!(bindings.report(session, &server(), &old, |_| true), ReportOutcome::Left);
    assert_eq!(epochs(&bindings, session, "n1"), third);
    let elsewhere = bindings.opening(session, &server(), &node("n2"));
    assert_eq!(elsewhere, Err(node("n1")));
}

#[test]
fn a_binding_is_raised_above_what_its_node_holds() {
    let (bindings, session) = (Bindings::default(), SessionId::mint());
    bindings.claim(session, &server(), None, &node("n1"));
    let given = epochs(&bindings, session, "n1").given;
    assert!(bindings.opened(session, &server(), &node("n1"), given));
    bindings.claim(session, &server(), Some(&node("n1")), &node("n2"));
    // The clock was set back since that one was given.
    let held = Epoch::nearest(given.unwrap().get() + (1 << 45));
    let asked = epochs(&bindings, session, "n2");
    assert_eq!(asked.standing_of(Some(held)), Standing::Newer(held));
    bindings.surpass(session, &server(), &node("n2"), held);
    let asked = epochs(&bindings, session, "n2");
    assert_eq!(asked.standing_of(Some(held)), Standing::Left);
    assert_eq!(asked.standing_of(asked.given), Standing::Current);
}

/// An instance of the session's server, as its runner keeps it.
#[derive(Clone, Copy)]
struct Instance {
    number: u64,
    epoch: Option<Epoch>,
}

/// Nodes that hold at most one instance each, freeze and thaw, and a coordinator that may forget.
struct World {
    random: u64,
    nodes: [&'static str; 3],
    frozen: HashSet<&'static str>,
    held: HashMap<&'static str, Instance>,
    bindings: Bindings,
    session: SessionId,
    made: u64,
    /// The instance that has answered the client last, and those before it.
    current: Option<u64>,
    left: HashSet<u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            random: seed * 2 + 1,
            nodes: ["n1", "n2", "n3"],
            frozen: HashSet::new(),
            held: HashMap::new(),
            bindings: Bindings::default(),
            session: SessionId::mint(),
            made: 0,
            current: None,
            left: HashSet::new(),
        }
    }

    /// The next of the numbers below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 16).unwrap() % limit
    }

    fn step(&mut self) {
        let node = self.nodes[self.below(3)];
        match self.below(8) {
            0 | 1 => drop(self.frozen.insert(node)),
            2 | 3 => self.thaw(node),
            // Its process has died.
            4 => drop(self.held.remove(node)),
            5 if self.holder_is_up() => self.restart(),
            _ => self.call(),
        }
    }

    /// A restarted coordinator knows what its nodes tell it: of an instance that has died nobody
    /// can, and of one at a frozen node nobody does.
    fn holder_is_up(&self) -> bool {
        self.nodes.iter().any(|node| {
            let held = self.held.get(node).map(|held| held.number);
            held.is_some() && held == self.current && !self.frozen.contains(node)
        })
    }

    fn restart(&mut self) {
        self.bindings = Bindings::default();
        let first = self.below(3);
        for at in 0..3 {
            let node = self.nodes[(first + at) % 3];
            if !self.frozen.contains(node) {
                self.report(node);
            }
        }
    }

    fn thaw(&mut self, node: &'static str) {
        if self.frozen.remove(node) {
            self.report(node);
        }
    }

    fn report(&mut self, id: &'static str) {
        let Some(held) = self.held.get(id) else { return };
        let said = Reported { node: node(id), epoch: held.epoch, opened_at: UnixMillis(self.made) };
        let outcome = self.bindings.report(self.session, &server(), &said, |_| true);
        let (loser, up_to) = match outcome {
            ReportOutcome::Taken => return,
            ReportOutcome::Older(_) | ReportOutcome::Left => (node(id), held.epoch),
            ReportOutcome::Replaced(loser, up_to) => (loser, up_to),
        };
        // Closing is best effort, too.
        let loser = self.nodes.into_iter().find(|id| node(id) == loser).unwrap();
        if !self.frozen.contains(loser) && self.below(4) > 0 {
            self.held.retain(|id, held| *id != loser || held.epoch > up_to);
        }
    }

    fn call(&mut self) {
        let mut failed: Vec<&'static str> = Vec::new();
        loop {
            let bound = self.bindings.get(self.session, &server());
            let bound_id = bound
                .as_ref()
                .and_then(|bound| self.nodes.into_iter().find(|id| node(id) == bound.node));
            let id = match bound_id.filter(|id| !failed.contains(id)) {
                Some(id) => id,
                None => {
                    let Some(id) = self.nodes.into_iter().find(|id| !failed.contains(id)) else {
                        return;
                    };
                    let previous = bound.as_ref().map(|bound| &bound.node);
                    self.bindings.claim(self.session, &server(), previous, &node(id));
                    id
                }
            };
            if self.frozen.contains(id) {
                let is_chosen = bound_id != Some(id);
                if is_chosen {
                    self.bindings.release(self.session, &server(), &node(id));
                }
                failed.push(id);
                continue;
            }
            let must_open = self.bindings.get(self.session, &server()).unwrap().must_open;
            if must_open || !self.held.contains_key(id) || bound_id != Some(id) {
                self.open(id);
            }
            return self.served_by(self.held[id].number);
        }
    }

    fn open(&mut self, id: &'static str) {
        let asked = epochs(&self.bindings, self.session, id);
        let held = self.held.get(id).map(|held| asked.standing_of(held.epoch));
        if let Some(Standing::Newer(epoch)) = held {
            self.bindings.surpass(self.session, &server(), &node(id), epoch);
            return self.open(id);
        }
        if held != Some(Standing::Current) {
            self.made += 1;
            self.held.insert(id, Instance { number: self.made, epoch: asked.given });
        }
        let epoch = self.held[id].epoch;
        assert!(self.bindings.opened(self.session, &server(), &node(id), epoch));
    }

    fn served_by(&mut self, number: u64) {
        assert!(!self.left.contains(&number), "instance {number} was left before");
        if let Some(before) = self.current.replace(number)
            && before != number
        {
            self.left.insert(before);
        }
    }
}

#[test]
fn a_state_that_was_left_is_never_served_again() {
    for seed in 1..=4000 {
        let world = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..60).for_each(|_| world.step());
            world.left.len()
        });
        assert!(world.is_ok(), "seed {seed}: see above");
    }
}
