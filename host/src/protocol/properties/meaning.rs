//! Checks that a message which is judged has one meaning: strict and lenient readers, which take the
//! first or the last of two members, compare names without regard to case or underscores, or end
//! strings at a NUL,
//! all see what the gateway sees. So does who splits what is written at any line break there is.
//!
//! The readers here share no code with the gateway's.

use bytes::BytesMut;
use serde_json::value::RawValue;

use super::super::jsonrpc::{self, Envelope, Kind};
use super::super::splice::{self, RequestTarget};
use super::super::strict::StrictParams;

/// A name that needs escapes.
const OTHER_NAME: &str = "new \"name\"\u{2028}\u{1f600}\n";
/// The number of a request at a server that sessions share.
const NUMBER: &str = "4711";
/// Nested deeper than this, a text is not read by the readers here, nor by many servers.
const DEEPEST: usize = 300;

/// Takes the bytes as one message of a client.
pub fn hold(input: &[u8]) {
    let Ok(envelope) = Envelope::parse_strictly(input) else { return };
    let read = Tree::read(input);
    let Some(tree) = read else { return };
    for reader in READERS {
        let (seen, ours) = (Seen::by(reader, &tree), Seen::ours(&envelope));
        assert_eq!(seen.envelope, ours.envelope, "{reader:?}");
        if let Ok(params) = StrictParams::of(envelope.params) {
            assert_eq!(seen.params, Seen::of_params(&params), "{reader:?}");
        }
    }
    is_one_line(input, &tree);
    if let Ok(params) = StrictParams::of(envelope.params) {
        stays_clear_when_spliced(input, &envelope, &params);
    }
    if let Ok(Some(_)) = jsonrpc::batch(input) {
        panic!("a message, and a batch too");
    }
}

/// What decides about a message, as one reader sees it.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// Kind, method and id.
    envelope: (Option<Kind>, Option<Tree>, Option<Tree>),
    /// The members of `params`, of its `ref`, and the token in `_meta`.
    params: Vec<(&'static str, Option<Tree>)>,
}

const NAMES: [&str; 10] = [
    "name",
    "uri",
    "arguments",
    "task",
    "taskId",
    "level",
    "cursor",
    "requestId",
    "progressToken",
    "type",
];

impl Seen {
    fn by(reader: &Reader, message: &Tree) -> Self {
        let member = |name| reader.member(message, name);
        let (method, id) = (member("method"), member("id"));
        let answers = member("result").is_some() || member("error").is_some();
        let kind = match (&method, &id, answers) {
            (Some(_), Some(_), false) => Some(Kind::Request),
            (Some(_), None, false) => Some(Kind::Notification),
            (None, _, true) => Some(Kind::Response),
            _ => None,
        };
        let absent = Tree::Null;
        let params = member("params").unwrap_or(&absent);
        let of = |object: &Tree, name| reader.member(object, name).cloned();
        let nested = of(params, "ref").unwrap_or(Tree::Null);
        let meta = of(params, "_meta").unwrap_or(Tree::Null);
        let mut seen: Vec<_> = NAMES.into_iter().map(|name| (name, of(params, name))).collect();
        seen.extend(["type", "name", "uri"].map(|name| (name, of(&nested, name))));
        let token = of(&meta, "progressToken").filter(|token| *token != Tree::Null);
        seen.push(("token", token));
        Self { envelope: (kind, method.cloned(), id.cloned()), params: seen }
    }

    fn ours(envelope: &Envelope<'_>) -> Self {
        let method = envelope.method.as_deref().map(|method| Tree::Text(method.to_owned()));
        Self {
            envelope: (Some(envelope.kind()), method, envelope.id.and_then(tree_of)),
            params: Vec::new(),
        }
    }

