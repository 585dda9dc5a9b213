//! `initialize` and its result, the messages that open a session (2025-11-25, basic/lifecycle).

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::lenient::{self, Members};
use super::members::members;
use super::objects::object_only;
use super::splice;
use super::version::Version;

/// The members of a client's `initialize` parameters that the gateway reads.
#[derive(Debug, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase")]
pub struct InitializeParams<'a> {
    /// The revision that the client asks for, which may be unknown here.
    #[serde(borrow)]
    pub protocol_version: Cow<'a, str>,
    /// As the client wrote them; see [`ClientSet::of`].
    #[serde(borrow, default)]
    pub capabilities: Option<&'a RawValue>,
}
object_only!(InitializeParams<'de>);

/// The members of a server's `InitializeResult` that the gateway reads, each by itself: one that
/// cannot be read takes no other with it.
#[derive(Debug, Default)]
pub struct InitializeResult<'a> {
    /// The revision that the server has chosen. `None` if it names none.
    pub protocol_version: Option<String>,
    /// Advice for the model on how to use the server.
    pub instructions: Option<String>,
    /// What it offers, unless that cannot be read.
    capabilities: Option<Members<'a>>,
}

impl<'a> InitializeResult<'a> {
    /// Reads the members that can be read.
    #[must_use]
    pub fn of(result: &'a [u8]) -> Self {
        let members = Members::of_bytes(result).unwrap_or_default();
        Self {
            protocol_version: members.text("protocolVersion"),
            instructions: members.text("instructions"),
            capabilities: members.object("capabilities"),
        }
    }

    /// Whether the server announces a capability. `None` if its capabilities cannot be read, or are
    /// not there: that is not to say that it has none.
    #[must_use]
    pub fn announces(&self, capability: &str) -> Option<bool> {
        self.capabilities.as_ref().map(|known| known.get(capability).is_some())
    }

    /// Whether the server announces no capability that is known here, as those do whose author has
    /// set none, or has written them otherwise.
    #[must_use]
    pub fn announces_nothing(&self) -> bool {
        let is_known = |name: &&str| self.announces(name) == Some(true);
        self.capabilities.is_some() && !CAPABILITIES.iter().any(is_known)
    }
}

/// The capabilities of servers (2025-11-25, schema, `ServerCapabilities`).
const CAPABILITIES: [&str; 8] = [
    "tools",
    "prompts",
    "resources",
    "logging",
    "completions",
    "tasks",
    "experimental",
    "extensions",
];

/// Bytes of the longest revision that a session keeps, if it is not known here.
pub const MAX_NAMED: usize = 32;

/// The client capabilities that change what servers offer, as a set of bits. Two clients with
/// the same set see the same catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ClientSet {
    bits: u8,
    /// A digest of the client's `extensions`; 0 without any. Their text is kept where it is needed.
    extensions: u64,
}

/// Bytes of the longest `extensions` that are told apart; clients with longer ones are seen as
/// clients without.
const MAX_EXTENSIONS: usize = 1024;

/// The `extensions` of a client's capabilities: objects by name, such as that of MCP Apps, on which
/// a server's offer may depend. Equal ones have one text, whatever their order was.
#[must_use]
pub fn extensions_of(capabilities: Option<&RawValue>) -> Option<String> {
    let raw = Members::of(capabilities?.get())?.get("extensions")?;
    if raw.get().len() > MAX_EXTENSIONS {
        return None;
    }
    let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(raw.get()).ok()?;
    (!read.is_empty()).then(|| sorted(serde_json::Value::Object(read)).to_string())
}

/// The capabilities of a client without a session, as it declares them for a session: equal ones have
/// one text; `null` declares nothing, and tasks are left out, which are others there. `None` if they are
/// no object.
#[must_use]
pub fn legacy_capabilities(declared: &str) -> Option<String> {
    let mut read: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(declared).ok()?;
    read.shift_remove("tasks");
    read.retain(|_, declared| !declared.is_null());
    if let Some(extensions) = read.get_mut("extensions").and_then(|all| all.as_object_mut()) {
        extensions.shift_remove(crate::protocol::era::tasks::EXTENSION);
        // Whether a client takes tasks goes with each request, of one conversation.
        if extensions.is_empty() {
            read.shift_remove("extensions");
        }
    }
    Some(sorted(serde_json::Value::Object(read)).to_string())
}

