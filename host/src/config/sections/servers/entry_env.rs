//! The variables in a server's own `env`, which the rest of its entry may refer to.

use std::collections::BTreeMap;

use crate::config::reader::expand::{Unexpanded, Values, expand, names_in};
use crate::config::reader::secret_files::SecretSource;

/// Rounds in which values that refer to each other are replaced; what is left then, as in a circle,
/// sees the gateway's variables alone.
const ROUNDS: usize = 8;

/// Bytes of all values together: a file could repeat a long variable without end.
const MAX_BYTES: usize = 1 << 20;

/// The values by name, expanded, and what is missing for the others. A value sees the other
/// variables of its entry first; itself never, so that `"PATH": "${PATH}:/opt"` adds to the
/// gateway's.
pub(in crate::config) fn expanded(
    entries: &[(&str, String)],
    outer: &dyn Values,
) -> (BTreeMap<String, String>, Vec<Unexpanded>) {
    let (mut own, mut problems) = (BTreeMap::new(), Vec::new());
    let mut waiting: Vec<&(&str, String)> = entries.iter().collect();
    let mut bytes = 0;
    for round in 1..=ROUNDS {
        let names: std::collections::HashSet<&str> = waiting.iter().map(|(n, _)| *n).collect();
        let (later, now): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(name, text)| {
            round < ROUNDS && names_in(text).any(|other| other != *name && names.contains(other))
        });
        let mut added = Vec::new();
        for (name, text) in &now {
            match expand(text, &Seen { own: &own, by: name, outer }) {
                Ok(value) if bytes + value.len() <= MAX_BYTES => {
                    bytes += value.len();
                    added.push(((*name).to_owned(), value));
                }
                Ok(_) => problems.push(Unexpanded::TooLong),
                Err(problem) => problems.push(problem),
            }
        }
        own.extend(added);
        waiting = later;
    }
    (own, problems)
}

/// What one variable sees.
struct Seen<'s> {
    own: &'s BTreeMap<String, String>,
    by: &'s str,
    outer: &'s dyn Values,
}

impl Values for Seen<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        let inner = self.own.get(name).filter(|_| name != self.by).cloned();
        inner.or_else(|| self.outer.variable(name))
    }

    fn secret(&self, source: SecretSource, name: &str) -> Result<String, String> {
        self.outer.secret(source, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[(&str, &str)]) -> (Vec<(String, String)>, Vec<String>) {
        let outer = |name: &str| match name {
            "OUTER" => Some("o".to_owned()),
            "A" => Some("outer A".to_owned()),
            _ => None,
        };
        let entries: Vec<_> = entries.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
        let (own, problems) = expanded(&entries, &outer);
        (own.into_iter().collect(), problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_value_sees_the_others_first_and_itself_never() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let (own, problems) = of(&[("C", "${B}!"), ("B", "${A}-$OUTER"), ("A", "${A}+")]);
        assert_eq!(own, [pair("A", "outer A+"), pair("B", "outer A+-o"), pair("C", "outer A+-o!")]);
        assert_eq!(problems, [""; 0]);
        // Neither of a circle is lost, and neither has a value.
        let (own, problems) = of(&[("X", "$Y"), ("Y", "$X"), ("Z", "1")]);
        assert_eq!(own, [pair("Z", "1")]);
        let unset = |name| format!("environment variable {name} is not set");
        assert_eq!(problems, [unset("Y"), unset("X")]);
    }

    #[test]
    fn values_that_double_each_other_end_at_the_limit() {
        let names: Vec<String> = (0..64).map(|n| format!("V{n}")).collect();
        let mut entries = vec![("V0", "x".repeat(1 << 16))];
        entries.extend((1..64).map(|n| (names[n].as_str(), format!("$V{0}$V{0}", n - 1))));
        let (own, problems) = expanded(&entries, &|_: &str| None);
        assert!(own.values().map(String::len).sum::<usize>() <= MAX_BYTES);
        assert!(!problems.is_empty());
    }
}
