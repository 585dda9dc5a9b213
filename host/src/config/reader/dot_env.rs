//! The `.env` file beside the settings: variables that the settings may refer to. They are
//! read for that alone: no server gets them, and no setting of the environment is taken from them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use super::finding::Notes;

/// Name of the file in the folder of the settings.
const FILE_NAME: &str = ".env";
/// Bytes of the file.
const MAX_BYTES: u64 = 1 << 20;

/// The variables of the file; none if there is no file. It has no `Debug`: values are secrets.
#[derive(Clone, Default)]
pub struct DotEnv(Arc<BTreeMap<String, String>>);

impl DotEnv {
    /// Reads the file in a folder. One that cannot be read is a warning.
    pub(in crate::config) fn beside(folder: &Path, notes: &Notes<'_>) -> Self {
        match text(&folder.join(FILE_NAME)) {
            Ok(text) => Self(Arc::new(variables(text.as_deref().unwrap_or("")))),
            Err(problem) => {
                notes.warn_about(FILE_NAME, problem, "variables in it have no value");
                Self::default()
            }
        }
    }

    /// A variable's value, if the file gives one.
    pub(in crate::config) fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

/// The text; `None` if there is no such file.
fn text(path: &Path) -> Result<Option<String>, String> {
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    // Before it is opened, since a named pipe would wait for its other end.
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("is larger than {} KiB", MAX_BYTES >> 10));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| "is not UTF-8 text".to_owned())
}

/// `NAME=value` in each line, as dotenv reads it: `export` in front, quotes around the value, and a
/// remark behind ` #` are not part of it. A value in quotes ends at the end of its line. What is no
/// assignment is passed over.
fn variables(text: &str) -> BTreeMap<String, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines().filter_map(assignment).collect()
}

fn assignment(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end();
    let is_name = |name: &str| {
        let mut letters = name.bytes();
        letters.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && letters.all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    is_name(name).then(|| (name.to_owned(), value_of(value.trim())))
}

fn value_of(text: &str) -> String {
    let quoted = |quote: char| {
        let (value, _) = text.strip_prefix(quote)?.split_once(quote)?;
        Some(value)
    };
    if let Some(value) = quoted('"') {
        return value.replace("\\n", "\n");
    }
    if let Some(value) = quoted('\'').or_else(|| quoted('`')) {
        return value.to_owned();
    }
    let remark = text.find(" #").or_else(|| text.starts_with('#').then_some(0));
    text.get(..remark.unwrap_or(text.len())).unwrap_or(text).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_one_variable_as_dotenv_reads_it() {
        let read = variables(
            "\u{feff}A=1\r\n# B=2\nexport C = three # and more\nD=\"a # b\\nc\" # d\nE='$x'\nF=\nG=a#b\n\
             H\n=I\n1J=2\nK=#\nA=last\nL==\n M=\"open\n",
        );
        let expect = [
            ("A", "last"),
            ("C", "three"),
            ("D", "a # b\nc"),
            ("E", "$x"),
            ("F", ""),
            ("G", "a#b"),
            ("K", ""),
            ("L", "="),
            ("M", "\"open"),
        ];
        let expect = expect.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read, BTreeMap::from(expect));
    }
}
