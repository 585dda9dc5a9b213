//! What became of a session's state at a new instance, and the words for it.

use std::fmt::Write as _;

use crate::model::visible::visible;

/// Failures that the words name; of further ones the number is said.
const MAX_NAMED: usize = 5;
/// Bytes of a reason.
const MAX_WHY: usize = 200;

/// What was restored, and what could not be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// When the state that was restored had been saved, in words; `None` if none was.
    pub saved_at: Option<String>,
    /// Calls that were repeated.
    pub repeated: usize,
    /// What failed: a tool, or the restoration itself; and why.
    pub failed: Vec<(String, String)>,
    /// Calls that were not repeated any more, since the time was up.
    pub untried: usize,
    /// Calls that set state and were beyond the bounds of what is kept.
    pub dropped: u32,
    /// Calls that may have changed the state after it was last saved.
    pub unsaved: u32,
    /// Calls that set state, and of which no answer was seen.
    pub unsettled: Vec<String>,
    /// Whether another coordinator may have passed on calls that set state.
    pub elsewhere: bool,
}

impl Restored {
    /// Notes a failure.
    pub fn failed(&mut self, what: &str, why: &str) {
        self.failed.push((what.to_owned(), visible(why, MAX_WHY).to_string()));
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.failed.is_empty()
            && self.untried == 0
            && self.dropped == 0
            && self.unsaved == 0
            && self.unsettled.is_empty()
            && !self.elsewhere
    }

    /// What was done, and what is missing.
    #[must_use]
    pub fn words(&self) -> String {
        let mut done = Vec::new();
        if let Some(at) = &self.saved_at {
            done.push(format!("what it had saved at {at} was restored"));
        }
        if self.repeated > 0 {
            done.push(format!(
                "{} repeated",
                calls(self.repeated, "that set its state", "was", "were")
            ));
        }
        let missing = self.missing();
        let mut words = match (done.is_empty(), missing.is_empty()) {
            (true, true) => "no call had set its state".to_owned(),
            (true, false) => "its state for this session is lost".to_owned(),
            (false, _) => done.join(", and "),
        };
        if missing.is_empty() && !done.is_empty() {
            words.push_str("; its state for this session is back");
        } else if !missing.is_empty() {
            let _ = write!(words, "; not restored: {}", missing.join("; "));
        }
        words
    }

    fn missing(&self) -> Vec<String> {
        let mut missing: Vec<String> = self
            .failed
            .iter()
            .take(MAX_NAMED)
            .map(|(what, why)| format!("{} ({why})", visible(what, MAX_WHY)))
            .collect();
        if self.failed.len() > MAX_NAMED {
            missing.push(format!("{} more that failed", self.failed.len() - MAX_NAMED));
        }
        if self.untried > 0 {
            missing.push(format!("{} (the time was up)", calls(self.untried, "", "", "")));
        }
        if self.dropped > 0 {
            let dropped = usize::try_from(self.dropped).unwrap_or(usize::MAX);
            missing.push(format!("{} (beyond the limits)", calls(dropped, "not kept", "", "")));
        }
        if self.unsaved > 0 {
            let unsaved = usize::try_from(self.unsaved).unwrap_or(usize::MAX);
            missing.push(calls(unsaved, "made after it was last saved", "", ""));
        }
        for tool in &self.unsettled {
            missing.push(format!("{} (whether it ran is unknown)", visible(tool, MAX_WHY)));
        }
        if self.elsewhere {
            missing.push("calls that another coordinator has passed on".to_owned());
        }
        missing
    }
}

/// `1 call that … was`, `2 calls that … were`.
fn calls(count: usize, which: &str, one: &str, more: &str) -> String {
    let (noun, verb) = if count == 1 { ("call", one) } else { ("calls", more) };
    let words = [count.to_string().as_str(), noun, which, verb].map(str::to_owned);
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_what_is_back_and_what_is_not() {
        let mut restored = Restored { repeated: 1, ..Restored::default() };
        assert!(restored.is_whole());
        let says = restored.words();
        assert!(says.contains("1 call that set its state was repeated"), "{says}");
        assert!(says.contains("is back") && !says.contains("lost"), "{says}");
        restored.repeated = 2;
        restored.saved_at = Some("noon".into());
        restored.failed("cd", "no such\nfolder");
        restored.unsaved = 3;
        restored.unsettled = vec!["set".into()];
        restored.elsewhere = true;
        let says = restored.words();
        for part in [
            "what it had saved at noon was restored",
            "2 calls that set its state were repeated",
            "not restored: cd (no such",
            "3 calls made after it was last saved",
            "set (whether it ran is unknown)",
            "calls that another coordinator has passed on",
        ] {
            assert!(says.contains(part), "{part}: {says}");
        }
        assert!(
            !restored.is_whole() && !says.contains('\n') && !says.contains("is back"),
            "{says}"
        );
    }

    #[test]
    fn of_many_failures_the_first_are_named() {
        let mut restored = Restored::default();
        for _ in 0..9 {
            restored.failed("a", &"x".repeat(1000));
        }
        let says = restored.words();
        assert!(says.contains("4 more that failed") && says.len() < 2000, "{says}");
        assert!(says.starts_with("its state for this session is lost"), "{says}");
    }
}
