//! Reads the members of an object that decide what a message means, so that no other reader of the
//! same bytes can see others.
//!
//! Serde's derived code reads a struct from an array too, and does not mind a member whose name
//! another reader takes for one of its own.

/// Defines an object of which only these members are read, as they are written.
///
/// It is read from an object alone. A member that comes twice is an error, escapes in its name or
/// not; `has_lookalike` says whether another member might be taken for one of them.
macro_rules! members {
    (
        $(#[$about:meta])*
        $visible:vis struct $name:ident {
            $($(#[$what:meta])* $field:ident = $key:literal),+ $(,)?
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Default, Clone, Copy)]
        $visible struct $name<'a> {
            $($(#[$what])* pub $field: Option<&'a serde_json::value::RawValue>,)+
            /// Whether some readers take another member for one of these.
            pub has_lookalike: bool,
        }

        impl $name<'_> {
            /// The names of the members.
            $visible const NAMES: &'static [&'static str] = &[$($key),+];
        }

        impl<'de> serde::Deserialize<'de> for $name<'de> {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                #[allow(non_camel_case_types)]
                enum Key {
                    $($field,)+
                    Lookalike,
                    Other,
                }

                impl<'de> serde::Deserialize<'de> for Key {
                    fn deserialize<D: serde::Deserializer<'de>>(
                        input: D,
                    ) -> Result<Self, D::Error> {
                        struct KeyName;
                        impl serde::de::Visitor<'_> for KeyName {
                            type Value = Key;

                            fn expecting(
                                &self,
                                out: &mut std::fmt::Formatter<'_>,
                            ) -> std::fmt::Result {
                                out.write_str("a name")
                            }

                            fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                                Ok(match key {
                                    $($key => Key::$field,)+
                                    _ if $crate::protocol::members::is_lookalike(
                                        key,
                                        $name::NAMES,
                                    ) => Key::Lookalike,
                                    _ => Key::Other,
                                })
                            }
                        }
                        input.deserialize_identifier(KeyName)
                    }
                }

                struct Reading;
                impl<'de> serde::de::Visitor<'de> for Reading {
                    type Value = $name<'de>;

                    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        out.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> Result<$name<'de>, A::Error> {
                        let mut read = $name::default();
                        while let Some(key) = map.next_key::<Key>()? {
                            match key {
                                $(Key::$field => {
                                    if read.$field.is_some() {
                                        let twice = <A::Error as serde::de::Error>::duplicate_field;
                                        return Err(twice($key));
                                    }
                                    read.$field = Some(map.next_value()?);
                                })+
                                Key::Lookalike => {
                                    read.has_lookalike = true;
                                    map.next_value::<serde::de::IgnoredAny>()?;
                                }
                                Key::Other => {
                                    map.next_value::<serde::de::IgnoredAny>()?;
                                }
                            }
                        }
                        Ok(read)
                    }
                }
                input.deserialize_map(Reading)
            }
        }
    };
}

pub(crate) use members;

/// Whether some readers take this member for one of the known ones, whose names are ASCII: those
/// that compare without regard to case (Go's `encoding/json` among them, which also folds U+017F
/// and U+212A), those that know a member by two names (`taskId` and `task_id`, `_meta` and `meta`),
/// and those whose strings end at a NUL.
#[must_use]
pub fn is_lookalike(key: &str, known: &[&str]) -> bool {
    if key.is_ascii() && !key.contains(['\0', '_']) {
        // No name has an underscore but in front.
        return known.iter().any(|name| key.eq_ignore_ascii_case(name.trim_start_matches('_')));
    }
    let seen = key.split('\0').next().unwrap_or_default();
    known.iter().any(|name| folded(seen).eq(folded(name)))
}

/// All characters that any rule of case folding makes equal become the same, and underscores go.
/// U+0307 is what lower case leaves of the dot of U+0130.
fn folded(text: &str) -> impl Iterator<Item = char> {
    let upper = text.chars().flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).filter(|c| !matches!(c, '\u{307}' | '_'))
}

#[cfg(test)]
mod tests {
    members! {
        /// As a message is read.
        struct Named {
            /// A name without a capital letter.
            name = "name",
            /// One with a capital letter.
            task = "taskId",
        }
    }

    fn read(text: &str) -> Option<Named<'_>> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn only_objects_have_members() {
        for text in ["[1,2]", "null", "1", "\"name\""] {
            assert!(read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_member_is_read_once_whatever_its_escapes() {
        let named = read(r#"{"x":{"name":1},"na\u006de":"a","\u0074askId":[2]}"#).unwrap();
        assert_eq!(named.name.map(|raw| raw.get()), Some("\"a\""));
        assert_eq!(named.task.map(|raw| raw.get()), Some("[2]"));
        assert!(!named.has_lookalike);
        for text in [
            r#"{"name":1,"name":1}"#,
            r#"{"name":1,"n\u0061me":2}"#,
            r#"{"name":null,"name":2}"#,
            r#"{"name\ud800":1}"#,
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_only_some_readers_take_for_a_member_is_noted() {
        for key in [
            "Name",
            "NAME",
            "n\\u0041me",
            "taskid",
            "TASKID",
            "task_id",
            "TASK_ID",
            "_name",
            "task\\u005fid\\u0000",
            "ta\\u017fkId",
            "ta\u{17f}\u{212a}Id",
            "task\u{130}d",
            "task\\u0131d",
            "name\\u0000",
            "Name\\u0000x",
        ] {
            let text = format!(r#"{{"name":1,"{key}":2}}"#);
            let named = read(&text).unwrap();
            assert!(named.has_lookalike, "{key}");
            assert_eq!(named.name.map(|raw| raw.get()), Some("1"), "{key}");
        }
        for key in ["names", "nam", "\\u0000name", "task-id", "nome", "n\u{e4}me", "", "\u{307}"] {
            let text = format!(r#"{{"{key}":2}}"#);
            assert!(!read(&text).unwrap().has_lookalike, "{key}");
        }
    }
}
