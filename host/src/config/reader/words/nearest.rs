//! Suggestions for misspelt words: "did you mean …?"

/// Least similarity, from 0 to 1, at which one word is taken for a misspelling of
/// another.
const ALIKE: f64 = 0.75;

/// Bytes of the longest word that is compared: the cost grows with the square.
const MAX_WORD: usize = 64;

/// The candidate that was probably meant, if one is similar enough.
pub(in crate::config) fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    if word.len() > MAX_WORD {
        return None;
    }
    let word = word.to_lowercase();
    candidates
        .iter()
        .filter(|candidate| negates(&word) == negates(candidate))
        .map(|candidate| (likeness(&word, &candidate.to_lowercase()), *candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Whether a word takes something away. What one such word is like, another one would give.
fn negates(word: &str) -> bool {
    ["dis", "excl"].iter().any(|begins| word.to_lowercase().starts_with(begins))
}

/// ` (did you mean "nodeTimeout"?)`, or nothing.
pub(in crate::config) fn suggestion(word: &str, candidates: &[&str]) -> String {
    nearest(word, candidates)
        .map_or_else(String::new, |found| format!(" (did you mean {found:?}?)"))
}

fn likeness(a: &str, b: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(a, b)
}
