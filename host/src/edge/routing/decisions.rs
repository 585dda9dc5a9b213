//! The last decisions of this process, in a bounded ring.
//!
//! A decision is entered when it is over: messages of bound sessions make none, and pay nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::model::visible::visible;
use crate::model::{NodeId, ServerName, SessionId, Topology, UnixMillis};
use crate::sync::Locked;

use super::decision::{
    Attempt, AttemptOutcome, Candidate, Decision, DecisionResult, MOST_ATTEMPTS, MOST_CANDIDATES,
    ShownInput,
};

/// Decisions that are kept: with the longest of everything about 6 MiB, usually 1 KiB each.
const MOST: usize = 500;
/// Bytes of a reason.
const MAX_REASON: usize = 512;

/// The last decisions, newest last.
#[derive(Debug, Default)]
pub struct Decisions {
    made: AtomicU64,
    last: Locked<VecDeque<Arc<Decision>>>,
}

impl Decisions {
    /// Begins a decision, which is entered when the returned value is dropped.
    #[must_use]
    pub fn begin(
        &self,
        request: Option<&str>,
        session: SessionId,
        server: &ServerName,
    ) -> Deciding<'_> {
        let decision = Decision {
            number: 0,
            at: UnixMillis::now(),
            took: Duration::ZERO,
            request: request.map(Into::into),
            conversation: None,
            session,
            server: server.clone(),
            inputs: Vec::new(),
            affinity: None,
            candidates: Vec::new(),
            more_candidates: 0,
            attempts: Vec::new(),
            more_attempts: 0,
            result: DecisionResult::Left,
        };
        Deciding { all: self, began: Instant::now(), decision: Some(Box::new(decision)) }
    }

    /// The last decisions that are `wanted`, newest first, at most `most`.
    #[must_use]
    pub fn last(&self, most: usize, wanted: impl Fn(&Decision) -> bool) -> Vec<Arc<Decision>> {
        let last = self.last.lock();
        last.iter().rev().filter(|decision| wanted(decision)).take(most).cloned().collect()
    }

    fn enter(&self, mut decision: Decision) {
        decision.number = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        let decision = Arc::new(decision);
        let mut last = self.last.lock();
        let oldest = if last.len() < MOST { None } else { last.pop_front() };
        last.push_back(decision);
        drop(last);
        // Outside of the lock.
        drop(oldest);
    }
}

/// A decision that is being made.
pub struct Deciding<'a> {
    all: &'a Decisions,
    began: Instant,
    /// `None` once it is entered.
    decision: Option<Box<Decision>>,
}

impl Deciding<'_> {
    /// Notes which nodes there are, once: `load` counts what is bound to a node.
    pub fn sees(&mut self, topology: &Topology, load: impl Fn(&str) -> u32) {
        let Some(decision) = self.decision.as_deref_mut() else { return };
        if !decision.candidates.is_empty() {
            return;
        }
        let server = &decision.server;
        let mut replicas = topology.replicas(server);
        decision.candidates = replicas
            .by_ref()
            .take(MOST_CANDIDATES)
            .map(|node| Candidate {
                node: node.id.clone(),
                health: node.health,
                room: node.room,
                zone: (*node.zone).into(),
                weight: node.servers.get(server).map_or(0, |replica| replica.weight),
                bindings: load(node.id.as_str()),
            })
            .collect();
        decision.more_candidates = replicas.count();
    }

    /// Notes what named the conversation, of a client without a session.
    pub fn note_conversation(&mut self, named_by: Option<&str>) {
        if let Some(decision) = self.decision.as_deref_mut() {
            decision.conversation = named_by.map(Into::into);
        }
    }

    /// Notes what the strategy is shown.
    pub fn shows(&mut self, inputs: Vec<ShownInput>, affinity: Option<NodeId>) {
        if let Some(decision) = self.decision.as_deref_mut() {
            (decision.inputs, decision.affinity) = (inputs, affinity);
        }
    }

    /// Notes a choice, whose outcome is to come.
    pub fn chooses(&mut self, attempt: Attempt) {
        let Some(decision) = self.decision.as_deref_mut() else { return };
        // The first and the last ones tell most.
        if decision.attempts.len() == MOST_ATTEMPTS {
            decision.attempts.remove(MOST_ATTEMPTS / 2);
            decision.more_attempts += 1;
        }
        decision.attempts.push(attempt);
    }

    /// The session is at another node than the chosen one: another request was faster.
    pub fn overtaken_by(&mut self, node: &NodeId) {
        if let Some(attempt) = self.attempt()
            && attempt.node.as_ref() != Some(node)
        {
            let text = format!("another request of the session has bound it to {node} meanwhile");
            attempt.outcome = AttemptOutcome::Refused(text);
            attempt.node = Some(node.clone());
        }
    }

    /// Why the last choice came to nothing.
    pub fn fails(&mut self, why: &str) {
        if let Some(attempt) = self.attempt() {
            attempt.outcome = AttemptOutcome::Refused(visible(why, MAX_REASON).to_string());
        }
    }

    /// The server is open.
    pub fn opened(mut self, node: &NodeId) {
        if let Some(attempt) = self.attempt() {
            attempt.outcome = AttemptOutcome::Opened;
        }
        self.ends(DecisionResult::Opened(node.clone()));
    }

    /// No node is left.
    pub fn refused(mut self, why: &str) {
        self.ends(DecisionResult::Refused(visible(why, MAX_REASON).to_string()));
    }

    fn attempt(&mut self) -> Option<&mut Attempt> {
        self.decision.as_deref_mut()?.attempts.last_mut()
    }

    fn ends(&mut self, result: DecisionResult) {
        if let Some(decision) = self.decision.as_deref_mut() {
            decision.result = result;
        }
    }
}

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        let Some(mut decision) = self.decision.take() else { return };
        decision.took = self.began.elapsed();
        self.all.enter(*decision);
    }
}

