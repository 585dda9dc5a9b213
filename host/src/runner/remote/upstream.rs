//! A remote server's address, and the headers of every request to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};

use crate::model::{SUBJECT_TOKEN, ServerName};
use crate::net::{
    Body, Failure, Message, Pool, Proxy, Target, TargetTls, Written, WrittenHead, decoded,
    is_event_stream,
};
use crate::protocol::{headers, trace_context};
use crate::sync::Locked;

use super::cookies::Cookies;
use super::redirects;
use crate::oauth::challenge::TokenGiven;
use crate::oauth::source::{AccessToken, TokenSource};
use crate::oauth::tokens::NoToken;
use crate::runner::channel::judge::ResponseHead;
use crate::seam::UserTokenRefused;

pub const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
pub const EVENTS: HeaderValue = HeaderValue::from_static(headers::EVENT_STREAM);
const JSON: HeaderValue = HeaderValue::from_static(headers::JSON);
/// Firewalls before many public servers refuse requests that do not say who sends them.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("mooring/", env!("CARGO_PKG_VERSION")));
/// Without the header a server may compress as it likes (RFC 9110 §12.5.3).
const NO_CODING: HeaderValue = HeaderValue::from_static("identity");
/// Longest wait for the answer to DELETE.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest body once decoded, where the session has no limit of its own: that of one message.
pub const MAX_DECODED: usize = 64 << 20;

/// A remote server's address and its configured headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    pub target: Target,
    pub uri: Uri,
    pub path: Uri,
    pub headers: HeaderMap,
    /// The access tokens that are fetched for it.
    pub tokens: Option<TokenSource>,
    /// Whether requests carry a token of their client's user, who has logged in.
    pub is_of_users: bool,
}

impl Upstream {
    /// `None` if the URL is neither `http` nor `https`.
    #[must_use]
    pub fn new(
        uri: &Uri,
        pairs: &[(HeaderName, HeaderValue)],
        proxy: Option<Proxy>,
        tls: Option<TargetTls>,
    ) -> Option<Self> {
        let headers = HeaderMap::from_iter(pairs.iter().cloned());
        let target = Target::through(uri, proxy, tls)?;
        let (uri, path) = (uri.clone(), path_of(uri));
        Some(Self { target, uri, path, headers, tokens: None, is_of_users: false })
    }

    /// The same, with access tokens that are fetched.
    #[must_use]
    pub fn with_tokens(self, tokens: Option<TokenSource>) -> Self {
        Self { tokens, ..self }
    }

    /// The same, with tokens of users who log in, or without.
    #[must_use]
    pub fn of_users(self, is_of_users: bool) -> Self {
        Self { is_of_users, ..self }
    }

    /// Whose token it gets.
    #[must_use]
    pub fn token_given(&self) -> TokenGiven {
        match (self.is_of_users, &self.tokens) {
            (true, _) => TokenGiven::OfUser,
            (false, Some(_)) => TokenGiven::Fetched,
            (false, None) => TokenGiven::Set,
        }
    }

    /// How the head of a response refuses the token of its client's user. `None` if it does not, or if
    /// it is about no such token.
    #[must_use]
    pub fn refuses_user(&self, head: &ResponseHead) -> Option<UserTokenRefused> {
        if !self.is_of_users {
            return None;
        }
        match (head.status, &head.wanted) {
            (StatusCode::UNAUTHORIZED, _) => Some(UserTokenRefused::default()),
            (StatusCode::FORBIDDEN, Some(wanted)) => {
                wanted.lacking().map(|scopes| UserTokenRefused { scopes: scopes.to_vec() })
            }
            _ => None,
        }
    }

    /// What the head of a response from it decides.
    #[must_use]
    pub fn head_of(&self, response: &Response<Body>) -> ResponseHead {
        let head = ResponseHead::of(response).through(self.target.forwarder());
        head.with_token(self.token_given())
    }

    /// The target of a request for this path: the whole URL for a proxy that reads it.
    fn asked(&self, path: &Uri) -> Uri {
        let whole = || {
            let path = path.path_and_query().cloned()?;
            let builder = Uri::builder().scheme(self.uri.scheme()?.clone());
            builder.authority(self.uri.authority()?.clone()).path_and_query(path).build().ok()
        };
        self.target.forwarder().and_then(|_| whole()).unwrap_or_else(|| path.clone())
    }
}