fn sorted(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<String, Value> =
                members.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

impl ClientSet {
    const ROOTS: u8 = 1;
    const SAMPLING: u8 = 2;
    const ELICITATION: u8 = 4;
    const ELICITATION_URL: u8 = 8;
    const TASKS: u8 = 16;

    /// The set in a client's `capabilities`. Empty if they are absent or cannot be read.
    #[must_use]
    pub fn of(capabilities: Option<&RawValue>) -> Self {
        let known = capabilities.and_then(|raw| Members::of(raw.get())).unwrap_or_default();
        let mut bits = 0;
        let mut set = |has: bool, bit: u8| bits |= if has { bit } else { 0 };
        set(known.get("roots").is_some(), Self::ROOTS);
        set(known.get("sampling").is_some(), Self::SAMPLING);
        if known.get("elicitation").is_some() {
            let ways = known.object("elicitation").unwrap_or_default();
            let has_url = ways.get("url").is_some();
            // An empty object means forms (2025-11-25, client/elicitation).
            set(ways.get("form").is_some() || !has_url, Self::ELICITATION);
            set(has_url, Self::ELICITATION_URL);
        }
        set(known.get("tasks").is_some(), Self::TASKS);
        let has_extensions = known.get("extensions").is_some();
        let extensions = has_extensions.then(|| extensions_of(capabilities)).flatten();
        Self { bits, extensions: 0 }.with_extensions(extensions.as_deref())
    }

    /// Whether its clients can be asked anything.
    #[must_use]
    pub fn can_be_asked(self) -> bool {
        self.bits & (Self::ROOTS | Self::SAMPLING | Self::ELICITATION | Self::ELICITATION_URL) != 0
    }

    /// Whether its clients open URLs for their users.
    #[must_use]
    pub fn opens_urls(self) -> bool {
        self.bits & Self::ELICITATION_URL != 0
    }

    /// The set of clients that have these extensions too, as [`extensions_of`] gives them.
    #[must_use]
    pub fn with_extensions(self, extensions: Option<&str>) -> Self {
        let digest = extensions.filter(|text| text.len() <= MAX_EXTENSIONS).map(|text| {
            let hash: [u8; 32] = Sha256::digest(text).into();
            let first = hash.first_chunk::<8>().copied().unwrap_or_default();
            u64::from_be_bytes(first).max(1)
        });
        Self { extensions: digest.unwrap_or(0), ..self }
    }

    /// Whether its clients have extensions.
    #[must_use]
    pub fn has_extensions(self) -> bool {
        self.extensions != 0
    }

    /// The extensions alone.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { bits: 0, ..self }
    }

    /// The set of clients that have the same but for extensions.
    #[must_use]
    pub fn without_extensions(self) -> Self {
        Self { extensions: 0, ..self }
    }

    /// The form in which the set passes the seam: the lowest five bits. The text of its extensions
    /// passes beside them.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// The inverse of [`Self::bits`]; bits without a meaning are dropped.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self { bits: bits & 31, extensions: 0 }
    }

    /// A `capabilities` object that stands for the set, as JSON, with the extensions whose digest it
    /// has.
    #[must_use]
    pub fn to_json(self, extensions: Option<&str>) -> String {
        let mut members = Vec::new();
        let has = |bit: u8| self.bits & bit != 0;
        if has(Self::ROOTS) {
            members.push(r#""roots":{"listChanged":true}"#);
        }
        if has(Self::SAMPLING) {
            members.push(r#""sampling":{}"#);
        }
        match (has(Self::ELICITATION), has(Self::ELICITATION_URL)) {
            (true, true) => members.push(r#""elicitation":{"form":{},"url":{}}"#),
            (true, false) => members.push(r#""elicitation":{}"#),
            (false, true) => members.push(r#""elicitation":{"url":{}}"#),
            (false, false) => {}
        }
        if has(Self::TASKS) {
            members.push(r#""tasks":{}"#);
        }
        let extensions = extensions.map(|text| format!(r#""extensions":{text}"#));
        members.extend(extensions.as_deref());
        format!("{{{}}}", members.join(","))
    }
}

/// The gateway's own `initialize` parameters, for a session with a server that it opens for no
/// single client: to discover the catalog, or to start a shared process.
#[must_use]
pub fn own_params(set: ClientSet, extensions: Option<&str>) -> String {
    format!(
        r#"{{"protocolVersion":"{}","capabilities":{},"clientInfo":{{"name":"mooring","version":"{}"}}}}"#,
        Version::LATEST,
        set.to_json(extensions),
        env!("CARGO_PKG_VERSION")
    )
}

/// A client's `initialize` parameters, which ask for a revision with sessions, known here or not: a
/// server that answers with what it is asked for would grant one in which its session is useless.
/// Whoever asks for none, or for something that is no text, asks for the newest one. `None` if the
/// parameters are no object, or name the revision twice.
#[must_use]
pub fn params_within(params: Bytes) -> Option<Bytes> {
    let sent: Named<'_> = serde_json::from_slice(&params).ok()?;
    let asked = sent.revision.and_then(lenient::text);
    if asked.is_some_and(|asked| Version::may_be_asked_for(&asked)) {
        return Some(params);
    }
    naming(&params, Version::LATEST)
}

/// The parameters, or the result, of `initialize` with this revision. `None` if they are no object, or
/// name the revision twice.
fn naming(text: &Bytes, version: Version) -> Option<Bytes> {
    let named: Named<'_> = serde_json::from_slice(text).ok()?;
    let version = splice::quoted(version.as_str());
    let Some(raw) = named.revision else {
        let whole: &RawValue = serde_json::from_slice(text).ok()?;
        let edit = splice::insertion(text, whole, &format!("\"protocolVersion\":{version}"))?;
        return Some(splice::edit(text, vec![edit]));
    };
    let span = splice::span(text, raw)?;
    Some(splice::replace(text, span, version.as_bytes()))
}

members! {
    /// The revision in the parameters or the result of `initialize`, as it is written.
    struct Named {
        /// A revision.
        revision = "protocolVersion",
    }
}

/// The revision of a new session, and the server's `InitializeResult` for its client.
#[derive(Debug, PartialEq, Eq)]
pub struct Granted {
    /// As the client gets it.
    pub result: Bytes,
    /// The one by which the gateway acts.
    pub version: Version,
    /// What the server has named, if that is none that is known here: its client has to name it too.
    pub named: Option<String>,
}

/// What a server's result grants to a client with these parameters. A later revision than those with
/// sessions is not granted: the client gets the one that it has asked for. So it does if the server names
/// none, since no client takes a result without one.
#[must_use]
pub fn granted(result: Bytes, params: &[u8]) -> Granted {
    let named = InitializeResult::of(&result).protocol_version.filter(|named| !named.is_empty());
    if let Some(named) = named.filter(|named| !Version::is_later(named)) {
        let version = Version::at_or_before(&named);
        let is_known = version.as_str() == named;
        let named = (!is_known && named.len() <= MAX_NAMED).then_some(named);
        return Granted { result, version, named };
    }
    let asked = Members::of_bytes(params).and_then(|params| params.text("protocolVersion"));
    let version = asked.map_or(Version::LATEST, |asked| Version::negotiate(&asked));
    // Of two, most readers take the last one.
    let last = || {
        let raw = Members::of_bytes(&result)?.get("protocolVersion")?;
        let span = splice::span(&result, raw)?;
        Some(splice::replace(&result, span, splice::quoted(version.as_str()).as_bytes()))
    };
    let named = naming(&result, version).or_else(last);
    Granted { result: named.unwrap_or_else(|| result.clone()), version, named: None }
}

/// A server's `InitializeResult` for one of several clients that share it: `protocolVersion`
/// becomes the revision that the client asked for, and every other byte stays as it is.
///
/// The revision is never newer than the server's, since the client would use what the server
/// does not know; such a client is offered "another protocol version" that is supported
/// (2025-11-25, basic/lifecycle, "Version Negotiation"). An older one is granted: revisions add
/// to each other, and clients ignore what they do not know. A server's revision that is
/// unknown here stays as it is.
#[must_use]
pub fn result_for(result: &Bytes, requested: &str) -> Bytes {
    let rewritten = || {
        let raw = Members::of_bytes(result)?.get("protocolVersion")?;
        let spoken = Version::parse(&lenient::text(raw)?)?;
        let granted = Version::negotiate(requested).min(spoken);
        let span = splice::span(result, raw).filter(|_| granted != spoken)?;
        Some(splice::replace(result, span, splice::quoted(granted.as_str()).as_bytes()))
    };
    rewritten().unwrap_or_else(|| result.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_capabilities_have_one_text_whatever_their_order() {
        let one =
            legacy_capabilities(r#"{"sampling":{},"elicitation":{"url":{},"form":{}},"tasks":{}}"#);
        let other =
            legacy_capabilities(r#"{ "elicitation":{"form":{}, "url":{}}, "sampling":{} }"#);
        assert_eq!(one, other);
        assert_eq!(one.as_deref(), Some(r#"{"elicitation":{"form":{},"url":{}},"sampling":{}}"#));
        let extensions = r#"{"extensions":{"io.modelcontextprotocol/tasks":{},"a/b":{}}}"#;
        assert_eq!(legacy_capabilities(extensions).unwrap(), r#"{"extensions":{"a/b":{}}}"#);
        let tasks = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
        assert_eq!(legacy_capabilities(tasks), legacy_capabilities("{}"));
        let unset = r#"{"elicitation":null,"sampling":null}"#;
        assert_eq!(legacy_capabilities(unset), legacy_capabilities("{}"), "null declares nothing");
        assert_eq!(legacy_capabilities("[]"), None);
    }

    #[test]
    fn no_later_revision_than_those_with_sessions_is_asked_for_or_granted() {
        let text = |version: &str| format!(r#"{{ "protocolVersion" : "{version}","x":1e400 }}"#);
        for (asked, sent) in [
            ("2026-07-28", "2025-11-25"),
            ("DRAFT-2026-v1", "2025-11-25"),
            ("2025-11-25", "2025-11-25"),
            ("2024-10-07", "2024-10-07"),
            ("1.0", "2025-11-25"),
            ("", "2025-11-25"),
        ] {
            assert_eq!(params_within(text(asked).into()).unwrap(), text(sent), "{asked}");
        }
        for (sent, expect) in [
            ("{}", r#"{"protocolVersion":"2025-11-25"}"#),
            (r#"{"x":1e400}"#, r#"{"protocolVersion":"2025-11-25","x":1e400}"#),
            (r#"{"protocolVersion":null}"#, r#"{"protocolVersion":"2025-11-25"}"#),
            (r#"{"protocolVersion":20250618,"x":1}"#, r#"{"protocolVersion":"2025-11-25","x":1}"#),
            (r#"{"protocolVersion":["2025-06-18"]}"#, r#"{"protocolVersion":"2025-11-25"}"#),
            (r#"{"protocolVersion":"\ud800"}"#, r#"{"protocolVersion":"2025-11-25"}"#),
        ] {
            assert_eq!(params_within(Bytes::from_static(sent.as_bytes())).unwrap(), expect);
        }
        for sent in ["null", "[]", "7", r#"["2025-11-25"]"#] {
            assert_eq!(params_within(Bytes::from_static(sent.as_bytes())), None, "{sent}");
        }
        let twice = r#"{"protocolVersion":"2025-11-25","protocolVersion":"2025-06-18"}"#;
        assert_eq!(params_within(Bytes::from_static(twice.as_bytes())), None);
        for (spoken, asked, result, version, named) in [
            ("2025-06-18", "2025-11-25", "2025-06-18", Version::V2025_06_18, None),
            ("2024-10-07", "2025-11-25", "2024-10-07", Version::V2024_11_05, Some("2024-10-07")),
            ("2025-04-01", "2025-11-25", "2025-04-01", Version::V2025_03_26, Some("2025-04-01")),
            ("2030-01-01", "2025-06-18", "2025-06-18", Version::V2025_06_18, None),
            ("2026-07-28", "1999-01-01", "2025-11-25", Version::LATEST, None),
        ] {
            let got = granted(text(spoken).into(), text(asked).as_bytes());
            let named = named.map(str::to_owned);
            assert_eq!(got, Granted { result: text(result).into(), version, named }, "{spoken}");
        }
        for unnamed in [
            "{\"x\":1e400}",
            r#"{"protocolVersion":null,"x":1e400}"#,
            r#"{"protocolVersion":7,"x":1e400}"#,
            r#"{"protocolVersion":"","x":1e400}"#,
        ] {
            let got = granted(unnamed.into(), text("2025-03-26").as_bytes());
            let result = r#"{"protocolVersion":"2025-03-26","x":1e400}"#.into();
            let version = Version::V2025_03_26;
            assert_eq!(got, Granted { result, version, named: None }, "{unnamed}");
        }
    }

    #[test]
    fn a_client_gets_the_revision_it_asks_for_but_none_newer_than_the_servers() {
        let check = |spoken: &str, requested: &str, expect: &str| {
            let result = |version: &str| {
                format!(r#"{{ "x":1.0,"protocolVersion" : "{version}","capabilities":{{}} }}"#)
            };
            let got = result_for(&Bytes::from(result(spoken)), requested);
            assert_eq!(got, result(expect), "{spoken} {requested}");
        };
        check("2025-11-25", "2025-06-18", "2025-06-18");
        check("2025-11-25", "2024-11-05", "2024-11-05");
        check("2025-03-26", "2025-11-25", "2025-03-26");
        check("2025-06-18", "1999-01-01", "2025-06-18");
        check("2030-01-01", "2025-06-18", "2030-01-01");
    }

    #[test]
    fn servers_are_asked_for_a_revision_that_has_sessions() {
        let params = |version: &str| {
            Bytes::from(format!(r#"{{"x": 1.0, "protocolVersion" : "{version}","y":[] }}"#))
        };
        for (requested, asked) in [
            ("2026-07-28", "2025-11-25"),
            ("draft", "2025-11-25"),
            ("", "2025-11-25"),
            ("2025-11-25", "2025-11-25"),
            ("2024-10-07", "2024-10-07"),
        ] {
            assert_eq!(params_within(params(requested)), Some(params(asked)));
        }
    }

    #[test]
    fn a_set_comes_back_from_its_own_json() {
        for bits in 0..32 {
            let set = ClientSet::from_bits(bits);
            for extensions in [None, Some(r#"{"a/b":{"x":["y"]}}"#)] {
                let set = set.with_extensions(extensions);
                let raw = RawValue::from_string(set.to_json(extensions)).unwrap();
                assert_eq!(ClientSet::of(Some(&raw)), set, "{raw}");
            }
        }
    }

    #[test]
    fn extensions_are_told_apart_by_what_they_say() {
        let of = |text: &str| {
            let raw = RawValue::from_string(format!(r#"{{"extensions":{text}}}"#)).unwrap();
            ClientSet::of(Some(&raw))
        };
        assert_eq!(of(r#"{"a":{"x":1,"y":2},"b":{}}"#), of(r#"{ "b":{},"a":{"y":2,"x":1}}"#));
        assert_ne!(of(r#"{"a":{"x":1}}"#), of(r#"{"a":{"x":2}}"#));
        assert!(of(r#"{"a":{}}"#).has_extensions());
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_EXTENSIONS));
        for none in ["{}", "null", "[]", "7", &long] {
            assert_eq!(of(none), ClientSet::default(), "{none}");
        }
    }

    #[test]
    fn own_parameters_are_json() {
        let text = own_params(ClientSet::from_bits(31), Some("{}"));
        let params: InitializeParams<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(Version::parse(&params.protocol_version), Some(Version::LATEST));
    }
}
