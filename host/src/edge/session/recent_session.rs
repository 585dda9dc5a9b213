//! The host, scope and session of a connection's last request. Its next request is mostly one of
//! the same session, whose host, path and id then need not be read again.

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderValue, header};

use crate::edge::client_request::ClientRequest;
use crate::edge::config::{CallerReach, KeyView};
use crate::edge::refusal::Refusal;
use crate::edge::worker::Edge;
use crate::model::{Principal, Rights, Scope, SessionId, UnixMillis};
use crate::protocol::headers;
use crate::protocol::seal::MAX_AGE;
use crate::sync::Locked;

use super::client_session::Session;

/// One for each connection, on which HTTP/1.1 has one request at a time.
#[derive(Default)]
pub struct RecentSession {
    host: Locked<Option<HeaderValue>>,
    path: Locked<Option<RecentPath>>,
    session: Locked<Option<Remembered>>,
    conversation: OnceLock<SessionId>,
}

/// The scope of a path for a caller, and what the caller may reach.
struct RecentPath {
    path: String,
    view: Option<Arc<KeyView>>,
    rights: Option<Arc<Rights>>,
    scope: Scope,
}

struct Remembered {
    id: HeaderValue,
    version: Option<HeaderValue>,
    scope: Scope,
    session: Arc<Session>,
}

impl RecentSession {
    /// The conversation of the connection, where all requests of one are the same client's.
    pub fn conversation(&self) -> SessionId {
        *self.conversation.get_or_init(SessionId::mint)
    }

    /// Whether a request with the same Host was let in.
    pub fn has_host(&self, headers: &HeaderMap) -> bool {
        let known = self.host.lock();
        // Mostly the first of all, so that it is not looked up.
        let host = headers.iter().find(|(name, _)| *name == header::HOST);
        known.is_some() && host.map(|(_, value)| value) == known.as_ref()
    }

    pub fn keep_host(&self, headers: &HeaderMap) {
        *self.host.lock() = headers.get(header::HOST).cloned();
    }

    /// The scope of the last request, if it had the same path and a caller that may reach the same: a
    /// proxy may send requests of several clients over one connection.
    pub fn scope(&self, path: &str, reach: CallerReach<'_>) -> Option<Scope> {
        let last = self.path.lock();
        let last = last.as_ref()?;
        let is_same =
            is_same(last.view.as_ref(), reach.view) && is_same(last.rights.as_ref(), reach.rights);
        (is_same && last.path == path).then(|| last.scope.clone())
    }

    pub fn keep_scope(&self, path: &str, reach: CallerReach<'_>, scope: &Scope) {
        let (view, rights) = (reach.view.cloned(), reach.rights.cloned());
        let (path, scope) = (path.to_owned(), scope.clone());
        *self.path.lock() = Some(RecentPath { path, view, rights, scope });
    }

    /// The session of the request's header, if it is that of the last request: its sealed id then
    /// need not be opened again.
    pub fn same(
        &self,
        edge: &Edge,
        headers: &HeaderMap,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<Result<Arc<Session>, Refusal>> {
        let session = self.recall(headers, scope, principal)?;
        let is_ended = edge.records.is_ended(session.id);
        Some(if is_ended { Err(Refusal::UnknownSession) } else { Ok(session) })
    }

    /// The session of the request's header, whose sealed id is opened. `None` if there is no
    /// header. The session is used from now on, unless the request ends it.
    pub async fn open(
        &self,
        edge: &Edge,
        context: &ClientRequest,
        scope: &Scope,
        principal: &Principal,
        ends: bool,
    ) -> Result<Option<Arc<Session>>, Refusal> {
        let headers = &context.headers;
        let opened = Session::of(edge, headers, scope, principal, ends).await?;
        let Some(session) = opened else { return Ok(None) };
        let session = Arc::new(session);
        edge.bindings.recognise(session.id, &context.quota);
        if let Some(id) = headers.get(headers::SESSION) {
            let remembered = Remembered {
                id: id.clone(),
                version: headers.get(headers::PROTOCOL_VERSION).cloned(),
                scope: scope.clone(),
                session: Arc::clone(&session),
            };
            *self.session.lock() = Some(remembered);
        }
        Ok(Some(session))
    }

    fn recall(
        &self,
        headers: &HeaderMap,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<Arc<Session>> {
        let last = self.session.lock();
        let known = last.as_ref()?;
        let (id, version) = named_session(headers);
        let same = id == Some(&known.id)
            && version == known.version.as_ref()
            && *scope == known.scope
            && *principal == known.session.principal
            && UnixMillis::now().since(known.session.minted_at) <= MAX_AGE;
        same.then(|| Arc::clone(&known.session))
    }
}

/// The session's id, and the revision. Looked for in one pass, since a map takes as long for each.
fn named_session(headers: &HeaderMap) -> (Option<&HeaderValue>, Option<&HeaderValue>) {
    let (mut id, mut version) = (None, None);
    for (name, value) in headers {
        if *name == headers::SESSION {
            id = id.or(Some(value));
        } else if *name == headers::PROTOCOL_VERSION {
            version = version.or(Some(value));
        }
    }
    (id, version)
}

fn is_same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, Some(_)) | (Some(_), None) => false,
    }
}
