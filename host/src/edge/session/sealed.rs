//! Seals a session into its id, and opens it from there.

use http::HeaderMap;

use crate::edge::refusal::Refusal;
use crate::edge::scope;
use crate::edge::worker::Edge;
use crate::model::{Principal, Scope};
use crate::protocol::headers;
use crate::protocol::seal::{CarriedParams, MAX_CARRIED_PARAMS, Sealed};
use crate::protocol::version::Version;

use super::client_session::Session;

/// Refuses an `MCP-Protocol-Version` that names no known revision; an absent header is fine
/// (2025-06-18, basic/transports, "Protocol Version Header").
pub fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(headers::PROTOCOL_VERSION) {
        None => Ok(()),
        Some(value) => match value.to_str().ok().and_then(Version::parse) {
            Some(_) => Ok(()),
            None => Err(Refusal::Version(String::from_utf8_lossy(value.as_bytes()).into_owned())),
        },
    }
}

impl Session {
    /// The session in the request's `Mcp-Session-Id`. `None` if the header is missing.
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
            is_single_server: scope::pass_through_server(edge, scope).is_some(),
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
}
