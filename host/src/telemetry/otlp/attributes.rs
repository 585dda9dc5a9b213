//! Attributes: names with values (opentelemetry-proto 1.x, `common/v1`).

use super::protobuf::Message;

/// Bytes of one attribute's text in a span.
const MAX_TEXT: usize = 1024;

/// An attribute's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    Text(String),
    Number(i64),
    Real(f64),
}

/// What is known of a span, or of a whole process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes {
    pub values: Vec<(&'static str, Attribute)>,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

impl Attributes {
    pub fn text(&mut self, name: &'static str, value: impl Into<String>) {
        let mut value = value.into();
        value.truncate(cut(&value).len());
        self.values.push((name, Attribute::Text(value)));
    }

    pub fn number(&mut self, name: &'static str, value: u64) {
        self.values.push((name, Attribute::Number(i64::try_from(value).unwrap_or(i64::MAX))));
    }
}

/// A `KeyValue`. A value is written though it is empty or zero: else there would be none.
#[must_use]
pub fn attribute(name: &str, value: &Attribute) -> Message {
    let mut any = Message::default();
    match value {
        Attribute::Text(text) => any.chosen_bytes(1, text.as_bytes()),
        Attribute::Number(number) => any.chosen_number(3, number.cast_unsigned()),
        Attribute::Real(number) => any.fixed64(4, number.to_bits()),
    }
    let mut attribute = Message::default();
    attribute.bytes(1, name.as_bytes());
    attribute.message(2, &any);
    attribute
}

/// The beginning of a text, as much as fits.
#[must_use]
pub fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_value_is_a_value() {
        let text = attribute("a", &Attribute::Text(String::new())).into_bytes();
        assert_eq!(text, b"\x0a\x01a\x12\x02\x0a\0");
        let number = attribute("a", &Attribute::Number(0)).into_bytes();
        assert_eq!(number, b"\x0a\x01a\x12\x02\x18\0");
        let real = attribute("a", &Attribute::Real(0.0)).into_bytes();
        assert_eq!(real, b"\x0a\x01a\x12\x09\x21\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn a_long_text_ends_at_a_character() {
        let mut attributes = Attributes::default();
        attributes.text("a", "é".repeat(MAX_TEXT));
        let Some((_, Attribute::Text(text))) = attributes.values.first() else { panic!("no text") };
        assert_eq!(text.len(), MAX_TEXT);
        attributes.text("b", format!("a{}", "é".repeat(MAX_TEXT)));
        let Some((_, Attribute::Text(text))) = attributes.values.last() else { panic!("no text") };
        assert_eq!(text.len(), MAX_TEXT - 1);
    }
}
