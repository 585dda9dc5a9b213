//! Entries of lists as strict clients read them. Schemas of SDKs refuse a whole list for one member
//! of one entry, such as `"description": null`, and of several servers behind one URL the list is
//! one. So a member that is not what the schema has is left out, and one that has to be there is put
//! in (2025-11-25, schema, `Tool`, `Prompt`, `Resource`, `ResourceTemplate`).

use serde_json::value::RawValue;

use crate::protocol::lenient::{self, Members};
use crate::protocol::members::is_lookalike;
use crate::protocol::methods::List;
use crate::protocol::splice;

/// What a member has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Flag,
    Object,
    Array,
    /// A JSON Schema of an object.
    Schema,
    /// The arguments of a prompt.
    Arguments,
}

const COMMON: [(&str, Kind); 5] = [
    ("title", Kind::Text),
    ("description", Kind::Text),
    ("_meta", Kind::Object),
    ("icons", Kind::Array),
    ("annotations", Kind::Object),
];
const OF_TOOLS: [(&str, Kind); 3] =
    [("inputSchema", Kind::Schema), ("outputSchema", Kind::Schema), ("execution", Kind::Object)];
const OF_PROMPTS: [(&str, Kind); 1] = [("arguments", Kind::Arguments)];
const OF_RESOURCES: [(&str, Kind); 3] =
    [("name", Kind::Text), ("mimeType", Kind::Text), ("size", Kind::Number)];
const OF_SCHEMAS: [(&str, Kind); 2] = [("properties", Kind::Object), ("required", Kind::Array)];
const OF_ARGUMENTS: [(&str, Kind); 4] = [
    ("name", Kind::Text),
    ("title", Kind::Text),
    ("description", Kind::Text),
    ("required", Kind::Flag),
];

/// The schema of a tool that names none.
const ANYTHING: &str = r#"{"type":"object"}"#;

/// The members of an entry as they are to be listed.
struct Mending {
    /// Names and values, as JSON.
    members: Vec<(String, String)>,
    changes: Vec<String>,
}

/// Whether some readers read another name of the entry than this one. What is hidden or renamed by
/// one must not be shown as the other.
#[must_use]
pub fn has_other_name(entry: &Members<'_>, key: &str, name: &str) -> bool {
    entry.iter().any(|(member, value)| {
        let is_name = member == key || is_lookalike(member, &[key]);
        is_name && lenient::text(value).is_some_and(|other| other != name)
    })
}

/// The entry as all clients read it, and what was changed; `None` if nothing has to be. Its key is a
/// text, and the same for all readers.
pub fn mended(list: List, entry: &Members<'_>) -> Option<(Box<RawValue>, Vec<String>)> {
    let key = list.key();
    let mut mending = Mending { members: Vec::new(), changes: Vec::new() };
    let names = entry.iter().map(|(name, _)| name);
    let has_other = names.filter(|name| *name == key || is_lookalike(name, &[key])).count() > 1;
    if has_other {
        mending
            .changes
            .push(format!("has a \"{key}\" that some readers do not see; it has one now"));
        mending.members.push((key.to_owned(), entry.get(key)?.get().to_owned()));
    }
    let own: &[(&str, Kind)] = match list {
        List::Tools => &OF_TOOLS,
        List::Prompts => &OF_PROMPTS,
        List::Resources | List::Templates => &OF_RESOURCES,
    };
    for (name, value) in entry.iter() {
        if has_other && (name == key || is_lookalike(name, &[key])) {
            continue;
        }
        let known = COMMON.iter().chain(own).find(|(known, _)| *known == name && name != key);
        mending.take(name, value, known.map(|(_, kind)| *kind));
    }
    match list {
        List::Tools => mending.needs("inputSchema", ANYTHING),
        List::Resources | List::Templates => mending.needs("name", entry.get(key)?.get()),
        List::Prompts => {}
    }
    let changes = std::mem::take(&mut mending.changes);
    let item = RawValue::from_string(mending.written()).ok()?;
    (!changes.is_empty()).then_some((item, changes))
}

