//! One JSON value of the file, and the plain values that it can be read as.

use std::ops::RangeInclusive;

use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;

use super::finding::Notes;
use super::place::Place;
use super::section::Section;

#[derive(Clone)]
pub(in crate::config) struct Item<'d> {
    pub notes: &'d Notes<'d>,
    pub place: Place,
    pub value: &'d Value<'d>,
}

impl<'d> Item<'d> {
    pub fn refuse(&self, message: impl Into<String>, advice: impl Into<String>) {
        self.notes.refuse(&self.place, message, advice);
    }

    pub fn warn(&self, message: impl Into<String>, advice: impl Into<String>) {
        self.notes.warn(&self.place, message, advice);
    }

    pub fn is_text(&self) -> bool {
        matches!(self.value, Value::StringLit(_))
    }

    pub fn is_flag(&self) -> bool {
        matches!(self.value, Value::BooleanLit(_))
    }

    /// Whether the value is a list or a text without anything in it.
    pub fn is_empty(&self) -> bool {
        match self.value {
            Value::Array(list) => list.elements.is_empty(),
            Value::StringLit(text) => text.value.trim().is_empty(),
            _ => false,
        }
    }

    /// True if the value is.
    pub fn is_true(&self) -> bool {
        matches!(self.value, Value::BooleanLit(flag) if flag.value)
    }

    pub fn is_list(&self) -> bool {
        matches!(self.value, Value::Array(_))
    }

    /// A string without control characters, which could forge log lines.
    pub fn text(&self) -> Option<String> {
        self.string_without(char::is_control, "control characters")
    }

    /// A string that may have several lines, such as a description.
    pub fn prose(&self) -> Option<String> {
        let forbidden = |c: char| c.is_control() && !"\n\r\t".contains(c);
        self.string_without(forbidden, "control characters")
    }

    /// A string for a child process, without NUL, which no argument or variable can
    /// contain. Numbers and booleans count as their text, since settings files of
    /// MCPHub contain them.
    pub fn word(&self) -> Option<String> {
        match self.value {
            Value::NumberLit(number) => Some(number.value.to_owned()),
            Value::BooleanLit(boolean) => Some(boolean.value.to_string()),
            _ => self.string_without(|c| c == '\0', "NUL characters"),
        }
    }

    pub fn flag(&self) -> Option<bool> {
        match self.value {
            Value::BooleanLit(boolean) => Some(boolean.value),
            _ => self.wrong_type("true or false", "write true or false without quotes"),
        }
    }

    /// A whole number within the range.
    pub fn whole(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let advice = format!("use a whole number from {} to {}", range.start(), range.end());
        let Value::NumberLit(number) = self.value else {
            return self.wrong_type("a number", &advice);
        };
        if let Some(found) = number.value.parse().ok().filter(|n| range.contains(n)) {
            return Some(found);
        }
        let problem = match number.value {
            text if text.starts_with('-') => "is negative",
            text if text.contains(['.', 'e', 'E']) => "is not a plain whole number",
            text if text.parse::<u64>().is_ok_and(|n| n < *range.start()) => "is too small",
            _ => "is too large",
        };
        self.refuse(problem, advice);
        None
    }

    /// A number from 0 to 1.
    pub fn fraction(&self) -> Option<f64> {
        let advice = "use a number from 0 to 1, such as 0.01";
        let Value::NumberLit(number) = self.value else {
            return self.wrong_type("a number", advice);
        };
        let found = number.value.parse().ok().filter(|found| (0.0..=1.0).contains(found));
        if found.is_none() {
            self.refuse("is not from 0 to 1", advice);
        }
        found
    }

    /// The object; if the value is not one, an empty section and a finding. Within a server's entry
    /// an empty list counts as an empty object: languages with one kind of both write it so.
    pub fn section(&self) -> Section<'d> {
        let object = match self.value {
            Value::Object(object) => Some(object),
            Value::Array(list) if list.elements.is_empty() && self.may_be_empty() => None,
            _ => self.wrong_type("an object", "write { … }"),
        };
        Section { notes: self.notes, place: self.place.clone(), object }
    }

    pub fn items(&self) -> Vec<Item<'d>> {
        let Value::Array(array) = self.value else {
            if let Value::Object(object) = self.value
                && object.properties.is_empty()
                && self.may_be_empty()
            {
                return Vec::new();
            }
            self.wrong_type::<()>("a list", "write [ … ]");
            return Vec::new();
        };
        let item = |(i, value): (usize, &'d Value<'d>)| Item {
            notes: self.notes,
            place: self.place.index(i, value.start()),
            value,
        };
        array.elements.iter().enumerate().map(item).collect()
    }

    /// The entries of an object whose names the operator chose, in file order.
    pub fn entries(&self) -> Vec<(&'d str, Item<'d>)> {
        let Some(object) = self.section().object else {
            return Vec::new();
        };
        let mut entries = Vec::with_capacity(object.properties.len());
        for property in &object.properties {
            let name = property.name.as_str();
            let item = Item {
                notes: self.notes,
                place: self.place.entry(name, property.value.start()),
                value: &property.value,
            };
            entries.push((name, item));
        }
        entries
    }

    /// Whether the value is one of a server's entry that dashboards write empty. A restriction is
    /// none of them.
    fn may_be_empty(&self) -> bool {
        const EMPTY: [&str; 9] = [
            "tools",
            "prompts",
            "resources",
            "env",
            "headers",
            "args",
            "options",
            "command.args",
            "command.env",
        ];
        let member = self.place.pattern.strip_prefix("mcpServers.*.");
        member.is_some_and(|member| EMPTY.contains(&member))
    }

    pub fn wrong_type<T>(&self, wanted: &str, advice: &str) -> Option<T> {
        let message = format!("must be {wanted}, not {}", kind(self.value));
        self.refuse(message, advice);
        None
    }

    fn string_without(&self, forbidden: impl Fn(char) -> bool, what: &str) -> Option<String> {
        let Value::StringLit(string) = self.value else {
            return self.wrong_type("a string", "write it in quotes");
        };
        if string.value.contains(forbidden) {
            self.refuse(format!("contains {what}"), "remove them");
            return None;
        }
        Some(string.value.clone().into_owned())
    }
}

fn kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::StringLit(_) => "a string",
        Value::NumberLit(_) => "a number",
        Value::BooleanLit(_) => "a boolean",
        Value::Object(_) => "an object",
        Value::Array(_) => "a list",
        Value::NullKeyword(_) => "null",
    }
}
