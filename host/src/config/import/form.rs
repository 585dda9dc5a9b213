//! How clients write their files, read into the values that JSON has.

use std::fmt::Display;

use jsonc_parser::parse_to_serde_value;
use serde_json::{Map, Value};

use crate::config::reader::document::DIALECT;

/// How a client's file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileForm {
    Json,
    Toml,
    Yaml,
}

impl FileForm {
    /// # Errors
    /// What is wrong, and where. Lines are not shown, since they may have secrets.
    pub(super) fn read(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Json => parse_to_serde_value(text, &DIALECT)
                .map_err(|error| format!("is not JSON: {error}")),
            Self::Toml => match toml::from_str(text) {
                Ok(table) => Ok(of_table(table)),
                Err(error) => {
                    Err(format!("is not TOML: {}{}", line(text, &error), error.message()))
                }
            },
            Self::Yaml => serde_saphyr::from_str_with_options(text, yaml())
                .map_err(|error| format!("is not YAML: {}", flat(&error))),
        }
    }
}

/// YAML 1.2, in which `yes` and `0755` are texts.
fn yaml() -> serde_saphyr::Options {
    serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    }
}

/// An error on one line.
fn flat(error: &impl Display) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn line(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.as_bytes().get(..span.start));
    let lines = before.map(|before| 1 + before.iter().filter(|byte| **byte == b'\n').count());
    lines.map(|line| format!("line {line}: ")).unwrap_or_default()
}

fn of_table(table: toml::Table) -> Value {
    Value::Object(
        table.into_iter().map(|(key, value)| (key, of_toml(value))).collect::<Map<_, _>>(),
    )
}

/// JSON has no dates, which become texts, and no infinite numbers, which become `null`.
fn of_toml(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::from(number),
        toml::Value::Boolean(is_so) => Value::Bool(is_so),
        toml::Value::Datetime(when) => Value::String(when.to_string()),
        toml::Value::Array(all) => all.into_iter().map(of_toml).collect(),
        toml::Value::Table(table) => of_table(table),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn toml_has_the_values_of_json_in_the_order_of_the_file() {
        let text = r##"
model = "o3" # behind a value
numbers = [1, -2, 0x1F, 1_000, 2.5,
  true, # within
]
when = 2026-01-02T03:04:05Z
[mcp_servers.docs]
command = 'C:\no\escapes'
env = { "API_KEY" = "k" }
[mcp_servers.docs.http_headers]
X-A = "b"
[mcp_servers.another]
"##;
        let servers = json!({
            "docs": {"command": "C:\\no\\escapes", "env": {"API_KEY": "k"}, "http_headers": {"X-A": "b"}},
            "another": {},
        });
        let expect = json!({
            "model": "o3",
            "numbers": [1, -2, 31, 1000, 2.5, true],
            "when": "2026-01-02T03:04:05Z",
            "mcp_servers": servers,
        });
        for text in [text, &text.replace('\n', "\r\n")] {
            assert_eq!(FileForm::Toml.read(text).unwrap().to_string(), expect.to_string());
        }
    }

    #[test]
    fn yaml_has_the_values_of_json_in_the_order_of_the_file() {
        let text = "# a comment\nGOOSE_MODEL: o3\nextensions:\n  docs:\n    enabled: true\n    cmd: 'npx'\n    \
                    args: [-y, docs]\n    envs: {MODE: 0755, ON: yes, PORT: 80}\n    description: |\n      two\n      \
                    lines\n    uri: null\n  another: {}\n";
        let docs = json!({
            "enabled": true,
            "cmd": "npx",
            "args": ["-y", "docs"],
            "envs": {"MODE": "0755", "ON": "yes", "PORT": 80},
            "description": "two\nlines\n",
            "uri": null,
        });
        let expect = json!({"GOOSE_MODEL": "o3", "extensions": {"docs": docs, "another": {}}});
        for text in [text, &text.replace('\n', "\r\n")] {
            assert_eq!(FileForm::Yaml.read(text).unwrap().to_string(), expect.to_string());
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_without_the_line() {
        let bomb: String = (1..40)
            .map(|level| format!("a{level}: &a{level} [{0}, {0}]\n", format!("*a{}", level - 1)))
            .collect();
        for (form, text) in [
            (FileForm::Toml, "a = 1\nkey = \"hunter2\" secret".to_owned()),
            (FileForm::Toml, "a = 1\na = 2".to_owned()),
            (FileForm::Toml, format!("b = 1\na = {}", "[".repeat(100_000))),
            (FileForm::Yaml, "a: 1\nkey: \"hunter2\" secret".to_owned()),
            (FileForm::Yaml, "a: 1\na: 2".to_owned()),
            (FileForm::Yaml, format!("b: 1\na: {}", "[".repeat(100_000))),
            (FileForm::Yaml, format!("a0: &a0 x\n{bomb}")),
        ] {
            let why = form.read(&text).unwrap_err();
            assert!(why.contains("line "), "{text:.60}: {why}");
            assert!(!why.contains("hunter2") && !why.contains('\n'), "{text:.60}: {why}");
        }
        assert!(FileForm::Toml.read(&format!("[{}]", vec!["a"; 1000].join("."))).is_err());
    }
}