/// The URL's path and query, as a request target.
#[must_use]
pub fn path_of(uri: &Uri) -> Uri {
    uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from)
}

/// Sends one session's requests to an upstream, with its headers and cookies. Clones share the
/// cookies.
#[derive(Clone)]
pub struct UpstreamClient {
    upstream: Upstream,
    /// The headers of every request: the configured ones and those of the session.
    headers: HeaderMap,
    /// The prepared head of a POST, used while there are no cookies and no client headers.
    posting: WrittenHead,
    /// `None` for requests of no session: what is set for one is no other's.
    cookies: Option<Arc<Cookies>>,
    /// The client headers last let through, if the operator lets any through: also sent with
    /// requests that the gateway makes by itself.
    passed: Option<Arc<Locked<HeaderMap>>>,
}

impl UpstreamClient {
    #[must_use]
    pub fn new(upstream: Upstream) -> Self {
        let mut headers = upstream.headers.clone();
        headers.entry(header::HOST).or_insert_with(|| upstream.target.host_header().clone());
        headers.entry(header::USER_AGENT).or_insert(AGENT);
        headers.entry(header::ACCEPT_ENCODING).or_insert(NO_CODING);
        if let Some(value) = upstream.target.forwarder().and_then(Proxy::authorization) {
            headers.entry(header::PROXY_AUTHORIZATION).or_insert(value);
        }
        let posting = posting(&upstream, &headers);
        Self { upstream, headers, posting, cookies: Some(Arc::default()), passed: None }
    }

    /// For requests that belong to no session: it keeps no cookies.
    #[must_use]
    pub fn without_cookies(upstream: Upstream) -> Self {
        Self { cookies: None, ..Self::new(upstream) }
    }

    /// Makes requests without client headers carry those that came last.
    pub fn passes_headers(&mut self) {
        self.passed = Some(Arc::default());
    }

