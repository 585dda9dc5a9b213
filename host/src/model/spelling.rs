//! The two spellings of a tool's or prompt's name: the one that its server uses, and the one with
//! the server's name in front, which clients of several servers see.

use std::borrow::Cow;

use super::selection::{ALL_OTHERS, Choice, Choices};

/// Stands between a server's name and the name of its tool, unless the operator chooses otherwise.
pub const DEFAULT_SEPARATOR: &str = "-";

/// A server's name as it stands in front of other names. One with a `/`, which is in no name that
/// clients and models take, becomes one of letters, digits, `-` and `_`.
#[must_use]
pub fn safe_prefix(server: &str) -> Cow<'_, str> {
    if !server.contains('/') {
        return Cow::Borrowed(server);
    }
    let is_safe = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let safe: String = server.chars().map(|c| if is_safe(c) { c } else { '_' }).collect();
    match safe.trim_matches('_') {
        "" => Cow::Borrowed("server"),
        trimmed => Cow::Owned(trimmed.to_owned()),
    }
}

/// What may stand in front of the names of one server's tools and prompts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prefixes(Vec<String>);

impl Prefixes {
    /// Those of a server with this separator. The default one counts too: a file may be older than
    /// its separator.
    #[must_use]
    pub fn of(server: &str, separator: &str) -> Self {
        Self::default().and(server, separator)
    }

    /// The same, and those of another name of the server.
    #[must_use]
    pub fn and(mut self, server: &str, separator: &str) -> Self {
        for server in [server, &safe_prefix(server)] {
            for separator in [separator, DEFAULT_SEPARATOR] {
                let prefix = format!("{server}{separator}");
                if !self.0.contains(&prefix) {
                    self.0.push(prefix);
                }
            }
        }
        self
    }

    /// What is left of a name without a prefix, once for each prefix that it has.
    pub fn stripped<'n>(&self, name: &'n str) -> impl Iterator<Item = &'n str> {
        let strip = move |prefix: &String| name.strip_prefix(prefix.as_str());
        self.0.iter().filter_map(strip).filter(|rest| !rest.is_empty())
    }

    /// All spellings that a file may have of the server's own name for something.
    pub fn spellings(&self, own: &str) -> impl Iterator<Item = String> {
        let prefixed = self.0.iter().map(move |prefix| format!("{prefix}{own}"));
        std::iter::once(own.to_owned()).chain(prefixed)
    }

    /// The server's own name for what a file or client names, by what the server has: the very
    /// name if it is there, else the one without a prefix.
    #[must_use]
    pub fn own_name<'n>(&self, name: &'n str, has: impl Fn(&str) -> bool) -> Option<&'n str> {
        if has(name) {
            return Some(name);
        }
        self.stripped(name).find(|rest| has(rest))
    }

    /// The choice for the entry with this own name, under whichever spelling a file has it. Under
    /// several: what any of them hides is hidden, and the description under the own name counts
    /// first.
    #[must_use]
    pub fn choice(&self, choices: &Choices, own: &str) -> Option<Choice> {
        let prefixed = self.0.iter().map(|prefix| choices.get(&format!("{prefix}{own}")));
        let mut found = std::iter::once(choices.get(own)).chain(prefixed).flatten();
        let Some(first) = found.next() else { return choices.get(ALL_OTHERS).cloned() };
        let mut choice = first.clone();
        found.for_each(|other| choice.narrow(other));
        Some(choice)
    }

    /// The choices under the names that the server itself may use: each key as it stands, and
    /// without its prefix. Which of the two is meant is not known without the server's lists; both
    /// are hidden, since a tool that is shown by mistake is worse.
    #[must_use]
    pub fn spelled_out(&self, choices: Choices) -> Choices {
        let mut all = choices.clone();
        for (key, choice) in &choices {
            for own in self.stripped(key) {
                match all.get_mut(own) {
                    Some(known) => known.narrow(choice),
                    None => {
                        all.insert(own.to_owned(), choice.clone());
                    }
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(enabled: bool, description: Option<&str>) -> Choice {
        Choice { enabled, description: description.map(str::to_owned) }
    }

    fn choices(entries: &[(&str, Choice)]) -> Choices {
        entries.iter().map(|(name, choice)| ((*name).to_owned(), choice.clone())).collect()
    }

    #[test]
    fn a_name_is_found_in_both_spellings_the_servers_own_first() {
        let prefixes = Prefixes::of("a-b", "::");
        let has = |names: &'static [&'static str]| move |name: &str| names.contains(&name);
        for (name, names, expect) in [
            ("x", &["x"][..], Some("x")),
            ("a-b::x", &["x"], Some("x")),
            ("a-b-x", &["x"], Some("x")),
            ("a-b-x", &["x", "a-b-x"], Some("a-b-x")),
            ("a-b-a-b-x", &["a-b-x", "x"], Some("a-b-x")),
            ("a-x", &["x", "b-x"], None),
            ("a-b-", &[""], None),
        ] {
            assert_eq!(prefixes.own_name(name, has(names)), expect, "{name} {names:?}");
        }
    }

    #[test]
    fn what_any_spelling_hides_is_hidden() {
        let prefixes = Prefixes::of("a", "-");
        let file = choices(&[
            ("a-x", choice(false, None)),
            ("x", choice(true, Some("own"))),
            ("a-y", choice(true, Some("prefixed"))),
            ("a-a-z", choice(false, None)),
        ]);
        for (own, expect) in [
            ("x", Some(choice(false, Some("own")))),
            ("y", Some(choice(true, Some("prefixed")))),
            ("a-z", Some(choice(false, None))),
            ("z", None),
        ] {
            assert_eq!(prefixes.choice(&file, own), expect, "{own}");
        }
        let spelled_out = prefixes.spelled_out(file);
        assert_eq!(spelled_out.get("x"), Some(&choice(false, Some("own"))));
        assert_eq!(spelled_out.get("y"), Some(&choice(true, Some("prefixed"))));
        assert_eq!(spelled_out.get("a-z"), Some(&choice(false, None)));
        assert_eq!(spelled_out.get("z"), None);
    }

    #[test]
    fn a_name_with_a_slash_becomes_a_safe_prefix() {
        for (name, expect) in [
            ("plain", "plain"),
            ("my server ü.x", "my server ü.x"),
            ("github.com/upstash/context7-mcp", "github_com_upstash_context7-mcp"),
            ("@21st-dev/magic", "21st-dev_magic"),
            ("ü/é", "server"),
            ("/", "server"),
        ] {
            assert_eq!(safe_prefix(name), expect);
        }
    }
}
