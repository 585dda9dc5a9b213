//! Arguments of a tool that stand in headers too: those whose schema has `x-mcp-header`
//! (2026-07-28, server/tools, "Header Parameters").

use http::{HeaderMap, HeaderName};
use serde_json::Value;

use crate::protocol::lenient::Members;

use super::fault::EraFault;
use super::field::{self, PARAMETER};

/// The name of the annotation in a schema.
pub const ANNOTATION: &str = "x-mcp-header";
/// Levels of nested objects that are looked through.
const DEEPEST: usize = 16;
/// Annotated arguments of one tool that are checked.
const MOST: usize = 64;

/// An argument that has to stand in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrored {
    /// The names that lead to it from the arguments.
    pub path: Vec<String>,
    /// The header, in lower case.
    pub header: HeaderName,
}

/// The annotated arguments of a tool, by its entry in the list. Empty if it has none, or its schema
/// cannot be read.
#[must_use]
pub fn mirrored(tool: &[u8]) -> Vec<Mirrored> {
    let mut found = Vec::new();
    if memchr::memmem::find(tool, ANNOTATION.as_bytes()).is_some()
        && let Ok(tool) = serde_json::from_slice::<Value>(tool)
    {
        look(&tool["inputSchema"], &mut Vec::new(), &mut found);
    }
    found
}

fn look(schema: &Value, path: &mut Vec<String>, found: &mut Vec<Mirrored>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, schema) in properties {
        if found.len() >= MOST {
            return;
        }
        path.push(name.clone());
        let header = schema.get(ANNOTATION).and_then(Value::as_str);
        let header =
            header.and_then(|header| HeaderName::try_from(format!("{PARAMETER}{header}")).ok());
        if let Some(header) = header {
            found.push(Mirrored { path: path.clone(), header });
        } else if path.len() < DEEPEST {
            look(schema, path, found);
        }
        path.pop();
    }
}

/// Checks that the headers have what the arguments have.
///
/// # Errors
/// If one differs, is missing, or has no argument.
pub fn check(
    mirrored: &[Mirrored],
    arguments: Option<&str>,
    headers: &HeaderMap,
) -> Result<(), EraFault> {
    let given = arguments.unwrap_or("null");
    let arguments: Value = serde_json::from_str(given).unwrap_or(Value::Null);
    for Mirrored { path, header } in mirrored {
        let wrong = |why: String| EraFault::Header(format!("{header} {why}"));
        let value = field::only(headers, header).map_err(|why| wrong(why.to_string()))?;
        let argument = path.iter().try_fold(&arguments, |at, name| at.get(name));
        let argument = argument.filter(|argument| !argument.is_null());
        let named = || path.join(".");
        let (value, argument) = match (value, argument) {
            (None, None) => continue,
            (Some(_), None) => {
                return Err(wrong(format!("is there, and the argument {} is not", named())));
            }
            (None, Some(_)) => {
                return Err(wrong(format!("is required, since the argument {} is there", named())));
            }
            (Some(value), Some(argument)) => (value, argument),
        };
        let text = field::decoded(value).map_err(|why| wrong(why.to_string()))?;
        let Written { value: written, is_twice } = Written::of(given, path);
        if is_twice {
            // Readers differ about which of them counts, and the server may take the other one.
            return Err(wrong(format!("repeats the argument {}, which is there twice", named())));
        }
        if !is_same(&text, argument, written) {
            return Err(wrong(format!("differs from the argument {}", named())));
        }
    }
    Ok(())
}

/// The headers that repeat these arguments. One that is absent or null has none.
#[must_use]
pub fn repeated(mirrored: &[Mirrored], arguments: Option<&str>) -> HeaderMap {
    let given = arguments.unwrap_or("null");
    let arguments: Value = serde_json::from_str(given).unwrap_or(Value::Null);
    let mut headers = HeaderMap::new();
    for Mirrored { path, header } in mirrored {
        let text = match path.iter().try_fold(&arguments, |at, name| at.get(name)) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Bool(flag)) => flag.to_string(),
            // A tree has no digits of whole numbers beyond 64 bits.
            Some(Value::Number(_)) => Written::of(given, path).value.to_owned(),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => continue,
        };
        if let Some(value) = field::encoded(&text) {
            headers.insert(header.clone(), value);
        }
    }
    headers
}

/// Whether the annotations of a tool can be followed: each names a header of its own, and stands at
/// an argument that a header can repeat (2026-07-28, server/tools, "Header Parameters").
#[must_use]
pub fn is_valid(tool: &[u8]) -> bool {
    if memchr::memmem::find(tool, ANNOTATION.as_bytes()).is_none() {
        return true;
    }
    let Ok(tool) = serde_json::from_slice::<Value>(tool) else { return true };
    let mut names = Vec::new();
    are_valid(&tool["inputSchema"], true, 0, &mut names)
}

