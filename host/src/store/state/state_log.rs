//! What is kept of one session's state at one server: calls that set it, in the order in which they
//! were completed, and what the server has saved. Bounded in calls, bytes and age; what did not fit
//! is counted, so that it can be told.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::model::{Keep, UnixMillis};

/// Bytes that a kept call takes beside its text.
const EACH: usize = 64;
/// Calls whose names are kept although their outcome is unknown.
const MAX_UNSETTLED: usize = 16;

/// The bounds of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBounds {
    pub calls: usize,
    /// Of all calls.
    pub bytes: usize,
    pub age: Duration,
}

/// A call that has set state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptCall {
    /// The tool's own name.
    pub tool: String,
    /// The parameters of `tools/call`, as JSON.
    pub params: String,
    /// When it was completed.
    pub at: UnixMillis,
    pub keep: Keep,
    /// Whether the server has answered it with an error.
    pub was_error: bool,
    /// Its place among the changes, which the log gives it.
    pub number: u64,
    /// A number by chance, which goes with it to other coordinators: two equal calls may end within
    /// one millisecond.
    pub mark: u64,
}

impl KeptCall {
    /// Whether it is the same call in the log of another coordinator or process.
    pub(in crate::store) fn is_same(&self, other: &Self) -> bool {
        let of = |call: &Self| (call.at, call.mark);
        of(self) == of(other) && (&self.tool, &self.params) == (&other.tool, &other.params)
    }
}

/// A place in the log, at which a saving begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    changes: u64,
    unsaved: u32,
}

/// What a server has saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedState {
    /// The result of the tool as JSON, or what the program has written.
    pub bytes: Bytes,
    pub is_result: bool,
    /// When the saving began.
    pub at: UnixMillis,
}

/// The log of one session and server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateLog {
    pub(in crate::store) calls: VecDeque<KeptCall>,
    pub(in crate::store) bytes: usize,
    /// Calls that set state and are not kept any more, or never were.
    pub dropped: u32,
    /// Calls that set state, and of which no answer was seen.
    pub unsettled: Vec<String>,
    pub saved: Option<SavedState>,
    /// Calls since the last saving that may have changed the state and are not kept.
    pub unsaved: u32,
    /// Counts changes, so that a saving knows what came after its beginning.
    pub(in crate::store) changes: u64,
    /// The count at the beginning of the last saving.
    pub(in crate::store) saved_changes: u64,
    /// Up to which change this log has taken over those of other coordinators, by their names.
    pub(in crate::store) taken: BTreeMap<String, u64>,
}

