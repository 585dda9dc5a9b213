//! What clients without a session carry: the state of a request that waits for its client's input, the
//! name of a conversation, and ids of tasks.

use crate::model::{Principal, Scope, SessionId, UnixMillis};

use super::{HEAD, KeyRing, TAG, binding, purpose, random_nonce, read_head, write_head};

impl KeyRing {
    /// What a request of this session waits with, for its client to send back. `None` as for
    /// [`Self::seal`].
    #[must_use]
    pub fn seal_request_state(
        &self,
        session: SessionId,
        state: &[u8],
        scope: &Scope,
        principal: &Principal,
    ) -> Option<String> {
        self.seal_stateless(purpose::REQUEST_STATE, session, state, scope, principal)
    }

    /// The session, the time and the state of such a text. `None` for every reason alike.
    #[must_use]
    pub fn open_request_state(
        &self,
        text: &str,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<(SessionId, UnixMillis, Vec<u8>)> {
        self.open_stateless(purpose::REQUEST_STATE, text, scope, principal)
    }

    /// The id of a task that a call in this session has begun. `None` as for [`Self::seal`].
    #[must_use]
    pub fn seal_task(
        &self,
        session: SessionId,
        name: &[u8],
        scope: &Scope,
        principal: &Principal,
    ) -> Option<String> {
        self.seal_stateless(purpose::TASK, session, name, scope, principal)
    }

    /// The session, the time and the name of such a task. `None` for every reason alike.
    #[must_use]
    pub fn open_task(
        &self,
        text: &str,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<(SessionId, UnixMillis, Vec<u8>)> {
        self.open_stateless(purpose::TASK, text, scope, principal)
    }

    fn seal_stateless(
        &self,
        purpose: u8,
        session: SessionId,
        rest: &[u8],
        scope: &Scope,
        principal: &Principal,
    ) -> Option<String> {
        let mut contents = Vec::with_capacity(HEAD + rest.len() + TAG);
        let owner = binding(scope, principal);
        write_head(&mut contents, purpose, session, UnixMillis::now(), owner);
        contents.extend_from_slice(rest);
        self.encrypt(contents, random_nonce()?)
    }

    fn open_stateless(
        &self,
        purpose: u8,
        text: &str,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<(SessionId, UnixMillis, Vec<u8>)> {
        let contents = self.decrypt(text)?;
        let (head, rest) = read_head(&contents)?;
        let is_it = head.purpose == purpose && head.owner == binding(scope, principal);
        is_it.then(|| (head.session, head.minted_at, rest.to_vec()))
    }

    /// The name of a conversation, under which its client finds what servers hold for it. `None` as
    /// for [`Self::seal`].
    #[must_use]
    pub fn seal_conversation(
        &self,
        conversation: SessionId,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<String> {
        self.seal_stateless(purpose::CONVERSATION, conversation, b"", scope, principal)
    }

    /// The conversation that such a text names, and when it was named. `None` for every reason alike.
    #[must_use]
    pub fn open_conversation(
        &self,
        text: &str,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<(SessionId, UnixMillis)> {
        let opened = self.open_stateless(purpose::CONVERSATION, text, scope, principal);
        opened.filter(|(_, _, rest)| rest.is_empty()).map(|(id, named_at, _)| (id, named_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_conversations_open_for_their_owner_and_purpose_alone() {
        let keys = KeyRing::new(&[b"a secret of this test".as_slice()]);
        let (scope, principal) = (Scope::All, Principal::named("a"));
        let other = Principal::named("b");
        let session = SessionId::mint();
        let state = keys.seal_request_state(session, b"{}", &scope, &principal).unwrap();
        let handle = keys.seal_conversation(session, &scope, &principal).unwrap();
        let task = keys.seal_task(session, b"{}", &scope, &principal).unwrap();
        let (opened, _, bytes) = keys.open_task(&task, &scope, &principal).unwrap();
        assert_eq!((opened, &bytes[..]), (session, &b"{}"[..]));
        let (opened, _, bytes) = keys.open_request_state(&state, &scope, &principal).unwrap();
        assert_eq!((opened, &bytes[..]), (session, &b"{}"[..]));
        let opened = keys.open_conversation(&handle, &scope, &principal);
        assert_eq!(opened.map(|(session, _)| session), Some(session));
        let group = Scope::Group(crate::model::GroupName::parse("g").unwrap());
        for (scope, principal) in [(&scope, &other), (&group, &principal)] {
            assert!(keys.open_request_state(&state, scope, principal).is_none());
            assert!(keys.open_task(&task, scope, principal).is_none());
            assert!(keys.open_conversation(&handle, scope, principal).is_none());
        }
        assert!(keys.open_request_state(&handle, &scope, &principal).is_none());
        assert!(keys.open_request_state(&task, &scope, &principal).is_none());
        assert!(keys.open_task(&state, &scope, &principal).is_none());
        assert!(keys.open_conversation(&state, &scope, &principal).is_none());
        assert!(keys.open(&state, &scope, &principal).is_none());
        let forged = KeyRing::new(&[b"another secret".as_slice()]);
        assert!(forged.open_conversation(&handle, &scope, &principal).is_none());
        let changed = format!("{handle}x");
        assert!(keys.open_conversation(&changed, &scope, &principal).is_none());
    }
}
