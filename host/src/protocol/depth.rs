//! How deep a JSON text is nested, found without recursion.

/// Whether a JSON text is nested deeper than this. What is no JSON may be called either.
#[must_use]
pub fn is_deeper(text: &[u8], limit: usize) -> bool {
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some(at) =
        rest.iter().position(|byte| matches!(byte, b'"' | b'[' | b']' | b'{' | b'}'))
    {
        let found = rest.get(at).copied().unwrap_or_default();
        rest = rest.get(at + 1..).unwrap_or_default();
        match found {
            b'"' => match behind_string(rest) {
                Some(behind) => rest = behind,
                None => return false,
            },
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            _ => depth = depth.saturating_sub(1),
        }
    }
    false
}

/// What stands behind the string that the text begins within.
fn behind_string(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        let end = memchr::memchr2(b'"', b'\\', text)?;
        if text.get(end) == Some(&b'"') {
            return text.get(end + 1..);
        }
        text = text.get(end + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_and_those_in_strings_do_not() {
        for (text, depth) in [
            ("7", 0),
            ("{}", 1),
            (r#"{"a":[{}],"b":{"c":1}}"#, 3),
            (r#"{"[[[[":"{{{{\"[[[[","a":[]}"#, 2),
            (r#"["\\",["\\\"["]]"#, 2),
        ] {
            assert!(!is_deeper(text.as_bytes(), depth), "{text}");
            assert!(depth == 0 || is_deeper(text.as_bytes(), depth - 1), "{text}");
        }
        let deep = ["[".repeat(2_000_000), "]".repeat(2_000_000)].concat();
        assert!(is_deeper(deep.as_bytes(), 100));
        assert!(!is_deeper(deep.as_bytes(), 2_000_000));
        for cut in ["\"", "[\"\\", "]]]]", "[\"a", ""] {
            assert!(!is_deeper(cut.as_bytes(), 1), "{cut}");
        }
    }
}
