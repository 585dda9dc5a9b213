//! Reads strings that may refer to environment variables.

use super::expand::{Missing, Unexpanded, expand, is_one_reference};
use super::item::Item;
use super::place::quote;
use super::secret::Secret;
use super::secret_file;
use super::section::Section;
use super::source::Sources;

/// Bytes of a secret; a shorter one is a warning, since it can be guessed or is a
/// placeholder.
const SHORT_SECRET: usize = 16;

/// A string with its variables replaced; an unset variable is an error.
pub(in crate::config) fn expanded(
    section: &Section<'_>,
    key: &str,
    sources: &Sources<'_>,
) -> Option<String> {
    let item = section.get(key)?;
    let text = item.text()?;
    expand_item(&item, &text, sources)
}

pub(in crate::config) fn expand_item(
    item: &Item<'_>,
    text: &str,
    sources: &Sources<'_>,
) -> Option<String> {
    match expand(text, sources) {
        Ok(text) if text.contains(char::is_control) => {
            let advice = "check the variables and files it refers to";
            item.refuse("contains control characters once expanded", advice);
            None
        }
        Ok(text) => Some(text),
        Err(problem) => {
            item.refuse(problem.to_string(), problem.advice());
            None
        }
    }
}

/// A secret with every `${…}` in it replaced. A dollar sign without a brace stands for itself,
/// since a secret may have one; a brace that names no variable does not, since everybody knows it.
pub(in crate::config) fn braced(
    item: &Item<'_>,
    text: &str,
    sources: &Sources<'_>,
) -> Option<String> {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.find("${").map(|at| rest.split_at(at)) {
        whole.push_str(before);
        let (reference, after) = from.split_at(from.find('}').map_or(from.len(), |end| end + 1));
        let value = expand_item(item, reference, sources)?;
        if value == reference {
            let advice = "write ${NAME}, with the name of a variable";
            item.refuse(format!("refers to {}", quote(reference)), advice);
            return None;
        }
        whole.push_str(&value);
        rest = after;
    }
    whole.push_str(rest);
    Some(whole)
}

/// What to say of a text that lacks nothing but variables that are not set, and files.
pub(in crate::config) fn unset_variables(text: &str, sources: &Sources<'_>) -> Option<String> {
    let mut missing = Missing::default();
    let mut rest = text;
    while let Some(from) = rest.find("${") {
        let (_, reference) = rest.split_at(from);
        let end = reference.find('}')? + 1;
        match expand(reference.get(..end)?, sources) {
            // It names no variable.
            Ok(value) if reference.starts_with(&value) && value.len() == end => return None,
            Ok(_) => {}
            Err(Unexpanded::Missing(more)) => missing.extend(more),
            Err(Unexpanded::TooLong) => return None,
        }
        rest = reference.get(end..)?;
    }
    (missing.foreign.is_empty() && !missing.is_empty()).then(|| missing.to_string())
}

/// A secret from the file. Its value is expanded only if all of it is one `${…}`.
pub(in crate::config) fn secret(
    section: &Section<'_>,
    key: &str,
    sources: &Sources<'_>,
) -> Option<Secret> {
    let item = section.get(key)?;
    let mut text = item.text()?;
    if is_one_reference(&text) {
        text = expand_item(&item, &text, sources)?;
    }
    if text.is_empty() {
        item.refuse("is empty", "give it a value, or leave the key out");
        return None;
    }
    if text.len() < SHORT_SECRET {
        let advice = format!("use at least {SHORT_SECRET} characters, chosen at random");
        item.warn("is short enough to be guessed", advice);
    }
    Some(Secret::new(text))
}

/// A secret that is sent in a header. A variable may override it.
pub(in crate::config) fn credential(
    section: &Section<'_>,
    key: &str,
    variable: Option<&str>,
    sources: &Sources<'_>,
) -> Option<Secret> {
    let secret = match variable {
        Some(variable) => secret_or_variable(section, key, variable, sources)?,
        None => secret(section, key, sources)?,
    };
    let text = secret.expose();
    // Spaces around a header's value are not part of it.
    if text.trim() == text && text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Some(secret);
    }
    let message = "cannot be sent in a header";
    let advice = "use visible ASCII characters, without spaces around them";
    let given = variable.map(|name| secret_file::given(name, sources, section.notes));
    match given {
        Some(Ok(Some(given))) => {
            section.notes.refuse_variable(&given.variable, message, advice);
        }
        _ => {
            if let Some(item) = section.get(key) {
                item.refuse(message, advice);
            }
        }
    }
    None
}

/// A secret from the environment variable or the file that it names, else from the settings.
pub(in crate::config) fn secret_or_variable(
    section: &Section<'_>,
    key: &str,
    variable: &str,
    sources: &Sources<'_>,
) -> Option<Secret> {
    let given = secret_file::given(variable, sources, section.notes).ok()?;
    let Some(secret_file::Given { text, variable }) = given else {
        return secret(section, key, sources);
    };
    if text.contains(char::is_control) {
        let advice = "remove them; often it is a line break at the end";
        let notes = section.notes;
        notes.refuse_variable(&variable, "contains control characters", advice);
        return None;
    }
    if text.len() < SHORT_SECRET {
        let advice = "use at least 16 characters, chosen at random";
        let notes = section.notes;
        notes.warn_variable(&variable, "is short enough to be guessed", advice);
    }
    Some(Secret::new(text))
}
