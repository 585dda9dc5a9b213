//! The words by which files of clients switch a server, or one of its tools, on or off: `enabled`,
//! `isActive`, `disabled` and their like. They are known by how they are made, since a server whose switch is passed over runs
//! against its owner's will, and a tool is shown.

const ON: [&str; 5] = ["enabled", "enable", "active", "isenabled", "isactive"];
const OFF: [&str; 7] =
    ["disabled", "disable", "inactive", "deactivated", "isdisabled", "isinactive", "isdeactivated"];

/// More words, of a tool, prompt or resource.
const SHOWN: [&str; 3] = ["visible", "isvisible", "show"];
const HIDDEN: [&str; 4] = ["hidden", "ishidden", "hide", "blocked"];

/// What `true` says under the key of a tool, prompt or resource: whether it is shown. `None` if the key
/// is no switch.
pub(in crate::config) fn says_of_shown(key: &str) -> Option<bool> {
    let word = word(key)?;
    let is_shown = SHOWN.contains(&&*word).then_some(true);
    is_shown.or(HIDDEN.contains(&&*word).then_some(false)).or_else(|| says(key))
}

/// What `true` says under the key of a server's entry: whether the server is on. `None` if the key is
/// no switch.
pub(in crate::config) fn says(key: &str) -> Option<bool> {
    let word = word(key)?;
    if ON.contains(&&*word) {
        return Some(true);
    }
    OFF.contains(&&*word).then_some(false)
}

/// The key as all of its spellings have it. `None` for a remark.
fn word(key: &str) -> Option<String> {
    (!key.starts_with('_')).then(|| key.replace(['_', '-'], "").to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_known_by_how_their_names_are_made() {
        for key in ["enabled", "Enabled", "enable", "isEnabled", "is_active", "active", "isActive"]
        {
            assert_eq!(says(key), Some(true), "{key}");
        }
        for key in ["disabled", "Disabled", "disable", "is_disabled", "inactive", "deactivated"] {
            assert_eq!(says(key), Some(false), "{key}");
        }
        for key in ["_disabled", "enabledTools", "autoStart", "status", "off", "disabledTools"] {
            assert_eq!(says(key), None, "{key}");
        }
    }

    #[test]
    fn a_tool_may_be_hidden_too() {
        for key in ["hidden", "is_hidden", "Hide", "blocked", "disabled"] {
            assert_eq!(says_of_shown(key), Some(false), "{key}");
        }
        for key in ["visible", "isVisible", "show", "enabled"] {
            assert_eq!(says_of_shown(key), Some(true), "{key}");
        }
        for key in ["_hidden", "description", "title", "showAs"] {
            assert_eq!(says_of_shown(key), None, "{key}");
        }
    }
}
