//! Whether a node answers, as far as its coordinator has asked.
//!
//! ```text
//!            a request to it broke              it did not answer
//! (answers) ───────────────────────► suspect ──────────────────────► silent
//!     ▲ ▲                               │ it answered                   │
//!     │ └───────────────────────────────┘                               │
//!     └─────────────── it answered, and said what it holds ◄────────────┘
//! ```
//!
//! A node is asked when a request has waited for it, when a connection to it broke, and when half of
//! its lease has passed without a heartbeat. Heartbeats alone decide nothing: they come over another
//! way than requests go, and either may be cut.
//!
//! Policy only: time is passed in.

use std::time::{Duration, Instant};

/// Pause between two questions to a node that has not answered.
const PAUSE: Duration = Duration::from_secs(1);
/// Time after which a question counts as forgotten: each is answered for long before.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// What is known of whether a node answers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Liveness {
    suspect: bool,
    silent: bool,
    /// When the latest question began.
    asked: Option<Instant>,
    is_under_way: bool,
    /// The latest reason to ask that no question has taken up.
    doubted: Option<Instant>,
}

impl Liveness {
    /// Whether a request to it failed, and it has not answered since.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// Whether it did not answer when it was asked.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// Notes that a request to it failed. Returns whether it was not known to have any trouble.
    pub(super) fn suspect(&mut self, now: Instant) -> bool {
        self.doubt(now);
        !std::mem::replace(&mut self.suspect, true) && !self.silent
    }

    /// Notes a reason to ask it.
    pub(super) fn doubt(&mut self, now: Instant) {
        self.doubted = Some(now);
    }

    /// Whether it is to be asked now. `quiet` says that it was not heard for longer than usual.
    pub(super) fn is_due(&self, quiet: bool, now: Instant) -> bool {
        if self.is_asked(now) {
            return false;
        }
        let has_rested = self.has_rested(PAUSE, now);
        // A silent node is not asked more often because many wait for it.
        (self.doubted.is_some() && !self.silent)
            || (has_rested && (quiet || self.suspect || self.silent))
    }

    /// Whether no question is under way, and none began within the pause.
    pub(super) fn has_rested(&self, pause: Duration, now: Instant) -> bool {
        let is_over = |asked: Instant| now.saturating_duration_since(asked) >= pause;
        !self.is_asked(now) && self.asked.is_none_or(is_over)
    }

    /// Notes that it was heard, although not in answer to a question.
    pub(super) fn heard(&mut self, now: Instant) {
        if (self.silent || self.suspect) && !self.is_asked(now) {
            self.asked = None;
        }
    }

    /// Whether a question is under way.
    pub(super) fn is_asked(&self, now: Instant) -> bool {
        let is_recent = |asked: Instant| now.saturating_duration_since(asked) < FORGOTTEN;
        self.is_under_way && self.asked.is_some_and(is_recent)
    }

    /// Whether the latest reason to ask is that a connection broke: only a new one is an answer.
    pub(super) fn needs_new_connection(&self) -> bool {
        self.suspect || self.silent
    }

    pub(super) fn ask(&mut self, now: Instant) {
        (self.asked, self.is_under_way, self.doubted) = (Some(now), true, None);
    }

    /// Notes that it answered. What broke since it was asked is asked for once more.
    pub(super) fn answered(&mut self) {
        self.is_under_way = false;
        self.suspect &= self.doubted.is_some();
    }

    /// Notes that it did not answer. Returns whether that is new.
    pub(super) fn unanswered(&mut self) -> bool {
        self.is_under_way = false;
        self.doubted = None;
        !std::mem::replace(&mut self.silent, true)
    }

    /// Notes that nothing came of a question: the fault may be on this side.
    pub(super) fn unclear(&mut self) {
        self.is_under_way = false;
    }
}
