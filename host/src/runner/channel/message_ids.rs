//! The ids and progress tokens by which messages are matched.

use serde_json::value::RawValue;

use crate::protocol::jsonrpc::{Envelope, MAX_ID, Malformed};
use crate::protocol::splice::RequestTarget;
use crate::protocol::strict::Meta;

/// Longest id, in bytes, that is remembered for questions and cancellations: the
/// other side chooses its length.
pub const LONGEST_ID: usize = 256;

/// The request id in a `notifications/cancelled`, as it is written there.
#[must_use]
pub fn cancelled_request<'a>(cancelled: &Envelope<'a>) -> Option<&'a str> {
    RequestTarget::of(cancelled.params)?.request_id.map(RawValue::get)
}

/// The progress token of a request, if it asks for progress.
pub fn progress_token(request: &Envelope<'_>) -> Option<String> {
    raw_token(request).map(|token| key(token.get()))
}

/// Why a client's message is not taken, although it is one: what is kept of it has bounds.
pub fn check_token(message: &Envelope<'_>) -> Result<(), Malformed> {
    let may_be_long = message.params.is_some_and(|params| params.get().len() > MAX_ID);
    let is_long = may_be_long && raw_token(message).is_some_and(|token| token.get().len() > MAX_ID);
    if is_long { Err(Malformed::long_token()) } else { Ok(()) }
}

/// The progress token of a request, as it is written there.
pub fn raw_token<'a>(request: &Envelope<'a>) -> Option<&'a RawValue> {
    let params = request.params.filter(|params| params.get().contains("progressToken"));
    let meta: Meta<'_> = serde_json::from_str(RequestTarget::of(params)?.meta?.get()).ok()?;
    meta.progress_token
}

/// An id or token as a key, the same for every way to write the same string in JSON.
pub fn key(raw: &str) -> String {
    if raw.starts_with('"')
        && raw.contains('\\')
        && let Ok(text) = serde_json::from_str::<String>(raw)
    {
        return crate::protocol::splice::quoted(&text);
    }
    raw.to_owned()
}

/// The same id or token as a server may write it back: a number as a string, a string as a number,
/// a whole number with a fraction. Each as a key.
pub fn other_forms(raw: &str) -> impl Iterator<Item = String> {
    let inside = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
    let whole = whole_number(inside.unwrap_or(raw));
    let forms = whole.map(|whole| {
        let as_string = format!("\"{whole}\"");
        [whole, as_string]
    });
    forms.into_iter().flatten().filter(move |form| *form != raw)
}

/// A whole number in its usual form. Only within what every reader of JSON keeps exactly.
fn whole_number(text: &str) -> Option<String> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || digits.len() > 24 || !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let is_usual = digits == "0" || !digits.starts_with('0');
        return is_usual.then(|| text.to_owned());
    }
    let number: f64 = text.parse().ok()?;
    (number.fract() == 0.0 && number.abs() < EXACT).then(|| format!("{number:.0}"))
}

/// Whether two ids or tokens are the same number in different words, as a server may read it that
/// makes numbers of strings (`"06"`).
#[must_use]
pub fn is_same_number(a: &str, b: &str) -> bool {
    number_in(a).is_some_and(|a| number_in(b) == Some(a))
}

/// The whole number that a server may read in an id.
#[must_use]
pub fn number_in(raw: &str) -> Option<String> {
    let Some(inside) = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) else {
        return whole_number(raw);
    };
    let text = inside.trim();
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (if text.starts_with('-') { "-" } else { "" }, digits),
        None => ("", text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return whole_number(text);
    }
    match digits.trim_start_matches('0') {
        "" => Some("0".to_owned()),
        digits => whole_number(&format!("{sign}{digits}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_in_every_form_that_servers_write() {
        for (raw, expect) in [
            ("7", vec!["\"7\""]),
            ("\"7\"", vec!["7"]),
            ("7.0", vec!["7", "\"7\""]),
            ("1e2", vec!["100", "\"100\""]),
            ("\"7.0\"", vec!["7", "\"7\""]),
            ("-3", vec!["\"-3\""]),
            ("\"12345678901234567890\"", vec!["12345678901234567890"]),
            ("7.5", vec![]),
            ("\"a\"", vec![]),
            ("\"\"", vec![]),
            ("\"007\"", vec![]),
            ("\" 7\"", vec![]),
            ("1e99", vec![]),
            ("\"inf\"", vec![]),
            ("null", vec![]),
        ] {
            assert_eq!(other_forms(raw).collect::<Vec<_>>(), expect, "{raw}");
        }
        for (a, b, same) in [
            ("1e3", "1000.0", true),
            ("1000", "1e3", true),
            ("6", "\"06\"", true),
            ("\"6\"", "\"06\"", true),
            ("6", "\" +006 \"", true),
            ("-6", "\"-06\"", true),
            ("0", "\"-00\"", true),
            ("6", "\"0x6\"", false),
            ("6", "\"60\"", false),
            ("\"a\"", "\"a\"", false),
            ("\"\"", "\"0\"", false),
            ("1e3", "1001", false),
            ("a", "a", false),
        ] {
            assert_eq!(is_same_number(a, b), same, "{a} {b}");
        }
    }
}
