//! Makes a `RawValue` of a text that was found to be one JSON value, without reading it again.
//!
//! serde_json gives one out only for what it has parsed itself. A deserializer may hand it a text,
//! though, as its own ones do, and that is then taken as it is.

use serde::de::value::{BorrowedStrDeserializer, Error, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::value::RawValue;

use super::scan;

/// The value that the text is, if it is one as nearly all programs write it; `None` if serde has to say
/// what it is.
#[must_use]
pub fn value(text: &str) -> Option<&RawValue> {
    if !scan::is_value(text) {
        return None;
    }
    <&RawValue>::deserialize(Known(text)).ok()
}

/// A text that is one value.
struct Known<'a>(&'a str);

impl<'de> Deserializer<'de> for Known<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.0)
    }

    /// A raw value is asked for by a name, under which it wants to be given its text.
    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(Named { name, text: Some(self.0) })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// One member.
struct Named<'a> {
    name: &'static str,
    text: Option<&'a str>,
}

impl<'de> MapAccess<'de> for Named<'de> {
    type Error = Error;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        if self.text.is_none() {
            return Ok(None);
        }
        let name: StrDeserializer<'_, Error> = self.name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(BorrowedStrDeserializer::new(self.text.take().unwrap_or("null")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_text_that_it_was_given() {
        for text in ["7", "\"a\"", r#"{"a":[1,2]}"#, "null"] {
            let raw = value(text).unwrap();
            assert_eq!(raw.get().as_ptr(), text.as_ptr(), "{text}");
            assert_eq!(raw.get(), text);
        }
        for other in ["", "7 ", " 7", "{", "7,8", "nul"] {
            assert!(value(other).is_none(), "{other}");
        }
    }
}
