//! The cookies that an upstream has set for one session: load balancers in front of it use them
//! to find the session's process again. Never shared between sessions.

use std::collections::BTreeMap;

use cookie::Cookie;
use http::header::{self, HeaderMap, HeaderValue};

use crate::sync::Locked;

/// Cookies kept for one session; a load balancer needs far fewer. Further ones are ignored.
const MAX_COOKIES: usize = 50;
/// Longest `Set-Cookie` value kept, in bytes: what browsers support (RFC 6265 §6.1).
const MAX_BYTES: usize = 4096;

/// Cookies by name. All requests of a session go to one origin, so a cookie's path and domain are
/// ignored.
#[derive(Default)]
pub struct Cookies(Locked<BTreeMap<String, String>>);

impl Cookies {
    /// Keeps the cookies that a response sets, and removes those that it expires.
    pub fn take(&self, headers: &HeaderMap) {
        let mut set = headers.get_all(header::SET_COOKIE).iter().peekable();
        if set.peek().is_none() {
            return;
        }
        let mut cookies = self.0.lock();
        for value in set.filter(|value| value.len() <= MAX_BYTES) {
            let Some(cookie) = value.to_str().ok().and_then(|text| Cookie::parse(text).ok()) else {
                continue;
            };
            let is_over = cookie.max_age().is_some_and(|age| !age.is_positive())
                || cookie.expires_datetime().is_some_and(|at| {
                    at.unix_timestamp().unsigned_abs() < crate::model::UnixMillis::now().0 / 1000
                });
            if is_over {
                cookies.remove(cookie.name());
            } else if cookies.len() < MAX_COOKIES || cookies.contains_key(cookie.name()) {
                cookies.insert(cookie.name().to_owned(), cookie.value().to_owned());
            }
        }
    }

    #[must_use]
    pub fn are_none(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Adds the cookies to a request, after the configured ones.
    pub fn give(&self, headers: &mut HeaderMap) {
        let cookies = self.0.lock();
        if cookies.is_empty() {
            return;
        }
        let configured = headers.get(header::COOKIE).and_then(|value| value.to_str().ok());
        let ours = cookies.iter().map(|(name, value)| format!("{name}={value}"));
        let all: Vec<String> = configured.map(str::to_owned).into_iter().chain(ours).collect();
        if let Ok(mut value) = HeaderValue::from_str(&all.join("; ")) {
            value.set_sensitive(true);
            headers.insert(header::COOKIE, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(set: &[&'static str]) -> HeaderMap {
        set.iter().map(|text| (header::SET_COOKIE, HeaderValue::from_static(text))).collect()
    }

    fn sent(cookies: &Cookies, configured: Option<&'static str>) -> Option<String> {
        let mut headers = HeaderMap::new();
        if let Some(configured) = configured {
            headers.insert(header::COOKIE, HeaderValue::from_static(configured));
        }
        cookies.give(&mut headers);
        headers.get(header::COOKIE).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn what_is_set_is_sent_back_until_it_is_taken_back() {
        let cookies = Cookies::default();
        assert_eq!(sent(&cookies, None), None);
        cookies.take(&response(&["lb=a1; Path=/; HttpOnly", "x=\"y z\"; Secure", "="]));
        assert_eq!(sent(&cookies, None).as_deref(), Some("lb=a1; x=\"y z\""));
        cookies.take(&response(&["lb=a2", "x=; Max-Age=0"]));
        assert_eq!(sent(&cookies, Some("own=1")).as_deref(), Some("own=1; lb=a2"));
        cookies.take(&response(&["lb=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]));
        assert_eq!(sent(&cookies, None), None);
    }
}
