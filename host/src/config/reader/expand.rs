//! `${VAR}`, `$VAR`, `${VAR:-default}`, `${env:VAR}`, `${file:/path}` and `${credential:name}` in the
//! strings of the file.
//!
//! A name starts with a letter or `_`. Any other `$` stands for itself, so that
//! `$1`, `${#x}` and a lone `$` in a shell script stay unchanged. A variable's value
//! is not expanded again. `:-` also covers a variable that is set but empty. `{env:VAR}` is
//! OpenCode's way to write one, `{file:/path}` its way to write the text of a file. Any other
//! `${word:…}`, `${user_config.…}` and its like, `${{ secrets.… }}` and LibreChat's `{{LIBRECHAT_…}}` are
//! such that another program would replace: they have no value here.

use std::collections::BTreeSet;
use std::fmt;

use super::secret_files::SecretSource;

/// Bytes of the longest result: a file could repeat a long variable without end.
const MAX_EXPANDED: usize = 1 << 20;

/// Names that editors fill in. Here they are variables, which nobody sets.
const OF_EDITORS: [&str; 5] =
    ["workspaceFolder", "workspaceFolderBasename", "workspaceRoot", "userHome", "pathSeparator"];

/// What stands in front of a dot in references of other programs, as of desktop extensions. Any other
/// such text may be one of a script.
const OF_OTHERS: [&str; 4] = ["user_config", "secrets", "inputs", "vars"];

/// Characters that a message shows of a reference.
const MAX_SHOWN: usize = 60;
/// Characters that it shows of a path.
const MAX_PATH_SHOWN: usize = 300;

/// What references stand for.
pub(in crate::config) trait Values {
    /// The value of a variable.
    fn variable(&self, name: &str) -> Option<String>;

    /// The text of a file with a secret, or why it cannot be used.
    fn secret(&self, source: SecretSource, name: &str) -> Result<String, String>;
}

/// Variables alone.
impl<F: Fn(&str) -> Option<String>> Values for F {
    fn variable(&self, name: &str) -> Option<String> {
        self(name)
    }

    fn secret(&self, _: SecretSource, _: &str) -> Result<String, String> {
        Err("no files are read for this".to_owned())
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) enum Unexpanded {
    Missing(Missing),
    /// The result would be longer than [`MAX_EXPANDED`].
    TooLong,
}

/// References without a value.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::config) struct Missing {
    /// Variables that have neither a value nor a default.
    pub unset: BTreeSet<String>,
    /// References that only other programs understand, such as `${input:token}`.
    pub foreign: BTreeSet<String>,
    /// Files that cannot be read, each with the reason.
    pub unread: BTreeSet<String>,
}

impl Missing {
    pub fn is_empty(&self) -> bool {
        self.unset.is_empty() && self.foreign.is_empty() && self.unread.is_empty()
    }

    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match (self.unset.is_empty(), self.unread.is_empty()) {
            (false, _) => "set it, or write ${NAME:-default}",
            (true, false) => "check the path and its permissions",
            (true, true) => "write the value, or ${NAME} and set that variable",
        }
    }

    pub fn extend(&mut self, other: Self) {
        self.unset.extend(other.unset);
        self.foreign.extend(other.foreign);
        self.unread.extend(other.unread);
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &BTreeSet<String>| {
            names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        };
        match self.unset.len() {
            0 => {}
            1 => write!(f, "environment variable {} is not set", list(&self.unset))?,
            _ => write!(f, "environment variables {} are not set", list(&self.unset))?,
        }
        let mut sign = if self.unset.is_empty() { "" } else { "; " };
        if !self.foreign.is_empty() {
            let foreign = list(&self.foreign);
            write!(f, "{sign}{foreign}: only other programs fill that in")?;
            sign = "; ";
        }
        for problem in &self.unread {
            write!(f, "{sign}{problem}")?;
            sign = "; ";
        }
        Ok(())
    }
}

impl Unexpanded {
    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Missing(missing) => missing.advice(),
            Self::TooLong => "check the variables and files it refers to",
        }
    }
}

impl fmt::Display for Unexpanded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(missing) => missing.fmt(f),
            Self::TooLong => write!(f, "is longer than {} KiB once expanded", MAX_EXPANDED >> 10),
        }
    }
}

