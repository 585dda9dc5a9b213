//! What a message is, at a glance: its method, what that names, and whether it is an error. For
//! metrics, logs and traces, which must cost nearly nothing. Only the beginning of a message is
//! read, up to the member that is looked for; nothing is judged, and what cannot be read is unknown.
//!
//! Names and methods count as they are meant, not as they are written: `"tools\/call"`, as PHP writes it, is
//! a call, and no client hides what it does from the audit log by an escape.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

/// The methods that metrics tell apart, by the names of their labels. A client may send any other.
const METHODS: [&str; 27] = [
    "tools/call",
    "tools/list",
    "initialize",
    "ping",
    "resources/read",
    "resources/list",
    "resources/templates/list",
    "resources/subscribe",
    "resources/unsubscribe",
    "prompts/get",
    "prompts/list",
    "completion/complete",
    "logging/setLevel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/cancel",
    "tasks/update",
    "server/discover",
    "subscriptions/listen",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/roots/list_changed",
    RESPONSE,
    BATCH,
    OTHER,
];
const RESPONSE: &str = "response";
const BATCH: &str = "batch";
const OTHER: &str = "other";

/// Bytes that are shown of the name of a tool, prompt or resource.
const MAX_TARGET: usize = 1024;
/// Deepest nesting that is followed.
const DEEPEST: usize = 128;

/// The method of a message, or what it is without one. One of a fixed number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodLabel(u8);

impl MethodLabel {
    /// How many there are.
    pub const COUNT: usize = METHODS.len();

    /// All of them, in the order of [`Self::index`].
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).filter_map(|index| u8::try_from(index).ok().map(Self))
    }

    /// The method with this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::of_bytes(name.as_bytes())
    }

    fn of_bytes(name: &[u8]) -> Self {
        let found = METHODS.iter().position(|known| known.as_bytes() == name);
        Self(found.and_then(|index| u8::try_from(index).ok()).unwrap_or(METHODS.len() as u8 - 1))
    }

    /// The method of a message.
    #[must_use]
    pub fn of(message: &[u8]) -> Self {
        let message = message.trim_ascii_start();
        if let Some(name) = behind_id(message).and_then(|rest| rest.strip_prefix(b"\"method\":")) {
            return Self::of_bytes(&string(name).unwrap_or_default());
        }
        if message.first() == Some(&b'[') {
            return Self::named(BATCH);
        }
        let mut is_answer = false;
        for (name, value) in Members::of(message) {
            match &*name {
                b"method" => return Self::of_bytes(&string(value).unwrap_or_default()),
                b"result" | b"error" => is_answer = true,
                _ => {}
            }
        }
        Self::named(if is_answer { RESPONSE } else { OTHER })
    }

    /// Its number, below [`Self::COUNT`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0.into()
    }

    /// The label of metrics, and the word of logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        METHODS.get(self.index()).copied().unwrap_or(OTHER)
    }

    /// Whether it is a batch.
    #[must_use]
    pub fn is_batch(self) -> bool {
        self.as_str() == BATCH
    }

    /// Whether it is a request for a tool.
    #[must_use]
    pub fn is_tool_call(self) -> bool {
        self.0 == 0
    }
}

/// The parameters of a request that begins as most do, and all that follows them.
#[must_use]
pub fn params_of_usual(message: &[u8]) -> Option<&[u8]> {
    let method = behind_id(message)?.strip_prefix(b"\"method\":")?;
    method.get(whole_string(method)?..)?.strip_prefix(b",\"params\":")
}

/// What the parameters of a request with this method name: the tool, the prompt, or the resource. `None`
/// if that is nothing, or cannot be read. Of a member that comes twice the last counts, as with the parsers
/// of most servers.
#[must_use]
pub fn target(method: MethodLabel, message: &[u8]) -> Option<String> {
    let named_by = named_by(method)?;
    if let Some(params) = params_of_usual(message)
        && let Some(name) = params.strip_prefix(b"{\"name\":")
        && named_by == ["name"]
        && !may_come_again(name)
    {
        return plain_text(name);
    }
    let params = Members::of(message.trim_ascii_start()).find(|(name, _)| &**name == b"params")?.1;
    let found = Members::of(params)
        .filter(|(name, _)| named_by.iter().any(|known| known.as_bytes() == &**name))
        .last();
    plain_text(found?.1)
}

