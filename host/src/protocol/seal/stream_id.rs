//! The ids of HTTP+SSE streams: the address that a client posts to, and the events before its session
//! is initialized.

use crate::model::{Principal, Scope, SessionId, UnixMillis};

use super::{
    HEAD, KeyRing, NONCE, OwnerTag, SealHead, TAG, binding, digest, purpose, random_nonce,
    read_head, write_head,
};

/// The session of a stream, whose owner is still to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamId {
    /// The key under which the open stream is found.
    pub session: SessionId,
    /// When the session began.
    pub minted_at: UnixMillis,
    owner: OwnerTag,
}

impl StreamId {
    /// Whether the id was sealed for this scope and principal.
    #[must_use]
    pub fn is_of(&self, scope: &Scope, principal: &Principal) -> bool {
        self.owner == binding(scope, principal)
    }
}

impl KeyRing {
    /// The id of a session's HTTP+SSE stream, the same each time. `None` without a key.
    #[must_use]
    pub fn seal_stream(
        &self,
        session: SessionId,
        minted_at: UnixMillis,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<String> {
        let mut contents = Vec::with_capacity(HEAD + TAG);
        let owner = binding(scope, principal);
        write_head(&mut contents, purpose::STREAM, session, minted_at, owner);
        let seed = digest(&[&self.keys.first()?.nonces, &contents]);
        let (nonce, _) = seed.split_first_chunk::<NONCE>()?;
        self.encrypt(contents, *nonce)
    }

    /// The id of the events on a stream whose session is not initialized. `None` as for
    /// [`Self::seal`].
    #[must_use]
    pub fn seal_unnamed_event(
        &self,
        session: SessionId,
        minted_at: UnixMillis,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<String> {
        let mut contents = Vec::with_capacity(HEAD + TAG);
        let owner = binding(scope, principal);
        write_head(&mut contents, purpose::UNNAMED_EVENT, session, minted_at, owner);
        self.encrypt(contents, random_nonce()?)
    }

    /// The stream that such an id names, for this scope and principal.
    #[must_use]
    pub fn open_unnamed_event(
        &self,
        text: &str,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<StreamId> {
        let id = self.open_stream_for(purpose::UNNAMED_EVENT, text)?;
        id.is_of(scope, principal).then_some(id)
    }

    /// The stream that an id names. Its URL names no scope, so its owner must be checked with
    /// [`StreamId::is_of`] once the stream's scope is known.
    #[must_use]
    pub fn open_stream(&self, text: &str) -> Option<StreamId> {
        self.open_stream_for(purpose::STREAM, text)
    }

    fn open_stream_for(&self, purpose: u8, text: &str) -> Option<StreamId> {
        let contents = self.decrypt(text)?;
        let (head, _) = read_head(&contents)?;
        let is_stream = head.purpose == purpose;
        let SealHead { session, minted_at, owner, .. } = head;
        is_stream.then_some(StreamId { session, minted_at, owner })
    }
}
