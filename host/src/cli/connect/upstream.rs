//! The gateway's side: requests over HTTP, repeated while the gateway is away.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};
use tokio::time::Instant;

use crate::config::{Secret, endpoint_url};
use crate::net::{Body, Failure, Pool, Target};
use crate::protocol::headers;

/// Pauses between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause that an answer may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(30);
const ACCEPT: &str = "application/json, text/event-stream";

/// Why there is no answer.
#[derive(Debug)]
pub enum Lost {
    /// It certainly has not run.
    NotSent(String),
    /// It may have run.
    Broken(String),
}

impl Lost {
    pub fn why(&self) -> &str {
        let (Self::NotSent(why) | Self::Broken(why)) = self;
        why
    }
}

/// The URL, and what every request to it carries.
pub struct Upstream {
    pool: Pool,
    target: Target,
    path: Uri,
    shown: String,
    headers: HeaderMap,
    patience: Duration,
}

impl Upstream {
    /// # Errors
    /// What is wrong with the URL or the key.
    pub fn new(
        url: &str,
        key: Option<&Secret>,
        others: &[(HeaderName, HeaderValue)],
        patience: Duration,
    ) -> Result<Self, String> {
        // What is wrong with it may be a password in it, so it is not repeated.
        let uri = endpoint_url(url).map_err(|why| format!("the URL {why}"))?;
        let target = Target::of(&uri).ok_or_else(|| "the URL has no host".to_owned())?;
        let path = match uri.path_and_query().map_or("", |path| path.as_str()) {
            "" | "/" => "/mcp".parse(),
            path => path.parse(),
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(headers::JSON));
        headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
        if let Some(key) = key {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
                .map_err(|_| "the key has characters that cannot be sent in a header".to_owned())?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        // What is said for this very URL goes before the key of the environment.
        for (name, _) in others {
            headers.remove(name);
        }
        headers.extend(others.iter().cloned());
        Ok(Self {
            pool: Pool::new(crate::net::client_config().map_err(|error| error.to_string())?),
            target,
            path: path.map_err(|_| "the URL has no path that can be asked for".to_owned())?,
            shown: match uri.authority() {
                Some(authority) => {
                    format!("{}:{}", authority.host(), authority.port_u16().unwrap_or_default())
                }
                None => url.to_owned(),
            },
            headers,
            patience,
        })
    }

    /// Host and port, for people.
    pub fn shown(&self) -> &str {
        self.shown.trim_end_matches(":0")
    }

    /// Sends a request until there is an answer, or patience is over. What may have run is sent again
    /// only if it `may_repeat`.
    pub async fn send(
        &self,
        method: &Method,
        body: &Bytes,
        own: &HeaderMap,
        may_repeat: bool,
    ) -> Result<Response<Body>, Lost> {
        let deadline = Instant::now() + self.patience;
        let mut pause = FIRST_PAUSE;
        loop {
            let (lost, wait) = match self.once(method.clone(), body.clone(), own).await {
                Ok(response) => match asked_to_wait(&response) {
                    None => return Ok(response),
                    // The last answer is better than none.
                    Some(wait) if Instant::now() + wait > deadline => return Ok(response),
                    Some(wait) => (None, wait),
                },
                Err(Failure::NotSent(why) | Failure::Short(why)) => {
                    (Some(Lost::NotSent(why)), pause)
                }
                Err(Failure::Broken(why)) if may_repeat => (Some(Lost::Broken(why)), pause),
                Err(Failure::Broken(why)) => return Err(Lost::Broken(why)),
            };
            if let Some(lost) = lost
                && Instant::now() + wait > deadline
            {
                return Err(lost);
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn once(
        &self,
        method: Method,
        body: Bytes,
        own: &HeaderMap,
    ) -> Result<Response<Body>, Failure> {
        let mut request =
            Request::new(if body.is_empty() { Body::Empty } else { Body::from(body) });
        *request.method_mut() = method;
        *request.uri_mut() = self.path.clone();
        request.headers_mut().extend(self.headers.clone());
        request.headers_mut().extend(own.clone());
        self.pool.send(&self.target, request).await
    }
}

/// How long to wait before the request is sent again, if its answer says that it was not taken: the
/// gateway is full, or starts.
fn asked_to_wait(response: &Response<Body>) -> Option<Duration> {
    let status = response.status();
    if !matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        return None;
    }
    let seconds =
        response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).clamp(FIRST_PAUSE, LONGEST_ASKED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_is_that_of_all_servers() {
        for (url, path, shown) in [
            ("http://localhost:3000", "/mcp", "localhost:3000"),
            ("https://gw.example/", "/mcp", "gw.example"),
            ("https://gw.example/hub/mcp/notes?a=b", "/hub/mcp/notes?a=b", "gw.example"),
        ] {
            let upstream = Upstream::new(url, None, &[], Duration::ZERO).unwrap();
            assert_eq!(upstream.path.to_string(), path, "{url}");
            assert_eq!(upstream.shown(), shown);
        }
        for url in [
            "localhost:3000",
            "ftp://gw.example",
            "",
            "http://",
            "http://gw.example:99999/mcp",
            "http://gw.example:0",
            "http://user:password@gw.example/mcp",
        ] {
            assert!(Upstream::new(url, None, &[], Duration::ZERO).is_err(), "{url}");
        }
    }

    #[test]
    fn a_header_of_the_command_line_is_the_only_one_of_its_name() {
        let key = Secret::new("of-the-environment".to_owned());
        let own = |name: &'static str, value| (HeaderName::from_static(name), value);
        let bearer = HeaderValue::from_static("Bearer other");
        let (a, b) = (HeaderValue::from_static("a"), HeaderValue::from_static("b"));
        let others = [own("authorization", bearer.clone()), own("x-own", a), own("x-own", b)];
        let upstream =
            Upstream::new("http://localhost", Some(&key), &others, Duration::ZERO).unwrap();
        let all = |name: &str| upstream.headers.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(all("authorization"), [&bearer]);
        assert_eq!(all("x-own"), ["a", "b"]);
    }

    #[test]
    fn only_an_answer_that_says_when_to_come_back_is_waited_for() {
        let answer = |status: u16, after: Option<&'static str>| {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            if let Some(after) = after {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(after));
            }
            asked_to_wait(&response)
        };
        assert_eq!(answer(503, Some("2")), Some(Duration::from_secs(2)));
        assert_eq!(answer(429, Some("0")), Some(FIRST_PAUSE));
        assert_eq!(answer(503, Some("86400")), Some(LONGEST_ASKED));
        assert_eq!(answer(503, None), None);
        assert_eq!(answer(500, Some("2")), None);
    }
}