impl StateLog {
    /// Keeps a call that was completed just now.
    pub fn keep(&mut self, call: KeptCall, bounds: &LogBounds) {
        self.changes += 1;
        let call = KeptCall { number: self.changes, ..call };
        if call.keep == Keep::Last {
            self.remove_where(|known| known.tool == call.tool);
        }
        let size = size(&call);
        if size > bounds.bytes {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.bytes += size;
        self.calls.push_back(call);
        while self.calls.len() > bounds.calls || self.bytes > bounds.bytes {
            self.drop_oldest();
        }
    }

    /// Notes a call that may have changed the state, and is not kept.
    pub fn note_change(&mut self) {
        self.changes += 1;
        self.unsaved = self.unsaved.saturating_add(1);
    }

    /// Notes a message that was too large to be read: it may be a call that sets state.
    pub fn note_unread(&mut self) {
        self.changes += 1;
        self.dropped = self.dropped.saturating_add(1);
    }

    /// Notes a call that was answered with an error. What it has changed all the same is worth a
    /// saving, and not a word to the client.
    pub fn note_failure(&mut self) {
        self.changes += 1;
    }

    /// Notes a call that sets state, and of which no answer was seen.
    pub fn note_unsettled(&mut self, tool: &str) {
        self.changes += 1;
        if self.unsettled.len() < MAX_UNSETTLED {
            self.unsettled.push(tool.to_owned());
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// The answer to such a call has come after all.
    pub fn settled(&mut self, tool: &str) {
        if let Some(at) = self.unsettled.iter().position(|known| known == tool) {
            self.unsettled.remove(at);
        }
    }

    /// Whether something has changed since the last saving began.
    #[must_use]
    pub fn is_unsaved(&self) -> bool {
        self.changes > self.saved_changes
    }

    /// The place now, for a saving that begins.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { changes: self.changes, unsaved: self.unsaved }
    }

    /// Takes what was saved. What has changed since its beginning is still unsaved.
    pub fn save(&mut self, saved: SavedState, mark: Mark) {
        self.unsaved = self.unsaved.saturating_sub(mark.unsaved);
        self.remove_where(|call| call.keep == Keep::SinceSave && call.number <= mark.changes);
        self.saved_changes = mark.changes;
        self.saved = Some(saved);
    }

    /// Drops calls that are too old to be repeated.
    pub fn expire(&mut self, now: UnixMillis, bounds: &LogBounds) {
        while self.calls.front().is_some_and(|call| now.since(call.at) > bounds.age) {
            self.drop_oldest();
        }
    }

    /// The calls in the order of their completion.
    pub fn calls(&self) -> impl Iterator<Item = &KeptCall> {
        self.calls.iter()
    }

    /// Removes a call that must not be repeated once more.
    pub fn remove(&mut self, gone: &KeptCall) {
        self.remove_where(|call| call == gone);
    }

    /// What a new instance starts from: what was not kept is told now, and not once more.
    pub fn begin_anew(&mut self) {
        (self.dropped, self.unsaved) = (0, 0);
        self.unsettled.clear();
    }

    /// Takes over what other coordinators keep, each with its name; `own` is that of this one. What
    /// any of them has taken over before is dealt with. Calls are ordered by the coordinators' clocks.
    pub fn take_over(&mut self, own: &str, others: &[(String, Self)], bounds: &LogBounds) {
        let taken = |name: &str, logs: &[(String, Self)], log: &Self| {
            let all = logs.iter().map(|(_, log)| log).chain([log]);
            all.filter_map(|log| log.taken.get(name)).copied().max().unwrap_or(0)
        };
        let gone = taken(own, others, self);
        let mut calls: Vec<KeptCall> =
            self.calls.drain(..).filter(|call| call.number > gone).collect();
        let mut any = false;
        for (name, other) in others {
            let before = taken(name, others, self);
            self.taken.insert(name.clone(), before.max(other.changes));
            if other.changes <= before {
                continue;
            }
            any = true;
            let known = calls.clone();
            let is_known = |call: &KeptCall| known.iter().any(|one| one.is_same(call));
            let new = other.calls.iter().filter(|call| call.number > before);
            calls.extend(new.filter(|call| !is_known(call)).cloned());
            self.dropped = self.dropped.saturating_add(other.dropped);
            self.unsaved = self.unsaved.saturating_add(other.unsaved);
            self.unsettled.extend_from_slice(&other.unsettled);
            let is_later =
                |saved: &SavedState| self.saved.as_ref().is_none_or(|known| known.at < saved.at);
            if other.saved.as_ref().is_some_and(is_later) {
                self.saved.clone_from(&other.saved);
            }
        }
        self.unsettled.truncate(MAX_UNSETTLED);
        calls.sort_by_key(|call| call.at);
        self.bytes = 0;
        if !any {
            self.calls.extend(calls);
            self.bytes = self.calls.iter().map(size).sum();
            return;
        }
        let saved_at = self.saved.as_ref().map(|saved| saved.at);
        calls.retain(|call| call.keep != Keep::SinceSave || saved_at.is_none_or(|at| call.at > at));
        calls.into_iter().for_each(|call| self.keep(call, bounds));
    }

    /// Whether there is nothing to bring back, and nothing to be told of.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let has_lost = self.dropped > 0 || self.unsaved > 0 || !self.unsettled.is_empty();
        self.calls.is_empty() && self.saved.is_none() && !has_lost
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        let saved = self.saved.as_ref().map_or(0, |saved| saved.bytes.len());
        let names: usize = self.unsettled.iter().map(|name| EACH + name.len()).sum();
        EACH + self.bytes + saved + names
    }

    fn drop_oldest(&mut self) {
        if let Some(call) = self.calls.pop_front() {
            self.bytes -= size(&call);
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn remove_where(&mut self, is_gone: impl Fn(&KeptCall) -> bool) {
        self.calls.retain(|call| !is_gone(call));
        self.bytes = self.calls.iter().map(size).sum();
    }
}

pub(in crate::store) fn size(call: &KeptCall) -> usize {
    EACH + call.tool.len() + call.params.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: LogBounds = LogBounds { calls: 3, bytes: 1000, age: Duration::from_millis(100) };

    fn call(tool: &str, at: u64, keep: Keep) -> KeptCall {
        let params = format!("{{\"name\":\"{tool}\"}}");
        KeptCall {
            tool: tool.to_owned(),
            params,
            at: UnixMillis(at),
            keep,
            was_error: false,
            number: 0,
            mark: 0,
        }
    }

    fn names(log: &StateLog) -> Vec<&str> {
        log.calls().map(|call| call.tool.as_str()).collect()
    }

    fn saved(at: u64) -> SavedState {
        SavedState { bytes: "s".into(), is_result: false, at: UnixMillis(at) }
    }

    fn with(calls: &[(&str, u64)]) -> StateLog {
        let mut log = StateLog::default();
        calls.iter().for_each(|(tool, at)| log.keep(call(tool, *at, Keep::All), &MANY));
        log
    }

    const MANY: LogBounds = LogBounds { calls: 99, bytes: 99_999, age: Duration::MAX };

    fn take(log: &mut StateLog, own: &str, others: &[(&str, &StateLog)]) {
        let others: Vec<_> =
            others.iter().map(|(name, log)| ((*name).to_owned(), StateLog::clone(log))).collect();
        log.take_over(own, &others, &MANY);
    }

    #[test]
    fn calls_of_several_coordinators_come_in_their_order_and_once() {
        let (mut a, mut b) = (with(&[("1", 1), ("3", 3)]), with(&[("2", 2), ("4", 4)]));
        take(&mut a, "a", &[("b", &b)]);
        assert_eq!(names(&a), ["1", "2", "3", "4"]);
        // Nothing is new.
        take(&mut a, "a", &[("b", &b)]);
        assert_eq!(names(&a), ["1", "2", "3", "4"]);
        // What the other has passed on since comes behind, what was taken over does not come again.
        b.keep(call("5", 5, Keep::All), &MANY);
        take(&mut a, "a", &[("b", &b)]);
        assert_eq!(names(&a), ["1", "2", "3", "4", "5"]);
        // And back: of its own calls the other has none left that the first one has not.
        take(&mut b, "b", &[("a", &a)]);
        assert_eq!(names(&b), ["1", "2", "3", "4", "5"]);
        b.keep(call("6", 6, Keep::All), &MANY);
        take(&mut a, "a", &[("b", &b)]);
        assert_eq!(names(&a), ["1", "2", "3", "4", "5", "6"]);
        let mut c = with(&[("7", 7)]);
        take(&mut c, "c", &[("a", &a), ("b", &b)]);
        assert_eq!(names(&c), ["1", "2", "3", "4", "5", "6", "7"]);
        assert_eq!(c.bytes, c.calls.iter().map(size).sum::<usize>());
    }

    #[test]
    fn equal_calls_of_one_moment_are_two() {
        let marked = |mark: u64| {
            let mut log = StateLog::default();
            log.keep(KeptCall { mark, ..call("1", 5, Keep::All) }, &MANY);
            log
        };
        let (mut a, b) = (marked(1), marked(2));
        take(&mut a, "a", &[("b", &b)]);
        assert_eq!(names(&a), ["1", "1"]);
        // A third one that knows both from both has them once.
        let (mut c, mut b) = (StateLog::default(), b);
        take(&mut b, "b", &[("a", &marked(1))]);
        take(&mut c, "c", &[("a", &marked(1)), ("b", &b)]);
        assert_eq!(names(&c), ["1", "1"]);
    }

    #[test]
    fn what_two_have_taken_over_from_each_other_comes_once() {
        let (a, b) = (with(&[("1", 1)]), with(&[("2", 2)]));
        let (mut one, mut other) = (a.clone(), b.clone());
        take(&mut one, "a", &[("b", &b)]);
        take(&mut other, "b", &[("a", &a)]);
        take(&mut one, "a", &[("b", &other)]);
        assert_eq!(names(&one), ["1", "2"]);
    }

    #[test]
    fn a_call_that_must_not_be_repeated_does_not_come_back_from_another() {
        let (mut a, b) = (with(&[("1", 1)]), with(&[("2", 2)]));
        take(&mut a, "a", &[("b", &b)]);
        let gone = a.calls().find(|call| call.tool == "2").unwrap().clone();
        a.remove(&gone);
        take(&mut a, "a", &[("b", &b)]);
        assert_eq!(names(&a), ["1"]);
        let mut c = StateLog::default();
        take(&mut c, "c", &[("a", &a), ("b", &b)]);
        assert_eq!(names(&c), ["1"]);
    }

    #[test]
    fn the_later_saving_counts_and_what_is_missing_is_told_by_whoever_takes_it_over() {
        let mut a = StateLog::default();
        a.keep(call("early", 1, Keep::SinceSave), &MANY);
        a.keep(call("late", 9, Keep::SinceSave), &MANY);
        a.note_unsettled("x");
        let mut b = StateLog::default();
        let mark = b.mark();
        b.save(saved(5), mark);
        b.keep(call("after", 7, Keep::SinceSave), &MANY);
        b.note_unread();
        take(&mut a, "a", &[("b", &b)]);
        assert_eq!((names(&a), a.saved.clone()), (vec!["after", "late"], Some(saved(5))));
        assert_eq!((a.dropped, a.unsettled.len()), (1, 1));
        a.begin_anew();
        take(&mut a, "a", &[("b", &b)]);
        assert_eq!((a.dropped, names(&a).len()), (0, 2));
    }

    #[test]
    fn of_too_many_calls_the_oldest_go_and_are_counted() {
        let mut log = StateLog::default();
        for (at, tool) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
            log.keep(call(tool, at as u64, Keep::All), &BOUNDS);
        }
        assert_eq!((names(&log), log.dropped), (vec!["c", "d", "e"], 2));
        log.begin_anew();
        assert_eq!((names(&log).len(), log.dropped), (3, 0));
    }

    #[test]
    fn of_too_many_bytes_the_oldest_go_and_a_larger_call_is_not_kept_at_all() {
        let mut log = StateLog::default();
        let large =
            |tool: &str, bytes| KeptCall { params: "x".repeat(bytes), ..call(tool, 0, Keep::All) };
        log.keep(large("a", 400), &BOUNDS);
        log.keep(large("b", 400), &BOUNDS);
        log.keep(large("c", 400), &BOUNDS);
        assert_eq!((names(&log), log.dropped), (vec!["b", "c"], 1));
        log.keep(large("d", 1000), &BOUNDS);
        assert_eq!((names(&log), log.dropped), (vec!["b", "c"], 2));
        assert!(log.size() < 1200, "{}", log.size());
    }

    #[test]
    fn of_a_tool_that_sets_all_anew_the_last_call_alone_is_kept() {
        let mut log = StateLog::default();
        log.keep(call("go", 1, Keep::Last), &BOUNDS);
        log.keep(call("set", 2, Keep::All), &BOUNDS);
        log.keep(call("go", 3, Keep::Last), &BOUNDS);
        assert_eq!((names(&log), log.dropped), (vec!["set", "go"], 0));
    }

    #[test]
    fn old_calls_are_dropped_and_counted() {
        let mut log = StateLog::default();
        log.keep(call("a", 0, Keep::All), &BOUNDS);
        log.keep(call("b", 50, Keep::All), &BOUNDS);
        log.expire(UnixMillis(120), &BOUNDS);
        assert_eq!((names(&log), log.dropped), (vec!["b"], 1));
    }

    #[test]
    fn a_saving_covers_what_came_before_it_alone() {
        let mut log = StateLog::default();
        assert!(!log.is_unsaved());
        log.keep(call("a", 1, Keep::SinceSave), &BOUNDS);
        log.note_change();
        let mark = log.mark();
        log.note_change();
        log.keep(call("b", 11, Keep::SinceSave), &BOUNDS);
        log.save(saved(10), mark);
        assert_eq!(names(&log), ["b"]);
        assert!(log.is_unsaved() && log.unsaved == 1);
        let mark = log.mark();
        log.save(saved(20), mark);
        assert!(!log.is_unsaved() && log.unsaved == 0 && names(&log).is_empty());
        log.note_failure();
        assert!(log.is_unsaved() && log.unsaved == 0);
    }

    #[test]
    fn names_of_calls_without_an_answer_are_bounded() {
        let mut log = StateLog::default();
        for _ in 0..MAX_UNSETTLED + 5 {
            log.note_unsettled("a");
        }
        assert_eq!((log.unsettled.len(), log.dropped), (MAX_UNSETTLED, 5));
        log.settled("a");
        log.settled("b");
        assert_eq!(log.unsettled.len(), MAX_UNSETTLED - 1);
    }
}
