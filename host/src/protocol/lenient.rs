//! Reads what servers write as forgivingly as their other clients do: every member by itself, half
//! a surrogate pair as U+FFFD, `null` as absent, an empty array as an empty object.
//!
//! Only what the gateway needs for itself is read so. What decides whether a client may have
//! something is read by `members` and `strict`.

use std::borrow::Cow;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The members of an object, in their order.
#[derive(Debug, Default)]
pub struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Reads an object. An empty array is one too: some languages cannot tell them apart.
    #[must_use]
    pub fn of(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The same, of bytes. `None` also if they are not UTF-8.
    #[must_use]
    pub fn of_bytes(bytes: &'a [u8]) -> Option<Self> {
        Self::of(std::str::from_utf8(bytes).ok()?)
    }

    /// The last member of this name, which is the one that most readers take. `null` is absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| *value).filter(|value| value.get() != "null")
    }

    /// A member that is a string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(text)
    }

    /// A member that is an object.
    #[must_use]
    pub fn object(&self, name: &str) -> Option<Members<'a>> {
        Members::of(self.get(name)?.get())
    }

    /// Names and values, as written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }
}

/// The text of a JSON string; half a surrogate pair becomes U+FFFD. `None` for any other value.
#[must_use]
pub fn text(value: &RawValue) -> Option<String> {
    if !value.get().starts_with('"') {
        return None;
    }
    serde_json::from_str::<Text<'_>>(value.get()).ok().map(|text| text.0.into_owned())
}

/// The elements of an array. An empty object is an empty array, and so are `null` and nothing.
#[must_use]
pub fn elements(value: Option<&RawValue>) -> Option<Vec<&RawValue>> {
    let Some(value) = value.filter(|value| value.get() != "null") else { return Some(Vec::new()) };
    if value.get().starts_with('{') {
        return Members::of(value.get())?.0.is_empty().then(Vec::new);
    }
    serde_json::from_str(value.get()).ok()
}

/// A string or a name whose halves of surrogate pairs do no harm.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Text<'de>;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("a string")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Text<'de>, E> {
                Ok(Text(std::str::from_utf8(bytes).map_or_else(|_| mended(bytes), Cow::Borrowed)))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(mended(bytes).into_owned())))
            }
        }
        // As bytes: serde_json refuses half a surrogate pair in a `str` only.
        input.deserialize_bytes(Reading)
    }
}

/// Half a surrogate pair comes as three bytes, which are no UTF-8.
fn mended<'a>(bytes: &[u8]) -> Cow<'a, str> {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        if !chunk.invalid().is_empty() && !out.ends_with(char::REPLACEMENT_CHARACTER) {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
    Cow::Owned(out)
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Members<'de>;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Members<'de>, A::Error> {
                match list.next_element::<&RawValue>()? {
                    None => Ok(Members::default()),
                    Some(_) => Err(A::Error::custom("an array is no object")),
                }
            }
        }
        input.deserialize_any(Reading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_read_by_itself() {
        let text =
            r#"{"a":null,"b":"x\ud83dy","\ud83d":1,"c":[],"d":"one","d":"two","e":{"f":"g"}}"#;
        let members = Members::of(text).unwrap();
        assert!(members.get("a").is_none());
        assert_eq!(members.text("b").as_deref(), Some("x\u{fffd}y"));
        assert_eq!(members.get("\u{fffd}").map(RawValue::get), Some("1"));
        assert_eq!(members.object("c").unwrap().iter().count(), 0);
        assert_eq!(members.text("d").as_deref(), Some("two"));
        assert_eq!(members.object("e").unwrap().text("f").as_deref(), Some("g"));
        for other in ["[1]", "\"a\"", "7", "null", "true", "{"] {
            assert!(Members::of(other).is_none(), "{other}");
        }
        assert!(Members::of("[]").is_some());
    }

    #[test]
    fn a_list_may_be_absent_null_or_written_as_an_object() {
        let of = |text: &str| {
            let raw: &RawValue = serde_json::from_str(text).unwrap();
            elements(Some(raw)).map(|items| items.len())
        };
        assert_eq!(elements(None).map(|items| items.len()), Some(0));
        for (text, expect) in [
            ("null", Some(0)),
            ("{}", Some(0)),
            ("[]", Some(0)),
            (r#"[1,{"a":"\ud83d"}]"#, Some(2)),
            (r#"{"a":1}"#, None),
            ("7", None),
        ] {
            assert_eq!(of(text), expect, "{text}");
        }
    }
}
