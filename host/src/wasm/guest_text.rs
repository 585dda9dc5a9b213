//! Makes text from a plugin safe to show.

/// Cuts a text to `limit` bytes and replaces control characters by spaces: they
/// could forge a log line or move a terminal's cursor.
pub(super) fn plain(text: &str, limit: usize) -> String {
    let end = text.floor_char_boundary(limit);
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text[..end].chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character_and_stays_one_line() {
        assert_eq!(plain("a\nb\x1b[1m", 200), "a b [1m");
        assert_eq!(plain(&"é".repeat(150), 200).len(), 200);
        assert_eq!(plain(&format!("x{}", "é".repeat(150)), 200).len(), 199);
    }
}
