//! Requests that belong to no session, at a server behind a URL: all of them go through one client,
//! which is made once and keeps no cookies.
//!
//! Their head is that of the server's other requests, written once; what a client says in the headers
//! of the revision is put behind it.

use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderMap, Response};

use crate::net::{Body, Failure, Pool, Written, written_lines};
use crate::protocol::headers::is_stateless;

use super::redirects;
use super::upstream::{MAX_DECODED, Upstream, UpstreamClient};

/// The client of one server's settings, made when it is first needed.
#[derive(Default)]
pub struct KeptClient(OnceLock<Box<SessionlessClient>>);

impl KeptClient {
    /// The client for this address, which has to be that of the settings.
    pub fn of(&self, upstream: &Upstream) -> &SessionlessClient {
        self.0.get_or_init(|| Box::new(SessionlessClient::new(upstream.clone())))
    }
}

/// A copy of the settings makes a client of its own.
impl Clone for KeptClient {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// It follows from the settings, so that settings are the same with it and without.
impl PartialEq for KeptClient {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for KeptClient {}

impl fmt::Debug for KeptClient {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("KeptClient")
    }
}

/// Sends requests of clients without sessions to one server.
pub struct SessionlessClient {
    client: UpstreamClient,
    /// Whether the written head is that of all requests: none carries a fetched token, and the
    /// operator has set no header that requests bring themselves.
    is_written: bool,
}

impl SessionlessClient {
    fn new(upstream: Upstream) -> Self {
        let is_written = upstream.tokens.is_none() && !upstream.headers.keys().any(is_stateless);
        Self { client: UpstreamClient::without_cookies(upstream), is_written }
    }

    /// Posts a request. `forwarded` are the client's headers that the operator lets through, `sent`
    /// those that came, of which the ones that the revision knows go on.
    ///
    /// # Errors
    /// If no response head arrives.
    pub async fn post(
        &self,
        pool: &Pool,
        message: Bytes,
        forwarded: HeaderMap,
        sent: &HeaderMap,
    ) -> Result<Response<Body>, Failure> {
        let client = &self.client;
        if !self.is_written || !forwarded.is_empty() {
            let headers = with_own(forwarded, sent);
            return Ok(Box::pin(client.post(pool, None, message, &headers)).await?.response);
        }
        let more = written_lines(sent.iter().filter(|(name, _)| is_stateless(name)));
        let written = Written { head: client.posting().clone(), more, body: message.clone() };
        let response = pool.send(&client.upstream().target, written).await?;
        let response = client.received(response, MAX_DECODED);
        if !redirects::is_redirect(response.status()) {
            return Ok(response);
        }
        let headers = with_own(forwarded, sent);
        Box::pin(client.follow_post(pool, response, (message, &headers), None)).await
    }
}

/// The client's headers that the server gets: those that the operator lets through, and those of
/// the revision.
fn with_own(mut forwarded: HeaderMap, sent: &HeaderMap) -> HeaderMap {
    for name in sent.keys().filter(|name| is_stateless(name)) {
        forwarded.remove(name);
        for value in sent.get_all(name) {
            forwarded.append(name.clone(), value.clone());
        }
    }
    forwarded
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Uri, header};

    use super::*;
    use crate::net::Message;

    const PARAM: HeaderName = HeaderName::from_static("mcp-param-city");

    fn upstream(pairs: &[(HeaderName, HeaderValue)]) -> Upstream {
        let uri: Uri = "http://upstream:81/mcp".parse().unwrap();
        Upstream::new(&uri, pairs, None, None).unwrap()
    }

    #[test]
    fn a_client_is_made_once_and_anew_for_a_copy() {
        let (kept, upstream) = (KeptClient::default(), upstream(&[]));
        let first: *const SessionlessClient = kept.of(&upstream);
        assert!(std::ptr::eq(first, kept.of(&upstream)));
        let copy = kept.clone();
        assert!(copy == kept && !std::ptr::eq(first, copy.of(&upstream)));
    }

    #[test]
    fn no_cookie_of_one_request_is_in_another() {
        let client = SessionlessClient::new(upstream(&[]));
        let mut response = Response::new(Body::Empty);
        response.headers_mut().insert(header::SET_COOKIE, HeaderValue::from_static("c=d"));
        let _ = client.client.received(response, MAX_DECODED);
        let next = client.client.message(None, Bytes::new(), &HeaderMap::new(), None);
        assert!(matches!(next, Message::Written(_)));
        let forwarded = HeaderMap::from_iter([(PARAM, HeaderValue::from_static("x"))]);
        match client.client.message(None, Bytes::new(), &forwarded, None) {
            Message::Request(made) => assert!(!made.headers().contains_key(header::COOKIE)),
            Message::Written(_) => panic!("a head that all share"),
        }
    }

    #[test]
    fn what_the_operator_sets_is_replaced_by_what_the_request_says() {
        let configured = [(PARAM, HeaderValue::from_static("configured"))];
        assert!(!SessionlessClient::new(upstream(&configured)).is_written);
        assert!(SessionlessClient::new(upstream(&[])).is_written);
        let value = HeaderValue::from_static;
        let mut sent = HeaderMap::new();
        sent.append(PARAM, value("1"));
        sent.append(PARAM, value("2"));
        sent.append("mcp-method", value("tools/call"));
        sent.append(crate::protocol::headers::SESSION, value("s"));
        sent.append("authorization", value("Bearer of-the-gateway"));
        let forwarded = HeaderMap::from_iter([(PARAM, value("passed")), (header::TE, value("x"))]);
        let headers = with_own(forwarded, &sent);
        assert_eq!(headers.get_all(PARAM).iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(headers.keys_len(), 3, "{headers:?}");
        let own = sent.iter().filter(|(name, _)| is_stateless(name));
        let written = String::from_utf8(written_lines(own)).unwrap();
        let mut lines: Vec<_> = written.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["mcp-method: tools/call", "mcp-param-city: 1", "mcp-param-city: 2"]);
    }
}
