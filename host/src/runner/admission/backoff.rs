//! When a server that fails may be started again. Pure: the caller supplies the
//! times and the randomness.
//!
//! ```text
//!            failed once         failed again         5 times in 60 s
//! Running ──────────────► Running ──────────► Backoff ──────────► CrashLoop
//!    ▲      (at once)        ▲                  │  │                 │
//!    │                       └── one attempt ◄──┘  └── one attempt ◄─┘
//!    └── has run for a minute, or for ten seconds and answered a call
//! ```
//!
//! A failure is a start that did not succeed, or the death of a server within ten
//! seconds of its start and before it answered a call. What one session's call does
//! to its own process says nothing about the next start.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest pause before the second restart; it doubles with each further failure.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// The doubling stops here.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Failures within `WINDOW` that make a crash loop.
const CRASH_LOOP: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// An earlier death without an answered call counts as a failed start.
const EARLY: Duration = Duration::from_secs(10);
/// A server that has run longer is well, even if it has answered no call.
const STEADY: Duration = Duration::from_secs(60);

/// The record of one server's starts.
#[derive(Debug, Default)]
pub struct Backoff {
    /// Failures since the server was last known to be well.
    streak: u32,
    /// Times of the latest failures within `WINDOW`, at most `CRASH_LOOP`.
    recent: VecDeque<Instant>,
    /// When the pause after the last failure ends. `None` after a first failure and
    /// after a successful start.
    next: Option<Instant>,
    last_error: Option<Arc<str>>,
    /// Whether the server is in a crash loop.
    loops: bool,
    /// An attempt after a pause is under way: other starts wait for its outcome.
    probing: bool,
    /// Starts under way.
    starting: u32,
    /// Ends of the server that no start has followed yet. The next start is a restart.
    unanswered: u64,
    restarts: u64,
}

/// Whether the server may be started now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Go,
    /// An attempt after a pause is under way: its outcome decides.
    Wait,
    Refused(Pause),
}

/// For how long the server is not started, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    pub left: Duration,
    pub failures: u32,
    pub is_crash_loop: bool,
    pub last_error: Arc<str>,
}

/// One server's condition, as it is shown to operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerStatus {
    /// It runs, or starts when it is needed.
    Running,
    Starting,
    /// It has failed, and is not started again before a pause has passed.
    Backoff,
    /// It has failed five times within a minute; the pauses go on.
    CrashLoop,
    /// Its settings are wrong: it is never started.
    Misconfigured,
    /// It is remote, and wants a token that its settings do not have.
    NeedsOauth,
    /// It could not be reached, or its lists could not be read. It is tried again.
    Failed,
}

impl ServerStatus {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Starting => "starting",
            Self::Backoff => "backoff",
            Self::CrashLoop => "crash-loop",
            Self::Misconfigured => "misconfigured",
            Self::NeedsOauth => "needs-oauth",
            Self::Failed => "failed",
        }
    }
}

impl Backoff {
    /// What `attempt` would return, without counting a start.
    #[must_use]
    pub fn look(&self, now: Instant) -> Verdict {
        match self.pause(now) {
            Some(pause) => Verdict::Refused(pause),
            None if self.next.is_some() && self.probing => Verdict::Wait,
            None => Verdict::Go,
        }
    }

    /// The record of a server that was started again so often under settings of before.
    #[must_use]
    pub fn after(restarts: u64) -> Self {
        Self { restarts, ..Self::default() }
    }

    /// Asks for one start. After `Go`, one of `started`, `failed` and `given_up` must
    /// follow.
    pub fn attempt(&mut self, now: Instant) -> Verdict {
        match self.look(now) {
            Verdict::Go => {}
            other => return other,
        }
        self.probing |= self.next.is_some();
        self.starting += 1;
        if self.unanswered > 0 {
            self.unanswered -= 1;
            self.restarts += 1;
        }
        Verdict::Go
    }

    /// The server has answered `initialize`.
    pub fn started(&mut self) {
        self.given_up();
        self.next = None;
    }

    /// The start is over without a verdict on the server.
    pub fn given_up(&mut self) {
        self.starting = self.starting.saturating_sub(1);
        self.probing = false;
    }