    fn of_params(params: &StrictParams<'_>) -> Vec<(&'static str, Option<Tree>)> {
        let target = &params.target;
        let values = [
            target.name,
            target.uri,
            target.arguments,
            target.task,
            target.task_id,
            target.level,
            target.cursor,
            target.request_id,
            target.progress_token,
            target.kind,
        ];
        let nested: RequestTarget<'_> = params.reference.unwrap_or_default();
        let mut seen: Vec<_> =
            NAMES.into_iter().zip(values.map(|value| value.and_then(tree_of))).collect();
        let of_ref = [("type", nested.kind), ("name", nested.name), ("uri", nested.uri)];
        seen.extend(of_ref.map(|(name, value)| (name, value.and_then(tree_of))));
        seen.push(("token", params.progress_token.and_then(tree_of)));
        seen
    }
}

/// However a reader splits what is written to a server, it gets this message and no other.
fn is_one_line(input: &[u8], tree: &Tree) {
    let mut written = BytesMut::new();
    splice::push_line(&mut written, input);
    let Some((b'\n', line)) = written.split_last() else { panic!("no line") };
    let Ok(line) = std::str::from_utf8(line) else { panic!("no text any more") };
    let ends =
        |c| matches!(c, '\n'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    assert!(!line.contains(ends), "{line:?}");
    assert_eq!(Tree::read(line.as_bytes()).as_ref(), Some(tree), "{line:?}");
}

/// What goes on to a server with another name or number in it is as clear as before, and only that
/// has changed.
fn stays_clear_when_spliced(input: &[u8], envelope: &Envelope<'_>, params: &StrictParams<'_>) {
    let nested = params.reference.unwrap_or_default();
    let target = &params.target;
    let name = splice::quoted(OTHER_NAME);
    let named = [target.name, target.uri, target.task_id, nested.name, nested.uri];
    let numbered = [envelope.id, params.progress_token, target.request_id];
    let named = named.into_iter().flatten().map(|value| (value, name.as_str()));
    let numbered = numbered.into_iter().flatten().map(|value| (value, NUMBER));
    for (value, by) in named.chain(numbered) {
        let Some(span) = splice::span(input, value) else { panic!("a value outside its text") };
        let sent = splice::replace(input, span, by.as_bytes());
        let Ok(again) = Envelope::parse_strictly(&sent) else { panic!("unclear now: {sent:?}") };
        let Ok(params) = StrictParams::of(again.params) else { panic!("unclear now: {sent:?}") };
        let Some(tree) = Tree::read(&sent) else { panic!("no JSON any more: {sent:?}") };
        let by = Tree::read(by.as_bytes());
        let ours = Seen::of_params(&params);
        let id = again.id.and_then(tree_of);
        assert!(id == by || ours.iter().any(|(_, seen)| *seen == by), "{sent:?}");
        for reader in READERS {
            let seen = Seen::by(reader, &tree);
            assert_eq!(seen.envelope, Seen::ours(&again).envelope, "{reader:?}");
            assert_eq!(seen.params, ours, "{reader:?}");
        }
    }
}

/// How a reader finds a member.
#[derive(Debug)]
struct Reader {
    takes_last: bool,
    folds_case: bool,
    ends_at_nul: bool,
    /// Knows members by names in `camelCase` and in `snake_case`.
    drops_underscores: bool,
}

const READERS: &[Reader] = &[
    Reader { takes_last: false, folds_case: false, ends_at_nul: false, drops_underscores: false },
    Reader { takes_last: true, folds_case: false, ends_at_nul: false, drops_underscores: false },
    Reader { takes_last: false, folds_case: true, ends_at_nul: false, drops_underscores: false },
    Reader { takes_last: true, folds_case: true, ends_at_nul: false, drops_underscores: false },
    Reader { takes_last: false, folds_case: false, ends_at_nul: true, drops_underscores: false },
    Reader { takes_last: true, folds_case: true, ends_at_nul: true, drops_underscores: false },
    Reader { takes_last: true, folds_case: false, ends_at_nul: false, drops_underscores: true },
    Reader { takes_last: false, folds_case: true, ends_at_nul: true, drops_underscores: true },
];

impl Reader {
    fn member<'a>(&self, of: &'a Tree, name: &str) -> Option<&'a Tree> {
        let Tree::Object(members) = of else { return None };
        let mut found =
            members.iter().filter(|(key, _)| self.is(key, name)).map(|(_, value)| value);
        if self.takes_last { found.next_back() } else { found.next() }
    }

    fn is(&self, key: &str, name: &str) -> bool {
        let mut key: Vec<char> = key.chars().collect();
        if self.ends_at_nul {
            key.truncate(key.iter().position(|c| *c == '\0').unwrap_or(key.len()));
        }
        let mut name: Vec<char> = name.chars().collect();
        if self.drops_underscores {
            key.retain(|c| *c != '_');
            name.retain(|c| *c != '_');
        }
        let same = |(a, b): (&char, &char)| *a == *b || (self.folds_case && lower(*a) == lower(*b));
        key.len() == name.len() && key.iter().zip(&name).all(same)
    }
}

