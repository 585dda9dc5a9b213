//! Parses the text into a tree. The settings file is JSON with comments and trailing
//! commas, and nothing looser, so that other programs can read it too.

use std::collections::HashMap;

use jsonc_parser::ast::{Object, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::errors::{ParseError, ParseErrorKind};
use jsonc_parser::{CollectOptions, ParseOptions, ParseStringErrorKind, parse_to_ast};

use super::finding::Notes;
use super::place::Place;
use super::unclosed;

/// Where the servers are. A mistake in one of them does not stop the load.
pub(in crate::config) const SERVERS: [&str; 3] = ["mcpServers", "servers", "context_servers"];

pub(in crate::config) const DIALECT: ParseOptions = ParseOptions {
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
            let broken = Broken::of(text, &error, notes);
            notes.refuse(&Place { at: broken.at, ..place }, broken.message, broken.advice);
            None
        }
    }
}

/// Why a text is not JSON.
struct Broken {
    at: usize,
    message: String,
    advice: &'static str,
}

impl Broken {
    fn of(text: &str, error: &ParseError, notes: &Notes<'_>) -> Self {
        let at = error.range().start;
        let from_here = text.get(at..).unwrap_or("");
        if from_here.trim_start().starts_with('#') {
            let message = "not valid JSON: # begins no comment".to_owned();
            return Self { at, message, advice: "begin comments with // or remove them" };
        }
        if ends_early(error, from_here)
            && let Some(open) = unclosed::at_end(text)
            && (open.what == "string" || !is_of_string(error))
        {
            let (line, column) = notes.position(open.at);
            let (at, what) = (text.trim_end().len(), open.what);
            let message = format!(
                "not valid JSON: the file ends here, and the {what} of {line}:{column} is still open"
            );
            return Self { at, message, advice: "close it; perhaps a part of the file is missing" };
        }
        // Between the two places is nothing but what stands before a wrong bracket.
        let is_here = |crossed| text.get(at..crossed).is_some_and(|text| text.trim().is_empty());
        if let Some((crossed, open)) =
            unclosed::crossed(text).filter(|(crossed, _)| is_here(*crossed))
        {
            let (line, column) = notes.position(open.at);
            let (what, closer) = (open.what, text.get(crossed..=crossed).unwrap_or(""));
            let message = format!(
                "not valid JSON: {closer} closes nothing here, since the {what} of {line}:{column} is open"
            );
            return Self { at: crossed, message, advice: "close that one before it" };
        }
        if let Some(language) = other_language(text) {
            let message = format!("not valid JSON: it looks like {language}");
            return Self {
                at,
                message,
                advice: "take its servers over with `mooring import`, or write them as JSON, into \"mcpServers\"",
            };
        }
        let message = format!("not valid JSON: {}", lower_first(&error.kind().to_string()));
        let advice = "write plain JSON; only comments and trailing commas are allowed beyond it";
        Self { at, message, advice }
    }
}

/// The language of a text whose first line shows that it is another one, as the files of Codex and
/// Goose have.
fn other_language(text: &str) -> Option<&'static str> {
    let first =
        text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let is_name = |name: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_-.\"".contains(c);
        name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(is_part)
    };
    let table = first.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_before = |sign: &str| first.split_once(sign).is_some_and(|(name, _)| is_name(name));
    if table.is_some_and(|name| is_name(name) && name.contains(['.', '_'])) || is_before(" = ") {
        return Some("TOML");
    }
    let is_key = first.strip_suffix(':').is_some_and(is_name) || is_before(": ");
    (is_key || first == "---").then_some("YAML")
}

/// Whether an error is about the end of the text, whatever place it names.
fn ends_early(error: &ParseError, from_here: &str) -> bool {
    use ParseErrorKind::{UnterminatedArray, UnterminatedCommentBlock, UnterminatedObject};
    let is_unterminated =
        matches!(error.kind(), UnterminatedArray | UnterminatedCommentBlock | UnterminatedObject);
    is_unterminated || is_of_string(error) || from_here.trim().is_empty()
}

/// Whether the error is a string without an end, perhaps only on its line.
fn is_of_string(error: &ParseError) -> bool {
    let unterminated = ParseStringErrorKind::UnterminatedStringLiteral;
    matches!(error.kind(), ParseErrorKind::String(kind) if *kind == unterminated)
}

/// Refuses keys that are given twice: readers of JSON disagree about which one counts.
pub(in crate::config) fn refuse_duplicates(value: &Value<'_>, place: &Place, notes: &Notes<'_>) {
    match value {
        // Each entry stands for itself.
        Value::Object(_) if SERVERS.contains(&place.path.as_str()) => {}
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
