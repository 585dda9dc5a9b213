//! Reads TOML 1.0, in which Codex keeps its servers, into the values that JSON has. Times of day and
//! dates become texts: no server has one.

use serde_json::{Map, Value};

/// Tables and arrays within one another.
const MAX_DEPTH: usize = 32;

/// # Errors
/// What is wrong, with its line.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    let read = reader.document();
    read.map_err(|why| {
        let line = 1 + text.as_bytes()[..reader.at.min(text.len())]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        format!("line {line}: {why}")
    })
}

type Read<T> = Result<T, String>;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, what: &str) -> bool {
        let is_next = self.rest().starts_with(what);
        if is_next {
            self.at += what.len();
        }
        is_next
    }

    fn expect(&mut self, what: &str) -> Read<()> {
        match self.take(what) {
            true => Ok(()),
            false => Err(format!("expected {what:?}")),
        }
    }

    fn take_while(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn space(&mut self) {
        self.take_while(|letter| matches!(letter, ' ' | '\t'));
    }

    /// Space, comments and line ends.
    fn lines(&mut self) {
        loop {
            self.take_while(|letter| matches!(letter, ' ' | '\t' | '\r' | '\n'));
            if !self.take("#") {
                return;
            }
            self.take_while(|letter| letter != '\n');
        }
    }

    fn end_of_line(&mut self) -> Read<()> {
        self.space();
        if self.take("#") {
            self.take_while(|letter| letter != '\n');
        }
        if self.rest().is_empty() || self.take("\n") || self.take("\r\n") {
            return Ok(());
        }
        Err("there is something behind the value".to_owned())
    }

    fn document(&mut self) -> Read<Value> {
        let mut root = Map::new();
        let mut home: Vec<String> = Vec::new();
        loop {
            self.lines();
            if self.rest().is_empty() {
                return Ok(Value::Object(root));
            }
            if self.take("[[") {
                home = self.header("]]")?;
                let (last, above) = home.split_last().ok_or("a table has no name")?;
                let table = table_at(&mut root, above)?;
                let list = table.entry(last.as_str()).or_insert_with(|| Value::Array(Vec::new()));
                let list =
                    list.as_array_mut().ok_or_else(|| format!("{last:?} is there already"))?;
                list.push(Value::Object(Map::new()));
            } else if self.take("[") {
                home = self.header("]")?;
                table_at(&mut root, &home)?;
            } else {
                let table = table_at(&mut root, &home)?;
                self.member(table)?;
                self.end_of_line()?;
            }
        }
    }

    fn header(&mut self, end: &str) -> Read<Vec<String>> {
        let path = self.path()?;
        self.expect(end)?;
        self.end_of_line()?;
        Ok(path)
    }

    /// `a.b = value`
    fn member(&mut self, table: &mut Map<String, Value>) -> Read<()> {
        let path = self.path()?;
        self.expect("=")?;
        self.space();
        let value = self.value()?;
        let (last, above) = path.split_last().ok_or("a key is missing")?;
        match table_at(table, above)?.insert(last.clone(), value) {
            None => Ok(()),
            Some(_) => Err(format!("{last:?} is there twice")),
        }
    }

    fn path(&mut self) -> Read<Vec<String>> {
        let mut path = Vec::new();
        loop {
            self.space();
            path.push(match self.peek() {
                Some('"' | '\'') => self.string()?,
                _ => {
                    let is_part =
                        |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
                    self.take_while(is_part).to_owned()
                }
            });
            if path.last().is_some_and(String::is_empty)
                && !self.text[..self.at].ends_with(['"', '\''])
            {
                return Err("a key is missing".to_owned());
            }
            self.space();
            if path.len() > MAX_DEPTH {
                return Err("the tables are too deep".to_owned());
            }
            if !self.take(".") {
                return Ok(path);
            }
        }
    }

    fn value(&mut self) -> Read<Value> {
        match self.peek() {
            Some('"' | '\'') => self.string().map(Value::String),
            Some('[') => self.within(Self::array),
            Some('{') => self.within(Self::inline_table),
            _ => self.word(),
        }
    }

    fn within(&mut self, read: impl Fn(&mut Self) -> Read<Value>) -> Read<Value> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("the values are too deep".to_owned());
        }
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn array(&mut self) -> Read<Value> {
        self.expect("[")?;
        let mut all = Vec::new();
        loop {
            self.lines();
            if self.take("]") {
                return Ok(Value::Array(all));
            }
            all.push(self.value()?);
            self.lines();
            if !self.take(",") {
                self.expect("]")?;
                return Ok(Value::Array(all));
            }
        }
    }

    fn inline_table(&mut self) -> Read<Value> {
        self.expect("{")?;
        let mut table = Map::new();
        self.lines();
        while !self.take("}") {
            self.member(&mut table)?;
            self.lines();
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
            self.lines();
        }
        Ok(Value::Object(table))
    }

    /// Numbers, booleans, and what has a time in it.
    fn word(&mut self) -> Read<Value> {
        let word =
            self.take_while(|letter| letter.is_ascii_alphanumeric() || "+-._:".contains(letter));
        let plain = word.replace('_', "");
        let radix =
            |prefix: &str, radix| i64::from_str_radix(plain.strip_prefix(prefix)?, radix).ok();
        let whole = plain.parse().ok().or(radix("0x", 16)).or(radix("0o", 8)).or(radix("0b", 2));
        match word {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            "" => Err("a value is missing".to_owned()),
            _ if whole.is_some() => Ok(Value::from(whole)),
            _ if word.contains(':') || word.matches('-').count() == 2 => Ok(Value::from(word)),
            _ => match plain.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::from(number)),
                _ => Err(format!("{word:?} is no value")),
            },
        }
    }

    fn string(&mut self) -> Read<String> {
        for (quote, is_literal) in [("\"\"\"", false), ("'''", true)] {
            if self.take(quote) {
                // A line end right behind the quote is not part of it.
                let _ = self.take("\r\n") || self.take("\n");
                return self.string_until(quote, is_literal, true);
            }
        }
        match self.take("'") {
            true => self.string_until("'", true, false),
            false => {
                self.expect("\"")?;
                self.string_until("\"", false, false)
            }
        }
    }

    fn string_until(&mut self, quote: &str, is_literal: bool, has_lines: bool) -> Read<String> {
        let mut made = String::new();
        loop {
            if self.take(quote) {
                // Up to two quotes may stand before the closing ones.
                while has_lines && self.rest().starts_with(&quote[..1]) && self.take(&quote[..1]) {
                    made.push_str(&quote[..1]);
                }
                return Ok(made);
            }
            let Some(letter) = self.peek() else { return Err("a text does not end".to_owned()) };
            if letter == '\n' && !has_lines {
                return Err("a text does not end on its line".to_owned());
            }
            self.at += letter.len_utf8();
            match letter {
                '\\' if !is_literal => self.escape(&mut made)?,
                letter => made.push(letter),
            }
        }
    }

    fn escape(&mut self, made: &mut String) -> Read<()> {
        let Some(letter) = self.peek() else { return Err("a text does not end".to_owned()) };
        self.at += letter.len_utf8();
        let plain = match letter {
            'b' => '\u{8}',
            't' => '\t',
            'n' => '\n',
            'f' => '\u{c}',
            'r' => '\r',
            'e' => '\u{1b}',
            '"' | '\\' => letter,
            ' ' | '\t' | '\r' | '\n' => {
                self.take_while(|letter| matches!(letter, ' ' | '\t' | '\r' | '\n'));
                return Ok(());
            }
            'u' => self.code(4)?,
            'U' => self.code(8)?,
            _ => return Err(format!("\\{letter} is no escape")),
        };
        made.push(plain);
        Ok(())
    }

    /// The character of so many hexadecimal digits.
    fn code(&mut self, digits: usize) -> Read<char> {
        let code = self.rest().get(..digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let letter = code.and_then(char::from_u32).ok_or("an escape names no character")?;
        self.at += digits;
        Ok(letter)
    }
}

