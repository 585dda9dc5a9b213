//! A client's session: sealed into its id, opened from it.

use bytes::Bytes;
use http::HeaderMap;

use crate::model::{Principal, Scope, SessionId, UnixMillis};
use crate::protocol::headers;
use crate::protocol::initialize::{ClientSet, Params};
use crate::protocol::seal::{CarriedParams, MAX_CARRIED_PARAMS, Sealed};
use crate::protocol::version::Version;
use crate::seam::Facts;

use super::rescue::Refusal;
use super::{Edge, classify};

#[derive(Debug, Clone)]
pub struct Session {
    pub id: SessionId,
    pub minted_at: UnixMillis,
    pub principal: Principal,
    pub version: Version,
    /// The client's `initialize` parameters, byte for byte.
    pub params: Bytes,
    /// Whether its URL is one server's, which `initialize` has opened. Those behind
    /// other URLs are opened when they are needed.
    pub is_of_one: bool,
}

impl Session {
    /// A session that begins: its uuid exists before anything is routed.
    #[must_use]
    pub fn mint(principal: Principal, params: Bytes, is_of_one: bool) -> Self {
        // Until the server has said which revision it takes.
        let version = Version::ASSUMED;
        let (id, minted_at) = (SessionId::mint(), UnixMillis::now());
        Self { id, minted_at, principal, version, params, is_of_one }
    }

    /// What a host must know of it beside a message.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts { session: self.id, principal: self.principal.clone(), open: None }
    }

    /// The session of a request's header. `None` if the header is missing.
    pub fn of(
        edge: &Edge,
        headers: &HeaderMap,
        scope: &Scope,
        principal: &Principal,
    ) -> Result<Option<Self>, Refusal> {
        let Some(value) = headers.get(headers::SESSION) else { return Ok(None) };
        let sealed = value
            .to_str()
            .ok()
            .and_then(|text| edge.keys.open(text, scope, principal))
            .filter(|sealed| !edge.records.is_ended(sealed.session))
            .ok_or(Refusal::UnknownSession)?;
        let params = match sealed.params {
            CarriedParams::Inside(params) => params,
            CarriedParams::Stored => {
                edge.records.params(sealed.session).ok_or(Refusal::UnknownSession)?
            }
        };
        check_version(headers)?;
        Ok(Some(Self {
            id: sealed.session,
            minted_at: sealed.minted_at,
            principal: principal.clone(),
            version: sealed.version,
            params,
            is_of_one: classify::is_pass_through(edge, scope).is_some(),
        }))
    }

    /// The text for the `Mcp-Session-Id` header.
    pub async fn seal(&self, edge: &Edge, scope: &Scope) -> Result<String, Refusal> {
        let params = if self.params.len() <= MAX_CARRIED_PARAMS {
            CarriedParams::Inside(self.params.clone())
        } else {
            edge.records.keep_params(self.id, &self.params).await;
            CarriedParams::Stored
        };
        let (session, minted_at, version) = (self.id, self.minted_at, self.version);
        let sealed = Sealed { session, minted_at, version, params };
        edge.keys.seal(&sealed, scope, &self.principal).ok_or(Refusal::NoKey)
    }

    /// The capabilities by which servers choose what to offer.
    #[must_use]
    pub fn client_set(&self) -> ClientSet {
        serde_json::from_slice::<Params<'_>>(&self.params)
            .map(|params| ClientSet::of(params.capabilities))
            .unwrap_or_default()
    }
}

/// An absent header is fine; one that names no revision is not (2025-06-18,
/// basic/transports, "Protocol Version Header").
fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(headers::PROTOCOL_VERSION) {
        None => Ok(()),
        Some(value) => match value.to_str().ok().and_then(Version::parse) {
            Some(_) => Ok(()),
            None => Err(Refusal::Version(String::from_utf8_lossy(value.as_bytes()).into_owned())),
        },
    }
}