/// Whether the annotations below a schema are valid. One that is not reached through `properties`
/// alone stands for no single argument.
fn are_valid(schema: &Value, is_reached: bool, depth: usize, names: &mut Vec<String>) -> bool {
    if depth > 2 * DEEPEST {
        return true;
    }
    match schema {
        Value::Object(members) => members.iter().all(|(name, value)| match name.as_str() {
            "properties" => value.as_object().is_none_or(|all| {
                all.values().all(|schema| {
                    is_annotated_well(schema, is_reached, names)
                        && are_valid(schema, is_reached, depth + 1, names)
                })
            }),
            // Texts that mean nothing here.
            "default" | "const" | "enum" | "examples" => true,
            ANNOTATION => true,
            _ => {
                is_annotated_well(value, false, names) && are_valid(value, false, depth + 1, names)
            }
        }),
        Value::Array(items) => items.iter().all(|item| {
            is_annotated_well(item, false, names) && are_valid(item, false, depth + 1, names)
        }),
        _ => true,
    }
}

fn is_annotated_well(schema: &Value, is_reached: bool, names: &mut Vec<String>) -> bool {
    let Some(annotation) = schema.as_object().and_then(|members| members.get(ANNOTATION)) else {
        return true;
    };
    let Some(name) = annotation.as_str().filter(|name| !name.is_empty()) else { return false };
    let is_simple = matches!(schema["type"].as_str(), Some("string" | "integer" | "boolean"));
    let lower = name.to_ascii_lowercase();
    let is_own = !names.contains(&lower);
    names.push(lower);
    is_reached && is_simple && is_own && HeaderName::try_from(format!("{PARAMETER}{name}")).is_ok()
}

/// An argument as it is written.
struct Written<'a> {
    /// As JSON; empty if it is not there.
    value: &'a str,
    /// Whether one of the names that lead to it is there twice. The last one counts, as with most readers.
    is_twice: bool,
}

impl<'a> Written<'a> {
    fn of(arguments: &'a str, path: &[String]) -> Self {
        let mut written = Self { value: arguments, is_twice: false };
        for name in path {
            let members = Members::of(written.value).unwrap_or_default();
            let named = members.iter().filter(|(key, _)| key == name).map(|(_, value)| value.get());
            let values: Vec<&str> = named.collect();
            written.value = values.last().copied().unwrap_or_default();
            written.is_twice |= values.len() > 1;
        }
        written
    }
}

