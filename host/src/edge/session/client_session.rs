//! A client's session, as the edge knows it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::model::{Principal, SessionId, UnixMillis};
use crate::protocol::initialize::{ClientSet, InitializeParams};
use crate::protocol::version::Version;
use crate::seam::Facts;

/// Where a session comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client has begun it.
    Client,
    /// The gateway, for a conversation of a client that has no session: any gateway makes the same
    /// one of what the client sends.
    Conversation,
    /// The gateway, for one request of such a client: it ends with the request.
    Request,
}

/// All that one request has to know of its session.
#[derive(Debug, Clone)]
pub struct Session {
    pub id: SessionId,
    /// When it began.
    pub minted_at: UnixMillis,
    pub principal: Principal,
    /// The revision that was negotiated with the client.
    pub version: Version,
    /// What its server has named instead, if that is no revision that is known here.
    pub named: Option<Arc<str>>,
    /// The client's `initialize` parameters, byte for byte, with which servers are opened.
    pub params: Bytes,
    /// What [`Self::client_set`] has found in them.
    pub set: OnceLock<ClientSet>,
    /// Whether its URL is that of one server, which `initialize` has opened. The servers of an
    /// aggregate are opened when they are needed.
    pub is_single_server: bool,
    /// Whether a sealed id names it: not before `initialize` is answered.
    pub has_id: bool,
    /// Whether it is that of an HTTP+SSE stream, and ends with it.
    pub of_stream: bool,
    pub origin: Origin,
}

impl Session {
    /// A new session. It gets its uuid before its first request is routed.
    #[must_use]
    pub fn mint(principal: Principal, params: Bytes, is_single_server: bool) -> Self {
        // Replaced once a revision has been negotiated.
        let version = Version::ASSUMED;
        let (id, minted_at) = (SessionId::mint(), UnixMillis::now());
        Self {
            id,
            minted_at,
            principal,
            version,
            named: None,
            params,
            set: OnceLock::new(),
            is_single_server,
            has_id: false,
            of_stream: false,
            origin: Origin::Client,
        }
    }

    /// What accompanies its messages to a runner.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts::of(self.id, self.principal.clone())
    }

    /// The client capabilities by which servers choose what to offer. Every call to several servers
    /// asks.
    #[must_use]
    pub fn client_set(&self) -> ClientSet {
        *self.set.get_or_init(|| {
            serde_json::from_slice::<InitializeParams<'_>>(&self.params)
                .map(|params| ClientSet::of(params.capabilities))
                .unwrap_or_default()
        })
    }
}