/// What a log shows of a target, which a resource may have as long as its client likes.
#[must_use]
pub fn shown_target(mut target: String) -> String {
    if target.len() > MAX_TARGET {
        target.truncate(target.floor_char_boundary(MAX_TARGET));
        target.push('…');
    }
    target
}

/// The members of the parameters that name what a request with this method is about. `None` if none does.
fn named_by(method: MethodLabel) -> Option<&'static [&'static str]> {
    match method.as_str() {
        "tools/call" | "prompts/get" => Some(&["name"]),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => Some(&["uri"]),
        // Of methods that are not known: whatever they name.
        OTHER => Some(&["name", "uri"]),
        _ => None,
    }
}

/// Whether the rest of a message may have the member `name` again, perhaps with escapes.
fn may_come_again(rest: &[u8]) -> bool {
    static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"name\""));
    // Most texts have no escape at all, which is found out without preparations.
    let has_escape = || memchr::memchr(b'\\', rest).is_some();
    NAME.find(rest).is_some() || has_escape() && memmem::find(rest, b"\\u").is_some()
}

/// The string that the text begins with, without its escapes.
fn plain_text(text: &[u8]) -> Option<String> {
    let whole = text.get(..whole_string(text)?)?;
    let inside = whole.get(1..whole.len() - 1)?;
    if inside.iter().all(|byte| matches!(byte, b' '..=b'~' if *byte != b'\\')) {
        return String::from_utf8(inside.to_vec()).ok();
    }
    serde_json::from_slice(whole).ok()
}

/// What a message of a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// An answer with a result.
    Result,
    /// A JSON-RPC error with its code; 0 if that cannot be read.
    Error(i64),
    /// No answer, or one whose beginning does not show it.
    Other,
}

/// Looks at the beginning of a server's message.
#[must_use]
pub fn said(message: &[u8]) -> Said {
    let message = message.trim_ascii_start();
    if begins_with_result(message) {
        return Said::Result;
    }
    for (name, value) in Members::of(message) {
        match &*name {
            b"result" => return Said::Result,
            b"error" => return Said::Error(code(value)),
            b"method" => return Said::Other,
            _ => {}
        }
    }
    Said::Other
}

/// Whether an answer without white space before it has its result where nearly all servers write it:
/// first, or behind the id.
#[must_use]
pub fn begins_with_result(answer: &[u8]) -> bool {
    const RESULT: &[u8] = b"\"result\":";
    let after = |object: &[u8]| object.starts_with(RESULT);
    answer.strip_prefix(b"{").is_some_and(after) || behind_id(answer).is_some_and(after)
}

/// What stands behind the id of a message that begins as most do.
fn behind_id(message: &[u8]) -> Option<&[u8]> {
    let id = message.strip_prefix(b"{\"jsonrpc\":\"2.0\",\"id\":")?;
    let end = match id.first()? {
        b'0'..=b'9' | b'-' => id.iter().position(|byte| *byte == b',')?,
        _ => whole_string(id)?,
    };
    id.get(end..)?.strip_prefix(b",")
}

/// Whether the text has the member by which a tool's result says that it is an error. It may stand
/// in the tool's own structured content, too.
#[must_use]
pub fn says_tool_error(text: &[u8]) -> bool {
    static MEMBER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"isError\""));
    let mut rest = text;
    while let Some(at) = MEMBER.find(rest) {
        rest = rest.get(at + 9..).unwrap_or_default();
        let value = rest.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        if value.is_some_and(|value| value.starts_with(b"true")) {
            return true;
        }
    }
    false
}

