//! The `stickySession` object of the settings file, as far as a strategy is
//! concerned: raw JSON in, valid values or all mistakes at once out.

use serde_json::{Map, Value};

/// The settings that the strategies use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// A valid cookie name.
    pub cookie_name: String,
    /// A valid header name that means nothing to HTTP or MCP.
    pub header_name: String,
    /// At least 1.
    pub affinity_ttl_seconds: u32,
}

const DEFAULT_COOKIE: &str = "MCPHUB_NODE";
const DEFAULT_HEADER: &str = "X-MCPHub-Node";
const DEFAULT_TIMEOUT_MS: u64 = 3_600_000;

/// Longest name, in bytes: it is sent with every request and response.
const MAX_NAME_BYTES: usize = 64;

/// Headers that frame a message, carry credentials or mean something to MCP: a
/// node id in one of these would break the exchange.
const RESERVED_HEADERS: [&str; 20] = [
    "accept",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "host",
    "keep-alive",
    "last-event-id",
    "location",
    "origin",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "www-authenticate",
];
const RESERVED_PREFIXES: [&str; 3] = ["mcp-", "mooring-", "proxy-"];

impl Settings {
    pub fn parse(config_json: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(config_json)
            .map_err(|error| format!("stickySession is not valid JSON: {error}"))?;
        let Value::Object(object) = value else {
            return Err(format!(
                "stickySession must be an object, but is {}",
                kind(&value)
            ));
        };
        let mut fields = Fields {
            object,
            mistakes: Vec::new(),
        };
        fields.check_flag("enabled");
        fields.text("strategy", "");
        let settings = Self {
            cookie_name: fields.name("cookieName", DEFAULT_COOKIE, |_| false),
            header_name: fields.name("headerName", DEFAULT_HEADER, is_reserved),
            affinity_ttl_seconds: fields.seconds("affinityTimeout", DEFAULT_TIMEOUT_MS),
        };
        if fields.mistakes.is_empty() {
            Ok(settings)
        } else {
            Err(fields.mistakes.join("; "))
        }
    }
}

/// Reads field by field and collects mistakes. An absent field gets its default,
/// and so does an invalid one, since the whole is refused anyway.
struct Fields {
    object: Map<String, Value>,
    mistakes: Vec<String>,
}

impl Fields {
    fn check_flag(&mut self, key: &str) {
        if let Some(value) = self.object.get(key)
            && !value.is_boolean()
        {
            self.refuse(
                key,
                format!("must be true or false, but is {}", kind(value)),
            );
        }
    }

    fn text(&mut self, key: &str, default: &str) -> String {
        match self.object.get(key) {
            None => default.to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => {
                self.refuse(key, format!("must be a string, but is {}", kind(other)));
                default.to_owned()
            }
        }
    }

    fn name(&mut self, key: &str, default: &str, reserved: fn(&str) -> bool) -> String {
        let name = self.text(key, default);
        if name.is_empty() {
            self.refuse(key, "must not be empty".to_owned());
        } else if name.len() > MAX_NAME_BYTES {
            self.refuse(
                key,
                format!("must not be longer than {MAX_NAME_BYTES} bytes"),
            );
        } else if let Some(wrong) = name.chars().find(|c| !is_token_char(*c)) {
            let shown = wrong.escape_debug();
            self.refuse(
                key,
                format!("must not contain '{shown}': letters, digits, '-' and '_' are safe"),
            );
        } else if reserved(&name) {
            self.refuse(
                key,
                format!("must not be \"{name}\", which has a meaning of its own"),
            );
        }
        name
    }

    fn seconds(&mut self, key: &str, default_ms: u64) -> u32 {
        let longest_ms = u64::from(u32::MAX) * 1000;
        let ms = match self.object.get(key) {
            None => default_ms,
            Some(value) => match value.as_u64() {
                Some(ms) if (1..=longest_ms).contains(&ms) => ms,
                _ => {
                    let rule = format!("a whole number of milliseconds from 1 to {longest_ms}");
                    self.refuse(key, format!("must be {rule}, but is {}", shown(value)));
                    default_ms
                }
            },
        };
        // Rounded up, so that a short time does not become 0.
        u32::try_from(ms.div_ceil(1000)).unwrap_or(u32::MAX)
    }

    fn refuse(&mut self, key: &str, problem: String) {
        self.mistakes.push(format!("stickySession.{key} {problem}"));
    }
}

/// RFC 9110 "token", which RFC 6265 asks of a cookie's name as well.
fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

fn is_reserved(header: &str) -> bool {
    let header = header.to_ascii_lowercase();
    RESERVED_HEADERS.contains(&header.as_str())
        || RESERVED_PREFIXES
            .iter()
            .any(|prefix| header.starts_with(prefix))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A number's value; for any other type only its name.
fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        other => kind(other).to_owned(),
    }
}

#[cfg(test)]
mod tests;
