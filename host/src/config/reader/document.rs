//! Parses the text into a tree. The settings file is JSON with comments and trailing
//! commas, and nothing looser, so that other programs can read it too.

use std::collections::HashMap;

use jsonc_parser::ast::{Object, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::finding::Notes;
use super::place::Place;

const DIALECT: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_loose_object_property_names: false,
    allow_trailing_commas: true,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// The text without the byte order mark that some editors put in front.
pub(in crate::config) fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The tree, or `None` if the file is empty or not valid; a finding says which.
pub(in crate::config) fn parse<'d>(text: &'d str, notes: &Notes<'_>) -> Option<Value<'d>> {
    let place = Place::root();
    match parse_to_ast(text, &CollectOptions::default(), &DIALECT) {
        Ok(parsed) => {
            let Some(value) = parsed.value else {
                notes.warn(&place, "the file is empty", "every default applies");
                return None;
            };
            refuse_duplicates(&value, &place, notes);
            Some(value)
        }
        Err(error) => {
            let at = error.range().start;
            notes.refuse(
                &Place { at, ..place },
                format!("not valid JSON: {}", lower_first(&error.kind().to_string())),
                "write plain JSON; only comments and trailing commas are allowed beyond it",
            );
            None
        }
    }
}

/// Refuses keys that are given twice: readers of JSON disagree about which one counts.
fn refuse_duplicates(value: &Value<'_>, place: &Place, notes: &Notes<'_>) {
    match value {
        Value::Object(object) => duplicates_in(object, place, notes),
        Value::Array(array) => {
            for (i, element) in array.elements.iter().enumerate() {
                refuse_duplicates(element, &place.index(i, element.start()), notes);
            }
        }
        _ => {}
    }
}

fn duplicates_in(object: &Object<'_>, place: &Place, notes: &Notes<'_>) {
    let mut first = HashMap::new();
    for property in &object.properties {
        let (name, at) = (property.name.as_str(), property.name.start());
        let here = place.key(name, at);
        if let Some(earlier) = first.insert(name.to_owned(), at) {
            let (line, column) = notes.position(earlier);
            notes.refuse(
                &here,
                format!("is given twice, first at {line}:{column}"),
                "keep one of them",
            );
        }
        refuse_duplicates(&property.value, &here, notes);
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