fn code(error: &[u8]) -> i64 {
    let code = Members::of(error).find(|(name, _)| &**name == b"code").map(|(_, value)| value);
    let Some(code) = code else { return 0 };
    let end = code.iter().position(|byte| !matches!(byte, b'-' | b'0'..=b'9'));
    let digits = code.get(..end.unwrap_or(code.len())).unwrap_or_default();
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// The members of an object: each name without its escapes, and the text from its value on. Ends where
/// the text does, or is no JSON.
struct Members<'a> {
    /// From the last value on, or from before the first name.
    rest: &'a [u8],
    is_first: bool,
}

impl<'a> Members<'a> {
    fn of(object: &'a [u8]) -> Self {
        let inside = object.strip_prefix(b"{").unwrap_or_default();
        Self { rest: inside, is_first: true }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, [u8]>, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = self.rest;
        if !std::mem::take(&mut self.is_first) {
            rest = rest.get(value_end(rest)?..)?.trim_ascii_start().strip_prefix(b",")?;
        }
        rest = rest.trim_ascii_start();
        let end = whole_string(rest)?;
        let name = string(rest)?;
        let value = rest.get(end..)?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        self.rest = value;
        Some((name, value))
    }
}

/// The characters of the string that the text begins with, without their escapes.
fn string(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let whole = text.get(..whole_string(text)?)?;
    let inside = whole.get(1..whole.len() - 1)?;
    if memchr::memchr(b'\\', inside).is_none() {
        return Some(Cow::Borrowed(inside));
    }
    let meant: String = serde_json::from_slice(whole).ok()?;
    Some(Cow::Owned(meant.into_bytes()))
}

/// The length of the string that the text begins with, with its quotes.
fn whole_string(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        let next = at + memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(next) == Some(&b'"') {
            return Some(next + 1);
        }
        at = next + 2;
    }
}

