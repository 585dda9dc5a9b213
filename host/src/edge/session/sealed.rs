//! Seals a session into its id, and opens it from there.

use std::sync::OnceLock;

use bytes::Bytes;
use http::HeaderMap;

use crate::edge::refusal::Refusal;
use crate::edge::scope;
use crate::edge::worker::Edge;
use crate::model::{Principal, QuotaKey, Scope, SessionId, UnixMillis};
use crate::protocol::headers;
use crate::protocol::seal::MAX_AGE;
use crate::protocol::seal::session_id::{CarriedParams, MAX_CARRIED_PARAMS, Sealed};
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

/// Sees to it that what other coordinators know of the session is known here. False if they know
/// that it has ended. What is rare is boxed, since this future is made for every request.
async fn learned(edge: &Edge, session: SessionId) -> bool {
    match &edge.sharing {
        Some(sharing) if !edge.bindings.is_learned(session) => {
            Box::pin(sharing.learn(session)).await
        }
        Some(_) | None => true,
    }
}

/// A session's large parameters. Those of one that has begun at another coordinator are kept in the
/// store from now on: the session is used.
async fn stored_params(edge: &Edge, session: SessionId, minted_at: UnixMillis) -> Option<Bytes> {
    if let Some(params) = edge.records.params(session).await {
        return Some(params);
    }
    let sharing = edge.sharing.as_ref()?;
    let params = Box::pin(sharing.params(session)).await?;
    edge.records.keep_params(session, &params);
    let keeping = sharing.keep_params(session, &params, Some(minted_at.plus(MAX_AGE)));
    Box::pin(keeping).await;
    Some(params)
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
        if !learned(edge, sealed.session).await {
            return Err(Refusal::UnknownSession);
        }
        let is_large = matches!(sealed.params, CarriedParams::Stored);
        let opened = Self::opened(edge, sealed, scope, principal).await;
        let session = opened.ok_or(Refusal::UnknownSession)?;
        check_version(headers, session.named.as_deref())?;
        if !ends {
            let is_first = edge.records.use_it(session.id, is_large).await;
            if let Some(sharing) = edge.sharing.as_ref().filter(|_| is_first) {
                let until = session.minted_at.plus(MAX_AGE);
                Box::pin(sharing.keep_params(session.id, &session.params, Some(until))).await;
            }
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
        if edge.records.is_ended(sealed.session) || !learned(edge, sealed.session).await {
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
            CarriedParams::Stored => stored_params(edge, sealed.session, sealed.minted_at).await?,
        };
        Some(Self {
            id: sealed.session,
            minted_at: sealed.minted_at,
            principal: principal.clone(),
            version: sealed.version,
            named: sealed.named.map(Into::into),
            params,
            set: OnceLock::new(),
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
