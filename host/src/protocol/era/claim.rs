//! What a request of the revision without sessions says of itself in `params._meta`.

use serde_json::value::RawValue;

use crate::protocol::jsonrpc::is_plain_id;
use crate::protocol::log_level::LogLevel;
use crate::protocol::members::members;
use crate::protocol::splice;

use super::fault::EraFault;
use super::meta;

members! {
    /// The members of `_meta` that say it.
    pub(super) struct MetaMembers {
        version = "io.modelcontextprotocol/protocolVersion",
        capabilities = "io.modelcontextprotocol/clientCapabilities",
        client = "io.modelcontextprotocol/clientInfo",
        log_level = "io.modelcontextprotocol/logLevel",
        progress_token = "progressToken",
        conversation = "mooring/conversation",
    }
}

members! {
    /// The members of `params` that are looked at first.
    struct Params {
        meta = "_meta",
    }
}

members! {
    /// Who a client is.
    struct ClientInfo {
        name = "name",
        version = "version",
    }
}

/// A request's word on itself. Texts are those of the message.
#[derive(Debug, Clone)]
pub struct EraClaim<'a> {
    /// The revision, served here or not.
    pub version: String,
    /// An object, as JSON.
    pub capabilities: &'a str,
    /// An object with a name and a version, as JSON.
    pub client: Option<&'a str>,
    /// Log messages from this level on are wanted.
    pub log_level: Option<LogLevel>,
    /// As JSON: progress is wanted under this token.
    pub progress_token: Option<&'a str>,
    /// A conversation that the gateway has named.
    pub conversation: Option<String>,
    /// `_meta`, as JSON.
    pub meta: &'a RawValue,
}

fn wrong(member: &str, what: &str) -> EraFault {
    EraFault::Meta(format!("params._meta[{member:?}] {what}"))
}

/// The `_meta` of parameters. `None` if they have none.
fn meta_of(params: Option<&RawValue>) -> Result<Option<&RawValue>, EraFault> {
    let Some(params) = params.filter(|params| params.get().starts_with('{')) else {
        return Ok(None);
    };
    let read: Params<'_> = serde_json::from_str(params.get()).map_err(|_| {
        EraFault::Meta("params has _meta twice, or a name that cannot be read".into())
    })?;
    Ok(read.meta.filter(|meta| meta.get().starts_with('{')))
}

fn present(value: Option<&RawValue>) -> Option<&RawValue> {
    value.filter(|value| value.get() != "null")
}

fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

impl<'a> EraClaim<'a> {
    /// The claim in a request's parameters. `None` if they name no revision: whether they had to is
    /// for the headers to say.
    ///
    /// # Errors
    /// If something is missing, or has another type than the specification says.
    pub fn of(params: Option<&'a RawValue>) -> Result<Option<Self>, EraFault> {
        Self::of_meta(meta_of(params)?)
    }

    /// The same of `_meta` alone, as it stands in parameters that are an object.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn of_meta(meta: Option<&'a RawValue>) -> Result<Option<Self>, EraFault> {
        let Some(raw) = meta.filter(|meta| meta.get().starts_with('{')) else { return Ok(None) };
        let said: MetaMembers<'a> = serde_json::from_str(raw.get()).map_err(|_| {
            EraFault::Meta("params._meta has a member twice, or a name that cannot be read".into())
        })?;
        let Some(version) = said.version else { return Ok(None) };
        if said.has_lookalike {
            let text = "params._meta has a member that is spelled like one that counts";
            return Err(EraFault::Meta(text.into()));
        }
        let version =
            splice::string(version).ok_or_else(|| wrong(meta::VERSION, "must be a string"))?;
        let capabilities = present(said.capabilities)
            .ok_or_else(|| wrong(meta::CAPABILITIES, "is required; {} says that there are none"))?;
        if !is_object(capabilities) {
            return Err(wrong(meta::CAPABILITIES, "must be an object"));
        }
        let client = present(said.client);
        if !client.is_none_or(is_client) {
            return Err(wrong(meta::CLIENT, "must be an object with a name and a version"));
        }
        let log_level = match present(said.log_level) {
            Some(level) => Some(
                splice::string(level)
                    .and_then(|level| LogLevel::parse(&level))
                    .ok_or_else(|| wrong(meta::LOG_LEVEL, "must be a log level"))?,
            ),
            None => None,
        };
        let progress_token = present(said.progress_token);
        if !progress_token.is_none_or(is_plain_id) {
            return Err(wrong("progressToken", "must be a string or a whole number"));
        }
        let conversation = match present(said.conversation) {
            Some(named) => Some(
                splice::string(named)
                    .ok_or_else(|| wrong(meta::CONVERSATION, "must be a string"))?,
            ),
            None => None,
        };
        Ok(Some(Self {
            version,
            capabilities: capabilities.get(),
            client: client.map(RawValue::get),
            log_level,
            progress_token: progress_token.map(RawValue::get),
            conversation,
            meta: raw,
        }))
    }

    /// The client's name; empty if it has not said it.
    #[must_use]
    pub fn client_name(&self) -> String {
        let read = self.client.and_then(|client| serde_json::from_str(client).ok());
        read.and_then(|client: ClientInfo<'_>| client.name.and_then(splice::string))
            .unwrap_or_default()
    }
}

