//! Requests that belong to no session, at a server behind a URL: all of them go through one client,
//! which is made once and keeps no cookies.
//!
//! Their head is that of the server's other requests, written once; what a client says in the headers
//! of the revision is put behind it: as they came, or as they follow from a request that the edge has
//! read.

use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderMap, Response};

use crate::net::{Body, Failure, Pool, Written, written_lines};
use crate::protocol::era::read_places::ReadRequest;
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

/// The headers by which a request repeats what it says.
#[derive(Clone, Copy)]
pub enum Repeated<'a> {
    /// Among all that came, of which those that the revision knows go on.
    Sent(&'a HeaderMap),
    /// They follow from the request.
    Read(&'a ReadRequest<'a>),
}

impl Repeated<'_> {
    /// As they are sent.
    fn lines(self) -> Vec<u8> {
        match self {
            Self::Sent(sent) => written_lines(sent.iter().filter(|(name, _)| is_stateless(name))),
            Self::Read(request) => request.lines(),
        }
    }

    /// The client's headers that the server gets: those that the operator lets through, and these.
    fn beside(self, forwarded: HeaderMap) -> HeaderMap {
        match self {
            Self::Sent(sent) => with_own(forwarded, sent),
            Self::Read(request) => with_own(forwarded, &request.headers()),
        }
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

    /// Posts a request. `forwarded` are the client's headers that the operator lets through.
    ///
    /// # Errors
    /// If no response head arrives.
    pub async fn post(
        &self,
        pool: &Pool,
        message: Bytes,
        forwarded: HeaderMap,
        repeated: Repeated<'_>,
    ) -> Result<Response<Body>, Failure> {
        let client = &self.client;
        if !self.is_written || !forwarded.is_empty() {
            let headers = repeated.beside(forwarded);
            return Ok(Box::pin(client.post(pool, None, message, &headers)).await?.response);
        }
        let more = repeated.lines();
        let written = Written { head: client.posting().clone(), more, body: message.clone() };
        let response = pool.send(&client.upstream().target, written).await?;
        let response = client.received(response, MAX_DECODED);
        if !redirects::is_redirect(response.status()) {
            return Ok(response);
        }
        let headers = repeated.beside(forwarded);
        Box::pin(client.follow_post(pool, response, (message, &headers), None)).await
    }
}

/// Headers that the operator lets through, and those of the revision among what was sent.
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
    fn headers_that_follow_from_a_request_go_out_as_those_that_came() {
        let request = ReadRequest { id: "1", method: b"tools/call", named: Some(b"a b") };
        let sent = request.headers();
        let lines = |repeated: Repeated<'_>| String::from_utf8(repeated.lines()).unwrap();
        assert_eq!(lines(Repeated::Read(&request)), lines(Repeated::Sent(&sent)));
        let forwarded = || HeaderMap::from_iter([(header::TE, HeaderValue::from_static("x"))]);
        let headers = Repeated::Read(&request).beside(forwarded());
        assert_eq!(headers, Repeated::Sent(&sent).beside(forwarded()));
        assert_eq!(headers.len(), 4);
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