/// Whether a header's text stands for the argument, which is written so. Numbers are compared as numbers,
/// whole ones to the last digit.
fn is_same(text: &str, argument: &Value, written: &str) -> bool {
    match argument {
        Value::String(argument) => text == argument,
        Value::Bool(argument) => text == if *argument { "true" } else { "false" },
        Value::Number(argument) => {
            let digits = written.strip_prefix('-').unwrap_or(written);
            let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit());
            let is_exact = Decimal::of(text).is_some_and(|said| Some(said) == Decimal::of(written));
            // What every reader takes for the same fraction is the same.
            is_exact
                || !is_whole && argument.as_f64().is_some_and(|number| text.parse() == Ok(number))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// A number, without what can be written in several ways.
#[derive(PartialEq, Eq)]
struct Decimal {
    is_negative: bool,
    /// Without zeros at either end; empty for zero.
    digits: String,
    /// The power of ten of the last digit.
    power: i64,
}

impl Decimal {
    fn of(text: &str) -> Option<Self> {
        let (text, is_negative) = match text.strip_prefix('-') {
            Some(text) => (text, true),
            None => (text.strip_prefix('+').unwrap_or(text), false),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = [whole, fraction].concat();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let significant = digits.trim_end_matches('0');
        let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
        let power = i64::from(exponent) - i64::try_from(fraction.len()).ok()? + zeros;
        let digits = significant.trim_start_matches('0').to_owned();
        let is_zero = digits.is_empty();
        let power = if is_zero { 0 } else { power };
        Some(Self { is_negative: is_negative && !is_zero, digits, power })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const TOOL: &str = r#"{"name":"t","inputSchema":{"type":"object","properties":{
        "region":{"type":"string","x-mcp-header":"Region"},
        "deep":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"}}},
        "odd":{"type":"string","x-mcp-header":"not a name"},
        "plain":{"type":"string"}}}}"#;

    fn check_with(arguments: &str, pairs: &[(&'static str, &str)], is_good: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let got = check(&mirrored(TOOL.as_bytes()), Some(arguments), &headers);
        assert_eq!(got.is_ok(), is_good, "{arguments} {pairs:?}: {got:?}");
        assert!(got.is_ok() || matches!(got, Err(EraFault::Header(_))));
    }

    #[test]
    fn headers_say_what_the_annotated_arguments_say() {
        assert_eq!(mirrored(TOOL.as_bytes()).len(), 2);
        let region = |value: &'static str| ("mcp-param-region", value);
        check_with("{}", &[], true);
        check_with(r#"{"region":null}"#, &[], true);
        check_with(r#"{"region":"eu"}"#, &[region("eu")], true);
        check_with(r#"{"region":"Hello"}"#, &[region("=?base64?SGVsbG8=?=")], true);
        check_with(r#"{"region":"eu"}"#, &[region("us")], false);
        check_with(r#"{"region":"eu"}"#, &[], false);
        check_with("{}", &[region("eu")], false);
        check_with(r#"{"region":"eu"}"#, &[region("eu"), region("eu")], false);
        check_with(r#"{"deep":{"n":42}}"#, &[("mcp-param-n", "42.0")], true);
        check_with(r#"{"deep":{"n":42.0}}"#, &[("mcp-param-n", "42")], true);
        check_with(r#"{"deep":{"n":42}}"#, &[("mcp-param-n", "43")], false);
        check_with("{}", &[("mcp-param-other", "x")], true);
        check_with(r#"{"region":"eu","region":"us"}"#, &[region("us")], false);
        let twice = r#"{"deep":{"n":1},"deep":{"n":1}}"#;
        check_with(twice, &[("mcp-param-n", "1")], false);
    }

    #[test]
    fn numbers_are_the_same_if_they_are_to_the_last_digit() {
        let n = |argument: &str, header: &str, is_good| {
            let arguments = format!(r#"{{"deep":{{"n":{argument}}}}}"#);
            let mut headers = HeaderMap::new();
            headers.insert("mcp-param-n", HeaderValue::from_str(header).unwrap());
            let got = check(&mirrored(TOOL.as_bytes()), Some(&arguments), &headers);
            assert_eq!(got.is_ok(), is_good, "{argument} {header}");
        };
        for same in ["9007199254740993", "9007199254740993.0", "90071992547409930e-1"] {
            n("9007199254740993", same, true);
        }
        for other in ["9007199254740992", "9007199254740993.5", "-9007199254740993", "", ".", "e1"]
        {
            n("9007199254740993", other, false);
        }
        n("18446744073709551615", "18446744073709551614", false);
        n("-120", "-1.2e2", true);
        n("0", "-0.00", true);
        n("7", "inf", false);
        n("7", "7e99999999999", false);
        n("1180591620717411303424", "1180591620717411303424", true);
        n("1180591620717411303424", "1.180591620717411303424e+21", true);
        n("1180591620717411303424", "1180591620717411303425", false);
        n("-36893488147419103233", "-36893488147419103232", false);
        n("42.50", "42.5", true);
    }

    #[test]
    fn a_header_repeats_a_number_to_the_last_digit() {
        for (arguments, expect) in [
            (r#"{"deep":{"n":7}}"#, "7"),
            (r#"{"deep":{"n":18446744073709551615}}"#, "18446744073709551615"),
            (r#"{"deep":{"n":1180591620717411303425}}"#, "1180591620717411303425"),
            (r#"{"deep":{"n":1},"deep":{"n":2}}"#, "2"),
        ] {
            let headers = repeated(&mirrored(TOOL.as_bytes()), Some(arguments));
            assert_eq!(headers["mcp-param-n"], expect, "{arguments}");
            let same = check(&mirrored(TOOL.as_bytes()), Some(arguments), &headers);
            assert_eq!(same.is_ok(), !arguments.contains("},"), "{arguments}");
        }
    }

    #[test]
    fn a_tool_whose_annotations_cannot_be_followed_is_known() {
        let tool = |schema: &str| {
            let tool = format!(r#"{{"name":"t","inputSchema":{{"type":"object",{schema}}}}}"#);
            is_valid(tool.as_bytes())
        };
        assert!(tool(r#""properties":{"a":{"type":"string","x-mcp-header":"A"}}"#));
        assert!(tool(
            r#""properties":{"o":{"type":"object","properties":{"a":{"type":"integer","x-mcp-header":"A"}}}}"#
        ));
        assert!(tool(r#""properties":{"a":{"type":"string","default":{"x-mcp-header":""}}}"#));
        for wrong in [
            r#""properties":{"a":{"type":"string","x-mcp-header":""}}"#,
            r#""properties":{"a":{"type":"string","x-mcp-header":7}}"#,
            r#""properties":{"a":{"type":"string","x-mcp-header":"A B"}}"#,
            r#""properties":{"a":{"type":"string","x-mcp-header":"A:"}}"#,
            r#""properties":{"a":{"type":"number","x-mcp-header":"A"}}"#,
            r#""properties":{"a":{"type":"object","x-mcp-header":"A"}}"#,
            r#""properties":{"a":{"x-mcp-header":"A"}}"#,
            r#""properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}"#,
            r#""properties":{"a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}}"#,
            r#""oneOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]"#,
        ] {
            assert!(!tool(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_schema_that_cannot_be_read_annotates_nothing() {
        for tool in ["", "{", "[]", r#"{"inputSchema":"x-mcp-header"}"#, r#"{"x-mcp-header":1}"#] {
            assert!(mirrored(tool.as_bytes()).is_empty(), "{tool}");
        }
    }
}
