//! Reads JSON in one pass, as far as nearly all programs write it: for each string, number and bracket
//! a few instructions, nothing kept but the place.
//!
//! Every message is read at least once on its way, and serde takes three times as long to find where a
//! value ends. What is read here is JSON, and is what serde would read. What is not read here may be
//! JSON too: whoever gets `None` leaves the text to serde.

/// The deepest nesting that is followed: one bit for each open bracket, and one in front.
const DEEPEST: u32 = 62;

/// Bytes of a string that are looked at eight at a time. Longer ones are worth the start of a search
/// that takes 32 at a time.
const NEAR: usize = 64;

/// A place in a text that is read from its beginning on.
#[derive(Debug, Clone, Copy)]
pub struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    /// Reads from the beginning.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Whether all of the text was read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Passes these bytes, if they come next.
    #[inline]
    pub fn takes(&mut self, token: &[u8]) -> bool {
        let is_next = self.rest().starts_with(token);
        if is_next {
            self.at += token.len();
        }
        is_next
    }

    /// The inside of a string without escapes, which has to come next.
    #[inline]
    pub fn plain_string(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        if bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        let begin = self.at + 1;
        let end = plain_end(bytes, begin)?;
        if bytes.get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        self.text.get(begin..end)
    }

    /// Any value that comes next, as it is written.
    #[inline]
    pub fn value(&mut self) -> Option<&'a str> {
        let begin = self.at;
        self.at = value_end(self.text.as_bytes(), begin)?;
        self.text.get(begin..self.at)
    }

    /// The members of an object that comes next, without white space between them. `take` gets the place of
    /// each name, and passes it with its value: a name that is expected is passed as a token, in a fraction
    /// of the time that its end takes to find.
    #[inline]
    pub fn each_member(&mut self, mut take: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if !self.takes(b"{") {
            return None;
        }
        if self.takes(b"}") {
            return Some(());
        }
        loop {
            take(self)?;
            if self.takes(b"}") {
                return Some(());
            }
            if !self.takes(b",") {
                return None;
            }
        }
    }

    /// A name without escapes, and the colon behind it.
    #[inline]
    pub fn member_name(&mut self) -> Option<&'a str> {
        let name = self.plain_string()?;
        self.takes(b":").then_some(name)
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }
}

/// Whether the whole text is one value, without white space around it.
#[must_use]
pub fn is_value(text: &str) -> bool {
    value_end(text.as_bytes(), 0) == Some(text.len())
}

/// Where a value ends that begins here. The text is UTF-8 at least in its strings.
#[must_use]
pub fn value_end(text: &[u8], begin: usize) -> Option<usize> {
    // For each open bracket a bit, whether it is a brace. Nothing is open when one bit is left.
    let mut open = 1_u64;
    let mut at = begin;
    loop {
        // Here a value begins.
        at = match text.get(at)? {
            b'"' => string_end(text, at + 1)?,
            bracket @ (b'{' | b'[') => {
                let is_brace = *bracket == b'{';
                let inside = behind_blank(text, at + 1);
                if text.get(inside) == Some(&(bracket + 2)) {
                    inside + 1
                } else {
                    if open >> DEEPEST != 0 {
                        return None;
                    }
                    open = open << 1 | u64::from(is_brace);
                    at = if is_brace { behind_name(text, inside)? } else { inside };
                    continue;
                }
            }
            b'-' | b'0'..=b'9' => number_end(text, at)?,
            b't' => literal_end(text, at, b"true")?,
            b'f' => literal_end(text, at, b"false")?,
            b'n' => literal_end(text, at, b"null")?,
            _ => return None,
        };
        // Here one has ended.
        loop {
            if open == 1 {
                return Some(at);
            }
            let is_brace = open & 1 == 1;
            at = behind_blank(text, at);
            match text.get(at)? {
                b',' => {
                    at = behind_blank(text, at + 1);
                    if is_brace {
                        at = behind_name(text, at)?;
                    }
                    break;
                }
                b'}' if is_brace => {}
                b']' if !is_brace => {}
                _ => return None,
            }
            at += 1;
            open >>= 1;
        }
    }
}

/// Where the value of a member begins whose name begins here.
#[inline]
fn behind_name(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) != Some(&b'"') {
        return None;
    }
    let colon = behind_blank(text, string_end(text, at + 1)?);
    (text.get(colon) == Some(&b':')).then(|| behind_blank(text, colon + 1))
}

#[inline]
fn behind_blank(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

#[inline]
fn literal_end(text: &[u8], at: usize, literal: &[u8]) -> Option<usize> {
    text.get(at..)?.starts_with(literal).then_some(at + literal.len())
}

fn number_end(text: &[u8], at: usize) -> Option<usize> {
    let digits = |from: usize| {
        let mut at = from;
        while text.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        (at > from).then_some(at)
    };
    let whole = if text.get(at) == Some(&b'-') { at + 1 } else { at };
    let mut end = digits(whole)?;
    if text.get(whole) == Some(&b'0') && end > whole + 1 {
        return None;
    }
    if text.get(end) == Some(&b'.') {
        end = digits(end + 1)?;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let is_signed = matches!(text.get(end + 1), Some(b'+' | b'-'));
        end = digits(end + 1 + usize::from(is_signed))?;
    }
    Some(end)
}

/// What stands behind the string within which this place is.
#[inline]
fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at = plain_end(text, at)?;
        if text.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at = escape_end(text, at)?;
    }
}

