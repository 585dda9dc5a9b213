//! Where a text ends too early: which brackets it leaves open.

/// A bracket, comment or string that is open at the end of the text.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct Unclosed {
    pub what: &'static str,
    /// Byte offset at which it begins.
    pub at: usize,
}

/// The innermost thing that is open at the end of the text. `None` if the text is whole, or if a
/// bracket closes another kind of bracket: then not its end is wrong.
pub(in crate::config) fn at_end(text: &str) -> Option<Unclosed> {
    match look(text) {
        Found::Open(open) => Some(open),
        Found::Whole | Found::Crossed { .. } => None,
    }
}

/// The first bracket that closes another kind of bracket, by its place, and the one that is open there.
pub(in crate::config) fn crossed(text: &str) -> Option<(usize, Unclosed)> {
    match look(text) {
        Found::Crossed { at, open } => Some((at, open)),
        Found::Whole | Found::Open(_) => None,
    }
}

enum Found {
    Whole,
    /// At the end of the text.
    Open(Unclosed),
    /// A bracket stands where another one had to be closed.
    Crossed {
        at: usize,
        open: Unclosed,
    },
}

fn look(text: &str) -> Found {
    let mut open: Vec<Unclosed> = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (c, chars.peek().map(|(_, next)| *next)) {
            ('"', _) => {
                let mut is_escaped = false;
                let closes = |(_, c): (usize, char)| {
                    let is_end = c == '"' && !is_escaped;
                    is_escaped = c == '\\' && !is_escaped;
                    is_end
                };
                if !chars.any(closes) {
                    return Found::Open(Unclosed { what: "string", at });
                }
            }
            ('/', Some('/')) => {
                chars.any(|(_, c)| c == '\n');
            }
            ('/', Some('*')) => {
                let (mut before, is_open) = (' ', Unclosed { what: "comment", at });
                chars.next();
                let closes = |(_, c): (usize, char)| {
                    let is_end = before == '*' && c == '/';
                    before = c;
                    is_end
                };
                if !chars.any(closes) {
                    return Found::Open(is_open);
                }
            }
            ('{', _) => open.push(Unclosed { what: "{", at }),
            ('[', _) => open.push(Unclosed { what: "[", at }),
            ('}' | ']', _) => {
                let closed = if c == '}' { "{" } else { "[" };
                match open.pop() {
                    Some(open) if open.what != closed => return Found::Crossed { at, open },
                    Some(_) => {}
                    None => return Found::Whole,
                }
            }
            _ => {}
        }
    }
    open.pop().map_or(Found::Whole, Found::Open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_open_thing_is_found() {
        for (text, expect) in [
            ("", None),
            ("{}", None),
            (
                r#"{"a": ["}", "\"]"], // {
 /* [ */ "b": 1}"#,
                None,
            ),
            (r#"{"a": {"b": 1}"#, Some(("{", 0))),
            (r#"{"a": {"b": ["#, Some(("[", 12))),
            (r#"{"a": {"b": ["x", "#, Some(("[", 12))),
            (r#"{"a": "x"#, Some(("string", 6))),
            (r#"{"a": "x\"}"#, Some(("string", 6))),
            ("{ /* x }", Some(("comment", 2))),
            (r#"{"a": [}"#, None),
            ("}", None),
        ] {
            let found = at_end(text).map(|open| (open.what, open.at));
            assert_eq!(found, expect, "{text}");
        }
    }

    #[test]
    fn a_bracket_that_closes_another_kind_is_found() {
        for (text, expect) in [
            ("{}", None),
            ("}", None),
            (r#"{"a": ["x"}"#, Some((10, "[", 6))),
            (r#"{"a": {"b": 1]}"#, Some((13, "{", 6))),
            (r#"{"a": "]", "b": ["}"}]"#, Some((20, "[", 16))),
        ] {
            let found = crossed(text).map(|(at, open)| (at, open.what, open.at));
            assert_eq!(found, expect, "{text}");
        }
    }
}
