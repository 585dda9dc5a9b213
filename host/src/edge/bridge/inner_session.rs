//! The session that the gateway has with servers in place of a client that has none.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::edge::client_request::ClientRequest;
use crate::edge::front::begin::MAX_PARAMS;
use crate::edge::refusal::Refusal;
use crate::edge::session::client_session::{Origin, Session};
use crate::edge::worker::{Edge, Worker};
use crate::model::{Principal, Scope, SessionId, UnixMillis};
use crate::protocol::era::claim::EraClaim;
use crate::protocol::era::meta;
use crate::protocol::initialize::legacy_capabilities;
use crate::protocol::proof::mac;
use crate::protocol::version::Version;
use crate::store::InUse;

use super::conversation::Conversation;

/// Sessions of one conversation that have ended, one after the other, before it is given up to look
/// for one that has not.
const ENDED: u8 = 32;

/// Keeps an inner session while a request uses it. That of one request ends with the last of these.
pub struct InnerInUse {
    worker: Worker,
    session: Session,
    held: Option<InUse>,
    ends: bool,
}

impl InnerInUse {
    /// The session goes on: its request waits for input.
    pub fn goes_on(&mut self) {
        self.ends = false;
    }
}

impl Drop for InnerInUse {
    fn drop(&mut self) {
        drop(self.held.take());
        // A client may have come back with its input twice: the other request goes on.
        if !self.ends || self.worker.edge.bindings.is_held(self.session.id) {
            return;
        }
        let (worker, session) = (self.worker.clone(), self.session.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { worker.end(&session).await });
        }
    }
}

impl Edge {
    /// The inner session of a conversation for clients with the request's capabilities, or one for
    /// this request alone. Nothing is counted or opened yet.
    ///
    /// # Errors
    /// If what the request says of its client is too large.
    pub fn inner_session(
        &self,
        scope: &Scope,
        principal: &Principal,
        claim: &EraClaim<'_>,
        conversation: Option<Conversation>,
    ) -> Result<Session, Refusal> {
        let capabilities = legacy_capabilities(claim.capabilities).ok_or_else(|| {
            let member = meta::CAPABILITIES;
            Refusal::InvalidParams(format!("params._meta[{member:?}] cannot be read"))
        })?;
        let client = claim.client.unwrap_or(r#"{"name":"unknown","version":"0"}"#);
        let params = format!(
            r#"{{"protocolVersion":"{}","capabilities":{capabilities},"clientInfo":{client}}}"#,
            Version::LATEST
        );
        if params.len() > MAX_PARAMS {
            return Err(Refusal::ParamsTooLarge(MAX_PARAMS));
        }
        let session = |id: SessionId, origin: Origin| Session {
            id,
            minted_at: self.begun(origin, conversation),
            principal: principal.clone(),
            version: Version::LATEST,
            named: None,
            params: Bytes::from(params.clone()),
            set: OnceLock::new(),
            is_single_server: false,
            has_id: origin == Origin::Conversation,
            of_stream: false,
            origin,
        };
        let Some(conversation) = conversation else {
            return Ok(session(SessionId::mint(), Origin::Request));
        };
        let key = &self.signing_key;
        let mut ids = (0..ENDED).map(|ended| {
            let scope = scope.seal_text();
            let parts: [&[u8]; 5] = [
                b"mooring inner session",
                &conversation.key,
                scope.as_bytes(),
                capabilities.as_bytes(),
                &[ended],
            ];
            id_of(mac::of_texts(key, &parts))
        });
        let open = ids.find(|id| !self.records.is_ended(*id));
        // So many losses in a week: what is kept for the conversation is not worth much.
        Ok(open.map_or_else(
            || session(SessionId::mint(), Origin::Request),
            |id| session(id, Origin::Conversation),
        ))
    }

    /// When a session began, as far as that matters: one of a conversation may be of before a
    /// restart, until it is known what nodes have. A conversation that was named since is not.
    fn begun(&self, origin: Origin, conversation: Option<Conversation>) -> UnixMillis {
        let started_at = self.cold_start.started_at();
        let may_be_old = |it: Conversation| it.since.is_none_or(|since| since < started_at);
        let may_be = origin == Origin::Conversation && conversation.is_some_and(may_be_old);
        match may_be && self.cold_start.is_under_way() {
            true => started_at.minus(std::time::Duration::from_millis(1)),
            false => UnixMillis::now(),
        }
    }
}

fn id_of(code: [u8; 32]) -> SessionId {
    SessionId::from_bytes(code.first_chunk().copied().unwrap_or_default())
}

impl Worker {
    /// Counts an inner session as in use, and as one more if it is new here.
    ///
    /// # Errors
    /// If there are too many sessions.
    pub(in crate::edge) fn use_inner(
        &self,
        context: &ClientRequest,
        session: &Session,
    ) -> Result<InnerInUse, Refusal> {
        let bindings = &self.edge.bindings;
        if bindings.counts_for(session.id).is_none() {
            self.admit_session(context, session)?.stays();
        }
        bindings.recognise(session.id, &context.quota);
        let held = Some(bindings.hold_for(session.id, &context.quota));
        let ends = session.origin == Origin::Request;
        Ok(InnerInUse { worker: self.clone(), session: session.clone(), held, ends })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_codes_are_equal_sessions() {
        assert_eq!(id_of([7; 32]), id_of([7; 32]));
        assert_ne!(id_of([7; 32]), id_of([8; 32]));
    }
}
