//! What sections have in common whose every member decides something: lists of names, and no unknown
//! member, which would be lost in silence.

use jsonc_parser::ast::Value;

use crate::config::reader::item::Item;
use crate::config::reader::known_keys::is_note;
use crate::config::reader::place::quote;
use crate::config::reader::reading::expand_item;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::config::reader::words::nearest::suggestion;

/// Entries of one list.
const MAX_NAMES: usize = 1000;

/// Refuses every member that is not one of these.
pub(in crate::config) fn refuse_unknown(section: &Section<'_>, known: &[&str]) {
    let Some(object) = section.object else { return };
    for property in &object.properties {
        let name = property.name.as_str();
        if known.contains(&name) || is_note(name) {
            continue;
        }
        let advice = format!("use one of {}{}", known.join(", "), suggestion(name, known));
        section.refuse(format!("has {}, which is not a known key", quote(name)), advice);
    }
}

/// A list of names, or one name; without the key `Some(None)`, and `None` after a finding.
#[allow(clippy::option_option)]
pub(in crate::config) fn names(
    section: &Section<'_>,
    key: &str,
    sources: &Sources<'_>,
) -> Option<Option<Vec<String>>> {
    let Some(item) = section.get(key) else { return Some(None) };
    let items = match item.value {
        Value::Array(_) => item.items(),
        Value::StringLit(_) => vec![item.clone()],
        _ => return item.wrong_type("a list of names", "write [ \"name\" ]"),
    };
    if items.len() > MAX_NAMES {
        item.refuse(format!("has more than {MAX_NAMES} entries"), "use patterns, with *");
        return None;
    }
    items.iter().map(|item| name(item, sources)).collect::<Option<Vec<_>>>().map(Some)
}

fn name(item: &Item<'_>, sources: &Sources<'_>) -> Option<String> {
    let text = expand_item(item, &item.text()?, sources)?;
    if text.trim().is_empty() {
        item.refuse("is empty", "write a name, or * for all");
        return None;
    }
    Some(text)
}