    #[must_use]
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// The head of a POST that carries nothing of a single client.
    #[must_use]
    pub fn posting(&self) -> &WrittenHead {
        &self.posting
    }

    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
        self.posting = posting(&self.upstream, &self.headers);
    }

    /// Sends further messages of the session to this path: a session is where it was opened.
    pub fn move_to(&mut self, path: Uri) {
        self.upstream.path = path;
        self.posting = posting(&self.upstream, &self.headers);
    }

    /// Posts a message to the upstream's URL, or to `path`. `forwarded` are the client headers
    /// that the operator lets through.
    pub async fn post(
        &self,
        pool: &Pool,
        path: Option<&Uri>,
        message: Bytes,
        forwarded: &HeaderMap,
    ) -> Result<Came, Failure> {
        let sent = Resendable { method: Method::POST, body: message, forwarded, after: None };
        self.send(pool, path, &sent).await
    }

    /// Whether access tokens are fetched for it.
    #[must_use]
    pub fn fetches_tokens(&self) -> bool {
        self.upstream.tokens.is_some()
    }

    /// The token of a request with these headers of its client, if tokens are fetched. What the
    /// gateway sends by itself carries that of the client who was there last.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn token(
        &self,
        pool: &Pool,
        forwarded: &HeaderMap,
    ) -> Result<Option<AccessToken>, NoToken> {
        let Some(tokens) = &self.upstream.tokens else { return Ok(None) };
        match &self.passed {
            Some(passed) if tokens.is_exchanged() && !forwarded.contains_key(SUBJECT_TOKEN) => {
                let last = passed.lock().clone();
                tokens.token(&last, pool).await.map(Some)
            }
            _ => tokens.token(forwarded, pool).await.map(Some),
        }
    }

    /// Like [`Self::post`], but the caller sends the message, calls [`Self::received`], and follows
    /// redirects.
    #[must_use]
    pub fn message(
        &self,
        path: Option<&Uri>,
        message: Bytes,
        forwarded: &HeaderMap,
        token: Option<&AccessToken>,
    ) -> Message {
        if path.is_none()
            && token.is_none()
            && forwarded.is_empty()
            && self.passed.is_none()
            && self.cookies.as_ref().is_none_or(|cookies| cookies.are_none())
        {
            return Written { head: self.posting.clone(), more: Vec::new(), body: message }.into();
        }
        self.request(Method::POST, path, Body::from(message), (forwarded, token)).into()
    }

    /// Keeps the cookies of a response, and decodes its body if the upstream has compressed it. A
    /// body that is no event stream may then have `most` bytes.
    #[must_use]
    pub fn received(&self, response: Response<Body>, most: usize) -> Response<Body> {
        // Few are there, and to look through them takes less than to search for two.
        let has = |name| response.headers().keys().any(|known| *known == name);
        if let Some(cookies) = &self.cookies
            && has(header::SET_COOKIE)
        {
            cookies.take(response.headers());
        }
        if !has(header::CONTENT_ENCODING) {
            return response;
        }
        let most = (!is_event_stream(&response)).then_some(most);
        decoded(response, most)
    }

    /// Where a redirect in answer to a request for `path` leads to, if it is followed.
    #[must_use]
    pub fn redirected(
        &self,
        method: &Method,
        path: Option<&Uri>,
        response: &Response<Body>,
    ) -> Option<Uri> {
        let Upstream { uri, path: own, .. } = &self.upstream;
        let at = (uri, path.unwrap_or(own));
        redirects::next(method, at, response.status(), response.headers())
    }

    /// Opens an event stream, or resumes it after `last_event_id`.
    pub async fn get(
        &self,
        pool: &Pool,
        last_event_id: Option<&str>,
        forwarded: &HeaderMap,
    ) -> Result<Came, Failure> {
        let after = last_event_id.and_then(|id| HeaderValue::from_str(id).ok());
        let sent = Resendable { method: Method::GET, body: Bytes::new(), forwarded, after };
        self.send(pool, None, &sent).await
    }

    pub async fn delete(&self, pool: &Pool) -> Result<Response<Body>, Failure> {
        let forwarded = &HeaderMap::new();
        let sent =
            Resendable { method: Method::DELETE, body: Bytes::new(), forwarded, after: None };
        Ok(self.send(pool, None, &sent).await?.response)
    }

    /// Tells the upstream that the session is over (2025-11-25, basic/transports, "Session
    /// Management"). Failures are only logged.
    pub async fn leave(&self, server: &ServerName, pool: &Pool) {
        match tokio::time::timeout(CLOSE_TIMEOUT, self.delete(pool)).await {
            Ok(Ok(_)) => {}
            Ok(Err(failure)) => tracing::debug!(server = %server, "DELETE upstream: {failure}"),
            Err(_) => tracing::debug!(server = %server, "DELETE upstream: no answer"),
        }
    }

    /// Follows a redirect in answer to a message that the caller has posted to the session's URL.
    ///
    /// # Errors
    /// If an exchange on the way fails.
    pub async fn follow_post(
        &self,
        pool: &Pool,
        response: Response<Body>,
        (message, forwarded): (Bytes, &HeaderMap),
        token: Option<AccessToken>,
    ) -> Result<Response<Body>, Failure> {
        let sent = Resendable { method: Method::POST, body: message, forwarded, after: None };
        Ok(self.follow(pool, response, None, &sent, token).await?.response)
    }

    async fn send(
        &self,
        pool: &Pool,
        path: Option<&Uri>,
        sent: &Resendable<'_>,
    ) -> Result<Came, Failure> {
        let none = |why: NoToken| Failure::NotSent(why.to_string());
        let mut token = self.token(pool, sent.forwarded).await.map_err(none)?;
        let mut response = self.once(pool, path, sent, token.as_ref()).await?;
        if let Some(used) = &token {
            if response.status() != StatusCode::UNAUTHORIZED {
                used.note_accepted();
            } else if let Some(next) = used.another(pool).await.map_err(none)? {
                token = Some(next);
                response = self.once(pool, path, sent, token.as_ref()).await?;
            }
        }
        if !redirects::may_follow(&sent.method, response.status()) {
            return Ok(Came { response, moved: None });
        }
        Box::pin(self.follow(pool, response, path.cloned(), sent, token)).await
    }

    async fn once(
        &self,
        pool: &Pool,
        path: Option<&Uri>,
        sent: &Resendable<'_>,
        token: Option<&AccessToken>,
    ) -> Result<Response<Body>, Failure> {
        let response = pool.send(&self.upstream.target, self.again(sent, path, token)).await?;
        Ok(self.received(response, MAX_DECODED))
    }

    async fn follow(
        &self,
        pool: &Pool,
        mut response: Response<Body>,
        mut path: Option<Uri>,
        sent: &Resendable<'_>,
        token: Option<AccessToken>,
    ) -> Result<Came, Failure> {
        let mut moved = None;
        for _ in 0..redirects::MOST {
            let Some(next) = self.redirected(&sent.method, path.as_ref(), &response) else { break };
            response = self.once(pool, Some(&next), sent, token.as_ref()).await?;
            moved = Some(next.clone());
            path = Some(next);
        }
        Ok(Came { response, moved })
    }

    /// The request, to this path.
    fn again(
        &self,
        sent: &Resendable<'_>,
        path: Option<&Uri>,
        token: Option<&AccessToken>,
    ) -> Message {
        let Resendable { method, body, forwarded, .. } = sent;
        if *method == Method::POST {
            return self.message(path, body.clone(), forwarded, token);
        }
        let body = Body::from(body.clone());
        let mut request = self.request(method.clone(), path, body, (forwarded, token));
        if sent.method == Method::GET {
            request.headers_mut().insert(header::ACCEPT, EVENTS);
        }
        if let Some(after) = &sent.after {
            request.headers_mut().insert(headers::LAST_EVENT_ID, after.clone());
        }
        request.into()
    }

    fn request(
        &self,
        method: Method,
        path: Option<&Uri>,
        body: Body,
        (forwarded, token): (&HeaderMap, Option<&AccessToken>),
    ) -> Request<Body> {
        let mut request = Request::new(body);
        *request.uri_mut() = self.upstream.asked(path.unwrap_or(&self.upstream.path));
        request.headers_mut().clone_from(&self.headers);
        if method == Method::POST {
            set_message_headers(request.headers_mut());
        }
        if let Some(token) = token {
            request.headers_mut().insert(header::AUTHORIZATION, token.value().clone());
        }
        *request.method_mut() = method;
        match &self.passed {
            None => add(forwarded, request.headers_mut()),
            Some(passed) => {
                let mut passed = passed.lock();
                keep(&mut passed, forwarded);
                add(&passed, request.headers_mut());
                trace_context::copy(forwarded, request.headers_mut());
            }
        }
        if self.fetches_tokens() {
            // What is exchanged goes to nobody but the token server.
            request.headers_mut().remove(SUBJECT_TOKEN);
        }
        if let Some(cookies) = &self.cookies {
            cookies.give(request.headers_mut());
        }
        request
    }
}

