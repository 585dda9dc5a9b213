//! Text of others, made visible before a log, a terminal or a page shows it.
//!
//! Nodes, servers, clients and plugins choose texts that people read: names, errors, lines of
//! stderr. Control characters in them would move a terminal's cursor or begin a log line of their
//! own, direction marks would reorder what is shown, and characters without width would make two
//! names look alike. Such characters are written as escapes, and long texts are cut.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// What a cut text ends with.
const ELLIPSIS: char = '…';

/// The text on one line: what cannot be seen is escaped, and what exceeds `most` bytes is cut.
#[must_use]
pub fn visible(text: &str, most: usize) -> Visible<'_> {
    Visible { text, most, keeps_lines: false }
}

/// A text of several lines, such as a report: like [`visible`], but line breaks stay. Values of
/// others in it must have been made visible before, or they add lines.
#[must_use]
pub fn page(text: &str, most: usize) -> Visible<'_> {
    Visible { text, most, keeps_lines: true }
}

/// Writes a text as it can be seen. Nothing is allocated.
#[derive(Debug, Clone, Copy)]
pub struct Visible<'a> {
    text: &'a str,
    most: usize,
    keeps_lines: bool,
}

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut writer = VisibleWriter { out: f, left: self.most, keeps_lines: self.keeps_lines };
        writer.write_str(self.text)
    }
}

/// Passes on what is written to it, made visible and cut after a number of bytes.
pub struct VisibleWriter<'a, W: Write + ?Sized> {
    out: &'a mut W,
    /// Bytes that may still be written, before escaping.
    left: usize,
    keeps_lines: bool,
}

impl<'a, W: Write + ?Sized> VisibleWriter<'a, W> {
    /// One line of at most `most` bytes.
    #[must_use]
    pub fn new(out: &'a mut W, most: usize) -> Self {
        Self { out, left: most, keeps_lines: false }
    }
}

impl<W: Write + ?Sized> Write for VisibleWriter<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.left == 0 {
            return Ok(());
        }
        // Nearly all texts; calls have some in their way.
        if text.len() <= self.left && text.bytes().all(|b| matches!(b, b' '..=b'~')) {
            self.left -= text.len();
            return self.out.write_str(text);
        }
        let shown = text.get(..text.floor_char_boundary(self.left)).unwrap_or_default();
        let mut rest = shown;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| self.escapes(*c)) {
            self.out.write_str(&rest[..at])?;
            match c {
                '\t' | '\n' | '\r' => write!(self.out, "{}", c.escape_default())?,
                c => write!(self.out, "{}", c.escape_unicode())?,
            }
            rest = &rest[at + c.len_utf8()..];
        }
        self.out.write_str(rest)?;
        if shown.len() < text.len() {
            self.left = 0;
            return self.out.write_char(ELLIPSIS);
        }
        self.left -= shown.len();
        Ok(())
    }
}

impl<W: Write + ?Sized> VisibleWriter<'_, W> {
    fn escapes(&self, c: char) -> bool {
        is_hidden(c) && !(self.keeps_lines && c == '\n')
    }
}

/// Whether the character cannot be seen, or changes how others are shown.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    match c {
        ' '..='~' => false,
        // Controls C0, DEL and C1; soft hyphen.
        '\0'..='\u{9f}' | '\u{ad}' => true,
        // Joiners and fillers without width of several scripts.
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' => true,
        '\u{180b}'..='\u{180f}' | '\u{3164}' | '\u{ffa0}' => true,
        // Without width, line and paragraph separators, direction marks, embeddings, isolates.
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => true,
        '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' => true,
        // Musical controls, tags and further variation selectors.
        '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' => true,
        _ => false,
    }
}

/// JSON text with the same meaning in which nothing is hidden: within strings, the only place
/// where JSON has such characters, `\u` escapes stand for them. Line breaks and tabs between
/// members stay.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    let escapes = |c: char| is_hidden(c) && !matches!(c, '\n' | '\r' | '\t');
    if !text.contains(escapes) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        if escapes(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[31m\n\t\u{7f}\u{9b}\u{202e}\u{2028}\u{200b}\u{e0041}z";

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        assert_eq!(
            visible(HOSTILE, 100).to_string(),
            "a\\u{1b}[31m\\n\\t\\u{7f}\\u{9b}\\u{202e}\\u{2028}\\u{200b}\\u{e0041}z"
        );
        assert_eq!(visible("größe ❤ 漢字", 100).to_string(), "größe ❤ 漢字");
    }

    #[test]
    fn a_report_keeps_its_lines_and_nothing_else() {
        assert_eq!(page("a\nb\r\u{1b}c", 100).to_string(), "a\nb\\r\\u{1b}c");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(visible("abcdef", 6).to_string(), "abcdef");
        assert_eq!(visible("abcdef", 5).to_string(), "abcde…");
        assert_eq!(visible("aéé", 4).to_string(), "aé…");
    }

    #[test]
    fn pieces_that_are_written_one_by_one_share_the_limit() {
        let mut out = String::new();
        let mut writer = VisibleWriter::new(&mut out, 5);
        for piece in ["ab", "c\u{1b}", "defg", "h"] {
            writer.write_str(piece).unwrap();
        }
        assert_eq!(out, "abc\\u{1b}d…");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let text = "{\n\t\"k\u{202e}\": \"\\u001b \u{9b}\u{7f}\u{e0041} ä\"}";
        let shown = "{\n\t\"k\\u202e\": \"\\u001b \\u009b\\u007f\\udb40\\udc41 ä\"}";
        assert_eq!(json(text), shown);
        assert!(matches!(json(r#"{"a": "b"}"#), Cow::Borrowed(_)));
    }
}