impl Mending {
    /// Takes a member, as it is or mended, unless it is not what it has to be.
    fn take(&mut self, name: &str, value: &RawValue, kind: Option<Kind>) {
        let kept = match kind {
            None => Some(value.get().to_owned()),
            Some(Kind::Schema) => self.schema(name, value),
            Some(Kind::Arguments) => self.arguments(name, value),
            Some(kind) => is(kind, value).then(|| value.get().to_owned()),
        };
        match kept {
            Some(kept) => self.members.push((name.to_owned(), kept)),
            None => {
                self.changes.push(format!("has a \"{name}\" of a wrong type, which is left out"))
            }
        }
    }

    /// A schema of an object. Clients refuse one that does not say that it is one, and nulls in it.
    fn schema(&mut self, name: &str, value: &RawValue) -> Option<String> {
        let schema = Members::of(value.get()).filter(|_| is(Kind::Object, value))?;
        let is_of_object = schema.text("type").as_deref() == Some("object");
        if !is_of_object && schema.get("type").is_some() {
            return None;
        }
        let mut inner = Self { members: Vec::new(), changes: Vec::new() };
        for (member, value) in schema.iter().filter(|(member, _)| *member != "type" || is_of_object)
        {
            let known = OF_SCHEMAS.iter().find(|(known, _)| *known == member);
            inner.take(member, value, known.map(|(_, kind)| *kind));
        }
        if is_of_object && inner.changes.is_empty() {
            return Some(value.get().to_owned());
        }
        if !is_of_object {
            inner.members.insert(0, ("type".to_owned(), "\"object\"".to_owned()));
        }
        self.changes.push(format!("has a \"{name}\" that strict clients refuse; it is put right"));
        Some(inner.written())
    }

    /// The arguments of a prompt: those with a name.
    fn arguments(&mut self, name: &str, value: &RawValue) -> Option<String> {
        let items: Vec<&RawValue> =
            serde_json::from_str(value.get()).ok().filter(|_| is(Kind::Array, value))?;
        let (mut kept, mut is_changed) = (Vec::new(), false);
        for item in items {
            let argument = Members::of(item.get()).unwrap_or_default();
            let mut inner = Self { members: Vec::new(), changes: Vec::new() };
            for (member, value) in argument.iter() {
                let known = OF_ARGUMENTS.iter().find(|(known, _)| *known == member);
                inner.take(member, value, known.map(|(_, kind)| *kind));
            }
            is_changed |= !inner.changes.is_empty() || argument.text("name").is_none();
            if argument.text("name").is_some() {
                kept.push(match inner.changes.is_empty() {
                    true => item.get().to_owned(),
                    false => inner.written(),
                });
            }
        }
        if !is_changed {
            return Some(value.get().to_owned());
        }
        self.changes.push(format!("has \"{name}\" that strict clients refuse; they are put right"));
        Some(format!("[{}]", kept.join(",")))
    }

    /// Puts a member in that has to be there.
    fn needs(&mut self, name: &str, value: &str) {
        if self.members.iter().all(|(member, _)| member != name) {
            self.members.push((name.to_owned(), value.to_owned()));
            self.changes.push(format!("has no \"{name}\"; it is put in"));
        }
    }

    fn written(&self) -> String {
        let members: Vec<String> = self
            .members
            .iter()
            .map(|(name, value)| format!("{}:{value}", splice::quoted(name)))
            .collect();
        format!("{{{}}}", members.join(","))
    }
}

