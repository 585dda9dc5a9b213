//! Which conversation a request without a session belongs to.
//!
//! The names are looked for in the operator's order. Each is made one of this scope and principal, so
//! that no client reaches the conversation of another credential by naming it.

use http::HeaderMap;

use crate::config::ConversationBy;
use crate::edge::client_request::ClientRequest;
use crate::edge::refusal::Refusal;
use crate::edge::session::recent_session::RecentSession;
use crate::edge::worker::Edge;
use crate::model::{Principal, Scope, SessionId};
use crate::protocol::era::claim::EraClaim;
use crate::protocol::era::meta;
use crate::protocol::headers;
use crate::protocol::lenient::{self, Members};
use crate::protocol::proof::mac;

/// The cookie that names a conversation.
pub const COOKIE: &str = "MOORING_CONVERSATION";
/// Bytes of the longest name of a conversation that a client makes up.
const MAX_NAME: usize = 1024;

/// A conversation; `None` if nothing tells the client from others.
pub type Conversation = Option<[u8; 32]>;

/// The request of which the conversation is looked for.
#[derive(Clone, Copy)]
pub struct Speaker<'a> {
    pub context: &'a ClientRequest,
    pub scope: &'a Scope,
    pub principal: &'a Principal,
    pub claim: &'a EraClaim<'a>,
    pub recent: &'a RecentSession,
}

impl Edge {
    /// The conversation of a request.
    ///
    /// # Errors
    /// If it names one that this gateway has not named for this client.
    pub fn conversation(&self, speaker: &Speaker<'_>) -> Result<Conversation, Refusal> {
        for by in &self.config.eras.conversations {
            if let Some((kind, name)) = self.named(speaker, by)? {
                let (scope, principal) = (speaker.scope.seal_text(), speaker.principal.as_str());
                let parts: [&[u8]; 5] = [
                    b"mooring conversation",
                    kind.as_bytes(),
                    &name,
                    scope.as_bytes(),
                    principal.as_bytes(),
                ];
                return Ok(Some(mac::of_texts(&self.signing_key, &parts)));
            }
        }
        Ok(None)
    }

    /// What names the conversation in this way, and what kind of name it is: a handle is the same in
    /// a cookie.
    fn named(
        &self,
        speaker: &Speaker<'_>,
        by: &ConversationBy,
    ) -> Result<Option<(String, Vec<u8>)>, Refusal> {
        let Speaker { context, claim, principal, recent, .. } = *speaker;
        let handle = |id: SessionId| ("handle".to_owned(), id.as_bytes().to_vec());
        Ok(match by {
            ConversationBy::Handle => match &claim.conversation {
                Some(text) => Some(handle(self.opened_handle(speaker, text).ok_or_else(unknown)?)),
                None => None,
            },
            // A browser sends cookies of before: one that does not open names nothing.
            ConversationBy::Cookie => headers::cookie(&context.headers, COOKIE)
                .and_then(|text| self.opened_handle(speaker, text))
                .map(handle),
            ConversationBy::Header(name) => {
                only_text(&context.headers, name).map(|text| (by.to_string(), text.into()))
            }
            ConversationBy::Meta(name) => {
                let named = Members::of(claim.meta.get()).and_then(|meta| meta.get(name));
                let text = named.map(|raw| lenient::text(raw).unwrap_or_else(|| raw.get().into()));
                text.filter(|text| is_name(text)).map(|text| (by.to_string(), text.into()))
            }
            ConversationBy::Principal => (*principal != Principal::anonymous())
                .then(|| (by.to_string(), claim.client_name().into())),
            ConversationBy::Address => {
                // Behind a proxy that is believed, the address that it names.
                let client = format!("{} {}", context.quota, claim.client_name());
                Some((by.to_string(), client.into()))
            }
            ConversationBy::Connection => {
                Some((by.to_string(), recent.conversation().as_bytes().to_vec()))
            }
        })
    }

    fn opened_handle(&self, speaker: &Speaker<'_>, text: &str) -> Option<SessionId> {
        self.keys.open_conversation(text, speaker.scope, speaker.principal)
    }

    /// A name for a new conversation, if clients may name them so.
    #[must_use]
    pub fn new_handle(&self, scope: &Scope, principal: &Principal) -> Option<String> {
        let named_so = [ConversationBy::Handle, ConversationBy::Cookie];
        let may = self.config.eras.conversations.iter().any(|by| named_so.contains(by));
        may.then(|| self.keys.seal_conversation(SessionId::mint(), scope, principal))?
    }
}

fn unknown() -> Refusal {
    Refusal::InvalidParams(format!(
        "params._meta[{:?}] is not a conversation that this gateway has named for this client; leave it out to begin another",
        meta::CONVERSATION
    ))
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
}

/// The value of a header that comes once.
fn only_text(headers: &HeaderMap, name: &http::HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let text = values.next()?.to_str().ok()?.trim();
    (values.next().is_none() && is_name(text)).then(|| text.to_owned())
}
