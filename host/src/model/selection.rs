//! Which entries of a server the operator hides or describes differently.

use std::collections::BTreeMap;

/// The operator's choices for one server. An entry without a choice is shown as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// By the name that the server gives the tool, or with the server's name in front (see
    /// [`super::Prefixes`]).
    pub tools: Choices,
    /// By the name of the prompt, likewise.
    pub prompts: Choices,
    /// By the URI of a resource, or the URI template of a resource template.
    pub resources: Choices,
}

/// Choices by name or URI. For tools and prompts, `*` stands for every name without a choice of its
/// own ([`choice_of`]).
pub type Choices = BTreeMap<String, Choice>;

/// Stands for all names that have no choice of their own.
pub const ALL_OTHERS: &str = "*";

/// The choice for the name of a tool or prompt, if there is one.
#[must_use]
pub fn choice_of<'c>(choices: &'c Choices, name: &str) -> Option<&'c Choice> {
    choices.get(name).or_else(|| choices.get(ALL_OTHERS))
}

/// What the operator decides about one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// If false, the entry is neither listed nor usable.
    pub enabled: bool,
    /// Listed instead of the server's own description.
    pub description: Option<String>,
}

impl Choice {
    /// Adds another choice for the same entry: what either hides is hidden, and of two
    /// descriptions the first one counts.
    pub fn narrow(&mut self, other: &Self) {
        self.enabled &= other.enabled;
        self.description = self.description.take().or_else(|| other.description.clone());
    }
}

impl Selection {
    /// Whether every entry is shown as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty() && self.prompts.is_empty() && self.resources.is_empty()
    }

    /// Adds the choices of another file for the same server: an entry that either file
    /// hides is hidden, and of two descriptions the first one counts.
    pub fn narrow(&mut self, other: &Self) {
        narrow(&mut self.tools, &other.tools);
        narrow(&mut self.prompts, &other.prompts);
        narrow(&mut self.resources, &other.resources);
    }
}

fn narrow(choices: &mut Choices, others: &Choices) {
    let rest = choices.get(ALL_OTHERS).is_none_or(|all| all.enabled);
    let other_rest = others.get(ALL_OTHERS).is_none_or(|all| all.enabled);
    for (name, choice) in choices.iter_mut() {
        choice.enabled &= others.get(name).map_or(other_rest, |other| other.enabled);
    }
    for (name, other) in others {
        let choice = choices.entry(name.clone());
        let new = || Choice { enabled: rest && other.enabled, description: None };
        let choice = choice.or_insert_with(new);
        choice.description = choice.description.take().or_else(|| other.description.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_either_file_hides_is_hidden_and_the_first_description_counts() {
        let choice = |enabled, description: Option<&str>| Choice {
            enabled,
            description: description.map(str::to_owned),
        };
        let tools = |entries: &[(&str, Choice)]| Selection {
            tools: entries.iter().map(|(name, choice)| ((*name).into(), choice.clone())).collect(),
            ..Selection::default()
        };
        let mut one = tools(&[("a", choice(true, Some("one"))), ("b", choice(false, None))]);
        let other = tools(&[
            ("a", choice(false, Some("other"))),
            ("b", choice(true, Some("other"))),
            ("c", choice(false, None)),
        ]);
        one.narrow(&other);
        let expect = tools(&[
            ("a", choice(false, Some("one"))),
            ("b", choice(false, Some("other"))),
            ("c", choice(false, None)),
        ]);
        assert_eq!(one, expect);
    }

    #[test]
    fn what_either_file_does_not_include_is_hidden() {
        let tools = |entries: &[(&str, bool)]| {
            let choice = |enabled| Choice { enabled, description: None };
            let tools = entries.iter().map(|(name, on)| ((*name).to_owned(), choice(*on)));
            Selection { tools: tools.collect(), ..Selection::default() }
        };
        for (one, other, expect) in [
            (
                vec![("*", false), ("a", true), ("b", true)],
                vec![("*", false), ("b", true), ("c", true)],
                vec![("*", false), ("a", false), ("b", true), ("c", false)],
            ),
            (
                vec![("a", false)],
                vec![("*", false), ("a", true), ("b", true)],
                vec![("*", false), ("a", false), ("b", true)],
            ),
            (vec![], vec![("*", false), ("a", true)], vec![("*", false), ("a", true)]),
            (vec![("*", false)], vec![("a", true)], vec![("*", false), ("a", false)]),
        ] {
            let mut narrowed = tools(&one);
            narrowed.narrow(&tools(&other));
            assert_eq!(narrowed, tools(&expect));
        }
        let choices = tools(&[("*", false), ("a", true)]).tools;
        assert!(choice_of(&choices, "a").unwrap().enabled);
        assert!(!choice_of(&choices, "other").unwrap().enabled);
        assert_eq!(choice_of(&Choices::new(), "other"), None);
    }
}
