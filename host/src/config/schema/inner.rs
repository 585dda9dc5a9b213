//! What stands in sections whose members their own readers judge, for the schema. They are no known
//! keys, since those of a section that is read as a whole would be known twice.

use super::types::Takes::{self, Any, Choice, Flag, Is, Parent, Text, Texts, Whole};

/// One name or pattern, or a list of them.
const NAMES: Takes = Is(&["string", "array"]);

/// As `TYPES`.
pub(super) const INNER: &[(&str, Takes, &str)] = &[
    ("bearerKeys[]", Parent, "A key."),
    ("bearerKeys[].id", Text, ""),
    ("bearerKeys[].name", Text, "Whom it makes of its holder."),
    ("bearerKeys[].token", Text, "The key itself; may have variables in it."),
    ("bearerKeys[].enabled", Flag, ""),
    ("bearerKeys[].kind", Text, ""),
    ("bearerKeys[].owner", Any, ""),
    ("bearerKeys[].accessType", Choice(&["all", "groups", "servers", "custom"]), "What it opens."),
    ("bearerKeys[].allowedGroups", Texts, ""),
    ("bearerKeys[].allowedServers", Texts, ""),
    ("bearerKeys[].createdAt", Any, ""),
    ("bearerKeys[].updatedAt", Any, ""),
    ("bearerKeys[].lastUsedAt", Any, ""),
    ("bearerKeys[].description", Any, ""),
    ("systemConfig.policy[]", Parent, "A rule."),
    ("systemConfig.policy[].name", Text, "What logs call it."),
    ("systemConfig.policy[].effect", Choice(&["allow", "deny"]), ""),
    ("systemConfig.policy[].who", Parent, "Whom it is for: everybody, unless it says so."),
    ("systemConfig.policy[].who.principals", NAMES, ""),
    ("systemConfig.policy[].who.keys", NAMES, ""),
    ("systemConfig.policy[].who.groups", NAMES, ""),
    ("systemConfig.policy[].servers", NAMES, "Patterns of servers."),
    ("systemConfig.policy[].groups", NAMES, "Groups of servers."),
    ("systemConfig.policy[].tools", NAMES, ""),
    ("systemConfig.policy[].prompts", NAMES, ""),
    ("systemConfig.policy[].resources", NAMES, ""),
    ("systemConfig.policy[].management", Flag, "Whether it is about the management API."),
    ("systemConfig.limits.rates[]", Parent, "A limit."),
    ("systemConfig.limits.rates[].name", Text, "What refusals call it."),
    (
        "systemConfig.limits.rates[].per",
        NAMES,
        "What is counted apart: principal, key, server, tool.",
    ),
    ("systemConfig.limits.rates[].who", Parent, "Whom it is for: everybody, unless it says so."),
    ("systemConfig.limits.rates[].who.principals", NAMES, ""),
    ("systemConfig.limits.rates[].who.keys", NAMES, ""),
    ("systemConfig.limits.rates[].who.groups", NAMES, ""),
    ("systemConfig.limits.rates[].servers", NAMES, ""),
    ("systemConfig.limits.rates[].tools", NAMES, ""),
    ("systemConfig.limits.rates[].requests", Whole(1, 1_000_000_000), "Requests within a time."),
    ("systemConfig.limits.rates[].within", Whole(1, 86_400_000), "Milliseconds."),
    ("systemConfig.limits.rates[].burst", Whole(1, 1_000_000_000), "At once, after a pause."),
    ("systemConfig.limits.rates[].concurrent", Whole(1, 1_000_000), "At the same time."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::config::sections::{bearer_keys, policy, rates};

    use super::*;

    /// The names directly below a pattern.
    fn below(pattern: &str) -> BTreeSet<&'static str> {
        let names =
            INNER.iter().filter_map(|(known, ..)| known.strip_prefix(pattern)?.strip_prefix('.'));
        names.filter(|name| !name.contains('.')).collect()
    }

    #[test]
    fn members_are_those_that_the_readers_know() {
        let keys = bearer_keys::MEMBERS.iter().chain(&bearer_keys::HARMLESS).copied().collect();
        assert_eq!(below("bearerKeys[]"), keys);
        let of = |members: &[&'static str]| members.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(below("systemConfig.policy[]"), of(&policy::MEMBERS));
        assert_eq!(below("systemConfig.limits.rates[]"), of(&rates::MEMBERS));
        for section in ["systemConfig.policy[].who", "systemConfig.limits.rates[].who"] {
            assert_eq!(below(section), of(&policy::WHO));
        }
    }
}
