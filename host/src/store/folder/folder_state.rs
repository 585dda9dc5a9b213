//! How far the data folder can be used, why no further, and how often it has come back.

use std::io;
use std::time::{Duration, Instant};

/// Least time between two lines in the log about different troubles of the folder.
const OTHER: Duration = Duration::from_secs(60);
/// Time between two lines about the same one.
const SAME: Duration = Duration::from_secs(600);

/// How far the folder can be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FolderState {
    /// It is read and written.
    #[default]
    Fine,
    /// It is read; what had to be written stays in memory.
    Unwritable,
    /// It can neither be read nor written.
    Absent,
}

impl FolderState {
    /// The word for it in `/readyz` and `/health`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Unwritable => "not writable",
            Self::Absent => "not usable",
        }
    }
}

/// How often the folder has come back. Whoever writes to it compares this with what it was, and
/// writes again what may be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Renewals {
    /// It could be written again.
    pub recovered: u64,
    /// Another folder came in its place, which may have nothing of ours.
    pub replaced: u64,
}

/// Why the folder does not do what it is for.
#[derive(Debug, Default)]
pub struct Trouble {
    pub state: FolderState,
    pub why: String,
    pub renewals: Renewals,
    said: Option<(Instant, String)>,
    /// Whether what was said is over.
    is_over: bool,
}

impl Trouble {
    /// The folder could not be opened at the start, which has been said.
    #[must_use]
    pub fn absent(error: &io::Error) -> Self {
        let why = error.to_string();
        let said = Some((Instant::now(), why.clone()));
        Self { state: FolderState::Absent, why, said, ..Self::default() }
    }

    pub fn begin(&mut self, state: FolderState, error: &io::Error) {
        self.state = state;
        self.why = error.to_string();
    }

    /// Returns whether there was trouble.
    pub fn end(&mut self) -> bool {
        if self.state == FolderState::Fine {
            return false;
        }
        self.state = FolderState::Fine;
        self.why.clear();
        self.is_over = true;
        self.renewals.recovered += 1;
        true
    }

    /// Whether the log may say this now: once, and again after a while.
    pub fn may_say(&mut self, why: &str) -> bool {
        let is_due = self.said.as_ref().is_none_or(|(at, said)| {
            let is_same = said == why && !self.is_over;
            at.elapsed() > if is_same { SAME } else { OTHER }
        });
        if is_due {
            self.is_over = false;
            self.said = Some((Instant::now(), why.to_owned()));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_said_once_in_a_while() {
        let (mut trouble, full) = (Trouble::default(), io::Error::other("full"));
        assert!(!trouble.end(), "there was none");
        trouble.begin(FolderState::Unwritable, &full);
        assert!(trouble.may_say("full"));
        assert!(!trouble.may_say("full") && !trouble.may_say("read-only"));
        assert!(trouble.end());
        assert_eq!((trouble.why.as_str(), trouble.renewals.recovered), ("", 1));
        // What comes and goes must not fill the log.
        assert!(!trouble.may_say("full"));
        trouble.said = trouble.said.take().map(|(at, why)| (at - OTHER * 2, why));
        assert!(trouble.may_say("full"), "it had been over");
        trouble.said = trouble.said.take().map(|(at, why)| (at - OTHER * 2, why));
        assert!(!trouble.may_say("full") && trouble.may_say("read-only"));
    }
}
