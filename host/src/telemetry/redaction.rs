//! What is left out of the arguments of calls in the audit log.

use serde_json::Value;

/// What stands in the place of a value that is left out.
const REDACTED: &str = "[redacted]";

/// A JSON pointer (RFC 6901) into a call's arguments; `*` stands for every member or element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

impl Pointer {
    /// `None` if it is not empty and does not begin with a slash.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        let steps = text.strip_prefix('/')?.split('/');
        Some(Self(steps.map(|step| step.replace("~1", "/").replace("~0", "~")).collect()))
    }

    /// Leaves out what the pointer names.
    pub fn redact(&self, value: &mut Value) {
        redact(&self.0, value);
    }
}

fn redact(steps: &[String], value: &mut Value) {
    let Some((step, rest)) = steps.split_first() else {
        *value = Value::from(REDACTED);
        return;
    };
    match value {
        Value::Object(members) if step == "*" => {
            members.values_mut().for_each(|member| redact(rest, member));
        }
        Value::Object(members) => {
            if let Some(member) = members.get_mut(step) {
                redact(rest, member);
            }
        }
        Value::Array(elements) if step == "*" => {
            elements.iter_mut().for_each(|element| redact(rest, element));
        }
        Value::Array(elements) => {
            let element = step.parse::<usize>().ok().and_then(|at| elements.get_mut(at));
            if let Some(element) = element {
                redact(rest, element);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_a_pointer_names_is_left_out() {
        for (pointer, expect) in [
            ("/a", json!({"a": REDACTED, "b": [{"c": 2}, {"c": 3}], "d/e": 4})),
            ("/b/0/c", json!({"a": 1, "b": [{"c": REDACTED}, {"c": 3}], "d/e": 4})),
            ("/b/*/c", json!({"a": 1, "b": [{"c": REDACTED}, {"c": REDACTED}], "d/e": 4})),
            ("/d~1e", json!({"a": 1, "b": [{"c": 2}, {"c": 3}], "d/e": REDACTED})),
            ("/a/b", json!({"a": 1, "b": [{"c": 2}, {"c": 3}], "d/e": 4})),
            ("/b/x", json!({"a": 1, "b": [{"c": 2}, {"c": 3}], "d/e": 4})),
            ("", json!(REDACTED)),
        ] {
            let mut value = json!({"a": 1, "b": [{"c": 2}, {"c": 3}], "d/e": 4});
            Pointer::parse(pointer).unwrap().redact(&mut value);
            assert_eq!(value, expect, "{pointer}");
        }
        assert_eq!(Pointer::parse("a"), None);
    }
}