    /// The start that began at `began` has failed. `chance`, from 0 to 1, spreads the
    /// pause.
    pub fn failed(&mut self, began: Instant, now: Instant, chance: f64, error: &str) {
        self.given_up();
        self.unanswered += 1;
        self.note((began, now), now, chance, error);
    }

    /// Another process was started to find out what the server is, in vain: the pause is that of one
    /// more failure.
    pub fn probed_in_vain(&mut self, now: Instant, chance: f64, error: &str) {
        self.note((now, now), now, chance, error);
    }

    /// A server that had started has ended by itself. `died` follows once its exit is
    /// known, perhaps after the next start.
    pub fn ended(&mut self) {
        self.unanswered += 1;
    }

    /// Records the exit of a server that ended by itself: when it began, how long it
    /// ran, and `how` it ended. The exit is known later than the end, so a pause counts
    /// from `now`.
    pub fn died(
        &mut self,
        (began, lived): (Instant, Duration),
        now: Instant,
        has_answered: bool,
        chance: f64,
        how: &str,
    ) {
        if is_well(lived, has_answered) {
            self.well();
        } else if lived < EARLY && !has_answered {
            self.note((began, began + lived), now, chance, how);
        }
    }

    /// Records that a server is still running after `lived`.
    pub fn lives(&mut self, lived: Duration, has_answered: bool) {
        if self.streak > 0 && is_well(lived, has_answered) {
            self.well();
        }
    }

    #[must_use]
    pub fn status(&self, now: Instant) -> ServerStatus {
        match (self.next, self.loops) {
            (Some(_), true) => ServerStatus::CrashLoop,
            (Some(next), false) if now < next => ServerStatus::Backoff,
            _ if self.starting > 0 => ServerStatus::Starting,
            (Some(_), false) => ServerStatus::Backoff,
            (None, _) => ServerStatus::Running,
        }
    }

    /// Whether the last start has failed, and none has succeeded since. A first failure does not
    /// count.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.next.is_some()
    }

    /// Failures since the server was last known to be well.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.streak
    }

    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    #[must_use]
    pub fn last_error(&self) -> Option<Arc<str>> {
        self.last_error.clone()
    }

    /// The pause that is in effect, if there is one.
    #[must_use]
    pub fn pause(&self, now: Instant) -> Option<Pause> {
        let next = self.next.filter(|next| now < *next)?;
        Some(Pause {
            left: next - now,
            failures: self.streak,
            is_crash_loop: self.loops,
            last_error: self.last_error.clone().unwrap_or_else(|| "it has ended".into()),
        })
    }

    fn note(&mut self, (began, ended): (Instant, Instant), now: Instant, chance: f64, error: &str) {
        self.last_error = Some(error.into());
        // Starts that were under way at the same time fail for one reason: they count
        // once.
        if self.recent.back().is_some_and(|last| began < *last) {
            return;
        }
        self.streak = self.streak.saturating_add(1);
        self.recent.push_back(ended);
        while self.recent.len() > CRASH_LOOP
            || self.recent.front().is_some_and(|at| now.saturating_duration_since(*at) > WINDOW)
        {
            self.recent.pop_front();
        }
        self.loops |= self.recent.len() >= CRASH_LOOP;
        self.next = delay(self.streak, chance).map(|delay| now + delay);
    }

    fn well(&mut self) {
        self.streak = 0;
        self.recent.clear();
        self.loops = false;
        self.last_error = None;
    }
}

fn is_well(lived: Duration, has_answered: bool) -> bool {
    lived > STEADY || (has_answered && lived >= EARLY)
}

