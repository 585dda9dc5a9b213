//! Seals a session into its id, and opens it from there.

use http::HeaderMap;

use crate::edge::refusal::Refusal;
use crate::edge::scope;
use crate::edge::worker::Edge;
use crate::model::{Principal, QuotaKey, Scope};
use crate::protocol::headers;
use crate::protocol::seal::{CarriedParams, MAX_CARRIED_PARAMS, Sealed};
use crate::protocol::version::Version;

use super::client_session::{Origin, Session};

/// Refuses an `MCP-Protocol-Version` that names neither a known revision nor the one that the
/// session's server has `named`; an absent header is fine (2025-06-18, basic/transports, "Protocol
/// Version Header").
pub fn check_version(headers: &HeaderMap, named: Option<&str>) -> Result<(), Refusal> {
    match headers.get(headers::PROTOCOL_VERSION) {
        None => Ok(()),
        Some(value) => match value.to_str().ok() {
            Some(text) if Version::parse(text).is_some() || named == Some(text) => Ok(()),
            _ => Err(Refusal::Version(String::from_utf8_lossy(value.as_bytes()).into_owned())),
        },
    }
}

impl Session {
    /// The session in the request's `Mcp-Session-Id`. `None` if the header is missing. It is used
    /// from now on, unless the request ends it.
    pub async fn of(
        edge: &Edge,
        headers: &HeaderMap,
        scope: &Scope,
        principal: &Principal,
        ends: bool,
    ) -> Result<Option<Self>, Refusal> {
        let Some(value) = headers.get(headers::SESSION) else { return Ok(None) };
        let sealed = value
            .to_str()
            .ok()
            .and_then(|text| edge.keys.open(text, scope, principal))
            .filter(|sealed| !edge.records.is_ended(sealed.session))
            .ok_or(Refusal::UnknownSession)?;
        let is_large = matches!(sealed.params, CarriedParams::Stored);
        let opened = Self::opened(edge, sealed, scope, principal).await;
        let session = opened.ok_or(Refusal::UnknownSession)?;
        check_version(headers, session.named.as_deref())?;
        if !ends {
            edge.records.use_it(session.id, is_large).await;
        }
        Ok(Some(session))
    }

    /// The session that the id of an event on its HTTP+SSE stream names. `None` for every reason
    /// alike, as for an id in a header.
    pub async fn of_event(
        edge: &Edge,
        id: &str,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<Self> {
        let sealed = edge.keys.open_event(id, scope, principal)?;
        if edge.records.is_ended(sealed.session) {
            return None;
        }
        let opened = Self::opened(edge, sealed, scope, principal).await?;
        Some(Self { of_stream: true, ..opened })
    }

    async fn opened(
        edge: &Edge,
        sealed: Sealed,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<Self> {
        let params = match sealed.params {
            CarriedParams::Inside(params) => params,
            CarriedParams::Stored => edge.records.params(sealed.session).await?,
        };
        Some(Self {
            id: sealed.session,
            minted_at: sealed.minted_at,
            principal: principal.clone(),
            version: sealed.version,
            named: sealed.named.map(Into::into),
            params,
            is_single_server: scope::pass_through_server(edge, scope).is_some(),
            has_id: true,
            of_stream: false,
            origin: Origin::Client,
        })
    }

    /// The text for the `Mcp-Session-Id` header, for a client of this quota key.
    pub fn seal(&self, edge: &Edge, scope: &Scope, client: &QuotaKey) -> Result<String, Refusal> {
        let sealed = self.kept(edge, client);
        edge.keys.seal(&sealed, scope, &self.principal).ok_or(Refusal::NoKey)
    }

    /// The id of the events on its HTTP+SSE stream, in the same way.
    pub fn seal_event(
        &self,
        edge: &Edge,
        scope: &Scope,
        client: &QuotaKey,
    ) -> Result<String, Refusal> {
        let sealed = self.kept(edge, client);
        edge.keys.seal_event(&sealed, scope, &self.principal).ok_or(Refusal::NoKey)
    }

    /// Whether its parameters are too large for its id.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.params.len() > MAX_CARRIED_PARAMS
    }

    /// What its id has to carry; the rest is kept.
    fn kept(&self, edge: &Edge, client: &QuotaKey) -> Sealed {
        let is_large = self.is_large();
        edge.records.begin(self.id, is_large.then_some(&self.params), client);
        let params = match is_large {
            true => CarriedParams::Stored,
            false => CarriedParams::Inside(self.params.clone()),
        };
        let (session, minted_at, version) = (self.id, self.minted_at, self.version);
        let named = self.named.as_deref().map(str::to_owned);
        Sealed { session, minted_at, version, named, params }
    }
}
