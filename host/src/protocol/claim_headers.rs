//! Claims of a client's token on their way to a server: headers under names that no client's header
//! can have.

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::model::SEAM_PREFIX;

/// What stands behind the prefix of the seam.
const CLAIM: &str = "claim-";
/// Bytes of a claim's name.
pub const MAX_NAME: usize = 128;
/// Bytes of a value: headers of more are refused by common servers.
const MAX_VALUE: usize = 4096;

/// The header by which a server asks for a claim. `None` if no claim has such a name.
#[must_use]
pub fn name_of(claim: &str) -> Option<HeaderName> {
    if claim.is_empty() || claim.len() > MAX_NAME || claim.chars().any(char::is_control) {
        return None;
    }
    let mut name = format!("{SEAM_PREFIX}{CLAIM}");
    for byte in claim.bytes() {
        match byte {
            // A header's name has no capitals, and a claim's may.
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' => name.push(char::from(byte)),
            byte => name.push_str(&format!("%{byte:02x}")),
        }
    }
    HeaderName::try_from(name).ok()
}

/// The claim that is asked for by this header.
#[must_use]
pub fn claim_of(name: &str) -> Option<String> {
    let text = name.strip_prefix(SEAM_PREFIX)?.strip_prefix(CLAIM)?;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().filter(|claim| !claim.is_empty())
}

/// Whether a server asks for a claim by this header.
#[must_use]
pub fn is_claim(name: &str) -> bool {
    name.strip_prefix(SEAM_PREFIX).is_some_and(|rest| rest.starts_with(CLAIM))
}

/// A claim as the value of a header: a text, a number, a flag, or a list of these with commas between.
/// Whatever is not visible ASCII is percent-encoded, so that nobody's name ends the header.
#[must_use]
pub fn value_of(claim: &Value) -> Option<HeaderValue> {
    let text = match claim {
        Value::Array(parts) => {
            let parts: Option<Vec<String>> = parts.iter().map(|part| plain(part, true)).collect();
            parts?.join(",")
        }
        one => plain(one, false)?,
    };
    if text.trim().is_empty() || text.len() > MAX_VALUE {
        return None;
    }
    let mut value = HeaderValue::from_str(&text).ok()?;
    // It may tell who somebody is.
    value.set_sensitive(true);
    Some(value)
}

fn plain(value: &Value, is_listed: bool) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' => out.push_str("%25"),
            b',' if is_listed => out.push_str("%2C"),
            b' '..=b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_is_asked_for_by_a_header_and_found_by_it() {
        for claim in ["sub", "preferred_username", "userId", "a.b", "https://x.example/role", "ä"]
        {
            let name = name_of(claim).unwrap();
            assert!(crate::model::is_reserved_header(name.as_str()), "{name}");
            assert_eq!(claim_of(name.as_str()).as_deref(), Some(claim));
        }
        assert_eq!(name_of("sub").unwrap(), "mooring-claim-sub");
        for none in ["", "a\nb"] {
            assert_eq!(name_of(none), None);
        }
        assert_eq!(name_of(&"x".repeat(MAX_NAME + 1)), None);
        for none in ["x-claim-sub", "mooring-session", "mooring-claim-", "mooring-claim-%z"] {
            assert_eq!(claim_of(none), None, "{none}");
        }
    }

    #[test]
    fn a_value_is_one_line_whatever_the_claim_holds() {
        let text = |claim: Value| value_of(&claim).map(|value| value.to_str().unwrap().to_owned());
        for (claim, expect) in [
            (json!("ann"), Some("ann")),
            (json!("Ann Bee, PhD"), Some("Ann Bee, PhD")),
            (json!("Jürgen"), Some("J%C3%BCrgen")),
            (json!("a\r\nX-Evil: 1"), Some("a%0D%0AX-Evil: 1")),
            (json!("100%"), Some("100%25")),
            (json!(7), Some("7")),
            (json!(true), Some("true")),
            (json!(["a", "b,c", 1]), Some("a,b%2Cc,1")),
            (json!([]), None),
            (json!(""), None),
            (json!("  "), None),
            (json!(null), None),
            (json!({"a": 1}), None),
            (json!(["a", {"b": 1}]), None),
            (json!("x".repeat(5000)), None),
        ] {
            assert_eq!(text(claim.clone()).as_deref(), expect, "{claim}");
        }
        assert!(value_of(&json!("ann")).unwrap().is_sensitive());
    }
}
