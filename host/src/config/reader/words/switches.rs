//! The words by which files of clients switch a server on or off: `enabled`, `isActive`, `disabled` and
//! their like. They are known by how they are made, since a server whose switch is passed over runs
//! against its owner's will.

const ON: [&str; 5] = ["enabled", "enable", "active", "isenabled", "isactive"];
const OFF: [&str; 7] =
    ["disabled", "disable", "inactive", "deactivated", "isdisabled", "isinactive", "isdeactivated"];

/// What `true` says under the key of a server's entry: whether the server is on. `None` if the key is
/// no switch.
pub(in crate::config) fn says(key: &str) -> Option<bool> {
    let word = key.replace(['_', '-'], "").to_ascii_lowercase();
    // A remark begins so.
    if key.starts_with('_') {
        return None;
    }
    if ON.contains(&&*word) {
        return Some(true);
    }
    OFF.contains(&&*word).then_some(false)
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
}
