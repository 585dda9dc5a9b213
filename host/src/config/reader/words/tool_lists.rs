//! The words by which files of clients list tools of a server: `enabled_tools` (Codex),
//! `allowed_tools` (LiteLLM), `disabledTools` (Cline, Windsurf), `excludeTools` (Gemini CLI),
//! `toolsAllowed` and their like; of prompts and resources too, as `disabled_prompts` (mcphub.nvim).
//! They are known by how they are made, since a list that is passed over shows what its owner has
//! hidden.

/// What a list says of the tools that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum ToolList {
    /// They are shown, and no others.
    Only,
    /// They are hidden.
    Without,
}

/// What is done with the tools, in front of `Tools`.
const ONLY: [&str; 11] = [
    "include",
    "included",
    "enable",
    "enabled",
    "allow",
    "allowed",
    "available",
    "expose",
    "exposed",
    "show",
    "shown",
];
const WITHOUT: [&str; 14] = [
    "exclude",
    "excluded",
    "disable",
    "disabled",
    "disallow",
    "disallowed",
    "deny",
    "denied",
    "block",
    "blocked",
    "hide",
    "hidden",
    "forbid",
    "forbidden",
];
/// Words that are made in another way.
const OTHERS: [(&str, ToolList); 10] = [
    ("toolsAllowed", ToolList::Only),
    ("tools_allowed", ToolList::Only),
    ("toolsInclude", ToolList::Only),
    ("tool_filter", ToolList::Only),
    ("toolFilter", ToolList::Only),
    ("toolsDenied", ToolList::Without),
    ("tools_denied", ToolList::Without),
    ("toolsBlocked", ToolList::Without),
    ("toolsDisabled", ToolList::Without),
    ("toolsExclude", ToolList::Without),
];

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Listed {
    Tools,
    Prompts,
    /// By their URIs; templates by their texts.
    Resources,
}

/// What stands behind what is done with them.
const NOUNS: [(&str, Listed); 8] = [
    ("Tools", Listed::Tools),
    ("tools", Listed::Tools),
    ("Prompts", Listed::Prompts),
    ("prompts", Listed::Prompts),
    ("resourceTemplates", Listed::Resources),
    ("ResourceTemplates", Listed::Resources),
    ("Resources", Listed::Resources),
    ("resources", Listed::Resources),
];

/// What the key of a server's entry lists, and what it says of that.
pub(in crate::config) fn of(key: &str) -> Option<(Listed, ToolList)> {
    if let Some((_, list)) = OTHERS.iter().find(|(word, _)| *word == key) {
        return Some((Listed::Tools, *list));
    }
    let split = |(noun, listed): &(&str, Listed)| Some((key.strip_suffix(noun)?, *listed));
    let (verb, listed) = NOUNS.iter().find_map(split)?;
    let verb = verb.trim_end_matches(['_', '-']);
    let is_verb = |known: &&str| known.eq_ignore_ascii_case(verb);
    if ONLY.iter().any(is_verb) {
        return Some((listed, ToolList::Only));
    }
    WITHOUT.iter().any(is_verb).then_some((listed, ToolList::Without))
}

/// The same as a regular expression, for the schema.
pub(in crate::config) fn expression() -> String {
    let letters = |verb: &str| {
        let any = |letter: char| format!("[{}{letter}]", letter.to_ascii_uppercase());
        verb.chars().map(any).collect::<String>()
    };
    let verbs: Vec<String> = ONLY.iter().chain(&WITHOUT).map(|verb| letters(verb)).collect();
    let others: Vec<&str> = OTHERS.iter().map(|(word, _)| *word).collect();
    let nouns: Vec<&str> = NOUNS.iter().map(|(noun, _)| *noun).collect();
    format!("^(({})[_-]*({})|{})$", verbs.join("|"), nouns.join("|"), others.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_tools_are_known_by_how_their_names_are_made() {
        for key in [
            "includeTools",
            "enabledTools",
            "enabled_tools",
            "allowedTools",
            "allowed_tools",
            "allowed-tools",
            "available_tools",
            "IncludeTools",
            "tool_filter",
            "toolsAllowed",
        ] {
            assert_eq!(of(key), Some((Listed::Tools, ToolList::Only)), "{key}");
        }
        for key in [
            "disabledTools",
            "disabled_tools",
            "excludeTools",
            "excludedTools",
            "blockedTools",
            "disallowed_tools",
            "deniedTools",
            "hiddenTools",
            "toolsDenied",
        ] {
            assert_eq!(of(key), Some((Listed::Tools, ToolList::Without)), "{key}");
        }
        for (key, listed) in [
            ("disabled_prompts", Listed::Prompts),
            ("disabled_resources", Listed::Resources),
            ("disabled_resourceTemplates", Listed::Resources),
        ] {
            assert_eq!(of(key), Some((listed, ToolList::Without)), "{key}");
        }
        for key in
            ["tools", "Tools", "myTools", "alwaysAllow", "autoApprove", "enabled", "enabledTool"]
        {
            assert_eq!(of(key), None, "{key}");
        }
    }
}
