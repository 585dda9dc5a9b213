//! What a server entry runs, as a line for people. The line is taken from the file
//! before expansion, so that it shows no value of the environment, and everything
//! that looks like a secret is masked.

use crate::model::visible::is_hidden;

use super::item::Item;
use super::section::Section;

const MASK: &str = "…";

/// The value of an argument whose name contains one of these words is a secret.
const SECRET_WORDS: [&str; 9] =
    ["token", "secret", "password", "passwd", "key", "auth", "bearer", "credential", "header"];

/// Characters of the line; longer ones are cut, since an argument may have megabytes.
const MAX_SHOWN: usize = 160;

/// The command line, such as `npx -y example-mcp-server`, or the URL.
pub(in crate::config) fn entry(entry: &Section<'_>) -> String {
    let text = |key| entry.get(key).and_then(|item| raw(&item));
    let list = |key| entry.get(key).map(|item| words(&item)).unwrap_or_default();
    let program = entry.get("command").filter(|item| item.value.as_object().is_some());
    if let Some(program) = program.map(|item| item.section()) {
        let path = program.get("path").and_then(|item| raw(&item)).unwrap_or_default();
        let own = program.get("args").map(|item| words(&item)).unwrap_or_default();
        let line = command_line(path, &own.into_iter().chain(list("args")).collect::<Vec<_>>());
        return cut(&line.replace(is_hidden, " "));
    }
    let line = match (text("command"), text("url")) {
        (Some(command), _) => command_line(command, &list("args")),
        (None, None) if !list("command").is_empty() => {
            let mut words = list("command").into_iter();
            let command = words.next().unwrap_or_default();
            command_line(command, &words.chain(list("args")).collect::<Vec<_>>())
        }
        (None, Some(url)) => without_query(&url),
        (None, None) => String::new(),
    };
    cut(&line.replace(is_hidden, " "))
}

fn command_line(command: String, args: &[String]) -> String {
    let mut line = command;
    let mut after_secret_flag = false;
    for arg in args {
        line.push(' ');
        line.push_str(&if after_secret_flag { MASK.to_owned() } else { argument(arg) });
        after_secret_flag =
            arg == "-H" || arg.starts_with('-') && !arg.contains('=') && is_secret(arg);
    }
    line
}

/// One argument, masked: `--token=abc` and `Authorization: abc` keep their name,
/// `https://…?key=abc` keeps the part before the query.
fn argument(arg: &str) -> String {
    if let Some(at) = arg.find(['=', ':'])
        && let (name, value) = arg.split_at(at)
        && is_secret(name)
    {
        let sign = value.get(..1).unwrap_or_default();
        return format!("{name}{sign}{MASK}");
    }
    if arg.contains("://") {
        return without_query(arg);
    }
    if arg.contains(' ') {
        return format!("{arg:?}");
    }
    arg.to_owned()
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// The URL with query and credentials masked, since they often contain keys.
fn without_query(url: &str) -> String {
    let (address, query) = match url.split_once('?') {
        Some((address, _)) => (address, format!("?{MASK}")),
        None => (url, String::new()),
    };
    let Some((scheme, rest)) = address.split_once("://") else {
        return format!("{address}{query}");
    };
    let host_on = match rest.split_once('@') {
        Some((_, host_on)) => format!("{MASK}@{host_on}"),
        None => rest.to_owned(),
    };
    format!("{scheme}://{host_on}{query}")
}

/// The string, without findings: reading the transport reports them.
fn raw(item: &Item<'_>) -> Option<String> {
    let string = item.value.as_string_lit()?;
    Some(string.value.clone().into_owned())
}

fn words(item: &Item<'_>) -> Vec<String> {
    let Some(array) = item.value.as_array() else {
        return Vec::new();
    };
    let word = |value: &jsonc_parser::ast::Value<'_>| match value {
        jsonc_parser::ast::Value::StringLit(string) => string.value.clone().into_owned(),
        jsonc_parser::ast::Value::NumberLit(number) => number.value.to_owned(),
        _ => "?".to_owned(),
    };
    array.elements.iter().map(word).collect()
}

pub(in crate::config) fn cut(line: &str) -> String {
    if line.chars().count() <= MAX_SHOWN {
        return line.to_owned();
    }
    line.chars().take(MAX_SHOWN).chain(MASK.chars()).collect()
}