/// A response, and the path that redirects have led to.
pub struct Came {
    pub response: Response<Body>,
    pub moved: Option<Uri>,
}

/// A request that may have to be sent again, to where a redirect leads.
struct Resendable<'a> {
    method: Method,
    body: Bytes,
    forwarded: &'a HeaderMap,
    /// The last event of the stream that is resumed.
    after: Option<HeaderValue>,
}

/// Sets the `Content-Type` of a message and the `Accept` for its answer.
fn set_message_headers(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::ACCEPT, BOTH);
}

fn posting(upstream: &Upstream, headers: &HeaderMap) -> WrittenHead {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = upstream.asked(&upstream.path);
    request.headers_mut().clone_from(headers);
    set_message_headers(request.headers_mut());
    WrittenHead::of(&request)
}

/// Keeps a client's headers for what the gateway sends by itself, which is of no trace.
fn keep(passed: &mut HeaderMap, forwarded: &HeaderMap) {
    if !trace_context::is_in(forwarded) {
        if !forwarded.is_empty() && passed != forwarded {
            passed.clone_from(forwarded);
        }
        return;
    }
    let mut of_client = forwarded.clone();
    trace_context::remove(&mut of_client);
    if !of_client.is_empty() {
        *passed = of_client;
    }
}

/// Replaces headers by those of the client, each with all its values.
fn add(more: &HeaderMap, headers: &mut HeaderMap) {
    for name in more.keys() {
        headers.remove(name);
    }
    for (name, value) in more {
        headers.append(name, value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http1;

    #[test]
    fn a_clients_header_keeps_all_its_values_and_replaces_the_configured_one() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("configured"));
        let mut more = HeaderMap::new();
        more.append("x-a", HeaderValue::from_static("1"));
        more.append("x-a", HeaderValue::from_static("2"));
        add(&more, &mut headers);
        assert_eq!(headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn a_trace_is_of_its_message_alone_and_a_clients_headers_stay() {
        let map = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().copied().map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            HeaderMap::from_iter(pairs)
        };
        let uri: Uri = "http://upstream/mcp".parse().unwrap();
        let mut client = UpstreamClient::new(Upstream::new(&uri, &[], None, None).unwrap());
        client.passes_headers();
        let sent = |forwarded: &HeaderMap| {
            let request = client.request(Method::POST, None, Body::Empty, (forwarded, None));
            let value = |name| request.headers().get(name).map(|value| value.to_str().unwrap());
            (value("x-user").map(str::to_owned), value("traceparent").map(str::to_owned))
        };
        let (user, trace) = (Some("u".to_owned()), Some("t".to_owned()));
        let both = map(&[("x-user", "u"), ("traceparent", "t")]);
        assert_eq!(sent(&both), (user.clone(), trace.clone()));
        assert_eq!(sent(&HeaderMap::new()), (user.clone(), None));
        assert_eq!(sent(&map(&[("traceparent", "t")])), (user, trace));
        assert_eq!(sent(&map(&[("x-user", "v")])), (Some("v".to_owned()), None));
    }

    /// The lines of a message's head, sorted.
    fn lines(message: &Message) -> Vec<String> {
        let mut head = Vec::new();
        match message {
            Message::Request(request) => http1::request_lines(&mut head, request),
            Message::Written(written) => head.extend_from_slice(written.head.lines()),
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines: Vec<String> = head.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_head_that_was_written_before_is_the_one_that_would_be_made() {
        let uri: Uri = "http://upstream:81/mcp?key=a".parse().unwrap();
        let own = |pairs: &[(&'static str, &'static str)]| {
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(name, value)| {
                    (HeaderName::from_static(name), HeaderValue::from_static(value))
                })
                .collect();
            Upstream::new(&uri, &pairs, None, None).unwrap()
        };
        for (upstream, host) in [
            (own(&[]), "upstream:81"),
            (own(&[("host", "virtual"), ("accept", "text/html"), ("x-key", "k")]), "virtual"),
        ] {
            let mut client = UpstreamClient::new(upstream);
            client.set(headers::SESSION, HeaderValue::from_static("s-1"));
            let none = HeaderMap::new();
            let written = client.message(None, Bytes::from("ping"), &none, None);
            assert!(matches!(written, Message::Written(_)));
            let made = client.request(Method::POST, None, Body::Empty, (&none, None)).into();
            assert_eq!(lines(&written), lines(&made));
            for line in [
                "POST /mcp?key=a HTTP/1.1",
                &format!("host: {host}"),
                "mcp-session-id: s-1",
                "accept: application/json, text/event-stream",
                "accept-encoding: identity",
                concat!("user-agent: mooring/", env!("CARGO_PKG_VERSION")),
            ] {
                assert!(lines(&written).contains(&line.to_owned()), "{line}");
            }
            // Headers of a single request are not part of it.
            let forwarded =
                HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static("a=b"))]);
            let passed = client.message(None, Bytes::new(), &forwarded, None);
            assert!(lines(&passed).contains(&"cookie: a=b".to_owned()));
            let mut response = Response::new(Body::Empty);
            response.headers_mut().insert(header::SET_COOKIE, HeaderValue::from_static("c=d"));
            let _ = client.received(response, MAX_DECODED);
            let with_cookie = client.message(None, Bytes::new(), &none, None);
            assert!(lines(&with_cookie).contains(&"cookie: c=d".to_owned()));
        }
    }
}
