//! Decides whether a process was ended by the gateway or ended by itself.

use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use crate::model::ServerName;
use crate::runner::admission::starts::Starts;
use crate::runner::stderr::tail::Tail;
use crate::sync::Locked;

/// The life of one process, from its start to its reaping. The first of `mark_wanted` and
/// `mark_over` decides who ended it: if a process dies and its instance is replaced before the
/// process is reaped, that still counts as a death.
pub struct Lifetime {
    server: ServerName,
    starts: Arc<Starts>,
    began: Instant,
    tail: Tail,
    course: Locked<Course>,
}

#[derive(Default)]
struct Course {
    /// The process has answered `initialize`; an earlier end is a failed start.
    is_open: bool,
    end: Option<End>,
    /// How the process ended, if it was reaped before `mark_open`.
    gone: Option<Gone>,
}

struct Gone {
    has_answered: bool,
    how: String,
}

#[derive(Clone, Copy)]
enum End {
    Wanted,
    ByItself(Instant),
}

impl Lifetime {
    pub fn begin(server: &ServerName, starts: &Arc<Starts>, tail: Tail) -> Arc<Self> {
        Arc::new(Self {
            server: server.clone(),
            starts: Arc::clone(starts),
            began: Instant::now(),
            tail,
            course: Locked::default(),
        })
    }

    pub fn began(&self) -> Instant {
        self.began
    }

    /// The last lines that it wrote to stderr.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// The server has answered `initialize`.
    pub fn mark_open(&self) {
        let mut course = self.course();
        course.is_open = true;
        let Some(End::ByItself(at)) = course.end else { return };
        let gone = course.gone.take();
        drop(course);
        self.starts.ended(&self.server);
        if let Some(gone) = gone {
            self.died(at, &gone);
        }
    }

    /// The gateway wants the process to end.
    pub fn mark_wanted(&self) {
        self.course().end.get_or_insert(End::Wanted);
    }

    /// The process no longer reads or writes its pipes. Call it before sessions learn that the
    /// server is lost: the start that follows must find this end counted.
    pub fn mark_over(&self) {
        let mut course = self.course();
        if course.end.is_none() {
            course.end = Some(End::ByItself(Instant::now()));
            if course.is_open {
                self.starts.ended(&self.server);
            }
        }
    }

    /// The process has been reaped; `how` is its exit status, and `has_answered` is whether it
    /// answered anything but `initialize`.
    pub fn mark_gone(&self, has_answered: bool, how: &str) {
        let gone = Gone { has_answered, how: how.to_owned() };
        let mut course = self.course();
        let Some(End::ByItself(at)) = course.end else { return };
        if !course.is_open {
            course.gone = Some(gone);
            return;
        }
        drop(course);
        self.died(at, &gone);
    }

    fn died(&self, at: Instant, gone: &Gone) {
        let lived = at.saturating_duration_since(self.began);
        let Gone { has_answered, how } = gone;
        self.starts.died(&self.server, self.began, lived, *has_answered, how, self.tail.texts());
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::admission::process_limits::ProcessCaps;

    fn starts(server: &ServerName) -> Arc<Starts> {
        let limits = ProcessCaps {
            per_server: 9,
            own: std::collections::BTreeMap::new(),
            per_node: 9,
            per_principal: None,
        };
        Starts::new(std::iter::once(server), limits, 1)
    }

    /// Failures and restarts that the next start finds after `done`.
    fn counted(done: impl FnOnce(&Lifetime)) -> (u32, u64) {
        let server = ServerName::parse("s").unwrap();
        let starts = starts(&server);
        done(&Lifetime::begin(&server, &starts, Tail::default()));
        let _next = starts.begin(&server).unwrap();
        let state = starts.state(&server).unwrap();
        (state.failures, state.restarts)
    }

    #[test]
    fn a_start_that_comes_before_the_process_is_reaped_is_a_restart() {
        let server = ServerName::parse("s").unwrap();
        let starts = starts(&server);
        let lifetime = Lifetime::begin(&server, &starts, Tail::default());
        lifetime.mark_open();
        lifetime.mark_over();
        let _next = starts.begin(&server).unwrap();
        assert_eq!(starts.state(&server).unwrap().restarts, 1);
        // Its instance is replaced and dropped before the process is reaped.
        lifetime.mark_wanted();
        lifetime.mark_gone(false, "exit status: 1");
        assert_eq!(starts.state(&server).unwrap().failures, 1);
    }

    #[test]
    fn an_end_that_the_gateway_wants_is_no_failure() {
        let closed = counted(|lifetime| {
            lifetime.mark_open();
            lifetime.mark_wanted();
            lifetime.mark_over();
            lifetime.mark_gone(false, "signal: 15");
        });
        assert_eq!(closed, (0, 0));
    }

    #[test]
    fn a_server_that_answers_and_ends_in_one_breath_has_died() {
        let died = counted(|lifetime| {
            lifetime.mark_over();
            lifetime.mark_open();
            lifetime.mark_gone(false, "exit status: 1");
        });
        let unnoticed = counted(|lifetime| {
            lifetime.mark_over();
            lifetime.mark_gone(false, "exit status: 1");
            lifetime.mark_open();
        });
        assert_eq!([died, unnoticed], [(1, 1), (1, 1)]);
    }

    #[test]
    fn a_server_that_never_answered_is_counted_by_who_started_it() {
        let failed = counted(|lifetime| {
            lifetime.mark_over();
            lifetime.mark_gone(false, "exit status: 1");
        });
        assert_eq!(failed, (0, 0));
    }
}