#[cfg(test)]
mod tests {
    use crate::edge::routing::decision::ChosenBy;
    use crate::wasm::vocabulary::AffinityAction;

    use super::*;

    fn attempt(node: &str) -> Attempt {
        Attempt {
            generation: 1,
            asked: None,
            by: ChosenBy::Strategy,
            excluded: Vec::new(),
            node: NodeId::parse(node).ok(),
            token: AffinityAction::Keep,
            outcome: AttemptOutcome::UnderWay,
        }
    }

    fn begin(all: &Decisions) -> Deciding<'_> {
        all.begin(Some("r"), SessionId::mint(), &ServerName::parse("s").unwrap())
    }

    #[test]
    fn the_last_decisions_are_kept_newest_first() {
        let all = Decisions::default();
        for _ in 0..MOST + 7 {
            drop(begin(&all));
        }
        let last = all.last(usize::MAX, |_| true);
        assert_eq!(last.len(), MOST);
        assert_eq!((last[0].number, last[MOST - 1].number), (MOST as u64 + 7, 8));
        assert_eq!(all.last(2, |decision| decision.number < 10).len(), 2);
        assert!(all.last(2, |decision| decision.request.is_none()).is_empty());
    }

    #[test]
    fn what_came_of_each_attempt_is_noted() {
        let all = Decisions::default();
        let (a, b) = (NodeId::parse("a").unwrap(), NodeId::parse("b").unwrap());
        let mut deciding = begin(&all);
        deciding.chooses(attempt("a"));
        deciding.fails("no \u{1b}[1mplace");
        deciding.chooses(attempt("a"));
        deciding.overtaken_by(&a);
        deciding.overtaken_by(&b);
        deciding.chooses(attempt("b"));
        deciding.opened(&b);
        let seen = &all.last(1, |_| true)[0];
        assert_eq!(seen.result, DecisionResult::Opened(b.clone()));
        let outcomes: Vec<&AttemptOutcome> =
            seen.attempts.iter().map(|attempt| &attempt.outcome).collect();
        let escaped = AttemptOutcome::Refused("no \\u{1b}[1mplace".to_owned());
        assert_eq!((outcomes[0], outcomes[2]), (&escaped, &AttemptOutcome::Opened));
        assert_eq!(seen.attempts[1].node, Some(b));
    }

    #[test]
    fn a_client_that_leaves_and_many_attempts_leave_a_bounded_entry() {
        let all = Decisions::default();
        let mut deciding = begin(&all);
        for number in 0..20 {
            deciding.chooses(attempt(&format!("n{number}")));
        }
        drop(deciding);
        let seen = &all.last(1, |_| true)[0];
        assert_eq!((seen.attempts.len(), seen.more_attempts), (MOST_ATTEMPTS, 12));
        assert_eq!(seen.result, DecisionResult::Left);
        let named = |at: usize| seen.attempts[at].node.as_ref().unwrap().to_string();
        assert_eq!((named(0), named(MOST_ATTEMPTS - 1)), ("n0".to_owned(), "n19".to_owned()));
    }
}