/// Whether a value is of this kind, by its first character: it is valid JSON.
fn is(kind: Kind, value: &RawValue) -> bool {
    let first = value.get().as_bytes().first().copied().unwrap_or_default();
    match kind {
        Kind::Text => first == b'"',
        Kind::Number => first == b'-' || first.is_ascii_digit(),
        Kind::Flag => matches!(first, b't' | b'f'),
        Kind::Object | Kind::Schema => first == b'{',
        Kind::Array | Kind::Arguments => first == b'[',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: List, entry: &str, expect: Option<&str>) {
        let mended = mended(list, &Members::of(entry).unwrap());
        assert_eq!(mended.as_ref().map(|(item, _)| item.get()), expect, "{entry}");
        assert!(mended.is_none_or(|(_, changes)| !changes.is_empty()), "{entry}");
    }

    #[test]
    fn what_the_schema_has_stays_byte_for_byte() {
        for entry in [
            r#"{ "name":"a", "inputSchema" : {"type":"object"},"x":null }"#,
            r#"{"inputSchema":{"$schema":"x","type":"object","properties":{"a":null},"required":[]},"name":"a","description":"d","title":"t","annotations":{},"_meta":{},"icons":[],"outputSchema":{"type":"object"},"execution":{}}"#,
        ] {
            check(List::Tools, entry, None);
        }
        check(List::Prompts, r#"{"name":"a","arguments":[{"name":"b","required":true}]}"#, None);
        check(List::Resources, r#"{"uri":"a:b","name":"n","size":1e400,"mimeType":"x/y"}"#, None);
        check(List::Templates, r#"{"uriTemplate":"a:{b}","name":"n"}"#, None);
    }

    #[test]
    fn what_strict_clients_refuse_is_put_right() {
        for (entry, expect) in [
            (r#"{"name":"a"}"#, r#"{"name":"a","inputSchema":{"type":"object"}}"#),
            (
                r#"{"name":"a","inputSchema":null,"description":null,"x":null}"#,
                r#"{"name":"a","x":null,"inputSchema":{"type":"object"}}"#,
            ),
            (
                r#"{"name":"a","inputSchema":{"properties":{},"required":null},"annotations":null}"#,
                r#"{"name":"a","inputSchema":{"type":"object","properties":{}}}"#,
            ),
            (
                r#"{"name":"a","inputSchema":{"type":"object","required":null},"title":7}"#,
                r#"{"name":"a","inputSchema":{"type":"object"}}"#,
            ),
            (
                r#"{"name":"a","inputSchema":{"type":"object"},"outputSchema":{"type":"array"},"icons":null}"#,
                r#"{"name":"a","inputSchema":{"type":"object"}}"#,
            ),
            (
                r#"{"name":"a","inputSchema":{"type":null},"outputSchema":null,"_meta":[]}"#,
                r#"{"name":"a","inputSchema":{"type":"object"}}"#,
            ),
            (
                r#"{"name":"a","inputSchema":"none","execution":null}"#,
                r#"{"name":"a","inputSchema":{"type":"object"}}"#,
            ),
        ] {
            check(List::Tools, entry, Some(expect));
        }
        for (entry, expect) in [
            (r#"{"name":"a","arguments":null}"#, r#"{"name":"a"}"#),
            (
                r#"{"name":"a","arguments":[{"name":"b","required":null,"description":null},null,{},{"name":"c"}]}"#,
                r#"{"name":"a","arguments":[{"name":"b"},{"name":"c"}]}"#,
            ),
        ] {
            check(List::Prompts, entry, Some(expect));
        }
        let expect = r#"{"uri":"a:b","name":"a:b"}"#;
        check(List::Resources, r#"{"uri":"a:b","mimeType":null,"size":null}"#, Some(expect));
        check(List::Resources, r#"{"uri":"a:b","name":null,"size":"7"}"#, Some(expect));
        let expect = r#"{"uriTemplate":"a:{b}","name":"a:{b}"}"#;
        check(List::Templates, r#"{"uriTemplate":"a:{b}","description":[]}"#, Some(expect));
    }

    #[test]
    fn an_entry_has_one_name_for_all_readers() {
        for (entry, expect) in [
            (r#"{"name":"a","x":1e400,"name":"a"}"#, r#"{"name":"a","x":1e400}"#),
            (r#"{"name":"a","Name":null,"y":[1]}"#, r#"{"name":"a","y":[1]}"#),
            (r#"{"name":"a","NAME":"a","_name":7}"#, r#"{"name":"a"}"#),
        ] {
            check(List::Prompts, entry, Some(expect));
            assert!(!has_other_name(&Members::of(entry).unwrap(), "name", "a"), "{entry}");
        }
        check(List::Prompts, r#"{"name":"a","title":"Name","names":["h"]}"#, None);
        for (entry, key, name) in [
            (r#"{"name":"h","name":"a"}"#, "name", "a"),
            (r#"{"name":"a","n\u0061me":"b"}"#, "name", "b"),
            (r#"{"Name":"h","name":"a"}"#, "name", "a"),
            (r#"{"uriTemplate":"a:","uri_template":"x:"}"#, "uriTemplate", "a:"),
        ] {
            assert!(has_other_name(&Members::of(entry).unwrap(), key, name), "{entry}");
        }
    }
}
