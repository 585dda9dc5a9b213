//! What two processes keep of one session, joined. For a while two may do so in one data folder: one
//! that ends, and whose last calls are still to be answered, and the next one, to which the session
//! has gone on. Neither may write over what the other has kept.

use std::collections::BTreeMap;

use crate::model::{Keep, ServerName, UnixMillis};

use super::state_log::{LogBounds, StateLog};
use super::state_text::Logs;

/// What is joined is bounded by the next call that is kept.
const UNBOUNDED: LogBounds =
    LogBounds { calls: usize::MAX, bytes: usize::MAX, age: std::time::Duration::MAX };

/// How far a log was when this process read or wrote its file last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPlace {
    changes: u64,
    saved_at: Option<UnixMillis>,
    dropped: u32,
    unsaved: u32,
    unsettled: Vec<String>,
}

/// The same of all servers of a session.
pub type Places = BTreeMap<ServerName, LogPlace>;

impl LogPlace {
    fn of(log: &StateLog) -> Self {
        Self {
            changes: log.changes,
            saved_at: saved_at(log),
            dropped: log.dropped,
            unsaved: log.unsaved,
            unsettled: log.unsettled.clone(),
        }
    }
}

/// How far all logs of a session are.
#[must_use]
pub fn places(logs: &Logs) -> Places {
    logs.iter().map(|(server, log)| (server.clone(), LogPlace::of(log))).collect()
}

/// This process's logs, with those that another one has written since this one read or wrote the
/// file.
#[must_use]
pub fn join(own: Logs, before: &Places, mut found: Logs) -> Logs {
    let mut joined = Logs::new();
    for (server, log) in own {
        let log = match (found.remove(&server), before.get(&server)) {
            (None, _) => log,
            (Some(found), Some(before)) if log.changes == before.changes => found,
            (Some(found), Some(before)) if LogPlace::of(&found) == *before => log,
            (Some(found), before) => both(&log, before, found),
        };
        joined.insert(server, log);
    }
    joined.extend(found);
    joined
}

/// Both have changed: the other's log, with what this one has kept since. What is saved is the other's,
/// to whose process the session has gone on.
fn both(own: &StateLog, before: Option<&LogPlace>, found: StateLog) -> StateLog {
    let (changes, dropped, unsaved) =
        before.map_or((0, 0, 0), |before| (before.changes, before.dropped, before.unsaved));
    let mut joined = found;
    let is_new = |call: &&super::state_log::KeptCall| {
        call.number > changes && !joined.calls.iter().any(|known| known.is_same(call))
    };
    let new: Vec<_> = own.calls.iter().filter(is_new).cloned().collect();
    let mut calls: Vec<_> = joined.calls.drain(..).chain(new).collect();
    calls.sort_by_key(|call| call.at);
    let saved = saved_at(&joined);
    calls.retain(|call| call.keep != Keep::SinceSave || saved.is_none_or(|at| call.at > at));
    joined.bytes = 0;
    // Places that a saving under way remembers are before all of them.
    joined.changes = joined.changes.max(own.changes);
    calls.into_iter().for_each(|call| joined.keep(call, &UNBOUNDED));
    joined.dropped = joined.dropped.saturating_add(own.dropped.saturating_sub(dropped));
    joined.unsaved = joined.unsaved.saturating_add(own.unsaved.saturating_sub(unsaved));
    if saved_at(own) != before.and_then(|before| before.saved_at) {
        // What this process has saved since is of no use, and the calls that it covers are not kept.
        joined.unsaved = joined.unsaved.saturating_add(1);
    }
    let mut known = before.map(|before| before.unsettled.clone()).unwrap_or_default();
    for tool in &own.unsettled {
        match known.iter().position(|one| one == tool) {
            Some(at) => drop(known.swap_remove(at)),
            None => joined.note_unsettled(tool),
        }
    }
    joined
}

