//! What a session is opened with, and what becomes of it once its server has answered.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::model::ServerName;
use crate::net::Pool;
use crate::protocol::initialize::{ClientSet, InitializeParams, InitializeResult};
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::methods;
use crate::protocol::version::Version;
use crate::runner::admission::open_error::OpenError;
use crate::runner::channel::terms::{SessionLimits, SessionTerms};
use crate::seam::Handshake;

use super::instance::{Backend, Instance};
use super::owner::SessionOwner;
use super::resources::Resources;
use super::served::Served;

/// What a session is opened with.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// The client's `initialize` parameters.
    pub params: &'a [u8],
    pub handshake: Handshake,
    /// The client's headers that are passed on to the server.
    pub forwarded: &'a HeaderMap,
    /// `None` for a session of the gateway's own.
    pub owner: Option<SessionOwner<'a>>,
}

/// What is opened, and with what.
#[derive(Clone, Copy)]
pub(super) struct SessionStart<'a> {
    pub server: &'a ServerName,
    pub served: &'a Arc<Served>,
    pub opening: Opening<'a>,
    pub pool: &'a Pool,
    pub resources: &'a Resources,
}

impl SessionStart<'_> {
    pub fn terms(&self) -> SessionTerms {
        let terms = self.resources.terms(self.opening.owner.map(|owner| owner.quota));
        let limits = SessionLimits { timeouts: self.served.timeouts, ..terms.limits };
        // The gateway asks in its own sessions for what a server may not have.
        let counted = self.resources.errors.load();
        let counted = counted.get(self.server).filter(|_| terms.has_client);
        let errors = counted.map_or_else(|| Arc::clone(&terms.errors), Arc::clone);
        let asks_in_calls = self.opening.owner.is_some_and(|owner| owner.is_inner);
        SessionTerms { limits, errors, asks_in_calls, ..terms }
    }

    pub fn note_token(&self, error: &OpenError) {
        if matches!(error, OpenError::NeedsOauth { .. } | OpenError::NoToken { .. }) {
            let is_without = matches!(error, OpenError::NeedsOauth { .. });
            self.resources.wanting_tokens.refused(self.server, &error.to_string(), is_without);
        }
    }

    pub fn note_opened(&self) {
        let wanting = &self.resources.wanting_tokens;
        match self.opening.owner {
            Some(_) if self.served.is_of_each_client() => wanting.let_client_in(self.server),
            _ => wanting.opened(self.server),
        }
    }

    /// The instance, whose server has answered `initialize`.
    pub async fn instance(&self, transport: Backend, result: Bytes) -> Instance {
        let client_set = serde_json::from_slice::<InitializeParams<'_>>(self.opening.params)
            .ok()
            // A shared process is initialized without client capabilities.
            .filter(|_| !matches!(transport, Backend::Seat(_)))
            .map(|params| ClientSet::of(params.capabilities))
            .unwrap_or_default();
        let version = Version::parse(&version_of(&result));
        let instance =
            Instance::new(transport, result, client_set, version, Arc::clone(self.served));
        if self.opening.handshake == Handshake::Runner {
            let message = jsonrpc::notification(methods::INITIALIZED);
            if let Ok(envelope) = Envelope::parse(&message) {
                let forwarded = self.opening.forwarded;
                instance.post(message.clone(), &envelope, true, self.pool, forwarded).await;
            }
        }
        if self.opening.owner.is_some_and(|owner| owner.is_inner) && client_set.can_be_asked() {
            instance.hear_questions(self.pool, self.opening.forwarded).await;
        }
        instance
    }
}

/// Whether the session's revision has events without data, from 2025-11-25 on: older
/// clients fail at them.
pub(super) fn primes(result: &[u8]) -> bool {
    Version::parse(&version_of(result)).is_some_and(|version| version >= Version::V2025_11_25)
}

pub(super) fn version_of(result: &[u8]) -> String {
    InitializeResult::of(result).protocol_version.unwrap_or_default()
}