pub(in crate::config) fn expand(text: &str, values: &dyn Values) -> Result<String, Unexpanded> {
    let mut expanded = String::with_capacity(text.len());
    let mut missing = Missing::default();
    for piece in Pieces(text) {
        match piece {
            Piece::Text(text) => expanded.push_str(text),
            Piece::Foreign(text) => {
                missing.foreign.insert(shown(text));
            }
            Piece::Held { source, name } => match values.secret(source, name) {
                Ok(secret) => expanded.push_str(&secret),
                Err(why) => {
                    let name: String = name.chars().take(MAX_PATH_SHOWN).collect();
                    missing.unread.insert(format!("${{{}:{name}}}: {why}", source.word()));
                }
            },
            Piece::Reference { name, default } => match value(name, default, values) {
                Some(value) => expanded.push_str(&value),
                None if OF_EDITORS.contains(&name) => {
                    missing.foreign.insert(format!("${{{name}}}"));
                }
                None => {
                    missing.unset.insert(name.to_owned());
                }
            },
        }
        if expanded.len() > MAX_EXPANDED {
            return Err(Unexpanded::TooLong);
        }
    }
    if missing.is_empty() { Ok(expanded) } else { Err(Unexpanded::Missing(missing)) }
}

/// A foreign reference for people. What stands behind the colon may be a secret, as the default of
/// other programs; of editors it is a name.
fn shown(text: &str) -> String {
    const OF_NAMES: [&str; 4] = ["${input", "${command", "${config", "${env"];
    let shown: String = text.chars().take(MAX_SHOWN).collect();
    match shown.split_once(':') {
        Some((word, rest)) if rest != "}" && !OF_NAMES.contains(&word) => format!("{word}:…}}"),
        _ => shown,
    }
}

/// The names of the variables that a text refers to.
pub(in crate::config) fn names_in(text: &str) -> impl Iterator<Item = &str> {
    Pieces(text).filter_map(|piece| match piece {
        Piece::Reference { name, .. } => Some(name),
        Piece::Text(_) | Piece::Held { .. } | Piece::Foreign(_) => None,
    })
}

/// Whether the whole text is one `${…}`. Secrets are expanded only then, since a
/// password may contain a dollar sign.
pub(in crate::config) fn is_one_reference(text: &str) -> bool {
    let mut pieces = Pieces(text);
    let is_reference = !matches!(pieces.next(), None | Some(Piece::Text(_)));
    let is_braced = text.starts_with("${") || is_bare(text);
    is_braced && is_reference && pieces.next().is_none()
}