/// What stands behind an escape (RFC 8259, section 7). `None` for a control character.
#[cold]
fn escape_end(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) != Some(&b'\\') {
        return None;
    }
    match text.get(at + 1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 2),
        b'u' if text.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => Some(at + 6),
        _ => None,
    }
}

/// The place of the first quote, backslash or control character from here on.
#[inline]
fn plain_end(text: &[u8], begin: usize) -> Option<usize> {
    let mut at = begin;
    while let Some(word) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let found = unplain_bytes(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
        if at - begin >= NEAR {
            return far_end(text, at);
        }
    }
    let rest = text.get(at..)?.iter();
    rest.clone().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' ')).map(|more| at + more)
}

/// The same for a long string.
#[cold]
fn far_end(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    let end = memchr::memchr2(b'"', b'\\', rest)?;
    let inside = rest.get(..end)?;
    // All bytes are looked at, since that is done many at a time.
    if inside.iter().fold(false, |has, byte| has | (*byte < b' ')) {
        return None;
    }
    Some(at + end)
}

/// The highest bits of the bytes of a word that are quotes, backslashes or control characters. Of a
/// found one, the bits of those behind it, which are higher, may be wrong.
#[inline]
fn unplain_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHEST: u64 = 0x8080_8080_8080_8080;
    let each = |byte: u8| ONES * u64::from(byte);
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let quotes = zeros(word ^ each(b'"'));
    let backslashes = zeros(word ^ each(b'\\'));
    let controls = word.wrapping_sub(each(b' ')) & !word;
    (quotes | backslashes | controls) & HIGHEST
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    /// Pieces of which texts are put together, good ones and bad ones.
    const PIECES: [&str; 34] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"a\\nb\"",
        "\"\\u00e4\"",
        "\"\\uD83D\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\u{1}\"",
        "\"\u{e4}\u{10ffff}\"",
        "0",
        "-1",
        "01",
        "1.5",
        "1.",
        "-",
        "1e+2",
        "1e",
        "2E-7",
        "true",
        "tru",
        "false",
        "null",
        " ",
        "\t",
        "\n",
        "x",
        "\u{7f}",
        "\"long enough to be searched for in another way than those that are short, \\\" is in it\"",
    ];

    fn is_read_by_serde(text: &str) -> bool {
        serde_json::from_str::<&RawValue>(text).is_ok()
    }

    #[test]
    fn what_is_read_is_what_serde_reads() {
        let mut seed = 7_u64;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % below
        };
        let mut read = 0;
        for _ in 0..200_000 {
            let text: String = (0..=next(9)).map(|_| PIECES[next(PIECES.len())]).collect();
            let is_trimmed = text.trim_matches([' ', '\t', '\n']) == text;
            assert_eq!(is_value(&text), is_trimmed && is_read_by_serde(&text), "{text:?}");
            read += usize::from(is_value(&text));
        }
        assert!(read > 1000, "{read} are too few to say something");
    }

    #[test]
    fn strings_end_at_their_quote_wherever_that_stands() {
        for length in 0..150 {
            for (inside, is_plain) in [("x", true), ("\\n", false), ("\u{2028}", true)] {
                let filler = "y".repeat(length);
                let text = format!("\"{filler}{inside}\",");
                assert_eq!(value_end(text.as_bytes(), 0), Some(text.len() - 1), "{text}");
                let plain = Scan::of(&text).plain_string();
                assert_eq!(plain.is_some(), is_plain, "{text}");
                assert!(plain.is_none_or(|plain| plain == format!("{filler}{inside}")));
            }
            for bad in ["\u{0}", "\u{1f}", "\n", "\\", "\\q", "\\u12"] {
                let text = format!("\"{}{bad}", "y".repeat(length));
                assert_eq!(value_end(text.as_bytes(), 0), None, "{text:?}");
                assert_eq!(value_end(format!("{text}\"").as_bytes(), 0), None, "{text:?}");
            }
        }
    }

    #[test]
    fn what_is_nested_too_deeply_is_left_to_others() {
        for (open, close) in [("[", "]"), ("{\"a\":[", "]}")] {
            let nested = |times: usize| [open.repeat(times), close.repeat(times)].concat();
            assert!(is_value(&nested(30)));
            assert!(!is_value(&nested(70)));
        }
        let wide = format!("[{}[]]", "[],".repeat(1000));
        assert!(is_value(&wide), "only what is open at once counts");
    }

    #[test]
    fn members_are_given_with_their_values() {
        let mut scan = Scan::of(r#"{"a":1,"b c":{"d":[ ]},"e":"f"}!"#);
        let mut read = Vec::new();
        let whole = scan.each_member(|scan| {
            read.push((scan.member_name()?, scan.value()?));
            Some(())
        });
        assert_eq!(whole, Some(()));
        assert_eq!(read, [("a", "1"), ("b c", r#"{"d":[ ]}"#), ("e", "\"f\"")]);
        assert!(!scan.is_at_end() && scan.takes(b"!") && scan.is_at_end());
        assert!(Scan::of("{}").each_member(|_| None).is_some());
        for other in
            ["", "[]", "{", "{,}", r#"{"a":1,}"#, r#"{"a" :1}"#, r#"{"\u0061":1}"#, r#"{"a":1"#]
        {
            let read = Scan::of(other).each_member(|scan| {
                scan.member_name()?;
                scan.value().map(|_| ())
            });
            assert_eq!(read, None, "{other}");
        }
    }
}
