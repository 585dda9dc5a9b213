//! Which conversation a request without a session belongs to.
//!
//! The names are looked for in the operator's order. Each is made one of this scope and principal, so
//! that no client reaches the conversation of another credential by naming it.

use http::HeaderMap;

use crate::config::ConversationBy;
use crate::edge::client_request::ClientRequest;
use crate::edge::refusal::Refusal;
use crate::edge::session::recent_session::RecentSession;
use crate::edge::worker::{Edge, Worker};
use crate::model::{Principal, Scope, SessionId, UnixMillis};
use crate::protocol::era::claim::EraClaim;
use crate::protocol::era::meta;
use crate::protocol::headers;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::lenient::{self, Members};
use crate::protocol::proof::mac;
use crate::wasm::ConversationAnswer;

use super::named_by::NONE;

/// The cookie that names a conversation.
pub const COOKIE: &str = "MOORING_CONVERSATION";
/// What a cookie is sealed to. A client sends it to every URL of the gateway, and at each it names
/// another conversation.
const OF_COOKIE: Scope = Scope::All;
/// Bytes of the longest name of a conversation that a client makes up.
const MAX_NAME: usize = 1024;

/// A conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversation {
    /// What its sessions with servers are computed of.
    pub key: [u8; 32],
    /// When it began, where its name says so.
    pub since: Option<UnixMillis>,
}

/// What names a conversation.
struct ConversationName {
    /// Equal names of two kinds are of two conversations.
    kind: String,
    name: Vec<u8>,
    since: Option<UnixMillis>,
}

impl ConversationName {
    fn new(kind: &impl ToString, name: impl Into<Vec<u8>>) -> Self {
        Self { kind: kind.to_string(), name: name.into(), since: None }
    }
}

/// What a rung of the ladder says.
enum Rung {
    Next,
    Found(ConversationName),
    /// The request is a conversation of its own, whatever else it says.
    Alone,
}

impl From<Option<ConversationName>> for Rung {
    fn from(named: Option<ConversationName>) -> Self {
        named.map_or(Self::Next, Self::Found)
    }
}

/// The request of which the conversation is looked for.
#[derive(Clone, Copy)]
pub struct Speaker<'a> {
    pub context: &'a ClientRequest,
    pub scope: &'a Scope,
    pub principal: &'a Principal,
    pub envelope: &'a Envelope<'a>,
    pub message: &'a [u8],
    pub claim: &'a EraClaim<'a>,
    pub recent: &'a RecentSession,
}

impl Worker {
    /// The conversation of a request; `None` if nothing tells its client from others.
    ///
    /// # Errors
    /// If it names one that this gateway has not named for this client.
    pub fn conversation(&self, speaker: &Speaker<'_>) -> Result<Option<Conversation>, Refusal> {
        let edge = &self.edge;
        let ladder = &edge.config.eras.conversations;
        // Whatever names the conversation in the end, a name that is not the client's is refused.
        let handle = match &speaker.claim.conversation {
            Some(text) if ladder.contains(&ConversationBy::Handle) => {
                Some(edge.opened_handle(speaker, text).ok_or_else(unknown)?)
            }
            _ => None,
        };
        let found = ladder.iter().find_map(|by| match self.rung(speaker, by, handle.as_ref()) {
            Rung::Next => None,
            Rung::Alone => Some((by, None)),
            Rung::Found(named) => Some((by, Some(edge.conversation_of(speaker, &named)))),
        });
        let by = found.as_ref().map(|(by, _)| *by);
        edge.metrics.conversations.note(by);
        speaker
            .context
            .name_conversation_by(by.map_or_else(|| NONE.to_owned(), ToString::to_string));
        Ok(found.and_then(|(_, conversation)| conversation))
    }