fn saved_at(log: &StateLog) -> Option<UnixMillis> {
    log.saved.as_ref().map(|saved| saved.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{KeptCall, SavedState};

    fn call(tool: &str, at: u64, keep: Keep) -> KeptCall {
        KeptCall {
            tool: tool.to_owned(),
            params: "{}".to_owned(),
            at: UnixMillis(at),
            keep,
            was_error: false,
            number: 0,
            mark: at,
        }
    }

    fn keep(log: &mut StateLog, tool: &str, at: u64) {
        log.keep(call(tool, at, Keep::All), &UNBOUNDED);
    }

    fn with(calls: &[(&str, u64)]) -> StateLog {
        let mut log = StateLog::default();
        calls.iter().for_each(|(tool, at)| keep(&mut log, tool, *at));
        log
    }

    fn server() -> ServerName {
        ServerName::parse("a").unwrap()
    }

    fn logs(log: &StateLog) -> Logs {
        Logs::from([(server(), log.clone())])
    }

    fn joined(own: &StateLog, before: Option<&StateLog>, found: &StateLog) -> StateLog {
        let before = before.map(|log| places(&logs(log))).unwrap_or_default();
        join(logs(own), &before, logs(found)).remove(&server()).unwrap()
    }

    fn names(log: &StateLog) -> Vec<&str> {
        log.calls().map(|call| call.tool.as_str()).collect()
    }

    #[test]
    fn what_both_have_kept_since_stays_in_its_order_and_once() {
        let before = with(&[("1", 1)]);
        let (mut own, mut found) = (before.clone(), before.clone());
        keep(&mut own, "late", 5);
        keep(&mut found, "next", 4);
        keep(&mut found, "last", 6);
        let log = joined(&own, Some(&before), &found);
        assert_eq!(names(&log), ["1", "next", "late", "last"]);
        assert!(log.calls().all(|call| call.number > found.changes.min(own.changes)));
        // And the other way, when that process writes again.
        let mut other = found.clone();
        keep(&mut other, "more", 7);
        let back = joined(&other, Some(&found), &log);
        assert_eq!(names(&back), ["1", "next", "late", "last", "more"]);
        // Nothing is known of the file.
        assert_eq!(names(&joined(&own, None, &found)), ["1", "next", "late", "last"]);
    }

    #[test]
    fn where_one_alone_has_changed_its_log_counts() {
        let before = with(&[("1", 1), ("2", 2)]);
        let mut changed = before.clone();
        let gone = changed.calls().next().unwrap().clone();
        changed.remove(&gone);
        keep(&mut changed, "3", 3);
        assert_eq!(names(&joined(&changed, Some(&before), &before)), ["2", "3"]);
        assert_eq!(names(&joined(&before, Some(&before), &changed)), ["2", "3"]);
        let other = Logs::from([(ServerName::parse("b").unwrap(), changed)]);
        let both = join(logs(&before), &places(&logs(&before)), other);
        assert_eq!(both.len(), 2, "of each server");
    }

    #[test]
    fn what_the_next_process_has_saved_counts_and_what_is_missing_is_counted() {
        let saved =
            |at: u64| SavedState { bytes: "s".into(), is_result: false, at: UnixMillis(at) };
        let before = StateLog::default();
        let (mut own, mut found) = (before.clone(), before.clone());
        let mark = found.mark();
        found.save(saved(5), mark);
        found.note_unread();
        own.keep(call("early", 4, Keep::SinceSave), &UNBOUNDED);
        own.keep(call("late", 6, Keep::SinceSave), &UNBOUNDED);
        own.note_unsettled("x");
        let log = joined(&own, Some(&before), &found);
        assert_eq!((names(&log), saved_at(&log)), (vec!["late"], Some(UnixMillis(5))));
        assert_eq!((log.dropped, log.unsettled.len(), log.unsaved), (1, 1, 0));
        let mark = own.mark();
        own.save(saved(9), mark);
        let log = joined(&own, Some(&before), &found);
        assert_eq!((saved_at(&log), log.unsaved), (Some(UnixMillis(5)), 1));
    }
}
