//! Patterns of names, as operators write them.

/// Whether a name fits a pattern in which `*` stands for any characters.
#[must_use]
pub fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expect) in [
            ("cd", "cd", true),
            ("cd", "cdx", false),
            ("cd", "xcd", false),
            ("*", "", true),
            ("set_*", "set_cwd", true),
            ("set_*", "reset_cwd", false),
            ("*_set", "a_set", true),
            ("*_set", "a_set_b", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a**", "a", true),
            ("ab*ba", "aba", false),
            ("\u{e4}*", "\u{e4}\u{f6}", true),
            ("", "", true),
        ] {
            assert_eq!(fits(pattern, name), expect, "{pattern} {name}");
        }
    }
}