    fn rung(
        &self,
        speaker: &Speaker<'_>,
        by: &ConversationBy,
        handle: Option<&OpenedHandle>,
    ) -> Rung {
        let Speaker { context, claim, principal, recent, .. } = *speaker;
        let named = match by {
            ConversationBy::Plugin => match self.identified(speaker, handle) {
                ConversationAnswer::Abstain => None,
                ConversationAnswer::Named(name) => Some(ConversationName::new(by, name)),
                ConversationAnswer::Alone => return Rung::Alone,
            },
            ConversationBy::Handle => handle.map(OpenedHandle::named),
            // A browser sends cookies of before: one that does not open names nothing.
            ConversationBy::Cookie => {
                self.edge.cookie_handle(speaker).as_ref().map(OpenedHandle::named)
            }
            ConversationBy::Header(name) => {
                only_text(&context.headers, name).map(|text| ConversationName::new(by, text))
            }
            ConversationBy::Meta(name) => {
                let meta = Members::of(claim.meta.get());
                meta.and_then(|meta| name_in(&meta, name))
                    .map(|text| ConversationName::new(by, text))
            }
            ConversationBy::Argument(name) => {
                let params = speaker.envelope.params.and_then(|params| Members::of(params.get()));
                let arguments = params.and_then(|params| params.object("arguments"));
                arguments
                    .and_then(|arguments| name_in(&arguments, name))
                    .map(|text| ConversationName::new(by, text))
            }
            ConversationBy::Principal => (*principal != Principal::anonymous())
                .then(|| ConversationName::new(by, claim.client_name())),
            ConversationBy::Address => {
                // Behind a proxy that is believed, the address that it names.
                let client = format!("{} {}", context.quota, claim.client_name());
                Some(ConversationName::new(by, client))
            }
            ConversationBy::Connection => {
                let name = ConversationName::new(by, *recent.conversation().as_bytes());
                // It began in this process.
                Some(ConversationName { since: Some(UnixMillis::now()), ..name })
            }
        };
        named.into()
    }
}

/// The names that the gateway gives a new conversation.
pub struct NewConversation {
    pub handle: String,
    /// The same for the cookie, where cookies count.
    pub cookie: Option<String>,
}

/// The conversation that the gateway has named, as its client returns it.
pub struct OpenedHandle {
    pub id: SessionId,
    named_at: UnixMillis,
}

impl OpenedHandle {
    /// It is the same in `_meta` and in a cookie.
    fn named(&self) -> ConversationName {
        ConversationName {
            since: Some(self.named_at),
            ..ConversationName::new(&"handle", *self.id.as_bytes())
        }
    }
}

impl Edge {
    fn conversation_of(&self, speaker: &Speaker<'_>, named: &ConversationName) -> Conversation {
        let (scope, principal) = (speaker.scope.seal_text(), speaker.principal.as_str());
        let parts: [&[u8]; 5] = [
            b"mooring conversation",
            named.kind.as_bytes(),
            &named.name,
            scope.as_bytes(),
            principal.as_bytes(),
        ];
        Conversation { key: mac::of_texts(&self.signing_key, &parts), since: named.since }
    }

    fn opened_handle(&self, speaker: &Speaker<'_>, text: &str) -> Option<OpenedHandle> {
        let opened = self.keys.open_conversation(text, speaker.scope, speaker.principal);
        opened.map(|(id, named_at)| OpenedHandle { id, named_at })
    }

    /// The conversation that the gateway's cookie names.
    #[must_use]
    pub fn cookie_handle(&self, speaker: &Speaker<'_>) -> Option<OpenedHandle> {
        let text = headers::cookie(&speaker.context.headers, COOKIE)?;
        let opened = self.keys.open_conversation(text, &OF_COOKIE, speaker.principal);
        opened.map(|(id, named_at)| OpenedHandle { id, named_at })
    }

    /// Names for a new conversation, if clients may name them so.
    #[must_use]
    pub fn new_conversation(
        &self,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<NewConversation> {
        let ladder = &self.config.eras.conversations;
        let by_cookie = ladder.contains(&ConversationBy::Cookie);
        if !by_cookie && !ladder.contains(&ConversationBy::Handle) {
            return None;
        }
        let id = SessionId::mint();
        let sealed = |scope: &Scope| self.keys.seal_conversation(id, scope, principal);
        let cookie = if by_cookie { sealed(&OF_COOKIE) } else { None };
        Some(NewConversation { handle: sealed(scope)?, cookie })
    }
}

fn unknown() -> Refusal {
    Refusal::InvalidParams(format!(
        "params._meta[{:?}] is not a conversation that this gateway has named for this client; leave it out to begin another",
        meta::CONVERSATION
    ))
}

/// A member that is a text or a number: nothing else is a name, `null` least of all.
fn name_in(members: &Members<'_>, name: &str) -> Option<String> {
    let raw = members.get(name)?;
    let is_number = raw.get().starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let text = lenient::text(raw).or_else(|| is_number.then(|| raw.get().to_owned()));
    text.filter(|text| is_name(text))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_or_a_number_names_a_conversation_and_nothing_else() {
        let long = "x".repeat(MAX_NAME + 1);
        let json = format!(
            r#"{{"a":"t\u00e9","b":7,"c":-1.5,"d":null,"e":true,"f":{{}},"g":[],"h":"","i":"{long}"}}"#
        );
        let members = Members::of(&json).unwrap();
        let names = ["a", "b", "c"].map(|name| name_in(&members, name).unwrap());
        assert_eq!(names, ["t\u{e9}", "7", "-1.5"]);
        for name in ["d", "e", "f", "g", "h", "i", "j"] {
            assert_eq!(name_in(&members, name), None, "{name}");
        }
    }
}