/// As Go, Java or .NET compare without regard to case, whichever of them makes more equal.
fn lower(c: char) -> char {
    match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        '\u{130}' | '\u{131}' => 'i',
        c => c.to_ascii_lowercase(),
    }
}

fn tree_of(raw: &RawValue) -> Option<Tree> {
    Tree::read(raw.get().as_bytes())
}

/// JSON with every member of every object.
#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    Text(String),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    /// Reads a text that is known to be JSON. `None` if it is nested too deep.
    fn read(text: &[u8]) -> Option<Self> {
        let mut reading = Reading { text, at: 0 };
        reading.value(0)
    }
}

struct Reading<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reading<'_> {
    fn peek(&mut self) -> u8 {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn take(&mut self) -> u8 {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    fn value(&mut self, depth: usize) -> Option<Tree> {
        if depth > DEEPEST {
            return None;
        }
        match self.peek() {
            b'"' => Some(Tree::Text(self.string())),
            b'{' => {
                self.at += 1;
                let mut members = Vec::new();
                while self.peek() == b'"' {
                    let name = self.string();
                    assert_eq!(self.take(), b':');
                    members.push((name, self.value(depth + 1)?));
                    if self.peek() == b',' {
                        self.at += 1;
                    }
                }
                assert_eq!(self.take(), b'}');
                Some(Tree::Object(members))
            }
            b'[' => {
                self.at += 1;
                let mut values = Vec::new();
                while self.peek() != b']' {
                    values.push(self.value(depth + 1)?);
                    if self.peek() == b',' {
                        self.at += 1;
                    }
                }
                self.at += 1;
                Some(Tree::Array(values))
            }
            _ => Some(self.word()),
        }
    }

    fn word(&mut self) -> Tree {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_part =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let length = rest.iter().take_while(|byte| is_part(byte)).count();
        self.at += length;
        match rest.get(..length).unwrap_or_default() {
            b"null" => Tree::Null,
            b"true" => Tree::Bool(true),
            b"false" => Tree::Bool(false),
            b"" => panic!("no value at {}", self.at),
            number => Tree::Number(String::from_utf8_lossy(number).into_owned()),
        }
    }

    /// Half a surrogate pair becomes U+FFFD.
    fn string(&mut self) -> String {
        self.at += 1;
        let mut units: Vec<u16> = Vec::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            match *rest {
                [b'"', ..] => {
                    self.at += 1;
                    return String::from_utf16_lossy(&units);
                }
                [b'\\', b'u', a, b, c, d, ..] => {
                    let digits = [a, b, c, d];
                    let digits = String::from_utf8_lossy(&digits);
                    units.push(u16::from_str_radix(&digits, 16).unwrap_or(0));
                    self.at += 6;
                }
                [b'\\', escaped, ..] => {
                    units.push(match escaped {
                        b'b' => 8,
                        b'f' => 12,
                        b'n' => 10,
                        b'r' => 13,
                        b't' => 9,
                        other => other.into(),
                    });
                    self.at += 2;
                }
                [first, ..] => {
                    let length = match first {
                        0..0x80 => 1,
                        0xc0..0xe0 => 2,
                        0xe0..0xf0 => 3,
                        _ => 4,
                    };
                    let bytes = rest.get(..length).unwrap_or_default();
                    units.extend(String::from_utf8_lossy(bytes).encode_utf16());
                    self.at += length;
                }
                [] => panic!("a string without end"),
            }
        }
    }
}
