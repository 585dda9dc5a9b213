//! Types that are read from a JSON object alone. Serde's derived code reads a struct from an array
//! too: such a text would be a message to the gateway, and something else to a server.

/// Makes an object the only JSON that a type is read from. The type derives `Deserialize` with
/// `#[serde(remote = "Self")]`; one that derives `Serialize` too is named behind `both`.
macro_rules! object_only {
    (both $($name:ident),+ $(,)?) => {
        $crate::protocol::objects::object_only!($($name),+);
        $(
            impl serde::Serialize for $name {
                fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                    $name::serialize(self, out)
                }
            }
        )+
    };
    ($($name:ident $(<$life:lifetime>)?),+ $(,)?) => {
        $(
            impl<'de> serde::Deserialize<'de> for $name $(<$life>)? {
                fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                    $name::deserialize($crate::protocol::objects::ObjectOnly(input))
                }
            }
        )+
    };
}

/// A deserialiser that gives a struct the members of an object, and nothing else.
#[derive(Debug)]
pub struct ObjectOnly<D>(pub D);

impl<'de, D: serde::Deserializer<'de>> serde::Deserializer<'de> for ObjectOnly<D> {
    type Error = D::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

pub(crate) use object_only;

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(remote = "Self", rename_all = "camelCase")]
    struct Owned {
        #[serde(default)]
        first_name: String,
        inner: Option<Box<Owned>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(remote = "Self")]
    struct Borrowed<'a> {
        #[serde(borrow)]
        name: &'a str,
    }

    object_only!(both Owned);
    object_only!(Borrowed<'de>);

    #[test]
    fn only_objects_are_read_at_any_depth() {
        let text = r#"{"firstName":"a","inner":{"firstName":"b","inner":null}}"#;
        let owned: Owned = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&owned).unwrap(), text);
        for text in [r#"["a",null]"#, r#"{"firstName":"a","inner":["b",null]}"#, "null", "\"a\""] {
            assert!(serde_json::from_str::<Owned>(text).is_err(), "{text}");
        }
        assert_eq!(serde_json::from_str::<Borrowed<'_>>(r#"{"name":"n"}"#).unwrap().name, "n");
        assert!(serde_json::from_str::<Borrowed<'_>>(r#"["n"]"#).is_err());
        let tree = serde_json::json!(["a", null]);
        assert!(serde_json::from_value::<Owned>(tree).is_err());
    }
}
