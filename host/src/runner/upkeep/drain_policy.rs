//! Which sessions leave a runner that drains, and why the others stay.
//!
//! | a session | stays |
//! |---|---|
//! | with a request under way | until its quiet point, whatever the deadline |
//! | whose server waits for an answer of its client | until that comes, or the deadline |
//! | of a server that no other node runs | until another node does |
//! | whose client listens to its stream, or whose server holds state for it | until the deadline |
//! | with none of these | not at all |
//! | that the edge has yet to save | until it is saved, or the deadline and at least [`SAVING`] |
//!
//! From [`HANDING_ON`] of the deadline on, sessions that are in use leave at their quiet points too:
//! a call that begins at the deadline would be cut where the process ends.
//!
//! Policy only: time is passed in.

use std::time::Duration;

/// The part of the deadline after which sessions in use leave at their next quiet point: two fifths.
const HANDING_ON: (u32, u32) = (2, 5);

/// The least time that savings get before sessions leave, whatever the deadline of a drain that the
/// process outlives: the edge hears of the drain first.
const SAVING: Duration = Duration::from_secs(2);

/// Why a session stays for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// A request is under way, or is about to be.
    Request,
    /// The server has asked the client, who has not answered.
    Question,
    /// The client listens to the session's stream.
    Stream,
    /// The server holds something for the session, which ends with its instance.
    State,
    /// No other node runs the server.
    LastReplica,
}

/// What the policy needs to know of one session at one server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionFacts {
    pub is_working: bool,
    pub is_asked: bool,
    pub is_heard: bool,
    pub holds_state: bool,
    /// Whether something of that state is to come along and is not saved yet.
    pub is_unsaved: bool,
    pub is_last_replica: bool,
    /// Whether a message of it has come since the drain began.
    pub is_used: bool,
}

/// How far a drain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainClock {
    pub elapsed: Duration,
    pub deadline: Duration,
    /// Whether whoever sends sessions here knows that this runner drains. Before, a session that
    /// left would be opened here again.
    pub is_known: bool,
    /// Whether the process ends after the drain.
    pub ends: bool,
}

impl DrainClock {
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.elapsed >= self.deadline
    }

    /// Whether savings are waited for no more.
    fn has_saved(&self) -> bool {
        self.is_over() && (self.ends || self.elapsed >= SAVING)
    }

    /// Whether sessions in use leave at their quiet points.
    #[must_use]
    pub fn hands_on(&self) -> bool {
        let (part, of) = HANDING_ON;
        self.is_known && self.elapsed >= self.deadline / of * part
    }
}

/// Why the session stays now; `None` if it leaves.
#[must_use]
pub fn reason_to_stay(session: &SessionFacts, clock: &DrainClock) -> Option<Stay> {
    if session.is_working {
        return Some(Stay::Request);
    }
    if session.is_asked && !clock.is_over() {
        return Some(Stay::Question);
    }
    // It could go nowhere. Where the process ends anyway, that ends with the deadline.
    if session.is_last_replica && !(clock.ends && clock.is_over()) {
        return Some(Stay::LastReplica);
    }
    if session.is_unsaved && !clock.has_saved() {
        return Some(Stay::State);
    }
    // Before the drain is known, nobody knows either whether this is the last replica.
    let leaves_all = clock.is_over() && (clock.is_known || clock.ends);
    if leaves_all || (clock.hands_on() && session.is_used) {
        return None;
    }
    if session.is_heard {
        return Some(Stay::Stream);
    }
    (session.holds_state || !clock.is_known).then_some(Stay::State)
}

/// How many sessions stay, by their reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StayCounts {
    pub request: usize,
    pub question: usize,
    pub stream: usize,
    pub state: usize,
    pub last_replica: usize,
}

impl StayCounts {
    pub fn add(&mut self, stay: Stay) {
        let count = match stay {
            Stay::Request => &mut self.request,
            Stay::Question => &mut self.question,
            Stay::Stream => &mut self.stream,
            Stay::State => &mut self.state,
            Stay::LastReplica => &mut self.last_replica,
        };
        *count += 1;
    }

    #[must_use]
    pub fn all(&self) -> usize {
        let Self { request, question, stream, state, last_replica } = self;
        request + question + stream + state + last_replica
    }

    /// Sessions of which something is under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.request + self.question
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(25);

    fn at(seconds: u64) -> DrainClock {
        let elapsed = Duration::from_secs(seconds);
        DrainClock { elapsed, deadline: DEADLINE, is_known: true, ends: false }
    }

    /// The reasons at these seconds of a drain, at each second that is named.
    fn reasons<const N: usize>(session: SessionFacts, seconds: [u64; N]) -> [Option<Stay>; N] {
        seconds.map(|second| reason_to_stay(&session, &at(second)))
    }