/// The table at a path, made where it is missing; of a list of tables its last one.
fn table_at<'t>(
    root: &'t mut Map<String, Value>,
    path: &[String],
) -> Read<&'t mut Map<String, Value>> {
    let mut table = root;
    for key in path {
        let next = table.entry(key.as_str()).or_insert_with(|| Value::Object(Map::new()));
        let next = match next {
            Value::Array(list) => list.last_mut(),
            other => Some(other),
        };
        table = next
            .and_then(Value::as_object_mut)
            .ok_or_else(|| format!("{key:?} is a value already, and no table"))?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_those_of_json() {
        let text = r##"
# a comment
model = "o3" # behind a value
"quoted key" = 'C:\no\escapes'
numbers = [1, -2, 0x1F, 1_000, 2.5, 1e3,
  true, # within
]
when = 2026-01-02T03:04:05Z
text = """
first \
    second
"third" \u00e4"""
[mcp_servers.docs]
command = "npx"
args = ["-y", "docs"]
env = { "API_KEY" = "k", deep.er = 1 }
[mcp_servers.docs.http_headers]
X-A = "b"
[[profiles]]
name = "a"
[[profiles]]
name = "b"
"##;
        let expect = json!({
            "model": "o3",
            "quoted key": "C:\\no\\escapes",
            "numbers": [1, -2, 31, 1000, 2.5, 1000.0, true],
            "when": "2026-01-02T03:04:05Z",
            "text": "first second\n\"third\" \u{e4}",
            "mcp_servers": {"docs": {
                "command": "npx",
                "args": ["-y", "docs"],
                "env": {"API_KEY": "k", "deep": {"er": 1}},
                "http_headers": {"X-A": "b"},
            }},
            "profiles": [{"name": "a"}, {"name": "b"}],
        });
        assert_eq!(parse(text).unwrap(), expect);
        assert_eq!(parse(&text.replace('\n', "\r\n")).unwrap()["model"], "o3");
        assert_eq!(parse("").unwrap(), json!({}));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, word) in [
            ("a = 1\nb", "line 2: expected \"=\""),
            ("a = 1\na = 2", "\"a\" is there twice"),
            ("a = 1\n[a.b]", "\"a\" is a value already"),
            ("a = \"x\n", "does not end on its line"),
            ("a = '''x", "does not end"),
            ("a = nan", "is no value"),
            ("a =", "a value is missing"),
            ("a = 1 2", "something behind"),
            ("= 1", "a key is missing"),
            ("a = \"\\q\"", "no escape"),
            ("a = \"\\ud800\"", "names no character"),
            ("a = [1", "expected \"]\""),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(word), "{text:?}: {why}");
        }
        let deep = format!("a = {}", "[".repeat(100_000));
        assert!(parse(&deep).unwrap_err().contains("too deep"));
        let path = vec!["a"; 1000].join(".");
        assert!(parse(&format!("[{path}]")).unwrap_err().contains("too deep"));
    }
}