fn is_client(value: &RawValue) -> bool {
    let is_text = |member: Option<&RawValue>| member.and_then(splice::string).is_some();
    serde_json::from_str::<ClientInfo<'_>>(value.get())
        .is_ok_and(|client| is_text(client.name) && is_text(client.version))
}

/// What has to be said and is not, for a request whose headers name a revision without sessions.
#[must_use]
pub fn missing() -> EraFault {
    let (version, capabilities) = (meta::VERSION, meta::CAPABILITIES);
    EraFault::Meta(format!(
        "MCP-Protocol-Version names a revision without sessions, in which params._meta has to have {version:?} and {capabilities:?}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    fn said(meta: &str) -> String {
        format!("{{\"name\":\"x\",\"_meta\":{meta}}}")
    }

    const VERSION: &str = "\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"";
    const NONE: &str = "\"io.modelcontextprotocol/clientCapabilities\":{}";

    #[test]
    fn a_request_may_say_nothing_of_itself() {
        for params in
            ["{}", "[]", "null", r#"{"_meta":null}"#, r#"{"_meta":{}}"#, r#"{"_meta":[1]}"#]
        {
            assert!(matches!(EraClaim::of(Some(raw(params))), Ok(None)), "{params}");
        }
        assert!(matches!(EraClaim::of(None), Ok(None)));
        let other = said(&format!("{{{NONE}}}"));
        assert!(matches!(EraClaim::of(Some(raw(&other))), Ok(None)), "only a revision is a claim");
    }

    #[test]
    fn what_it_says_is_read() {
        let client = r#""io.modelcontextprotocol/clientInfo":{"name":"c","version":"1","x":[1]}"#;
        let rest = r#""io.modelcontextprotocol/logLevel":"info","progressToken":7,"mooring/conversation":"m1x""#;
        let params = said(&format!("{{{VERSION},{NONE},{client},{rest}}}"));
        let claim = EraClaim::of(Some(raw(&params))).unwrap().unwrap();
        assert_eq!((&*claim.version, claim.capabilities), ("2026-07-28", "{}"));
        assert_eq!(claim.client_name(), "c");
        assert_eq!(claim.log_level, LogLevel::parse("info"));
        assert_eq!((claim.progress_token, claim.conversation.as_deref()), (Some("7"), Some("m1x")));
    }

    #[test]
    fn what_is_missing_or_wrong_is_refused() {
        for meta in [
            format!("{{{VERSION}}}"),
            format!("{{{VERSION},\"io.modelcontextprotocol/clientCapabilities\":null}}"),
            format!("{{{VERSION},\"io.modelcontextprotocol/clientCapabilities\":[]}}"),
            format!("{{\"io.modelcontextprotocol/protocolVersion\":7,{NONE}}}"),
            format!("{{\"io.modelcontextprotocol/protocolVersion\":null,{NONE}}}"),
            format!("{{{VERSION},{VERSION},{NONE}}}"),
            format!("{{{VERSION},{NONE},\"io.modelcontextprotocol/clientInfo\":\"c\"}}"),
            format!(
                "{{{VERSION},{NONE},\"io.modelcontextprotocol/clientInfo\":{{\"name\":\"c\"}}}}"
            ),
            format!("{{{VERSION},{NONE},\"io.modelcontextprotocol/logLevel\":\"loud\"}}"),
            format!("{{{VERSION},{NONE},\"mooring/conversation\":[]}}"),
            format!("{{{VERSION},{NONE},\"progressToken\":{{}}}}"),
            format!("{{{VERSION},{NONE},\"progressToken\":1.5}}"),
        ] {
            let params = said(&meta);
            let read = EraClaim::of(Some(raw(&params)));
            assert!(matches!(read, Err(EraFault::Meta(_))), "{meta}: {read:?}");
        }
        let twice = format!("{{\"_meta\":{{{VERSION},{NONE}}},\"_meta\":{{}}}}");
        assert!(matches!(EraClaim::of(Some(raw(&twice))), Err(EraFault::Meta(_))));
    }
}
