//! What named the conversations of requests, in words of explanations and metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::ConversationBy;

/// What explanations and metrics say of a request that belongs to no conversation.
pub const NONE: &str = "none";

/// The words of metrics: names of headers and members are the operator's, and are not among them.
const WORDS: [&str; 10] = [
    "plugin",
    "handle",
    "cookie",
    "header",
    "meta",
    "argument",
    "principal",
    "address",
    "connection",
    NONE,
];

fn word(by: &ConversationBy) -> usize {
    match by {
        ConversationBy::Plugin => 0,
        ConversationBy::Handle => 1,
        ConversationBy::Cookie => 2,
        ConversationBy::Header(_) => 3,
        ConversationBy::Meta(_) => 4,
        ConversationBy::Argument(_) => 5,
        ConversationBy::Principal => 6,
        ConversationBy::Address => 7,
        ConversationBy::Connection => 8,
    }
}

/// Requests of clients without sessions, by what named their conversation.
#[derive(Debug, Default)]
pub struct NamedByCounts([AtomicU64; WORDS.len()]);

impl NamedByCounts {
    /// One more request; `None` if nothing named a conversation.
    pub fn note(&self, by: Option<&ConversationBy>) {
        let index = by.map_or(WORDS.len() - 1, word);
        if let Some(count) = self.0.get(index) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The words, and how many requests each stands for.
    pub fn numbers(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        WORDS.into_iter().zip(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_count_under_the_word_for_what_named_them() {
        let counts = NamedByCounts::default();
        let header = ConversationBy::Header(http::HeaderName::from_static("x-thread"));
        for by in [Some(&header), Some(&ConversationBy::Connection), None, None] {
            counts.note(by);
        }
        let some: Vec<_> = counts.numbers().filter(|(_, count)| *count > 0).collect();
        assert_eq!(some, [("header", 1), ("connection", 1), ("none", 2)]);
    }
}