/// The pause after this many failures in a row. `None` up to the first: that restart
/// is at once.
pub fn delay(failures: u32, chance: f64) -> Option<Duration> {
    let doublings = failures.checked_sub(2)?;
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    let longest = FIRST_DELAY.saturating_mul(factor).min(LONGEST_DELAY);
    // At random between half of it and all, so that nodes do not retry in step.
    Some(longest.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// Fails this many times, each after its pause; returns the time of the last one.
    fn fail(backoff: &mut Backoff, mut now: Instant, times: u32) -> Instant {
        for _ in 0..times {
            now += backoff.pause(now).map_or(Duration::ZERO, |pause| pause.left);
            assert_eq!(backoff.attempt(now), Verdict::Go);
            backoff.failed(now, now, 1.0, "exit status: 1");
        }
        now
    }

    #[test]
    fn the_first_restart_is_at_once_and_the_next_are_not() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        fail(&mut backoff, now, 1);
        assert_eq!(backoff.status(now), ServerStatus::Running);
        let now = fail(&mut backoff, now, 1);
        assert_eq!(backoff.pause(now).map(|pause| pause.left), Some(FIRST_DELAY));
        assert_eq!(backoff.status(now), ServerStatus::Backoff);
        assert_eq!(backoff.restarts(), 1);
    }

    #[test]
    fn a_question_in_vain_is_a_failure_of_its_own() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let now = fail(&mut backoff, now, 1);
        backoff.probed_in_vain(now, 1.0, "it does not say what it is");
        assert_eq!(backoff.pause(now).map(|pause| pause.left), Some(FIRST_DELAY));
    }

    #[test]
    fn delays_double_to_a_bound_and_half_of_them_is_chance() {
        let delays = [2, 3, 4, 9, 40, u32::MAX].map(|failures| delay(failures, 1.0).unwrap());
        let expected = [250, 500, 1000, 30_000, 30_000, 30_000].map(Duration::from_millis);
        assert_eq!(delays, expected);
        assert_eq!(delay(3, 0.0), Some(Duration::from_millis(250)));
        assert_eq!((delay(0, 1.0), delay(1, 1.0)), (None, None));
    }

    #[test]
    fn five_failures_in_a_minute_are_a_crash_loop_until_one_start_succeeds() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let now = fail(&mut backoff, now, 4);
        assert_eq!(backoff.status(now), ServerStatus::Backoff);
        let mut now = fail(&mut backoff, now, 1);
        let pause = backoff.pause(now).unwrap();
        assert!(pause.is_crash_loop && pause.failures == 5, "{pause:?}");
        now += pause.left;
        assert_eq!(backoff.status(now), ServerStatus::CrashLoop, "no attempt yet");
        assert_eq!(backoff.attempt(now), Verdict::Go);
        backoff.started();
        assert_eq!(backoff.status(now), ServerStatus::Running);
        backoff.died((now, secs(1)), now + secs(1), false, 1.0, "exit status: 1");
        assert_eq!(backoff.status(now + secs(1)), ServerStatus::CrashLoop);
    }

    #[test]
    fn after_a_delay_one_tries_and_the_others_wait_for_it() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let now = fail(&mut backoff, now, 2) + secs(1);
        assert_eq!(backoff.attempt(now), Verdict::Go);
        assert_eq!(backoff.attempt(now), Verdict::Wait);
        backoff.given_up();
        assert_eq!(backoff.attempt(now), Verdict::Go);
        backoff.started();
        assert_eq!(backoff.attempt(now), Verdict::Go);
        assert_eq!(backoff.attempt(now), Verdict::Go);
    }

    #[test]
    fn starts_that_fail_together_are_one_failure() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        for _ in 0..20 {
            assert_eq!(backoff.attempt(now), Verdict::Go);
        }
        for _ in 0..20 {
            backoff.failed(now, now + secs(1), 1.0, "no such program");
        }
        assert_eq!(backoff.failures(), 1);
        assert_eq!(backoff.status(now + secs(1)), ServerStatus::Running);
    }

    #[test]
    fn health_clears_the_record() {
        let now = Instant::now();
        let healthy = [(secs(61), false), (secs(10), true)];
        for (lived, has_answered) in healthy {
            let mut backoff = Backoff::default();
            let began = fail(&mut backoff, now, 6);
            backoff.started();
            backoff.lives(lived - secs(5), has_answered);
            assert_eq!(backoff.failures(), 6);
            backoff.lives(lived, has_answered);
            assert_eq!((backoff.failures(), backoff.last_error()), (0, None));
            backoff.died((began, lived), began + lived, has_answered, 1.0, "signal: 9");
            assert_eq!(backoff.status(began + lived), ServerStatus::Running);
        }
    }

    #[test]
    fn a_death_after_an_answered_call_is_no_failed_start() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        for _ in 0..10 {
            assert_eq!(backoff.attempt(now), Verdict::Go);
            backoff.started();
            backoff.ended();
            backoff.died((now, secs(1)), now + secs(1), true, 1.0, "signal: 9");
        }
        assert_eq!((backoff.failures(), backoff.restarts()), (0, 9));
    }
}
