//! `${VAR}`, `$VAR` and `${VAR:-default}` in the strings of the file.
//!
//! A name starts with a letter or `_`. Any other `$` stands for itself, so that
//! `$1`, `${#x}` and a lone `$` in a shell script stay unchanged. A variable's value
//! is not expanded again. `:-` also covers a variable that is set but empty.

use std::collections::BTreeSet;
use std::fmt;

/// Bytes of the longest result: a file could repeat a long variable without end.
const MAX_EXPANDED: usize = 1 << 20;

#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) enum Unexpanded {
    /// These variables have neither a value nor a default.
    Unset(BTreeSet<String>),
    /// The result would be longer than [`MAX_EXPANDED`].
    TooLong,
}

impl fmt::Display for Unexpanded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Unset(names) = self else {
            return write!(f, "is longer than {} KiB once expanded", MAX_EXPANDED >> 10);
        };
        let list = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        match names.len() {
            1 => write!(f, "environment variable {list} is not set"),
            _ => write!(f, "environment variables {list} are not set"),
        }
    }
}

pub(in crate::config) fn expand(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Unexpanded> {
    let mut expanded = String::with_capacity(text.len());
    let mut unset = BTreeSet::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, from_dollar) = rest.split_at(dollar);
        expanded.push_str(before);
        let Some(reference) = Reference::parse(from_dollar) else {
            expanded.push('$');
            rest = from_dollar.get(1..).unwrap_or("");
            continue;
        };
        match reference.value(env) {
            Some(value) => expanded.push_str(&value),
            None => {
                unset.insert(reference.name.to_owned());
            }
        }
        if expanded.len() > MAX_EXPANDED {
            return Err(Unexpanded::TooLong);
        }
        rest = reference.after;
    }
    expanded.push_str(rest);
    if unset.is_empty() { Ok(expanded) } else { Err(Unexpanded::Unset(unset)) }
}

/// Whether the whole text is one `${…}`. Secrets are expanded only then, since a
/// password may contain a dollar sign.
pub(in crate::config) fn is_one_reference(text: &str) -> bool {
    text.starts_with("${") && Reference::parse(text).is_some_and(|found| found.after.is_empty())
}

struct Reference<'t> {
    name: &'t str,
    default: Option<&'t str>,
    after: &'t str,
}

impl<'t> Reference<'t> {
    /// Parses a reference at the start of the text, which begins with `$`.
    fn parse(text: &'t str) -> Option<Self> {
        let text = text.strip_prefix('$')?;
        let Some(braced) = text.strip_prefix('{') else {
            let (name, after) = split_name(text)?;
            let default = None;
            return Some(Self { name, default, after });
        };
        let (name, tail) = split_name(braced)?;
        if let Some(after) = tail.strip_prefix('}') {
            return Some(Self { name, default: None, after });
        }
        let (default, after) = tail.strip_prefix(":-")?.split_once('}')?;
        Some(Self { name, default: Some(default), after })
    }

    fn value(&self, env: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        let value = env(self.name);
        match self.default {
            Some(default) => {
                value.filter(|value| !value.is_empty()).or_else(|| Some(default.to_owned()))
            }
            None => value,
        }
    }
}

fn split_name(text: &str) -> Option<(&str, &str)> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    (!name.is_empty()).then_some((name, after))
}
