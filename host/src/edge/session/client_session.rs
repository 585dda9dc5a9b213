//! What the gateway knows of a client's session.

use bytes::Bytes;

use crate::model::{Principal, SessionId, UnixMillis};
use crate::protocol::initialize::{ClientSet, InitializeParams};
use crate::protocol::version::Version;
use crate::seam::Facts;

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
    pub is_single_server: bool,
}

impl Session {
    /// A session that begins: its uuid exists before anything is routed.
    #[must_use]
    pub fn mint(principal: Principal, params: Bytes, is_single_server: bool) -> Self {
        // Until the server has said which revision it takes.
        let version = Version::ASSUMED;
        let (id, minted_at) = (SessionId::mint(), UnixMillis::now());
        Self { id, minted_at, principal, version, params, is_single_server }
    }

    /// What a host must know of it beside a message.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts { session: self.id, principal: self.principal.clone(), open: None }
    }

    /// The capabilities by which servers choose what to offer.
    #[must_use]
    pub fn client_set(&self) -> ClientSet {
        serde_json::from_slice::<InitializeParams<'_>>(&self.params)
            .map(|params| ClientSet::of(params.capabilities))
            .unwrap_or_default()
    }
}
