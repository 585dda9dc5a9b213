//! What of a server the operator hides, or describes in other words.

use std::collections::BTreeMap;

/// Tools and prompts by name, resources and templates by URI.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    pub tools: Choices,
    pub prompts: Choices,
    pub resources: Choices,
}

pub type Choices = BTreeMap<String, Choice>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// If false it is neither shown nor to be had.
    pub enabled: bool,
    /// Shown instead of the server's own.
    pub description: Option<String>,
}

impl Selection {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty() && self.prompts.is_empty() && self.resources.is_empty()
    }

    /// Takes in what another file says of the same server: what either hides is
    /// hidden, and of two descriptions the first counts.
    pub fn narrow(&mut self, other: &Self) {
        narrow(&mut self.tools, &other.tools);
        narrow(&mut self.prompts, &other.prompts);
        narrow(&mut self.resources, &other.resources);
    }
}

fn narrow(choices: &mut Choices, others: &Choices) {
    for (name, other) in others {
        match choices.get_mut(name) {
            Some(choice) => {
                choice.enabled &= other.enabled;
                choice.description =
                    choice.description.take().or_else(|| other.description.clone());
            }
            None => {
                choices.insert(name.clone(), other.clone());
            }
        }
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
}
