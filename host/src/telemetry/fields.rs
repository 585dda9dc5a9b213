//! The fields of a log's entry, as each of its forms has them: a line of JSON or of text, or a record
//! for a collector.

use std::time::Duration;

use crate::model::UnixMillis;
use crate::model::visible::visible;

use super::otlp::Attribute;

/// Bytes of a text of others.
const MAX_TEXT: usize = 2048;
/// Bytes of one that is written as it is.
const MAX_PLAIN: usize = 256;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineForm {
    /// An object of JSON.
    Json,
    /// `name=value`, with quotes around values that need them.
    Text,
}

/// An entry of a log.
pub trait Line: Send + 'static {
    /// The log that it is of.
    const LOG: &'static str;

    /// Names its fields in their order.
    fn tell(&self, fields: &mut Fields<'_>);

    /// Whether something went wrong, or was refused.
    fn is_trouble(&self) -> bool;
}

/// What a record for a collector says.
#[derive(Debug, Default)]
pub struct RecordFields {
    pub at: Option<UnixMillis>,
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// Takes the fields of an entry.
pub struct Fields<'a>(Form<'a>);

enum Form<'a> {
    Line { form: LineForm, line: &'a mut Vec<u8>, is_first: bool },
    Record(&'a mut RecordFields),
}

impl<'a> Fields<'a> {
    /// Adds the entry as a line, with its line feed.
    pub fn write(form: LineForm, entry: &impl Line, line: &'a mut Vec<u8>) {
        let (begin, end): (&[u8], &[u8]) = match form {
            LineForm::Json => (b"{", b"}\n"),
            LineForm::Text => (b"", b"\n"),
        };
        line.extend_from_slice(begin);
        entry.tell(&mut Fields::of(form, &mut *line));
        line.extend_from_slice(end);
    }

    /// Takes the fields of a line.
    pub(super) fn of(form: LineForm, line: &'a mut Vec<u8>) -> Self {
        Self(Form::Line { form, line, is_first: true })
    }

    /// What a record of the entry says.
    #[must_use]
    pub fn record(entry: &impl Line) -> RecordFields {
        let mut fields = RecordFields::default();
        entry.tell(&mut Fields(Form::Record(&mut fields)));
        fields
    }

    /// When it was. The first field.
    pub fn time(&mut self, at: UnixMillis) {
        match &mut self.0 {
            Form::Record(record) => record.at = Some(at),
            Form::Line { .. } => self.word("time", at.iso8601_in(&mut [0; UnixMillis::TEXT])),
        }
    }

    /// A text of others, whose every character is made visible.
    pub fn text(&mut self, name: &'static str, value: &str) {
        // Nearly all texts: they are written as they are.
        if is_plain(value) {
            return self.word(name, value);
        }
        let shown = visible(value, MAX_TEXT).to_string();
        match self.line(name) {
            None => self.attribute(name, Attribute::Text(shown)),
            Some((_, line)) => {
                let _ = serde_json::to_writer(line, &shown);
            }
        }
    }

    /// A text of two parts, as [`Self::text`].
    pub fn joined(&mut self, name: &'static str, [first, second]: [&str; 2]) {
        let is_usual =
            is_plain(first) && is_plain(second) && first.len() + second.len() <= MAX_PLAIN;
        if !is_usual || matches!(self.0, Form::Record(_)) {
            return self.text(name, &[first, second].concat());
        }
        if let Some((form, line)) = self.line(name) {
            let quote: &[u8] = if form == LineForm::Json { b"\"" } else { b"" };
            for part in [quote, first.as_bytes(), second.as_bytes(), quote] {
                line.extend_from_slice(part);
            }
        }
    }

    /// A word that needs no quotes in any form.
    pub fn word(&mut self, name: &'static str, value: &str) {
        match self.line(name) {
            None => self.attribute(name, Attribute::Text(value.to_owned())),
            Some((LineForm::Text, line)) => line.extend_from_slice(value.as_bytes()),
            Some((LineForm::Json, line)) => {
                line.push(b'"');
                line.extend_from_slice(value.as_bytes());
                line.push(b'"');
            }
        }
    }

    pub fn number(&mut self, name: &'static str, value: u64) {
        match self.line(name) {
            None => {
                let number = i64::try_from(value).unwrap_or(i64::MAX);
                self.attribute(name, Attribute::Number(number));
            }
            Some((_, line)) => digits(line, value, 1),
        }
    }

    /// In seconds, with six decimal places.
    pub fn duration(&mut self, name: &'static str, value: Duration) {
        match self.line(name) {
            None => self.attribute(name, Attribute::Real(value.as_secs_f64())),
            Some((_, line)) => {
                digits(line, value.as_secs(), 1);
                line.push(b'.');
                digits(line, value.subsec_micros().into(), 6);
            }
        }
    }

    /// A value that is JSON already, on one line. The text form has it as a text: it is a client's, and
    /// would else look like further fields.
    pub fn json(&mut self, name: &'static str, value: &str) {
        match self.line(name) {
            None => self.attribute(name, Attribute::Text(value.to_owned())),
            Some((LineForm::Json, line)) => line.extend_from_slice(value.as_bytes()),
            Some((LineForm::Text, line)) if is_plain(value) => {
                line.extend_from_slice(value.as_bytes());
            }
            Some((LineForm::Text, line)) => {
                let _ = serde_json::to_writer(line, value);
            }
        }
    }

    fn attribute(&mut self, name: &'static str, value: Attribute) {
        if let Form::Record(record) = &mut self.0 {
            record.attributes.push((name, value));
        }
    }

    /// The line with a field's name at its end; `None` for a record.
    fn line(&mut self, name: &str) -> Option<(LineForm, &mut Vec<u8>)> {
        let Form::Line { form, line, is_first } = &mut self.0 else { return None };
        let is_first = std::mem::take(is_first);
        // Byte by byte: there are a dozen fields in each line.
        match form {
            LineForm::Json => {
                if !is_first {
                    line.push(b',');
                }
                line.push(b'"');
                line.extend_from_slice(name.as_bytes());
                line.push(b'"');
                line.push(b':');
            }
            LineForm::Text => {
                if !is_first {
                    line.push(b' ');
                }
                line.extend_from_slice(name.as_bytes());
                line.push(b'=');
            }
        }
        Some((*form, &mut **line))
    }
}

/// A number with at least so many digits. What `write!` does costs as much as the rest of a line.
fn digits(line: &mut Vec<u8>, mut value: u64, least: usize) {
    /// The digits of the largest number.
    const MOST: usize = 20;
    let mut buffer = [b'0'; MOST];
    let mut begin = MOST;
    for place in buffer.iter_mut().rev() {
        if value == 0 && MOST - begin >= least {
            break;
        }
        *place = b'0' + (value % 10) as u8;
        value /= 10;
        begin -= 1;
    }
    line.extend_from_slice(buffer.get(begin..).unwrap_or_default());
}

/// Whether a value needs neither quotes nor escapes, in any form.
fn is_plain(value: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\');
    !value.is_empty() && value.len() <= MAX_PLAIN && value.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_two_parts_is_written_as_one() {
        for form in [LineForm::Json, LineForm::Text] {
            for second in ["notes", "my notes", "a=b", "\u{e4}", "", &"x".repeat(MAX_PLAIN)] {
                let (mut whole, mut joined) = (Vec::new(), Vec::new());
                Fields::of(form, &mut whole).text("scope", &format!("/mcp/{second}"));
                Fields::of(form, &mut joined).joined("scope", ["/mcp/", second]);
                assert_eq!(String::from_utf8(joined), String::from_utf8(whole), "{second}");
            }
        }
    }

    #[test]
    fn numbers_are_written_as_rust_writes_them() {
        for value in [0, 7, 10, 999_999, 1_000_000, u64::MAX] {
            let mut line = Vec::new();
            digits(&mut line, value, 1);
            assert_eq!(String::from_utf8(line).unwrap(), value.to_string());
            let mut line = Vec::new();
            digits(&mut line, value, 6);
            assert_eq!(String::from_utf8(line).unwrap(), format!("{value:06}"));
        }
    }
}