/// The length of the value that the text begins with.
fn value_end(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'"' => whole_string(text),
        b'{' | b'[' => {
            let (mut at, mut depth) = (0, 0);
            loop {
                match text.get(at)? {
                    b'"' => {
                        at += whole_string(text.get(at..)?)?;
                        continue;
                    }
                    b'{' | b'[' if depth < DEEPEST => depth += 1,
                    b'{' | b'[' => return None,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => text.iter().position(|byte| matches!(byte, b',' | b'}' | b']')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_method_is_found_wherever_it_stands() {
        for (message, expect) in [
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#, "tools/call"),
            (r#"{"params":{"method":"x","a":["}",{}]},"method" : "ping"}"#, "ping"),
            ("\n { \"id\" : \"a\\\"\", \"method\":\"tasks/get\"", "tasks/get"),
            (r#"{"method":"notifications/progress"}"#, "notifications/progress"),
            (r#"{"method":"made/up"}"#, "other"),
            (r#"{"method":7}"#, "other"),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"method":"ping"}}"#, "response"),
            (r#"[{"method":"ping"}]"#, "batch"),
            (r#"{"id":1"#, "other"),
            (r#"{"a":"#, "other"),
            ("", "other"),
            ("nonsense", "other"),
        ] {
            assert_eq!(MethodLabel::of(message.as_bytes()).as_str(), expect, "{message}");
        }
        assert_eq!(MethodLabel::all().count(), MethodLabel::COUNT);
        assert!(MethodLabel::named("tools/call").is_tool_call());
    }

    #[test]
    fn an_escape_hides_no_method() {
        for message in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools\/call","params":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tool\u0073/call","params":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"meth\u006fd":"tools/call","params":{}}"#,
            r#"{"id":1,"params":{"a":"\\"},"method" : "tools\/call"}"#,
        ] {
            assert_eq!(MethodLabel::of(message.as_bytes()).as_str(), "tools/call", "{message}");
        }
        // What is no text is no method, and ends nothing.
        let wrong = br#"{"jsonrpc":"2.0","id":1,"method":"\x"}"#;
        assert_eq!(MethodLabel::of(wrong).as_str(), "other");
    }

    #[test]
    fn what_a_request_names_is_read_as_its_server_reads_it() {
        let tool = MethodLabel::named("tools/call");
        let read = MethodLabel::named("resources/read");
        for (method, message, expect) in [
            (
                tool,
                r#"{"method":"tools/call","params":{"name":"a\u00e9\"","arguments":{}}}"#,
                Some("aé\""),
            ),
            (
                tool,
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{}}}"#,
                Some("a"),
            ),
            (
                tool,
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"name":"b"}}}"#,
                Some("a"),
            ),
            // The last one counts, however it is written.
            (
                tool,
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
                Some("b"),
            ),
            (
                tool,
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","n\u0061me":"b"}}"#,
                Some("b"),
            ),
            (tool, r#"{"params":{"n\u0061me":"a"}}"#, Some("a")),
            (tool, r#"{"par\u0061ms":{"name":"a"}}"#, Some("a")),
            // What another method would name is nothing to this one.
            (tool, r#"{"params":{"uri":"x","name":"a"}}"#, Some("a")),
            (read, r#"{"params":{"name":"x","uri":"a:b"}}"#, Some("a:b")),
            (read, r#"{"params":{"_meta":{"uri":"no"},"uri":"file:///a"}}"#, Some("file:///a")),
            (tool, r#"{"params":{"arguments":{"name":"no"}}}"#, None),
            (tool, r#"{"params":{"name":7}}"#, None),
            (tool, r#"{"params":{"name":"cut"#, None),
            (tool, r#"{"name":"no"}"#, None),
            (MethodLabel::named("tools/list"), r#"{"params":{"name":"no"}}"#, None),
            (MethodLabel::named("x/y"), r#"{"params":{"uri":"a"}}"#, Some("a")),
        ] {
            assert_eq!(target(method, message.as_bytes()).as_deref(), expect, "{message}");
        }
    }

    #[test]
    fn a_long_target_is_shown_in_part() {
        assert_eq!(shown_target("a".to_owned()), "a");
        let shown = shown_target("é".repeat(MAX_TARGET));
        assert!(shown.ends_with("é…") && shown.len() <= MAX_TARGET + 3, "{}", shown.len());
    }

    #[test]
    fn an_error_is_told_from_a_result() {
        for (message, expect) in [
            (r#"{"jsonrpc":"2.0","id":1,"result":{"error":1}}"#, Said::Result),
            (
                r#"{"jsonrpc":"2.0","id":1,"error":{"message":"a","code":-32602}}"#,
                Said::Error(-32602),
            ),
            (r#"{"error":{"code":"x"},"id":1}"#, Said::Error(0)),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"te"#, Said::Result),
            (r#"{"jsonrpc":"2.0","method":"notifications/message"}"#, Said::Other),
            (r#"{"jsonrpc":"2.0","id"#, Said::Other),
        ] {
            assert_eq!(said(message.as_bytes()), expect, "{message}");
        }
    }

    #[test]
    fn a_tools_error_is_seen_and_a_text_about_one_is_not() {
        assert!(says_tool_error(br#"{"result":{"content":[],"isError":true}}"#));
        assert!(says_tool_error(br#"{"isError":false,"x":{"isError" : true}}"#));
        assert!(!says_tool_error(br#"{"isError":false}"#));
        assert!(!says_tool_error(br#"{"text":"\"isError\":true"}"#));
    }

    #[test]
    fn nothing_that_is_cut_or_deep_is_read_too_far() {
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        assert_eq!(MethodLabel::of(deep.as_bytes()).as_str(), "other");
        let whole = br#"{"params":{"name":"a"},"error":{"code":-1},"method":"ping"}"#;
        for end in 0..whole.len() {
            let part = &whole[..end];
            let tool = MethodLabel::named("tools/call");
            let _ = (MethodLabel::of(part), target(tool, part), said(part), says_tool_error(part));
        }
    }
}
