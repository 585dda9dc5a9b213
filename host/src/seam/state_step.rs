//! What a request has to do with state that is brought back to a new instance.
//!
//! A new instance is held from its opening until its state is back: meanwhile only messages of the
//! restoration reach it, and for all others the session is unknown there. So they meet the edge's
//! opening, and wait for it.

use http::header::{HeaderMap, HeaderValue};

use crate::protocol::headers::seam;

/// One step of a restoration, of a saving before it, or what has to be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateStep {
    /// On an open: a new instance is held. One that another restoration has left is replaced.
    Hold,
    /// A message of the restoration.
    Own,
    /// Its end: the instance serves the client.
    Release,
    /// A message of the client after which the state is to be saved.
    Change,
    /// A call of the tool that saves: with it no session goes on elsewhere.
    SaveCall,
    /// The server's program writes the state: the body of the answer.
    Save,
    /// The server's program reads the state: the body of the request.
    Restore,
}

/// The word on an answer to a call, during which the server has asked the client something. The
/// runner has refused that.
const ASKED: &str = "asked";

impl StateStep {
    const WORDS: [(&str, Self); 7] = [
        ("hold", Self::Hold),
        ("own", Self::Own),
        ("release", Self::Release),
        ("change", Self::Change),
        ("save-call", Self::SaveCall),
        ("save", Self::Save),
        ("restore", Self::Restore),
    ];

    /// The word in the header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Own => "own",
            Self::Release => "release",
            Self::Change => "change",
            Self::SaveCall => "save-call",
            Self::Save => "save",
            Self::Restore => "restore",
        }
    }

    /// The step that a word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, step)| *step)
    }
}

/// Marks the answer to a call during which the server has asked the client something.
pub fn mark_asked(headers: &mut HeaderMap) {
    headers.insert(seam::STATE, HeaderValue::from_static(ASKED));
}

/// Whether the answer is so marked.
#[must_use]
pub fn is_asked(headers: &HeaderMap) -> bool {
    headers.get(seam::STATE).is_some_and(|word| word == ASKED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_known_by_its_word() {
        for (word, step) in StateStep::WORDS {
            assert_eq!((step.as_str(), StateStep::parse(word)), (word, Some(step)));
        }
        assert_eq!(StateStep::parse("asked"), None);
    }
}
