//! Whether a server, or one of its tools, is switched on.

use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;

use crate::config::reader::item::Item;
use crate::config::reader::section::Section;

/// Reads `enabled`, and its like in other clients' files: `disabled`, `isActive`. What one of them
/// switches off is off. `says` knows the words, and what `true` means under each.
pub(in crate::config) fn on(section: &Section<'_>, says: fn(&str) -> Option<bool>) -> bool {
    let properties = section.object.map(|object| &object.properties[..]).unwrap_or_default();
    let said: Vec<bool> = properties
        .iter()
        .filter(|property| !matches!(property.value, Value::NullKeyword(_)))
        .filter_map(|property| {
            let name = property.name.as_str();
            let when_true = says(name)?;
            let place = section.place.key(name, property.value.start());
            let flag = Item { notes: section.notes, place, value: &property.value }.flag()?;
            Some(flag == when_true)
        })
        .collect();
    if said.contains(&true) && said.contains(&false) {
        let advice = "keep one of these keys";
        let message = "is switched on and off by enabled, disabled or isActive, and so is off";
        section.notes.warn(&section.place, message, advice);
    }
    !said.contains(&false)
}
