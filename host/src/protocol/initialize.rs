//! `initialize` and its result, the messages that open a session (2025-11-25, basic/lifecycle).

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

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

/// The members of a server's `InitializeResult` that the gateway reads.
#[derive(Debug, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase")]
pub struct InitializeResult<'a> {
    /// The revision that the server has chosen.
    #[serde(borrow)]
    pub protocol_version: Cow<'a, str>,
    /// As the server wrote them: what it offers.
    #[serde(borrow, default)]
    pub capabilities: Option<&'a RawValue>,
    /// Advice for the model on how to use the server.
    #[serde(borrow, default)]
    pub instructions: Option<Cow<'a, str>>,
    /// The server's name and version, as it wrote them.
    #[serde(borrow, default)]
    pub server_info: Option<&'a RawValue>,
}
object_only!(InitializeResult<'de>);

/// The client capabilities that change what servers offer, as a set of bits. Two clients with
/// the same set see the same catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ClientSet(u8);

#[derive(Deserialize, Default)]
#[serde(remote = "Self")]
#[serde(default)]
struct Capabilities<'a> {
    #[serde(borrow)]
    roots: Option<&'a RawValue>,
    #[serde(borrow)]
    sampling: Option<&'a RawValue>,
    elicitation: Option<Elicitation>,
    #[serde(borrow)]
    tasks: Option<&'a RawValue>,
}
object_only!(Capabilities<'de>);

#[derive(Deserialize, Default)]
#[serde(remote = "Self")]
#[serde(default)]
struct Elicitation {
    form: Option<serde::de::IgnoredAny>,
    url: Option<serde::de::IgnoredAny>,
}
object_only!(Elicitation);

impl ClientSet {
    const ROOTS: u8 = 1;
    const SAMPLING: u8 = 2;
    const ELICITATION: u8 = 4;
    const ELICITATION_URL: u8 = 8;
    const TASKS: u8 = 16;

    /// The set in a client's `capabilities`. Empty if they are absent or cannot be read.
    #[must_use]
    pub fn of(capabilities: Option<&RawValue>) -> Self {
        let Some(raw) = capabilities else { return Self::default() };
        let Ok(read) = serde_json::from_str::<Capabilities<'_>>(raw.get()) else {
            return Self::default();
        };
        let mut bits = 0;
        let mut set = |has: bool, bit: u8| bits |= if has { bit } else { 0 };
        set(read.roots.is_some(), Self::ROOTS);
        set(read.sampling.is_some(), Self::SAMPLING);
        if let Some(elicitation) = &read.elicitation {
            // An empty object means forms (2025-11-25, client/elicitation).
            set(elicitation.form.is_some() || elicitation.url.is_none(), Self::ELICITATION);
            set(elicitation.url.is_some(), Self::ELICITATION_URL);
        }
        set(read.tasks.is_some(), Self::TASKS);
        Self(bits)
    }

    /// The form in which the set passes the seam: the lowest five bits.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The inverse of [`Self::bits`]; bits without a meaning are dropped.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & 31)
    }

    /// A `capabilities` object that stands for the set, as JSON.
    #[must_use]
    pub fn to_json(self) -> String {
        let mut members = Vec::new();
        let has = |bit: u8| self.0 & bit != 0;
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
        format!("{{{}}}", members.join(","))
    }
}

/// The gateway's own `initialize` parameters, for a session with a server that it opens for no
/// single client: to discover the catalog, or to start a shared process.
#[must_use]
pub fn own_params(set: ClientSet) -> String {
    format!(
        r#"{{"protocolVersion":"{}","capabilities":{},"clientInfo":{{"name":"mooring","version":"{}"}}}}"#,
        Version::LATEST,
        set.to_json(),
        env!("CARGO_PKG_VERSION")
    )
}

/// A client's `initialize` parameters as servers may see them. A revision without sessions, which a
/// session of the gateway cannot have, becomes the newest that has them; servers that repeat
/// whatever they are asked for would grant it otherwise. Every other byte stays as it is.
#[must_use]
pub fn asked_of_servers(params: &Bytes, requested: &str) -> Bytes {
    #[derive(Deserialize)]
    #[serde(remote = "Self")]
    #[serde(rename_all = "camelCase")]
    struct Asked<'a> {
        #[serde(borrow)]
        protocol_version: &'a RawValue,
    }
    object_only!(Asked<'de>);
    if Version::may_be_asked_for(requested) {
        return params.clone();
    }
    let asked = serde_json::from_slice::<Asked<'_>>(params).ok();
    let span = asked.and_then(|asked| splice::span(params, asked.protocol_version));
    let latest = splice::quoted(Version::LATEST.as_str());
    span.map_or_else(|| params.clone(), |span| splice::replace(params, span, latest.as_bytes()))
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
    #[derive(Deserialize)]
    #[serde(remote = "Self")]
    #[serde(rename_all = "camelCase")]
    struct Spoken<'a> {
        #[serde(borrow)]
        protocol_version: &'a RawValue,
    }
    object_only!(Spoken<'de>);
    let rewritten = || {
        let raw = serde_json::from_slice::<Spoken<'_>>(result).ok()?.protocol_version;
        let spoken = Version::parse(&splice::string(raw)?)?;
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
            assert_eq!(asked_of_servers(&params(requested), requested), params(asked));
        }
    }

    #[test]
    fn a_set_comes_back_from_its_own_json() {
        for bits in 0..32 {
            let set = ClientSet::from_bits(bits);
            let raw = RawValue::from_string(set.to_json()).unwrap();
            assert_eq!(ClientSet::of(Some(&raw)), set, "{}", set.to_json());
        }
    }

    #[test]
    fn own_parameters_are_json() {
        let text = own_params(ClientSet::from_bits(31));
        let params: InitializeParams<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(Version::parse(&params.protocol_version), Some(Version::LATEST));
    }
}
