//! What must hold, whatever happens: the witness hears of every execution and every answer.

use std::collections::BTreeMap;

use crate::sync::Locked;

use super::clock;

/// What has been found not to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// A binding whose owner is alive and well is not given to another.
    OneOwner,
    /// No message that does harm twice runs twice.
    RunsOnce,
    /// The state of a server that a session has left is never served again.
    NoWayBack,
    /// Once nothing fails any more, every session is served.
    Served,
}

#[derive(Debug, Clone)]
pub struct Violation {
    pub invariant: Invariant,
    pub what: String,
}

#[derive(Default)]
struct Seen {
    /// How often the message with this key has run.
    runs: BTreeMap<String, u32>,
    /// The instances that have answered each session, in their order, and the node of each.
    answered: BTreeMap<String, Vec<(String, usize)>>,
    /// When something was last wrong with a process, in milliseconds; `u64::MAX` while it is.
    trouble: BTreeMap<usize, u64>,
    violations: Vec<Violation>,
}

#[derive(Default)]
pub struct Witness(Locked<Seen>);

/// For how long after its trouble a process may still lose sessions: leases have to run out, and
/// nodes to register again.
const AFTERMATH: u64 = 8_000;

impl Witness {
    /// Something is wrong with a process, or with the way to it, until `recovers`.
    pub fn fails(&self, process: usize) {
        self.0.lock().trouble.insert(process, u64::MAX);
    }

    pub fn recovers(&self, process: usize) {
        self.0.lock().trouble.insert(process, clock::elapsed());
    }

    /// Something went wrong once.
    pub fn fails_once(&self, process: usize) {
        let mut seen = self.0.lock();
        let since = seen.trouble.entry(process).or_default();
        *since = (*since).max(clock::elapsed());
    }

    /// A message that must not run twice runs.
    pub fn runs(&self, key: &str) {
        let mut seen = self.0.lock();
        let runs = seen.runs.entry(key.to_owned()).or_default();
        *runs += 1;
        if *runs == 2 {
            seen.violated(Invariant::RunsOnce, format!("{key} has run twice"));
        }
    }

    /// An instance has answered a session. `lives` says whether another instance is still there.
    pub fn answers(
        &self,
        session: &str,
        instance: &str,
        node: usize,
        coordinator: usize,
        lives: impl Fn(&str) -> bool,
    ) {
        let mut seen = self.0.lock();
        let all = seen.answered.entry(session.to_owned()).or_default();
        let last = all.last().cloned();
        if last.as_ref().is_some_and(|(last, _)| last == instance) {
            return;
        }
        let is_back = all.iter().any(|(known, _)| known == instance);
        all.push((instance.to_owned(), node));
        let Some((last, its_node)) = last else { return };
        if is_back {
            let what = format!("{session} is back at {instance}, which it had left for {last}");
            seen.violated(Invariant::NoWayBack, what);
        }
        let is_well = |process: &usize| {
            let since = seen.trouble.get(process).copied();
            since.is_none_or(|since| since.saturating_add(AFTERMATH) < clock::elapsed())
        };
        if lives(&last) && [its_node, coordinator].iter().all(is_well) {
            let what = format!(
                "{session} was given to {instance} although {last} is alive and nothing was wrong \
                 with its node"
            );
            seen.violated(Invariant::OneOwner, what);
        }
    }

    pub fn violated(&self, invariant: Invariant, what: String) {
        self.0.lock().violated(invariant, what);
    }

    pub fn violations(&self) -> Vec<Violation> {
        self.0.lock().violations.clone()
    }

    /// How many answers came from another instance than the one before.
    pub fn moves(&self) -> usize {
        self.0.lock().answered.values().map(|all| all.len().saturating_sub(1)).sum()
    }

    /// How many messages have run.
    pub fn ran(&self) -> usize {
        self.0.lock().runs.len()
    }
}

impl Seen {
    fn violated(&mut self, invariant: Invariant, what: String) {
        let what = format!("at {} ms: {what}", clock::elapsed());
        self.violations.push(Violation { invariant, what });
    }
}