    #[test]
    fn no_session_leaves_before_the_drain_is_known_unless_the_process_ends() {
        let over = |ends| DrainClock { deadline: Duration::ZERO, is_known: false, ends, ..at(0) };
        for holds_state in [false, true] {
            let session = SessionFacts { holds_state, ..SessionFacts::default() };
            assert_eq!(reason_to_stay(&session, &over(false)), Some(Stay::State));
            assert_eq!(reason_to_stay(&session, &over(true)), None);
        }
    }

    #[test]
    fn an_idle_session_without_state_leaves_at_once_and_one_with_state_at_the_deadline() {
        let idle = SessionFacts::default();
        assert_eq!(reasons(idle, [0, 24, 25]), [None; 3]);
        let holding = SessionFacts { holds_state: true, ..idle };
        let state = Some(Stay::State);
        assert_eq!(reasons(holding, [0, 10, 24, 25]), [state, state, state, None]);
        let heard = SessionFacts { is_heard: true, ..idle };
        let stream = Some(Stay::Stream);
        assert_eq!(reasons(heard, [0, 10, 24, 25]), [stream, stream, stream, None]);
    }

    #[test]
    fn a_session_in_use_keeps_its_state_for_a_while_and_then_leaves_between_two_calls() {
        let used = SessionFacts { holds_state: true, is_used: true, ..SessionFacts::default() };
        assert_eq!(reasons(used, [0, 9, 10]), [Some(Stay::State), Some(Stay::State), None]);
        let heard = SessionFacts { is_heard: true, ..used };
        assert_eq!(reasons(heard, [9, 10]), [Some(Stay::Stream), None]);
    }

    #[test]
    fn what_is_not_saved_yet_stays_until_it_is_or_for_the_deadline_and_a_while() {
        let unsaved = SessionFacts {
            holds_state: true,
            is_unsaved: true,
            is_used: true,
            ..SessionFacts::default()
        };
        let state = Some(Stay::State);
        assert_eq!(reasons(unsaved, [0, 10, 24, 25]), [state, state, state, None]);
        assert_eq!(reasons(SessionFacts { is_unsaved: false, ..unsaved }, [10]), [None]);
        let at_once = |seconds, ends| DrainClock { deadline: Duration::ZERO, ends, ..at(seconds) };
        assert_eq!(reason_to_stay(&unsaved, &at_once(1, false)), state);
        assert_eq!(reason_to_stay(&unsaved, &at_once(2, false)), None);
        assert_eq!(reason_to_stay(&unsaved, &at_once(1, true)), None);
    }

    #[test]
    fn what_is_under_way_stays_whatever_the_deadline_and_a_question_until_then() {
        let working = SessionFacts { is_working: true, ..SessionFacts::default() };
        assert_eq!(reasons(working, [0, 10, 25, 100]), [Some(Stay::Request); 4]);
        let asked = SessionFacts { is_asked: true, is_used: true, ..SessionFacts::default() };
        let question = Some(Stay::Question);
        assert_eq!(reasons(asked, [0, 10, 24, 25]), [question, question, question, None]);
        let both = SessionFacts { is_working: true, ..asked };
        assert_eq!(reasons(both, [0]), [Some(Stay::Request)]);
    }

    #[test]
    fn the_last_replica_keeps_its_sessions_unless_its_process_ends() {
        let last = SessionFacts { is_last_replica: true, is_used: true, ..SessionFacts::default() };
        assert_eq!(reasons(last, [0, 10, 100]), [Some(Stay::LastReplica); 3]);
        let ending = |seconds| DrainClock { ends: true, ..at(seconds) };
        assert_eq!(reason_to_stay(&last, &ending(24)), Some(Stay::LastReplica));
        assert_eq!(reason_to_stay(&last, &ending(25)), None);
    }

    #[test]
    fn nothing_leaves_before_the_coordinator_knows() {
        let unknown = |seconds| DrainClock { is_known: false, ..at(seconds) };
        let idle = SessionFacts { is_used: true, ..SessionFacts::default() };
        for seconds in [0, 10, 24, 25] {
            assert_eq!(reason_to_stay(&idle, &unknown(seconds)), Some(Stay::State));
        }
    }

    #[test]
    fn counts_add_up() {
        let mut counts = StayCounts::default();
        for stay in [Stay::Request, Stay::Question, Stay::Question, Stay::Stream, Stay::State] {
            counts.add(stay);
        }
        counts.add(Stay::LastReplica);
        assert_eq!((counts.all(), counts.under_way()), (6, 3));
    }
}