fn value(name: &str, default: Option<&str>, values: &dyn Values) -> Option<String> {
    let value = values.variable(name);
    match default {
        Some(default) => {
            value.filter(|value| !value.is_empty()).or_else(|| Some(default.to_owned()))
        }
        None => value,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Piece<'t> {
    Text(&'t str),
    Reference {
        name: &'t str,
        default: Option<&'t str>,
    },
    /// `${file:/path}`, OpenCode's `{file:/path}` and `${credential:name}`.
    Held {
        source: SecretSource,
        name: &'t str,
    },
    /// `${word:…}`, with any other word but `env`, `${user_config.…}`, `${{ secrets.… }}` and their like.
    Foreign(&'t str),
}

/// Beginnings of references without a dollar sign: of OpenCode, and of LibreChat.
const BARE: [&str; 3] = ["{env:", OF_FILE, OF_LIBRECHAT];
const OF_FILE: &str = "{file:";
const OF_LIBRECHAT: &str = "{{LIBRECHAT_";
/// How a path begins in OpenCode's references. Anything else behind `{file:` may be a format of a log.
const OF_PATHS: [&str; 4] = ["/", "./", "../", "~/"];

fn is_bare(text: &str) -> bool {
    BARE.iter().any(|begins| text.starts_with(begins))
}

/// The pieces of a text, from left to right.
struct Pieces<'t>(&'t str);

impl<'t> Iterator for Pieces<'t> {
    type Item = Piece<'t>;

    fn next(&mut self) -> Option<Piece<'t>> {
        if self.0.is_empty() {
            return None;
        }
        if let Some((piece, after)) = reference(self.0).or_else(|| bare_reference(self.0)) {
            self.0 = after;
            return Some(piece);
        }
        // A sign that begins no reference stands for itself.
        let own = usize::from(self.0.starts_with('$') || is_bare(self.0));
        let unread = self.0.get(own..).unwrap_or("");
        let bare = BARE.iter().filter_map(|begins| unread.find(begins));
        let next = bare.chain(unread.find('$')).min();
        let length = own + next.unwrap_or(unread.len());
        let (text, after) = self.0.split_at(length);
        self.0 = after;
        Some(Piece::Text(text))
    }
}

/// The reference at the start of a text, and what follows it.
fn reference(text: &str) -> Option<(Piece<'_>, &str)> {
    let after_dollar = text.strip_prefix('$')?;
    let Some(braced) = after_dollar.strip_prefix('{') else {
        let (name, after) = split_name(after_dollar)?;
        return Some((Piece::Reference { name, default: None }, after));
    };
    if let Some(inner) = braced.strip_prefix('{') {
        return of_workflow(text, inner);
    }
    let (word, tail) = split_name(braced)?;
    if let Some(of_env) = tail.strip_prefix(':').filter(|_| word == "env")
        && let Some((name, tail)) = split_name(of_env)
        && let Some((default, after)) = ending(tail)
    {
        return Some((Piece::Reference { name, default }, after));
    }
    if let Some((default, after)) = ending(tail) {
        return Some((Piece::Reference { name: word, default }, after));
    }
    let after = match tail.strip_prefix('.') {
        Some(more) if OF_OTHERS.contains(&word) => {
            let (name, after) = more.split_once('}')?;
            is_dotted(name).then_some(after)?
        }
        Some(_) => return None,
        None => {
            let (named, after) = tail.strip_prefix(':')?.split_once('}')?;
            if let Some(source) = SecretSource::of(word).filter(|_| !named.is_empty()) {
                return Some((Piece::Held { source, name: named }, after));
            }
            after
        }
    };
    let (foreign, after) = text.split_at(text.len() - after.len());
    Some((Piece::Foreign(foreign), after))
}

/// `${{ secrets.NAME }}`, as Continue and GitHub's workflows have it.
fn of_workflow<'t>(text: &'t str, inner: &'t str) -> Option<(Piece<'t>, &'t str)> {
    let (named, after) = inner.split_once("}}")?;
    let (word, name) = named.trim().split_once('.')?;
    let is_known = OF_OTHERS.contains(&word) || word == "env";
    let foreign = text.strip_suffix(after)?;
    (is_known && is_dotted(name)).then_some((Piece::Foreign(foreign), after))
}

/// Whether this is a name behind the dot in a reference of another program.
fn is_dotted(name: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    !name.is_empty() && name.chars().all(is_of_name)
}

fn bare_reference(text: &str) -> Option<(Piece<'_>, &str)> {
    if let Some(of_librechat) = text.strip_prefix(OF_LIBRECHAT) {
        let (name, after) = of_librechat.split_once("}}")?;
        return is_dotted(name).then_some((Piece::Foreign(text.strip_suffix(after)?), after));
    }
    if let Some(of_file) = text.strip_prefix(OF_FILE) {
        let (name, after) = of_file.split_once('}')?;
        let is_path = OF_PATHS.iter().any(|begins| name.starts_with(begins));
        return is_path.then_some((Piece::Held { source: SecretSource::File, name }, after));
    }
    let (name, tail) = split_name(text.strip_prefix("{env:")?)?;
    Some((Piece::Reference { name, default: None }, tail.strip_prefix('}')?))
}

/// The default behind a name, if there is one, and what follows the closing brace.
fn ending(tail: &str) -> Option<(Option<&str>, &str)> {
    if let Some(after) = tail.strip_prefix('}') {
        return Some((None, after));
    }
    let (default, after) = tail.strip_prefix(":-")?.split_once('}')?;
    Some((Some(default), after))
}

fn split_name(text: &str) -> Option<(&str, &str)> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    (!name.is_empty()).then_some((name, after))
}
