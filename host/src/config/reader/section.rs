//! One JSON object of the file, read key by key. A read that fails adds a finding and
//! returns the default, so that one pass finds every mistake.

use std::ops::RangeInclusive;
use std::time::Duration;

use jsonc_parser::ast::Object;
use jsonc_parser::common::Ranged;

use super::finding::Notes;
use super::item::Item;
use super::known_keys;
use super::place::{Place, Stops, quote};
use super::words::nearest::suggestion;
use super::words::spellings;

/// An object of the file, or its absence, since every section is optional.
#[derive(Clone)]
pub(in crate::config) struct Section<'d> {
    pub notes: &'d Notes<'d>,
    pub place: Place,
    pub object: Option<&'d Object<'d>>,
}

impl<'d> Section<'d> {
    /// The same section; unless it is used, its mistakes do not stop the load.
    pub fn lenient_unless(mut self, used: bool) -> Self {
        if !used {
            self.place.stops = Stops::Nothing;
        }
        self
    }

    /// The same section, where a mistake makes a value's default count.
    pub fn with_defaults(mut self) -> Self {
        if !self.place.is_lenient() {
            self.place.stops = Stops::Value;
        }
        self
    }

    /// The same section, where a mistake stops the load.
    pub fn strict(mut self) -> Self {
        if !self.place.is_lenient() {
            self.place.stops = Stops::Load;
        }
        self
    }

    /// The value of a key, however it is spelled; `null` counts as absent.
    pub fn get(&self, key: &str) -> Option<Item<'d>> {
        let object = self.object?;
        let pattern = self.place.key(key, 0).pattern;
        let property = spellings::chosen(object, &pattern, key)?;
        debug_assert!(
            known_keys::is_used(&pattern),
            "{pattern} is read but not in the table of known keys"
        );
        let place = self.place.key(property.name.as_str(), property.value.start());
        let place = Place { pattern, ..place };
        Some(Item { notes: self.notes, place, value: &property.value })
    }

    /// Whether the value of the key stands under this very spelling.
    pub fn is_spelled(&self, key: &str, spelling: &str) -> bool {
        let Some(object) = self.object else { return false };
        let pattern = self.place.key(key, 0).pattern;
        spellings::chosen(object, &pattern, key)
            .is_some_and(|property| property.name.as_str() == spelling)
    }

    pub fn section(&self, key: &str) -> Section<'d> {
        match self.get(key) {
            Some(item) => item.section(),
            None => Section {
                notes: self.notes,
                place: self.place.key(key, self.place.at),
                object: None,
            },
        }
    }

    pub fn items(&self, key: &str) -> Vec<Item<'d>> {
        self.get(key).map(|item| item.items()).unwrap_or_default()
    }

    pub fn entries(&self, key: &str) -> Vec<(&'d str, Item<'d>)> {
        self.get(key).map(|item| item.entries()).unwrap_or_default()
    }

    pub fn flag(&self, key: &str, default: bool) -> bool {
        self.get(key).and_then(|item| item.flag()).unwrap_or(default)
    }

    pub fn text(&self, key: &str) -> Option<String> {
        self.get(key)?.text()
    }

    pub fn whole(&self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.get(key).and_then(|item| item.whole(range)).unwrap_or(default)
    }

    /// A duration, which the file gives in milliseconds.
    pub fn millis(&self, key: &str, range: RangeInclusive<u64>) -> Option<Duration> {
        let millis = self.get(key)?.whole(range)?;
        Some(Duration::from_millis(millis))
    }

    /// One of several fixed words. `what` completes "… is not a …" in a finding.
    pub fn choice<T: Clone>(&self, key: &str, what: &str, choices: &[(&str, T)]) -> Option<T> {
        let item = self.get(key)?;
        let given = item.text()?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == given) {
            return Some(value.clone());
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        item.refuse(
            format!("{} is not a {what}", quote(&given)),
            format!("use one of {}{}", names.join(", "), suggestion(&given, &names)),
        );
        None
    }

    /// Adds an error about the section as a whole.
    pub fn refuse(&self, message: impl Into<String>, advice: impl Into<String>) {
        self.notes.refuse(&self.place, message, advice);
    }

    /// Adds an error about a key that the section lacks.
    pub fn refuse_key(&self, key: &str, message: &str, advice: &str) {
        let place = self.place.key(key, self.place.at);
        self.notes.refuse(&place, message, advice);
    }
}
