//! Makes text from a plugin safe to show.

use crate::model::visible::visible;

/// The text on one line, of at most `limit` bytes of the plugin's.
pub(super) fn plain(text: &str, limit: usize) -> String {
    visible(text, limit).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character_and_stays_one_line() {
        assert_eq!(plain("a\nb\x1b[1m", 200), "a\\nb\\u{1b}[1m");
        assert_eq!(plain(&"é".repeat(150), 200), format!("{}…", "é".repeat(100)));
    }
}
