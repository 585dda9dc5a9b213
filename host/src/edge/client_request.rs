//! The client's HTTP request, without its body.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderValue, Uri};
use serde_json::Value;

use crate::edge::access::identity::CallerIdentity;
use crate::model::{QuotaKey, SUBJECT_TOKEN, SessionId};
use crate::protocol::headers;

/// Longest id of a request that is taken from its client, in bytes.
const MAX_ID: usize = 128;

/// The parts of the client's request from which strategies and passed-through headers are read.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    pub headers: HeaderMap,
    pub uri: Uri,
    pub peer: IpAddr,
    /// Whom the limits count for it.
    pub quota: QuotaKey,
    /// What rules and limits decide by; `None` where there are none.
    pub identity: Option<Arc<CallerIdentity>>,
    /// Set if the client has no session, and takes a task for the answer to this request.
    takes_tasks: OnceLock<()>,
    /// What named its conversation, of a client without a session, once that is known.
    named_by: OnceLock<Box<str>>,
    noted: RequestNotes,
}

/// What is noted of a request, on whichever copy of it. Most requests have no copy, and allocate nothing
/// for one.
#[derive(Debug, Default)]
struct RequestNotes {
    own: NotedOnce,
    /// In place of those of its own, once there is a copy.
    shared: OnceLock<Arc<NotedOnce>>,
}

#[derive(Debug, Default, Clone)]
struct NotedOnce {
    /// Set once something is noted about the request.
    id: OnceLock<Box<str>>,
    /// Set once the logs tell of it as a call.
    told: OnceLock<()>,
}

impl RequestNotes {
    fn get(&self) -> &NotedOnce {
        self.shared.get().map_or(&self.own, |shared| shared)
    }
}

impl Clone for RequestNotes {
    fn clone(&self) -> Self {
        let shared = self.shared.get_or_init(|| Arc::new(self.own.clone()));
        Self { own: NotedOnce::default(), shared: Arc::clone(shared).into() }
    }
}

/// Marks a refused request that the logs tell of as a call.
#[derive(Debug, Clone, Copy)]
pub struct ToldAsCall;

impl ClientRequest {
    #[must_use]
    pub fn new(headers: HeaderMap, uri: Uri, peer: IpAddr, quota: QuotaKey) -> Self {
        Self {
            headers,
            uri,
            peer,
            quota,
            identity: None,
            takes_tasks: OnceLock::new(),
            named_by: OnceLock::new(),
            noted: RequestNotes::default(),
        }
    }

    /// Notes that the logs tell of it as a call.
    pub fn note_told(&self) {
        let _ = self.noted.get().told.set(());
    }

    /// The mark for a request that is refused after the logs have told of it.
    #[must_use]
    pub fn told(&self) -> Option<ToldAsCall> {
        self.noted.get().told.get().map(|()| ToldAsCall)
    }

    /// Bytes of its headers, which are kept for as long as it is.
    #[must_use]
    pub fn head_bytes(&self) -> usize {
        self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
    }

    /// The same, from a client with this identity.
    #[must_use]
    pub fn by(self, identity: Option<Arc<CallerIdentity>>) -> Self {
        Self { identity, ..self }
    }

    /// The token that let the client in, for servers that get another one in exchange. What a client
    /// sends by itself under that name does not count.
    #[must_use]
    pub fn subject_token(&self) -> Option<&HeaderValue> {
        self.identity.as_ref()?.token.as_ref()?;
        self.headers.get(SUBJECT_TOKEN)
    }

    /// What the client's token says under this name.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.identity.as_ref()?.token.as_ref()?.claims.get(name)
    }

    /// The name of the request in explanations: its client's `X-Request-Id`, if that can be shown
    /// as it is, else a new one.
    pub fn id(&self) -> &str {
        self.noted.get().id.get_or_init(|| {
            let given = self.headers.get(headers::REQUEST_ID);
            let given = given.and_then(|value| value.to_str().ok()).filter(|id| is_id(id));
            given.map_or_else(|| SessionId::mint().to_string().into(), Into::into)
        })
    }

    /// Notes that the client takes a task for an answer.
    pub fn note_tasks(&self) {
        self.takes_tasks.get_or_init(|| ());
    }

    /// Whether the client has no session, and takes a task for the answer to this request.
    #[must_use]
    pub fn takes_tasks(&self) -> bool {
        self.takes_tasks.get().is_some()
    }

    /// Keeps what has named its conversation.
    pub fn name_conversation_by(&self, what: String) {
        self.named_by.get_or_init(|| what.into());
    }

    /// What has named its conversation. `None` for a request of a session.
    #[must_use]
    pub fn named_by(&self) -> Option<&str> {
        self.named_by.get().map(|what| &**what)
    }

    /// The header that tells the client the id, if something was noted under it.
    #[must_use]
    pub fn noted_id(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.noted.get().id.get()?).ok()
    }
}

/// The id of a refused request, on its way to the response.
#[derive(Debug, Clone)]
pub struct NotedId(pub HeaderValue);

fn is_id(id: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/+=@".contains(&b);
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: Option<&str>) -> ClientRequest {
        let mut given = HeaderMap::new();
        if let Some(id) = id {
            given.insert(headers::REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap());
        }
        let peer = IpAddr::from([127, 0, 0, 1]);
        ClientRequest::new(given, Uri::default(), peer, QuotaKey::of_address(peer))
    }

    #[test]
    fn what_is_noted_of_one_part_is_noted_of_all() {
        let first = request(None);
        let second = first.clone();
        assert!(first.noted_id().is_none());
        let id = second.id().to_owned();
        assert_eq!(first.noted_id().unwrap(), id);
        assert_eq!(first.clone().id(), id);
    }

    #[test]
    fn an_id_of_the_client_counts_if_it_can_be_shown() {
        let longest = "x".repeat(MAX_ID);
        for id in ["7f3a", "req_1", "01:a/b+c=@", &*longest] {
            let request = request(Some(id));
            assert!(request.noted_id().is_none(), "nothing is noted yet");
            assert_eq!(request.id(), id);
        }
        let long = "x".repeat(MAX_ID + 1);
        for id in [None, Some(""), Some("a b"), Some("\"a\""), Some("<b>"), Some("é"), Some(&*long)]
        {
            let request = request(id);
            let made = request.id().to_owned();
            assert!(SessionId::parse(&made).is_some(), "{id:?}: {made}");
            assert_eq!(request.id(), made, "it stays the same");
            assert_eq!(request.noted_id().unwrap(), made);
        }
    }

    #[test]
    fn what_is_noted_on_one_copy_is_noted_on_all() {
        let request = request(None);
        let id = request.id().to_owned();
        let copy = request.clone();
        let other = copy.clone();
        assert!(copy.told().is_none());
        other.note_told();
        assert!(request.told().is_some() && copy.told().is_some());
        assert_eq!((copy.id(), other.id()), (&*id, &*id));
    }
}
